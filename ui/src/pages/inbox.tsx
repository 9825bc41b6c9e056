// What waits for people: open steps and paused executions, the most urgent and oldest first.

import { get, seenSoFar, segment } from "../lib/api";
import { useLive, useLoad, useTitle } from "../lib/load";
import { link, query, setQuery } from "../lib/route";
import { ago } from "../lib/time";
import type { Assignee, Page } from "../lib/types";
import { Refusal, StatusMark, When, Who, Wide } from "../parts/basics";

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
        <Wide label="Inbox">
          <table>
            <thead>
              <tr>
                {["What", "Execution", "Status", "Priority", "Who", "Service", "Customer", "Since"].map((title) => (
                  <th key={title} scope="col">
                    {title}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {items.data.data.map((item) => (
                <tr key={`${item.execution} ${item.step?.id ?? ""}`}>
                  <th scope="row">
                    <a
                      href={link(
                        `/executions/${segment(item.execution)}`,
                        item.step ? { tab: "steps", step: item.step.id } : {},
                      )}
                    >
                      {item.step?.name ?? "Paused"}
                    </a>
                  </th>
                  <td>{item.execution}</td>
                  <td>
                    <StatusMark status={item.step?.status ?? item.status} />
                  </td>
                  <td>{item.priority}</td>
                  <td>
                    <Who assignee={item.assignee} />
                  </td>
                  <td>{item.service}</td>
                  <td>{item.customer}</td>
                  <td>
                    <When at={item.since} /> <span class="quiet">{ago(item.since)}</span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
    </section>
  );
}
