// Where each step stands in time: rows in the order of the tree, and a scale on which long idle gaps are short.

import type { Attempt, Envelope, Execution, Step } from "./types";

export interface Row {
  step: Step;
  depth: number;
  start: number | undefined;
  end: number | undefined;
  critical: boolean;
}

export interface Segment {
  kind: "queued" | "active" | "paused" | "waiting";
  start: number;
  end: number;
}

export interface Gap {
  start: number;
  end: number;
}

/** Of the whole time, how much an idle stretch must take to be drawn short; and how wide it is drawn then. */
const GAP_FROM = 0.08;
const GAP_DRAWN = 0.02;
/** The kind of time that begins with an event of the execution. */
const BEGINS: Record<string, Segment["kind"] | "end"> = {
  "execution.created": "queued",
  "execution.released": "queued",
  "execution.starting": "active",
  "execution.started": "active",
  "execution.resumed": "active",
  "execution.paused": "paused",
  "execution.retry": "waiting",
  "execution.completed": "end",
  "execution.failed": "end",
  "execution.cancelled": "end",
};
export const SEGMENT_TYPES = Object.keys(BEGINS).join(",");

const ATTEMPT = "attempt";

export function isAttempt(step: Step): boolean {
  return step.kind === ATTEMPT;
}

/** Attempts as rows, where there was more than one: how long each took, and how it ended. */
export function attemptRows(attempts: Attempt[], now: number): Row[] {
  if (attempts.length < 2) return [];
  return attempts.map((attempt) => {
    const status = attempt.endedAt ? (attempt.error ? "failed" : "completed") : "running";
    const name = `Attempt ${attempt.number}${attempt.error ? `: ${attempt.error.code}` : ""}`;
    const step: Step = { id: `attempt ${attempt.number}`, name, status, kind: ATTEMPT };
    const end = attempt.endedAt ? Date.parse(attempt.endedAt) : now;
    return { step, depth: 0, start: Date.parse(attempt.startedAt), end, critical: false };
  });
}

/** The steps as rows: children below their parents, siblings as they were declared. */
export function rows(steps: Step[], now: number): Row[] {
  const children = new Map<string, Step[]>();
  const ids = new Set(steps.map((step) => step.id));
  for (const step of steps) {
    const parent = step.parent && ids.has(step.parent) ? step.parent : "";
    const siblings = children.get(parent);
    if (siblings) siblings.push(step);
    else children.set(parent, [step]);
  }
  const found: Row[] = [];
  const add = (parent: string, depth: number) => {
    for (const step of children.get(parent) ?? []) {
      const start = step.startedAt ? Date.parse(step.startedAt) : undefined;
      const end = step.completedAt ? Date.parse(step.completedAt) : step.status === "running" ? now : start;
      found.push({ step, depth, start, end, critical: false });
      if (depth < 50) add(step.id, depth + 1);
    }
  };
  add("", 0);
  markCriticalPath(found, children);
  return found;
}

/** From the leaf that ended last back to the one that ended last before it began, and so on. */
function markCriticalPath(found: Row[], children: Map<string, Step[]>): void {
  const leaves = found.filter((row) => row.start !== undefined && row.end !== undefined && !children.has(row.step.id));
  leaves.sort((one, other) => other.end! - one.end!);
  let before = Infinity;
  for (const row of leaves) {
    if (row.end! > before) continue;
    row.critical = true;
    before = row.start!;
  }
}

/** What kind of time it was, by the events that begin one. */
export function segments(events: Envelope[], until: number): Segment[] {
  const found: Segment[] = [];
  let open: { kind: Segment["kind"]; start: number } | undefined;
  for (const event of events) {
    const kind = BEGINS[event.type];
    if (!kind) continue;
    const at = Date.parse(event.occurredat ?? event.time);
    if (open?.kind === kind) continue;
    if (open && at > open.start) found.push({ ...open, end: at });
    open = kind === "end" ? undefined : { kind, start: at };
  }
  if (open && until > open.start) found.push({ ...open, end: until });
  return found;
}

export interface Scale {
  start: number;
  end: number;
  gaps: Gap[];
  /** Where a time is, from 0 to 1. */
  at: (time: number) => number;
}

/** From the creation to the end, or now; stretches in which no step ran, and nothing began, are drawn short. */
export function scale(execution: Execution, found: Row[], parts: Segment[], now: number): Scale {
  const created = Date.parse(execution.metadata.createdAt);
  const ended = execution.metadata.completedAt ? Date.parse(execution.metadata.completedAt) : now;
  const times = found.flatMap((row) => (row.start === undefined ? [] : [row.start, row.end!]));
  const start = Math.min(created, ...times.slice(0, 1), ...parts.map((part) => part.start));
  const end = Math.max(
    start + 1,
    ended,
    times.reduce((most, time) => Math.max(most, time), start),
  );
  const gaps = idle(found, start, end);
  const short = gaps.reduce((sum, gap) => sum + gap.end - gap.start, 0);
  const busy = Math.max(1, end - start - short);
  const width = 1 - gaps.length * GAP_DRAWN;
  const at = (time: number) => {
    const moment = Math.min(Math.max(time, start), end);
    let before = moment - start;
    let drawn = 0;
    for (const gap of gaps) {
      if (moment >= gap.end) {
        before -= gap.end - gap.start;
        drawn += GAP_DRAWN;
      } else if (moment > gap.start) {
        drawn += (GAP_DRAWN * (moment - gap.start)) / (gap.end - gap.start);
        before -= moment - gap.start;
      }
    }
    return (before / busy) * width + drawn;
  };
  return { start, end, gaps, at };
}

function idle(found: Row[], start: number, end: number): Gap[] {
  const busy = found.filter((row) => row.start !== undefined).map((row) => [row.start!, row.end!] as const);
  busy.sort((one, other) => one[0] - other[0]);
  const gaps: Gap[] = [];
  let reached = start;
  for (const [from, until] of [...busy, [end, end] as const]) {
    if (from - reached > (end - start) * GAP_FROM && busy.length > 0) gaps.push({ start: reached, end: from });
    reached = Math.max(reached, until);
  }
  return gaps.length > 20
    ? gaps
        .sort((one, other) => other.end - other.start - (one.end - one.start))
        .slice(0, 20)
        .sort((one, other) => one.start - other.start)
    : gaps;
}

/** Times for the axis: some that are round, on the scale. */
export function ticks(of: Scale, most = 6): number[] {
  const found: number[] = [];
  for (let nth = 0; nth <= most; nth++) {
    const wanted = nth / most;
    let low = of.start;
    let high = of.end;
    for (let turn = 0; turn < 40; turn++) {
      const middle = (low + high) / 2;
      if (of.at(middle) < wanted) low = middle;
      else high = middle;
    }
    found.push(high);
  }
  return found;
}
