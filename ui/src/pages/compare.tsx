// Two executions step by step: where they part, and what they took.

import { get, segment } from "../lib/api";
import { useLoad, useTitle } from "../lib/load";
import { link } from "../lib/route";
import { cost, count, duration } from "../lib/time";
import type { Step } from "../lib/types";
import { Fact, Facts, Refusal, StatusMark } from "../parts/basics";
import { Table } from "../parts/table";

interface Side {
  $id: string;
  version: number;
  status: string;
  duration?: number;
  cost?: number;
  tokensUsed?: number;
}

interface Pair {
  matchedBy?: string;
  this?: Step;
  with?: Step;
  differs: string[];
  difference?: Record<string, number>;
}

interface Comparison {
  this: Side;
  with: Side;
  difference: Record<string, number>;
  firstDivergence: (Pair & { index: number }) | null;
  steps: Pair[];
}

export function ComparePage({ one, other }: { one: string; other: string }) {
  useTitle(`${one} and ${other}`);
  const found = useLoad(
    `${one} ${other}`,
    async (abort) => (await get<Comparison>(`/executions/${segment(one)}/compare`, { with: other }, abort)).body,
  );
  const longest = Math.max(
    1,
    ...(found.data?.steps ?? []).flatMap((pair) => [pair.this?.duration ?? 0, pair.with?.duration ?? 0]),
  );
  return (
    <section aria-busy={found.busy}>
      <h1>
        {one} and {other}
      </h1>
      <Refusal problem={found.problem} retry={found.reload} />
      {found.data && (
        <>
          <Facts>
            {[found.data.this, found.data.with].map((side) => (
              <Fact key={side.$id} name={side.$id}>
                <a href={link(`/executions/${segment(side.$id)}`)}>
                  <StatusMark status={side.status} />
                </a>{" "}
                {duration(side.duration)}, {cost(side.cost)}, {count(side.tokensUsed)} tokens
              </Fact>
            ))}
            <Fact name="Difference">
              {Object.entries(found.data.difference)
                .map(([name, value]) => `${name} ${signed(name, value)}`)
                .join(", ") || "none"}
            </Fact>
            <Fact name="First divergence">
              {found.data.firstDivergence
                ? `step ${found.data.firstDivergence.index + 1}: ${found.data.firstDivergence.differs.join(", ")}`
                : "none: they did the same"}
            </Fact>
          </Facts>
          <Table
            label="Steps of both"
            rows={found.data.steps}
            rowKey={(_, index) => index}
            rowClass={(index) => (index === found.data!.firstDivergence?.index ? "diverges" : undefined)}
            columns={[
              { title: "Step", cell: (pair) => (pair.this ?? pair.with)!.name },
              { title: one, cell: (pair) => <Half step={pair.this} longest={longest} /> },
              { title: other, cell: (pair) => <Half step={pair.with} longest={longest} /> },
              { title: "Difference", number: true, cell: (pair) => signed("duration", pair.difference?.duration) },
              { title: "Differs in", cell: (pair) => pair.differs.join(", ") },
            ]}
          />
        </>
      )}
    </section>
  );
}

function Half({ step, longest }: { step: Step | undefined; longest: number }) {
  if (!step) return <span class="quiet">not there</span>;
  return (
    <span class="half">
      <StatusMark status={step.status} />
      <span
        class={`half-bar ${step.status}`}
        style={{ width: `${((step.duration ?? 0) / longest) * 100}px` }}
        aria-hidden="true"
      />
      {duration(step.duration)}
    </span>
  );
}

function signed(name: string, value: number | undefined): string {
  if (value === undefined) return "–";
  const size = Math.abs(value);
  const shown = name.toLowerCase().includes("duration") ? duration(size) : name === "cost" ? cost(size) : count(size);
  return value === 0 ? "0" : `${value > 0 ? "+" : "−"}${shown}`;
}
