// A link to a file of the API. Where a purpose has to be said with each read, the page fetches the file with it.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { download, Problem, purpose } from "../lib/api";
import { Refusal } from "./basics";

export function Download({ path, name, children }: { path: string; name: string; children: ComponentChildren }) {
  const [problem, setProblem] = useState<Problem>();
  const fetchIt = async (event: MouseEvent) => {
    if (!purpose.value) return;
    event.preventDefault();
    setProblem(undefined);
    try {
      await download(path, name);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    }
  };
  return (
    <>
      <a class="button" href={`/api${path}`} download={name} onClick={(event) => void fetchIt(event)}>
        {children}
      </a>
      <Refusal problem={problem} />
    </>
  );
}
