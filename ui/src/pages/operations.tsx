// How the service stands: readiness, views, webhooks and jobs, before anything fails.

import { get, getText } from "../lib/api";
import { useLive, useLoad, useTitle } from "../lib/load";
import { gauges } from "../lib/metrics";
import { bytes, count, duration } from "../lib/time";
import type { Page } from "../lib/types";
import { Fact, Facts, Refusal, When } from "../parts/basics";
import { Json } from "../parts/json";
import { Table } from "../parts/table";

interface View {
  view: string;
  position: number;
  lag: number;
  parked: number;
  rebuild?: { position: number; progress: number };
}

interface Hook {
  $id: string;
  url: string;
  health?: { state: string; waiting: number; givenUp: number; failingSince?: string };
}

interface Job {
  $id: string;
  command: string;
  status: string;
  done: number;
  refused: number;
}

const FIGURES: [string, string, (value: number) => string][] = [
  ["Commands that wait", "executions_commands_waiting", count],
  ["Queued first, for", "executions_queued_seconds", seconds],
  ["Workers that wait", "executions_claimers_waiting", count],
  ["Leases lost", "executions_leases_lost", count],
  ["Timers due", "executions_timers_due", count],
  ["Timers late by", "executions_timers_late_seconds", seconds],
  ["Events owed to webhooks", "executions_webhook_deliveries_waiting", count],
  ["Streams open", "executions_streams", count],
  ["Database", "executions_database_bytes", bytes],
  ["Oldest log line here", "executions_log_lines_age_seconds", seconds],
];

function seconds(value: number): string {
  return duration(value * 1_000);
}

export function OperationsPage() {
  useTitle("Operations");
  const ready = useLoad("ready", async (abort) => (await get<Record<string, unknown>>("/readyz", {}, abort)).body);
  const views = useLoad(
    "views",
    async (abort) => (await get<{ position: number; data: View[] }>("/projections", {}, abort)).body,
  );
  const figures = useLoad("figures", async (abort) => gauges(await getText("/metrics", abort)));
  const hooks = useLoad("hooks", async (abort) => (await get<Page<Hook>>("/webhooks", {}, abort)).body);
  const jobs = useLoad("jobs", async (abort) => (await get<Page<Job>>("/jobs", {}, abort)).body);
  useLive(
    () => true,
    () => (views.reload(), jobs.reload(), figures.reload()),
    2_000,
  );
  return (
    <section>
      <h1>Operations</h1>
      <Refusal problem={ready.problem} retry={ready.reload} />
      {ready.data && (
        <Facts>
          {Object.entries(ready.data)
            .filter(([name]) => name !== "views") // they have a table below
            .map(([name, value]) => (
              <Fact key={name} name={name}>
                {value !== null && typeof value === "object" ? <Json value={value} open /> : String(value)}
              </Fact>
            ))}
        </Facts>
      )}
      <h2>Queue, timers, storage</h2>
      <Refusal problem={figures.problem} retry={figures.reload} />
      {figures.data && (
        <Facts>
          {FIGURES.map(([name, gauge, show]) => (
            <Fact key={name} name={name}>
              {show(figures.data!.get(gauge) ?? 0)}
            </Fact>
          ))}
        </Facts>
      )}
      <h2>Views</h2>
      <Refusal problem={views.problem} retry={views.reload} />
      {views.data && (
        <Table
          label="Views"
          caption={`The log is at position ${count(views.data.position)}.`}
          rows={views.data.data}
          rowKey={(view) => view.view}
          columns={[
            { title: "View", cell: (view) => view.view },
            { title: "Position", number: true, cell: (view) => count(view.position) },
            { title: "Behind", number: true, cell: (view) => count(view.lag) },
            { title: "Events it could not apply", number: true, cell: (view) => count(view.parked) },
            { title: "Rebuild", cell: (view) => (view.rebuild ? `${view.rebuild.progress} %` : "–") },
          ]}
        />
      )}
      <h2>Webhooks of the log</h2>
      <Refusal problem={hooks.problem} retry={hooks.reload} />
      {hooks.data?.data.length === 0 && <p class="quiet">There are none.</p>}
      {hooks.data && hooks.data.data.length > 0 && (
        <Table
          label="Webhooks"
          rows={hooks.data.data}
          rowKey={(hook) => hook.$id}
          columns={[
            { title: "Webhook", cell: (hook) => hook.$id },
            { title: "URL", cell: (hook) => hook.url },
            { title: "State", cell: (hook) => hook.health?.state ?? "–" },
            { title: "Waiting", number: true, cell: (hook) => count(hook.health?.waiting) },
            { title: "Given up", number: true, cell: (hook) => count(hook.health?.givenUp) },
            { title: "Failing since", cell: (hook) => <When at={hook.health?.failingSince} /> },
          ]}
        />
      )}
      <h2>Jobs</h2>
      <Refusal problem={jobs.problem} retry={jobs.reload} />
      {jobs.data?.data.length === 0 && <p class="quiet">There are none.</p>}
      {jobs.data && jobs.data.data.length > 0 && (
        <Table
          label="Jobs"
          rows={jobs.data.data}
          rowKey={(job) => job.$id}
          columns={[
            { title: "Job", cell: (job) => job.$id },
            { title: "Command", cell: (job) => job.command },
            { title: "Status", cell: (job) => job.status },
            { title: "Done", number: true, cell: (job) => count(job.done) },
            { title: "Refused", number: true, cell: (job) => count(job.refused) },
          ]}
        />
      )}
    </section>
  );
}
