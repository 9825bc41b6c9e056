// The history, event by event: each with what it said, what it changed, and by whom. `?event=` is a permalink.

import { useLoad } from "../lib/load";
import { get, segment } from "../lib/api";
import { useFiltered, useWhole, type History } from "../lib/history";
import { query, setQuery } from "../lib/route";
import { count } from "../lib/time";
import type { Envelope, Page, PatchOperation, Shown } from "../lib/types";
import { Copy, Fact, Facts, Refusal, When } from "./basics";
import { Json } from "./json";
import { Patch } from "./patch";
import { Rows } from "./rows";

export function EventsTab({ shown }: { shown: Shown }) {
  const types = query.value.get("types") ?? "";
  const newest = query.value.get("order") === "desc";
  const chosen = Number(query.value.get("event") ?? 0);
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
        </div>
        {types ? (
          <Filtered key={`${types} ${newest}`} shown={shown} types={types} newest={newest} chosen={chosen} />
        ) : (
          <Whole shown={shown} newest={newest} chosen={chosen} />
        )}
      </div>
      {chosen > 0 && <EventPanel id={shown.id} version={chosen} />}
    </div>
  );
}

interface Asked {
  shown: Shown;
  newest: boolean;
  chosen: number;
}

/** All events: their versions are known, so the list is as long as the history before any of it is there. */
function Whole({ shown, newest, chosen }: Asked) {
  return <Events history={useWhole(shown.id, shown.head.version, newest)} chosen={chosen} />;
}

function Filtered({ shown, types, newest, chosen }: Asked & { types: string }) {
  return <Events history={useFiltered(shown, types, newest)} chosen={chosen} />;
}

function Events({ history, chosen }: { history: History; chosen: number }) {
  const at = history.indexOf(chosen);
  return (
    <>
      <p role="status">
        {count(history.count)}
        {history.hasMore ? " and more" : ""} events
      </p>
      <Refusal problem={history.problem} retry={history.reload} />
      <Rows
        count={history.count}
        height={34}
        label="Events"
        reveal={at >= 0 ? at : undefined}
        inView={history.need}
        row={(index) => <EventRow event={history.at(index)} version={history.versionAt(index)} chosen={chosen} />}
      />
    </>
  );
}

function EventRow({ event, version, chosen }: { event: Envelope | undefined; version: number; chosen: number }) {
  const isChosen = version === chosen;
  return (
    <div class={isChosen ? "event-row chosen" : "event-row"} aria-busy={event === undefined}>
      <span class="number">{version}</span>
      <button
        type="button"
        class="link"
        aria-pressed={isChosen}
        onClick={() => setQuery({ event: isChosen ? undefined : String(version) })}
      >
        {event?.type.replace(/^execution\./, "") ?? "…"}
      </button>
      <When at={event?.time} milliseconds />
      <span>{event?.actor}</span>
    </div>
  );
}

function EventPanel({ id, version }: { id: string; version: number }) {
  const found = useLoad(`${id} ${version}`, async (abort) => {
    const only = { cursor: String(version - 1), limit: 1 };
    return (await get<Page<Envelope>>(`/executions/${segment(id)}/events`, only, abort)).body.data[0];
  });
  const event = found.data?.version === version ? found.data : undefined;
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
      <Refusal problem={found.problem} />
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
