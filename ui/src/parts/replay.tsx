// The versions of an execution as a slider: the server folds the state of each, the page only asks for it.

import { useEffect, useRef, useState } from "preact/hooks";
import { get, segment } from "../lib/api";
import { setQuery } from "../lib/route";
import type { Envelope, Execution, Page } from "../lib/types";
import { When } from "./basics";
import { isTyping } from "./palette";

const LONGEST_PAUSE = 2_000;
const FAILURES = "execution.failed,execution.step.failed";

interface Props {
  id: string;
  last: number;
  /** The version that is asked for, where it is not the last. */
  version: number | undefined;
  /** When that was recorded; unknown until it is there. */
  time: string | undefined;
}

export function Replay({ id, last, version, time }: Props) {
  const at = version ?? last;
  const [speed, setSpeed] = useState(0);
  const [failure, setFailure] = useState<number>();
  const show = (version: number) => {
    const next = Math.min(Math.max(version, 1), last);
    setQuery({ version: next === last ? undefined : String(next) }, true);
  };
  const latest = useRef({ at, last, show });
  latest.current = { at, last, show };
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "[") latest.current.show(latest.current.at - 1);
      else if (event.key === "]") latest.current.show(latest.current.at + 1);
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  useEffect(() => {
    if (speed === 0) return;
    return play(id, speed, latest, () => setSpeed(0));
  }, [speed, id]);
  const toFailure = async () => {
    const path = `/executions/${segment(id)}/events`;
    const { body } = await get<Page<Envelope>>(path, { types: FAILURES, limit: 1 });
    const found = body.data[0]?.version ?? 0;
    setFailure(found);
    if (found) show(found);
  };
  return (
    <section class="replay" aria-label="Replay">
      <div class="replay-line">
        <button
          type="button"
          class="small"
          onClick={() => show(at - 1)}
          disabled={at <= 1}
          aria-label="One version back"
        >
          ◀
        </button>
        <input
          type="range"
          min={1}
          max={last}
          value={at}
          aria-label="Version"
          aria-valuetext={`version ${at} of ${last}`}
          onInput={(event) => show(Number(event.currentTarget.value))}
        />
        <button
          type="button"
          class="small"
          onClick={() => show(at + 1)}
          disabled={at >= last}
          aria-label="One version on"
        >
          ▶
        </button>
        <label class="inline">
          Version
          <input
            type="number"
            min={1}
            max={last}
            value={at}
            onChange={(event) => show(Number(event.currentTarget.value))}
          />
          of {last}
        </label>
        {[1, 10, 100].map((each) => (
          <button
            key={each}
            type="button"
            class="small"
            aria-pressed={speed === each}
            onClick={() => setSpeed(speed === each ? 0 : each)}
          >
            {speed === each ? "Stop" : `Play ×${each}`}
          </button>
        ))}
        <button type="button" class="small" onClick={() => void toFailure()}>
          First failure
        </button>
        {failure === 0 && <span role="status">Nothing failed.</span>}
      </div>
      {version && (
        <p class="banner" role="status">
          {time ? "As of version" : "Not there yet: version"} {version} of {last}, <When at={time} milliseconds />.{" "}
          <button type="button" class="small" onClick={() => show(last)}>
            Now
          </button>
        </p>
      )}
    </section>
  );
}

interface Place {
  at: number;
  last: number;
  show: (version: number) => void;
}

/** Show one version after the other, the real time between them divided by the speed, at most 2 s. */
function play(id: string, speed: number, place: { current: Place }, ended: () => void): () => void {
  let stopped = false;
  const run = async () => {
    if (place.current.at >= place.current.last) place.current.show(1);
    let version = place.current.at >= place.current.last ? 1 : place.current.at;
    let before = await updatedAt(id, version);
    while (!stopped && version < place.current.last) {
      const next = await updatedAt(id, version + 1);
      await new Promise((done) => setTimeout(done, Math.min(Math.max((next - before) / speed, 50), LONGEST_PAUSE)));
      if (stopped) return;
      version += 1;
      before = next;
      place.current.show(version);
    }
    if (!stopped) ended();
  };
  run().catch(ended);
  return () => {
    stopped = true;
  };
}

async function updatedAt(id: string, version: number): Promise<number> {
  const { body } = await get<Execution>(`/executions/${segment(id)}`, { version, fields: "metadata.updatedAt" });
  return Date.parse(body.metadata.updatedAt);
}
