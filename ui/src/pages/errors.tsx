// Failures by code and service, and by step: how many, when first and last, and which executions.

import { get, seenSoFar } from "../lib/api";
import { useLoad, useTitle } from "../lib/load";
import { exactly, link, query } from "../lib/route";
import { count } from "../lib/time";
import type { Analytics } from "../lib/types";
import { Refusal, When } from "../parts/basics";
import { sinceOf, SpanChoice } from "../parts/span";
import { Table } from "../parts/table";

export function ErrorsPage() {
  useTitle("Errors");
  const key = query.value.get("days") ?? "";
  const byService = useLoad(key, async (abort) => analytics("errorCode,service", abort));
  const byStep = useLoad(key, async (abort) => analytics("step,errorCode", abort));
  return (
    <section aria-busy={byService.busy}>
      <div class="list-head">
        <h1>Errors</h1>
        <SpanChoice />
      </div>
      <Refusal problem={byService.problem} retry={byService.reload} />
      <Groups
        title="Executions that failed"
        keys={["Error", "Service"]}
        figures={byService.data}
        executions="Executions"
        filter={([code, service]) => ({
          ...exactly("error.code", code),
          ...exactly("service", service),
          status: "failed",
        })}
      />
      <Refusal problem={byStep.problem} retry={byStep.reload} />
      <Groups
        title="Runs of steps that failed"
        keys={["Step", "Error"]}
        figures={byStep.data}
        executions="Executions with this error in any step"
        filter={([, code]) => ({ ...exactly("error.code", code), "error.step[exists]": "true" })}
      />
      {byService.data?.groups?.length === 0 && <p class="empty">Nothing has failed.</p>}
    </section>
  );
}

async function analytics(by: string, abort: AbortSignal): Promise<Analytics> {
  return (await get<Analytics>("/analytics/executions", { by, ...sinceOf(), ...seenSoFar() }, abort)).body;
}

/** The list of executions that meet a filter, of the span that is chosen. */
function address(filter: Record<string, string | undefined>): string {
  return link("/", { ...filter, "metadata.createdAt[gte]": sinceOf().from });
}

interface GroupsProps {
  title: string;
  keys: [string, string];
  figures: Analytics | undefined;
  /** What the list of the link shows: a list has no filter by the names of steps. */
  executions: string;
  filter: (key: (string | null)[]) => Record<string, string | undefined>;
}

function keyOf(group: { key: unknown }): (string | null)[] {
  return group.key as (string | null)[];
}

function Groups({ title, keys, figures, executions, filter }: GroupsProps) {
  const groups = (figures?.groups ?? [])
    .map((group) => ({ ...group, failed: group.statuses.failed ?? 0 }))
    .filter((group) => group.failed > 0);
  groups.sort((one, other) => other.failed - one.failed);
  if (groups.length === 0) return null;
  return (
    <>
      <h2>{title}</h2>
      <Table
        label={title}
        rows={groups}
        rowKey={(group) => keyOf(group).join(" ")}
        columns={[
          { title: keys[0]!, cell: (group) => keyOf(group)[0] ?? "none" },
          { title: keys[1]!, cell: (group) => keyOf(group)[1] ?? "none" },
          { title: "Failures", number: true, cell: (group) => count(group.failed) },
          { title: "First seen", cell: (group) => <When at={group.firstSeen} /> },
          { title: "Last seen", cell: (group) => <When at={group.lastSeen} /> },
          {
            title: "Executions",
            hidden: true,
            cell: (group) => <a href={address(filter(keyOf(group)))}>{executions}</a>,
          },
        ]}
      />
    </>
  );
}
