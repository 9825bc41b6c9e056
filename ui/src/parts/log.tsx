// The log lines of an execution: the latest, by level, step and text; new ones come by themselves while it is followed.

import { useEffect, useState } from "preact/hooks";
import { get, purposeHeader, segment } from "../lib/api";
import { useLoad } from "../lib/load";
import { query, setQuery } from "../lib/route";
import { frames } from "../lib/sse";
import type { LogLine, Page, Shown } from "../lib/types";
import { Refusal, When } from "./basics";
import { Json } from "./json";
import { Rows } from "./rows";

const LEVELS = ["debug", "info", "warn", "error"];

export function LogTab({ shown }: { shown: Shown }) {
  const level = query.value.get("level") ?? "";
  const text = query.value.get("text") ?? "";
  const [follow, setFollow] = useState(true);
  const [fresh, setFresh] = useState<LogLine[]>([]);
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
    if (!follow || text || until || waits) return;
    const abort = new AbortController();
    void followLines(shown.id, abort.signal, first.reload, (line) => {
      if (!level || line.level === level) setFresh((before) => [...before, line]);
    });
    return () => abort.abort();
  }, [key, follow]);
  const loaded = waits ? [] : (first.data?.data ?? []);
  const old = loaded.filter((line) => !until || Date.parse(line.timestamp) < Date.parse(until)).reverse();
  const known = new Set(old.map((line) => line.id));
  const lines = [...old, ...fresh.filter((line) => !known.has(line.id))];
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
          {lines.length} lines{first.data?.hasMore ? ", older ones are not shown" : ""}
        </span>
      </div>
      <Refusal problem={first.problem} retry={first.reload} />
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

/** Lines from now on. What came while it was not `opened` is either behind its cursor or to be read once more. */
async function followLines(
  id: string,
  abort: AbortSignal,
  opened: () => void,
  add: (line: LogLine) => void,
): Promise<void> {
  let cursor = "";
  while (!abort.aborted) {
    try {
      const response = await fetch(`/api/executions/${segment(id)}/logs${cursor ? "" : "?from=now"}`, {
        headers: {
          accept: "text/event-stream",
          ...purposeHeader(),
          ...(cursor ? { "last-event-id": cursor } : {}),
        },
        credentials: "same-origin",
        signal: abort,
      });
      if (response.status === 204 || !response.ok || !response.body) return;
      if (!cursor) opened();
      for await (const frame of frames(response.body)) {
        if (frame.id) cursor = frame.id;
        if (frame.event === "log" && frame.data) add(JSON.parse(frame.data) as LogLine);
      }
    } catch {
      // The stream broke, or the tab was left; the former is opened again.
    }
    await new Promise((done) => setTimeout(done, 1_000));
  }
}
