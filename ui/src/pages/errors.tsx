// Failures by code and service, and by step: how many, when first and last, and which executions.

import { get, seenSoFar } from "../lib/api";
import { useLoad, useTitle } from "../lib/load";
import { link, query } from "../lib/route";
import { count } from "../lib/time";
import type { Analytics } from "../lib/types";
import { Refusal, When, Wide } from "../parts/basics";
import { sinceOf, SpanChoice } from "../parts/span";

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
        address={([code, service]) => link("/", { "error.code": code ?? "", service: service ?? "", status: "failed" })}
      />
      <Refusal problem={byStep.problem} retry={byStep.reload} />
      <Groups
        title="Runs of steps that failed"
        keys={["Step", "Error"]}
        figures={byStep.data}
        address={([step, code]) => link("/", { "error.code": code ?? "", "error.step[exists]": step ? "true" : "" })}
      />
      {byService.data?.groups?.length === 0 && <p class="empty">Nothing has failed.</p>}
    </section>
  );
}

async function analytics(by: string, abort: AbortSignal): Promise<Analytics> {
  return (await get<Analytics>("/analytics/executions", { by, ...sinceOf(), ...seenSoFar() }, abort)).body;
}

interface GroupsProps {
  title: string;
  keys: [string, string];
  figures: Analytics | undefined;
  address: (key: (string | null)[]) => string;
}

function Groups({ title, keys, figures, address }: GroupsProps) {
  const groups = (figures?.groups ?? [])
    .map((group) => ({ ...group, failed: group.statuses.failed ?? 0 }))
    .filter((group) => group.failed > 0);
  groups.sort((one, other) => other.failed - one.failed);
  if (groups.length === 0) return null;
  return (
    <>
      <h2>{title}</h2>
      <Wide label={title}>
        <table>
          <thead>
            <tr>
              {keys.map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
              <th scope="col" class="number">
                Failures
              </th>
              <th scope="col">First seen</th>
              <th scope="col">Last seen</th>
              <th scope="col">
                <span class="hidden">Executions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {groups.map((group) => {
              const key = group.key as (string | null)[];
              return (
                <tr key={key.join(" ")}>
                  <th scope="row">{key[0] ?? "none"}</th>
                  <td>{key[1] ?? "none"}</td>
                  <td class="number">{count(group.failed)}</td>
                  <td>
                    <When at={group.firstSeen} />
                  </td>
                  <td>
                    <When at={group.lastSeen} />
                  </td>
                  <td>
                    <a href={address(key)}>Executions</a>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Wide>
    </>
  );
}
