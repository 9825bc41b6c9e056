// What waits for people: open steps and paused executions, the most urgent and oldest first.

import { get, seenSoFar, segment } from "../lib/api";
import { useLive, useLoad, useTitle } from "../lib/load";
import { link, query, setQuery } from "../lib/route";
import { ago } from "../lib/time";
import type { Assignee, Page } from "../lib/types";
import { Refusal, StatusMark, When, Who } from "../parts/basics";
import { Table } from "../parts/table";

interface Item {
  type: "step" | "paused";
  execution: string;
  service: string;
  customer: string;
  status: string;
  priority: string;
  since: string;
  assignee?: Assignee;
  step?: { id: string; name: string; status: string };
}

export function InboxPage() {
  useTitle("Inbox");
  const assignee = query.value.get("assignee") ?? "";
  const items = useLoad(
    assignee,
    async (abort) => (await get<Page<Item>>("/inbox", { assignee, limit: 200, ...seenSoFar() }, abort)).body,
  );
  useLive((event) => event.type.startsWith("execution."), items.reload, 1_000);
  return (
    <section aria-busy={items.busy}>
      <div class="list-head">
        <h1>Inbox</h1>
        <label class="inline">
          Of
          <input
            data-filter
            key={assignee}
            defaultValue={assignee}
            placeholder="anybody"
            onChange={(event) => setQuery({ assignee: event.currentTarget.value.trim() })}
          />
        </label>
        <span role="status">
          {items.data?.data.length}
          {items.data?.hasMore ? " and more" : ""} wait
        </span>
      </div>
      <Refusal problem={items.problem} retry={items.reload} />
      {items.data?.data.length === 0 && <p class="empty">Nothing waits for a person.</p>}
      {items.data && items.data.data.length > 0 && (
        <Table
          label="Inbox"
          rows={items.data.data}
          rowKey={(item) => `${item.execution} ${item.step?.id ?? ""}`}
          columns={[
            { title: "What", cell: (item) => <a href={address(item)}>{item.step?.name ?? "Paused"}</a> },
            { title: "Execution", cell: (item) => item.execution },
            { title: "Status", cell: (item) => <StatusMark status={item.step?.status ?? item.status} /> },
            { title: "Priority", cell: (item) => item.priority },
            { title: "Who", cell: (item) => <Who assignee={item.assignee} /> },
            { title: "Service", cell: (item) => item.service },
            { title: "Customer", cell: (item) => item.customer },
            { title: "Since", cell: (item) => <Since at={item.since} /> },
          ]}
        />
      )}
    </section>
  );
}

function address(item: Item): string {
  return link(`/executions/${segment(item.execution)}`, item.step ? { tab: "steps", step: item.step.id } : {});
}

function Since({ at }: { at: string }) {
  return (
    <>
      <When at={at} /> <span class="quiet">{ago(at)}</span>
    </>
  );
}
