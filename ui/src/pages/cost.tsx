// Cost and tokens over time, and by service, model and kind of assignee.

import { get, seenSoFar } from "../lib/api";
import { useLoad, useTitle } from "../lib/load";
import { query, setQuery } from "../lib/route";
import { cost, count, duration } from "../lib/time";
import type { Analytics } from "../lib/types";
import { Refusal } from "../parts/basics";
import { Bars } from "../parts/chart";
import { sinceOf, SpanChoice } from "../parts/span";
import { Table } from "../parts/table";

const KEYS: [string, string][] = [
  ["service", "Service"],
  ["model", "Model"],
  ["assigneeType", "Kind of assignee"],
  ["customer", "Customer"],
  ["provider", "Provider"],
];

export function CostPage() {
  useTitle("Cost");
  const days = query.value.get("days") ?? "";
  const by = query.value.get("by") ?? "service";
  const unit = days === "1" ? "hour" : "day";
  const time = useLoad(`${days} ${unit}`, (abort) => analytics(unit, abort));
  const groups = useLoad(`${days} ${by}`, (abort) => analytics(by, abort));
  const points = (time.data?.groups ?? []).map((group) => ({
    label: String(group.key),
    cost: group.totalCost,
    tokens: group.tokens,
  }));
  const rows = [...(groups.data?.groups ?? [])].sort((one, other) => other.totalCost - one.totalCost);
  return (
    <section aria-busy={time.busy || groups.busy}>
      <div class="list-head">
        <h1>Cost and tokens</h1>
        <SpanChoice />
        <label class="inline">
          By
          <select value={by} onChange={(event) => setQuery({ by: event.currentTarget.value })}>
            {KEYS.map(([value, title]) => (
              <option key={value} value={value}>
                {title}
              </option>
            ))}
          </select>
        </label>
      </div>
      <p class="quiet">Costs are as the executions reported them.</p>
      <Refusal problem={time.problem ?? groups.problem} retry={time.reload} />
      {time.data && (
        <>
          <p>
            {count(time.data.total)} executions, {cost(time.data.totalCost)}, {count(time.data.tokens)} tokens,{" "}
            {count(time.data.apiCalls)} calls.
          </p>
          <Bars
            title={`Cost by ${unit}`}
            points={points.map(({ label, cost: value }) => ({ label, value }))}
            show={(value) => cost(value)}
          />
          <Bars
            title={`Tokens by ${unit}`}
            points={points.map(({ label, tokens: value }) => ({ label, value }))}
            show={count}
          />
        </>
      )}
      {rows.length > 0 && (
        <Table
          label="Groups"
          rows={rows}
          rowKey={(group) => String(group.key)}
          columns={[
            { title: KEYS.find(([value]) => value === by)?.[1] ?? "", cell: (group) => group.key ?? "none" },
            { title: "Executions", number: true, cell: (group) => count(group.total) },
            { title: "Completed", number: true, cell: (group) => count(group.statuses.completed) },
            { title: "Failed", number: true, cell: (group) => count(group.statuses.failed) },
            { title: "Cost", number: true, cell: (group) => cost(group.totalCost) },
            { title: "Tokens", number: true, cell: (group) => count(group.tokens) },
            { title: "Calls", number: true, cell: (group) => count(group.apiCalls) },
            { title: "Median", number: true, cell: (group) => duration(group.duration.p50) },
            { title: "95 %", number: true, cell: (group) => duration(group.duration.p95) },
          ]}
        />
      )}
    </section>
  );
}

async function analytics(by: string, abort: AbortSignal): Promise<Analytics> {
  return (await get<Analytics>("/analytics/executions", { by, ...sinceOf(), ...seenSoFar() }, abort)).body;
}
