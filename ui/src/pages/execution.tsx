// One execution, in strips that load apart: who and how far, what may be done, then the tab that is asked for.

import { useEffect, useRef } from "preact/hooks";
import { get, segment } from "../lib/api";
import { useLive, useLoad, useTitle, type Loaded } from "../lib/load";
import { exactly, link, query, setQuery } from "../lib/route";
import { cost, count, duration } from "../lib/time";
import type { Execution, Shown } from "../lib/types";
import { Actions } from "../parts/actions";
import { Copy, Fact, Facts, Progress, Refusal, StatusMark, When, Who } from "../parts/basics";
import { Download } from "../parts/download";
import { EventsTab } from "../parts/events";
import { Json } from "../parts/json";
import { LogTab } from "../parts/log";
import { isTyping } from "../parts/palette";
import { Replay } from "../parts/replay";
import { StepsTab } from "../parts/steps";
import { TimelineTab } from "../parts/timeline";

export const HEAD =
  "$id,order,service,workflow,customer,provider,status,progress,assignee,result,error,cancellation,pause,checkpoints,attempts,nextRetryAt,stalled,claimedBy,metrics,priority,tags,metadata,version,position,resumedFrom,forkedFrom,erased";

const TABS: [string, string, string][] = [
  ["timeline", "Timeline", "t"],
  ["steps", "Steps", "s"],
  ["events", "Events", "e"],
  ["log", "Log", "l"],
  ["json", "JSON", "o"],
];

interface Heads {
  latest: Loaded<Execution>;
  past: Loaded<Execution>;
  version: number | undefined;
  /** What is to be shown: of the version that is asked for; until it is there, what was shown before. */
  head: Execution | undefined;
}

export function useHead(id: string): Heads {
  const asked = Number(query.value.get("version") ?? 0);
  const latest = useLoad(
    id,
    async (abort) => (await get<Execution>(`/executions/${segment(id)}`, { fields: HEAD }, abort)).body,
  );
  const version = asked > 0 && latest.data && asked < latest.data.version ? asked : undefined;
  const past = useLoad(version ? `${id} ${version}` : null, async (abort) => {
    return (await get<Execution>(`/executions/${segment(id)}`, { version: version!, fields: HEAD }, abort)).body;
  });
  const before = useRef<Execution>(undefined);
  const found = version === undefined ? latest.data : past.data?.version === version ? past.data : undefined;
  if (found) before.current = found;
  return { latest, past, version, head: found ?? (past.problem ? undefined : before.current) };
}

export function ExecutionPage({ id }: { id: string }) {
  useTitle(id);
  const { latest, past, version, head } = useHead(id);
  const pause = Math.max(250, (latest.data?.metrics.stepsTotal ?? 0) / 2);
  useLive((event) => event.subject === id && event.type.startsWith("execution."), latest.reload, pause);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      const tab = TABS.find(([, , key]) => key === event.key);
      if (tab) setQuery({ tab: tab[0] });
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  if (!latest.data) {
    return latest.problem ? <NotThere id={id} latest={latest} /> : <p aria-busy="true">Loading {id} …</p>;
  }
  const shown: Shown | undefined = head && { id, head, version, latest: latest.data };
  const time = head?.version === version ? head?.metadata.updatedAt : undefined;
  return (
    <article class={version ? "execution past" : "execution"}>
      <Refusal problem={latest.problem} retry={latest.reload} />
      {shown ? <Head shown={shown} reload={latest.reload} /> : <h1>{id}</h1>}
      <Replay id={id} last={latest.data.version} version={version} time={time} />
      {version && <Refusal problem={past.problem} retry={past.reload} />}
      {shown && <Tabs shown={shown} />}
    </article>
  );
}

function Tabs({ shown }: { shown: Shown }) {
  const tab = query.value.get("tab") ?? "timeline";
  return (
    <>
      <div role="tablist" aria-label="Parts of the execution" class="tabs">
        {TABS.map(([name, title, key]) => (
          <a
            key={name}
            role="tab"
            aria-selected={tab === name}
            aria-keyshortcuts={key}
            href={tabAddress(shown.id, name)}
          >
            {title}
          </a>
        ))}
      </div>
      <div role="tabpanel" aria-label={tab}>
        {tab === "timeline" && <TimelineTab shown={shown} />}
        {tab === "steps" && <StepsTab shown={shown} />}
        {tab === "events" && <EventsTab shown={shown} />}
        {tab === "log" && <LogTab shown={shown} />}
        {tab === "json" && <WholeDocument shown={shown} />}
      </div>
    </>
  );
}

function tabAddress(id: string, tab: string): string {
  const version = query.value.get("version") ?? undefined;
  return link(`/executions/${segment(id)}`, { tab, version });
}

