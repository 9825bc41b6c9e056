// The history, event by event: each with what it said, what it changed, and by whom. `?event=` is a permalink.

import { useEffect, useState } from "preact/hooks";
import { get, segment } from "../lib/api";
import { useLoad } from "../lib/load";
import { query, setQuery } from "../lib/route";
import { count } from "../lib/time";
import type { Envelope, Page, PatchOperation, Shown } from "../lib/types";
import { Copy, Fact, Facts, Refusal, When } from "./basics";
import { Json } from "./json";
import { Patch } from "./patch";
import { Rows } from "./rows";

const PAGE = 500;

export function EventsTab({ shown }: { shown: Shown }) {
  const { id, head } = shown;
  const types = query.value.get("types") ?? "";
  const newest = query.value.get("order") === "desc";
  const chosen = Number(query.value.get("event") ?? 0);
  const [pages, setPages] = useState<{ key: string; data: Envelope[]; cursor: string | null }>();
  const [busy, setBusy] = useState(false);
  const key = `${id} ${types} ${newest}`;
  const fetchPage = async (cursor: string | undefined, abort?: AbortSignal) => {
    const parameters = { types, order: newest ? "desc" : "asc", limit: PAGE, cursor };
    return (await get<Page<Envelope>>(`/executions/${segment(id)}/events`, parameters, abort)).body;
  };
  const first = useLoad(`${key} ${shown.latest.version}`, (abort) => fetchPage(undefined, abort));
  useEffect(() => {
    if (!first.data) return;
    const { data, nextCursor } = first.data;
    setPages((before) =>
      before?.key === key && before.data.length > data.length && !newest ? before : { key, data, cursor: nextCursor },
    );
  }, [first.data]);
  const loadMore = async () => {
    if (busy || !pages?.cursor) return;
    setBusy(true);
    try {
      const page = await fetchPage(pages.cursor);
      setPages({ key, data: [...pages.data, ...page.data], cursor: page.nextCursor });
    } finally {
      setBusy(false);
    }
  };
  const data = (pages?.key === key ? pages.data : []).filter((event) => event.version <= head.version);
  const at = data.findIndex((event) => event.version === chosen);
  return (
    <div class="split">
      <div>
        <div class="filters">
          <label>
            Types
            <input
              data-filter
              key={types}
              defaultValue={types}
              placeholder="step.*, failed"
              onChange={(event) => setQuery({ types: event.currentTarget.value.replaceAll(" ", "") })}
            />
          </label>
          <label>
            Order
            <select value={newest ? "desc" : ""} onChange={(event) => setQuery({ order: event.currentTarget.value })}>
              <option value="">Oldest first</option>
              <option value="desc">Newest first</option>
            </select>
          </label>
          <span role="status">
            {count(data.length)}
            {pages?.cursor ? " and more" : ""} events
          </span>
        </div>
        <Refusal problem={first.problem} retry={first.reload} />
        <Rows
          count={data.length}
          height={34}
          label="Events"
          reveal={at >= 0 ? at : undefined}
          atEnd={() => void loadMore()}
          row={(index) => <EventRow event={data[index]!} chosen={data[index]!.version === chosen} />}
        />
      </div>
      {chosen > 0 && <EventPanel id={id} version={chosen} event={data[at]} />}
    </div>
  );
}

function EventRow({ event, chosen }: { event: Envelope; chosen: boolean }) {
  return (
    <div class={chosen ? "event-row chosen" : "event-row"}>
      <span class="number">{event.version}</span>
      <button
        type="button"
        class="link"
        aria-pressed={chosen}
        onClick={() => setQuery({ event: chosen ? undefined : String(event.version) })}
      >
        {event.type.replace(/^execution\./, "")}
      </button>
      <When at={event.time} milliseconds />
      <span>{event.actor}</span>
    </div>
  );
}

function EventPanel({ id, version, event }: { id: string; version: number; event: Envelope | undefined }) {
  const changes = useLoad(version > 1 ? `${id} ${version}` : null, async (abort) => {
    return (await get<PatchOperation[]>(`/executions/${segment(id)}/diff`, { from: version - 1, to: version }, abort))
      .body;
  });
  return (
    <aside class="panel" aria-label={`Event ${version}`}>
      <div class="dialog-head">
        <h2>{event?.type ?? `Event ${version}`}</h2>
        <Copy text={location.href} label="link" />
        <button type="button" class="small" aria-label="Close the event" onClick={() => setQuery({ event: undefined })}>
          ✕
        </button>
      </div>
      {event && (
        <>
          <Facts>
            <Fact name="Version">{event.version}</Fact>
            <Fact name="Position">{event.position}</Fact>
            <Fact name="Recorded">
              <When at={event.time} milliseconds />
            </Fact>
            {event.occurredat && (
              <Fact name="Occurred">
                <When at={event.occurredat} milliseconds />
              </Fact>
            )}
            <Fact name="Actor">{event.actor}</Fact>
            <Fact name="Correlation">
              <code>{event.correlationid ?? "–"}</code>
            </Fact>
          </Facts>
          <h3>What it said</h3>
          <Json value={event.data} open />
        </>
      )}
      <h3>What it changed</h3>
      <Refusal problem={changes.problem} />
      {version === 1 ? <p>It began the execution.</p> : changes.data && <Patch operations={changes.data} />}
      <p>
        <button type="button" class="small" onClick={() => setQuery({ version: String(version), tab: "timeline" })}>
          Show the execution as of this version
        </button>
      </p>
    </aside>
  );
}
