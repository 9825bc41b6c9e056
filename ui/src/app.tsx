// The frame of every page: navigation, how the stream stands, the palette, sign-in over it all where the session is over.

import { useEffect, useState } from "preact/hooks";
import { get, purposeWanted, signedOut } from "./lib/api";
import { connection } from "./lib/live";
import { go, link, path } from "./lib/route";
import { ago, ownZone, setZone, zone } from "./lib/time";
import type { Me } from "./lib/types";
import { Palette, PLACES } from "./parts/palette";
import { AuditPage } from "./pages/audit";
import { ComparePage } from "./pages/compare";
import { CostPage } from "./pages/cost";
import { ErrorsPage } from "./pages/errors";
import { ExecutionPage } from "./pages/execution";
import { InboxPage } from "./pages/inbox";
import { ListPage } from "./pages/list";
import { OperationsPage } from "./pages/operations";
import { AskPurpose } from "./pages/purpose";
import { SignIn, signOut } from "./pages/sign_in";

export function App() {
  const [me, setMe] = useState<Me>();
  const out = signedOut.value;
  const arrive = (found: Me) => {
    setMe(found);
    if (path.value === "/" && !found.rights.includes("executions.read")) go(link("/operations"), true);
  };
  useEffect(() => {
    if (!out)
      get<Me>("/me").then(
        ({ body }) => arrive(body),
        () => undefined,
      );
  }, [out]);
  return (
    <>
      <a class="skip" href="#main">
        Skip to content
      </a>
      <header class="bar">
        <nav aria-label="Pages">
          {PLACES.filter((place) => !me || me.rights.includes(place.right)).map((place) => (
            <a key={place.path} href={link(place.path)} aria-current={isAt(place.path) ? "page" : undefined}>
              {place.name}
            </a>
          ))}
        </nav>
        <div class="bar-end">
          {(!me || me.rights.includes("events.read")) && <Badge />}
          <Zone />
          <Palette />
          {me && <Menu me={me} />}
        </div>
      </header>
      <main id="main" tabIndex={-1} inert={out || undefined}>
        <Page />
      </main>
      {out && <SignIn />}
      {purposeWanted.value && !out && <AskPurpose />}
    </>
  );
}

function isAt(place: string): boolean {
  return place === "/" ? path.value === "/" || path.value.startsWith("/executions/") : path.value.startsWith(place);
}

function Page() {
  const [, first, second, third] = path.value.split("/").map(decodeURIComponent);
  switch (first) {
    case "":
    case undefined:
      return <ListPage />;
    case "executions":
      return second ? <ExecutionPage key={second} id={second} /> : <ListPage />;
    case "compare":
      return <ComparePage key={`${second} ${third}`} one={second ?? ""} other={third ?? ""} />;
    case "errors":
      return <ErrorsPage />;
    case "cost":
      return <CostPage />;
    case "inbox":
      return <InboxPage />;
    case "operations":
      return <OperationsPage />;
    case "audit":
      return <AuditPage />;
    default:
      return (
        <section>
          <h1>There is no such page</h1>
          <p>
            <a href={link("/")}>All executions</a>
          </p>
        </section>
      );
  }
}

const SAID = { live: "Live", connecting: "Connecting", "catching up": "Catching up", offline: "Offline" };

/** How the stream stands: what is shown is as new as this says. */
function Badge() {
  const { state, since } = connection.value;
  const at = new Date(since).toISOString();
  return (
    <span class={`badge ${state.replace(" ", "-")}`} role="status" title={`since ${ago(at)}`}>
      <span aria-hidden="true">{state === "live" ? "●" : "○"}</span> {SAID[state]}
      {state === "offline" && ` since ${at.slice(11, 19)} UTC`}
    </span>
  );
}

function Zone() {
  if (ownZone === "UTC") return <span class="quiet">UTC</span>;
  return (
    <label>
      <span class="hidden">Time zone</span>
      <select value={zone.value} onChange={(event) => setZone(event.currentTarget.value)}>
        <option value="UTC">UTC</option>
        <option value={ownZone}>{ownZone}</option>
      </select>
    </label>
  );
}

function Menu({ me }: { me: Me }) {
  return (
    <details class="menu">
      <summary>{me.name}</summary>
      <div>
        <p class="quiet">{(me.roles ?? []).join(", ")}</p>
        <button type="button" onClick={() => void signOut()}>
          Sign out
        </button>
      </div>
    </details>
  );
}