function NotThere({ id, latest }: { id: string; latest: Loaded<Execution> }) {
  return (
    <section>
      <h1>{id}</h1>
      <Refusal problem={latest.problem} retry={latest.reload} />
      <p>
        <a href={link("/")}>All executions</a>
      </p>
    </section>
  );
}

function Head({ shown, reload }: { shown: Shown; reload: () => void }) {
  const { head, id } = shown;
  return (
    <header class="head">
      <div class="head-line">
        <h1>{id}</h1>
        <StatusMark status={head.status} stalled={head.stalled} />
        <Progress value={head.progress} label="Progress" />
        {!shown.version && <Actions execution={shown.latest} done={reload} />}
        <CopyAs id={id} />
        <Download path={`/audit/bundle/${segment(id)}`} name={`${id}.zip`}>
          Evidence
        </Download>
      </div>
      {head.erased && <p class="banner">The content of this execution was erased; its history and its proofs stand.</p>}
      <Facts>
        <Fact name="Service">
          <a href={link("/", exactly("service", head.service))}>{head.service}</a>
        </Fact>
        <Fact name="Order">
          <a href={link("/", exactly("order", head.order))}>{head.order}</a>
        </Fact>
        <Fact name="Customer">{head.customer}</Fact>
        <Fact name="Provider">{head.provider}</Fact>
        <Fact name="Who">
          <Who assignee={head.assignee} />
        </Fact>
        <Fact name="Created">
          <When at={head.metadata.createdAt} />
        </Fact>
        <Fact name="Duration">
          {duration(head.metrics.duration)}
          {head.metrics.activeDuration !== undefined && (
            <span class="quiet"> ({duration(head.metrics.activeDuration)} active)</span>
          )}
        </Fact>
        <Fact name="Cost (as reported)">{cost(head.metrics.cost, head.metrics.currency)}</Fact>
        <Fact name="Tokens">{count(head.metrics.tokensUsed)}</Fact>
        <Fact name="Attempts">
          {head.attempts.length}{" "}
          {head.metrics.retries > 0 && <span class="quiet">({head.metrics.retries} retries)</span>}
        </Fact>
        <Fact name="Version">
          {head.version} <span class="quiet">at position {count(head.position)}</span>
        </Fact>
        {head.claimedBy && <Fact name="Worker">{head.claimedBy.worker}</Fact>}
        {head.nextRetryAt && (
          <Fact name="Next retry">
            <When at={head.nextRetryAt} />
          </Fact>
        )}
        {head.tags.length > 0 && <Fact name="Tags">{head.tags.join(", ")}</Fact>}
      </Facts>
      <Outcome head={head} />
    </header>
  );
}

function Outcome({ head }: { head: Execution }) {
  return (
    <>
      {head.error && (
        <div class="refusal">
          <strong>{head.error.code}</strong> {head.error.message ?? "(erased)"}
          {head.error.step && <p>in step {head.error.step}</p>}
          {head.error.stack && (
            <details>
              <summary>Stack</summary>
              <pre tabIndex={0}>{head.error.stack}</pre>
            </details>
          )}
        </div>
      )}
      {head.pause && (
        <p class="banner">
          Paused by {head.pause.by} at <When at={head.pause.at} />
          {head.pause.reason && `: ${head.pause.reason}`}
        </p>
      )}
      {head.cancellation && (
        <p class="banner">
          Cancelled by {head.cancellation.by} at <When at={head.cancellation.at} />
          {head.cancellation.reason && `: ${head.cancellation.reason}`}
        </p>
      )}
      {head.result && (
        <details class="result">
          <summary>
            {head.result.success ? "✓" : "✕"} {head.result.summary ?? "Result"}
          </summary>
          <Json value={head.result.output} open />
        </details>
      )}
    </>
  );
}

function CopyAs({ id }: { id: string }) {
  const address = `${location.origin}/api/executions/${segment(id)}`;
  const python = [
    "from service_executions import Client",
    `execution = Client("${location.origin}").executions.get(${JSON.stringify(id)})`,
  ].join("\n");
  return (
    <details class="menu">
      <summary>Copy</summary>
      <div>
        <Copy text={id} label="id" />
        <Copy text={location.href} label="link" />
        <Copy text={`curl -H "Authorization: Bearer $TOKEN" ${address}`} label="curl" />
        <Copy text={python} label="Python" />
      </div>
    </details>
  );
}

function WholeDocument({ shown }: { shown: Shown }) {
  const whole = useLoad(`${shown.id} ${shown.head.version}`, async (abort) => {
    return (await get<unknown>(`/executions/${segment(shown.id)}`, { version: shown.version }, abort)).body;
  });
  return (
    <>
      <Refusal problem={whole.problem} />
      {whole.data !== undefined && (
        <>
          <Copy text={JSON.stringify(whole.data, null, 2)} label="JSON" />
          <Json value={whole.data} open />
        </>
      )}
    </>
  );
}
