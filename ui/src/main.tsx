import { render } from "preact";
import { App } from "./app";
import { followLinks } from "./lib/route";
import { startLive } from "./lib/live";

document.addEventListener("click", followLinks);
startLive();
render(<App />, document.getElementById("app")!);
