// The steps as a table, and one of them whole: its content is asked for when it is opened.

import { get, segment } from "../lib/api";
import { useLoad } from "../lib/load";
import { query, setQuery } from "../lib/route";
import { slimSteps } from "../lib/steps";
import { count, duration } from "../lib/time";
import type { Shown, Step } from "../lib/types";
import { Fact, Facts, Refusal, StatusMark, When, Who } from "./basics";
import { Json } from "./json";
import { Rows } from "./rows";

export function StepsTab({ shown }: { shown: Shown }) {
  const { id, head } = shown;
  const steps = useLoad(`${id} ${head.version}`, (abort) => slimSteps(id, head.version, abort));
  const wanted = (query.value.get("find") ?? "").toLowerCase();
  const chosen = query.value.get("step");
  const found = (steps.data ?? []).filter(
    (step) => !wanted || `${step.id} ${step.name} ${step.status}`.toLowerCase().includes(wanted),
  );
  return (
    <div class="split">
      <div>
        <label class="inline">
          Find a step
          <input
            data-filter
            value={query.value.get("find") ?? ""}
            onInput={(event) => setQuery({ find: event.currentTarget.value }, true)}
          />
        </label>{" "}
        <span role="status">{count(found.length)} steps</span>
        <Refusal problem={steps.problem} retry={steps.reload} />
        <Rows
          count={found.length}
          height={34}
          label="Steps"
          row={(index) => <StepRow step={found[index]!} chosen={found[index]!.id === chosen} />}
        />
      </div>
      {chosen && <StepPanel shown={shown} step={chosen} />}
    </div>
  );
}

function StepRow({ step, chosen }: { step: Step; chosen: boolean }) {
  return (
    <div class={chosen ? "step-row chosen" : "step-row"}>
      <button
        type="button"
        class="link"
        aria-pressed={chosen}
        onClick={() => setQuery({ step: chosen ? undefined : step.id })}
      >
        {step.name}
      </button>
      <StatusMark status={step.status} />
      <span>{step.kind}</span>
      <Who assignee={step.assignee} />
      <span class="number">{duration(step.duration)}</span>
    </div>
  );
}

export function StepPanel({ shown, step: wanted }: { shown: Shown; step: string }) {
  const { id, head, version } = shown;
  const step = useLoad(`${id} ${wanted} ${head.version}`, async (abort) => {
    return (await get<Step>(`/executions/${segment(id)}/steps/${segment(wanted)}`, { version }, abort)).body;
  });
  const found = step.data;
  return (
    <aside class="panel" aria-label={`Step ${wanted}`}>
      <div class="dialog-head">
        <h2>{found?.name ?? wanted}</h2>
        <button type="button" class="small" aria-label="Close the step" onClick={() => setQuery({ step: undefined })}>
          ✕
        </button>
      </div>
      <Refusal problem={step.problem} />
      {found && (
        <>
          <Facts>
            <Fact name="Id">
              <code>{found.id}</code>
            </Fact>
            <Fact name="Status">
              <StatusMark status={found.status} />
            </Fact>
            <Fact name="Who">
              <Who assignee={found.assignee} />
            </Fact>
            <Fact name="Started">
              <When at={found.startedAt} milliseconds />
            </Fact>
            <Fact name="Ended">
              <When at={found.completedAt} milliseconds />
            </Fact>
            <Fact name="Duration">{duration(found.duration)}</Fact>
            {found.reason && <Fact name="Reason">{found.reason}</Fact>}
          </Facts>
          {found.error && (
            <div class="refusal">
              <strong>{found.error.code}</strong> {found.error.message ?? "(erased)"}
            </div>
          )}
          {"input" in found && <Json name="input" value={found.input} open />}
          {"output" in found && <Json name="output" value={found.output} open />}
          {found.metrics && <Json name="metrics" value={found.metrics} open />}
        </>
      )}
    </aside>
  );
}
