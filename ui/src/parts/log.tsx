// The log lines of an execution: the latest, by level, step and text; new ones come by themselves while it is followed.

import { useEffect, useState } from "preact/hooks";
import { get, problemOf, purposeHeader, segment, signedOut, type Problem } from "../lib/api";
import { parseExactly } from "../lib/exact";
import { useLoad } from "../lib/load";
import { query, setQuery } from "../lib/route";
import { frames } from "../lib/sse";
import type { LogLine, Page, Shown } from "../lib/types";
import { Refusal, When } from "./basics";
import { Json } from "./json";
import { Rows } from "./rows";

/** So many lines are kept at most while more come. */
const KEPT = 3_000;
const PAUSES = { first: 1_000, longest: 15_000, redraw: 200 };
const FINAL = [401, 403, 404];
const LEVELS = ["debug", "info", "warn", "error"];

export function LogTab({ shown }: { shown: Shown }) {
  const level = query.value.get("level") ?? "";
  const text = query.value.get("text") ?? "";
  const [follow, setFollow] = useState(true);
  const [fresh, setFresh] = useState<LogLine[]>([]);
  const [refused, setRefused] = useState<Problem>();
  const until = shown.version && new Date(Date.parse(shown.head.metadata.updatedAt) + 1).toISOString();
  // Until the head of that version is there, nobody knows up to when it shows lines.
  const waits = shown.version !== undefined && shown.version !== shown.head.version;
  const key = waits ? null : `${shown.id} ${level} ${text} ${until ?? ""}`;
  const first = useLoad(key, async (abort) => {
    const parameters = { order: "desc", limit: 500, level, text, until };
    return (await get<Page<LogLine>>(`/executions/${segment(shown.id)}/logs`, parameters, abort)).body;
  });
  useEffect(() => {
    setFresh([]);
    setRefused(undefined);
    if (!follow || text || until || waits || signedOut.value) return;
    const abort = new AbortController();
    const add = inPortions<LogLine>(abort.signal, (lines) => setFresh((before) => [...before, ...lines].slice(-KEPT)));
    void followLines(shown.id, abort.signal, first.reload, (line) => {
      if (!level || line.level === level) add(line);
    }).then((problem) => !abort.signal.aborted && setRefused(problem));
    return () => abort.abort();
  }, [key, follow, signedOut.value]);
  const loaded = waits ? [] : (first.data?.data ?? []);
  const old = loaded.filter((line) => !until || Date.parse(line.timestamp) < Date.parse(until)).reverse();
  const known = new Set(old.map((line) => line.id));
  const all = [...old, ...fresh.filter((line) => !known.has(line.id))];
  const lines = all.slice(-KEPT);
  return (
    <div>
      <div class="filters">
        <label>
          Level
          <select value={level} onChange={(event) => setQuery({ level: event.currentTarget.value })}>
            <option value="">all</option>
            {LEVELS.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <label>
          Text
          <input
            data-filter
            key={text}
            defaultValue={text}
            onChange={(event) => setQuery({ text: event.currentTarget.value })}
          />
        </label>
        <label class="inline">
          <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} /> Follow
        </label>
        <span role="status">
          {lines.length} lines{first.data?.hasMore || all.length >= KEPT ? ", older ones are not shown" : ""}
        </span>
      </div>
      <Refusal problem={first.problem} retry={first.reload} />
      {!first.problem && <Refusal problem={refused} />}
      <Rows
        count={lines.length}
        height={30}
        label="Log lines"
        reveal={follow ? lines.length - 1 : undefined}
        row={(index) => <Line line={lines[index]!} />}
      />
    </div>
  );
}

function Line({ line }: { line: LogLine }) {
  return (
    <div class={`log-row ${line.level}`}>
      <When at={line.timestamp} milliseconds />
      <span class="level">{line.level}</span>
      <span class="message" title={line.message ?? ""}>
        {line.step && <code>{line.step}</code>} {line.message ?? "(erased)"}
      </span>
      {line.context !== undefined && line.context !== null && <Json value={line.context} />}
    </div>
  );
}

/** Hands on what is added at most a few times a second, until it is aborted. */
function inPortions<T>(abort: AbortSignal, hand: (found: T[]) => void): (each: T) => void {
  let found: T[] = [];
  return (each) => {
    found.push(each);
    if (found.length > 1) return;
    setTimeout(() => {
      if (!abort.aborted) hand(found);
      found = [];
    }, PAUSES.redraw);
  };
}

/** Lines from now on, until there are no more, or the answer is a refusal that waiting does not change. What came while
 * it was not `opened` is either behind its cursor or to be read once more.
 */
async function followLines(
  id: string,
  abort: AbortSignal,
  opened: () => void,
  add: (line: LogLine) => void,
): Promise<Problem | undefined> {
  let cursor = "";
  let pause = PAUSES.first;
  while (!abort.aborted) {
    try {
      const response = await openLines(id, cursor, abort);
      if (response.status === 204) return;
      if (!response.ok || !response.body) {
        const problem = await problemOf(response);
        if (FINAL.includes(problem.status)) return problem;
        throw problem;
      }
      pause = PAUSES.first;
      if (!cursor) opened();
      for await (const frame of frames(response.body)) {
        if (frame.id) cursor = frame.id;
        if (frame.event === "log" && frame.data) add(parseExactly(frame.data) as LogLine);
      }
    } catch {
      // The stream broke or was refused for now, or the tab was left; but for the last, it is opened again.
      pause = Math.min(pause * 2, PAUSES.longest);
    }
    await new Promise((done) => setTimeout(done, pause));
  }
  return;
}

function openLines(id: string, cursor: string, abort: AbortSignal): Promise<Response> {
  return fetch(`/api/executions/${segment(id)}/logs${cursor ? "" : "?from=now"}`, {
    headers: { accept: "text/event-stream", ...purposeHeader(), ...(cursor ? { "last-event-id": cursor } : {}) },
    credentials: "same-origin",
    signal: abort,
  });
}
