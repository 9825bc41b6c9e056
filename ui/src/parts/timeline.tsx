// Steps in time. Rows are HTML, only those in view are there; long idle times are drawn short and labelled.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, segment } from "../lib/api";
import { useLoad } from "../lib/load";
import { query, setQuery } from "../lib/route";
import { slimSteps } from "../lib/steps";
import { duration, time } from "../lib/time";
import {
  attemptRows,
  isAttempt,
  rows as layOut,
  scale as scaleOf,
  segments,
  SEGMENT_TYPES,
  ticks,
  type Row,
  type Scale,
} from "../lib/timeline";
import type { Envelope, Page, Shown } from "../lib/types";
import { Refusal, StatusMark, WHO } from "./basics";
import { isTyping } from "./palette";
import { Rows } from "./rows";
import { StepPanel } from "./steps";

const HEIGHT = 28;
/** Kinds of steps that say who does them. */
const DONE_BY: Record<string, string> = { agent: "ai-agent", human: "human" };
const KINDS: Record<string, string> = { ...WHO, agent: "✦", tool: "⚒", model: "◆", task: "▪" };

export function TimelineTab({ shown }: { shown: Shown }) {
  const { id, head } = shown;
  const steps = useLoad(`${id} ${head.version}`, (abort) => slimSteps(id, head.version, abort));
  const events = useLoad(`${id} ${shown.latest.version}`, async (abort) => {
    return (await get<Page<Envelope>>(`/executions/${segment(id)}/events`, { types: SEGMENT_TYPES, limit: 500 }, abort))
      .body.data;
  });
  const running = !head.metadata.completedAt && !shown.version;
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [running]);
  const until = shown.version ? Date.parse(head.metadata.updatedAt) : now;
  const found = useMemo(
    () => [...attemptRows(head.attempts, until), ...layOut(steps.data ?? [], until)],
    [steps.data, head.attempts, until],
  );
  const parts = useMemo(
    () =>
      segments(
        (events.data ?? []).filter((event) => event.version <= head.version),
        until,
      ),
    [events.data, head.version, until],
  );
  const scale = useMemo(() => scaleOf(head, found, parts, until), [head, found, parts, until]);
  if (steps.problem) return <Refusal problem={steps.problem} retry={steps.reload} />;
  return <Chart shown={shown} found={found} scale={scale} parts={parts} />;
}

interface Window {
  from: number;
  to: number;
}

const WHOLE: Window = { from: 0, to: 1 };

function readWindow(): Window {
  const [from, to] = (query.value.get("zoom") ?? "").split("-").map(Number);
  return from !== undefined && to !== undefined && to > from ? { from, to } : WHOLE;
}

function zoom(window: Window): void {
  const width = Math.min(Math.max(window.to - window.from, 0.001), 1);
  const from = Math.min(Math.max(window.from, 0), 1 - width);
  setQuery({ zoom: width >= 1 ? undefined : `${from.toFixed(4)}-${(from + width).toFixed(4)}` }, true);
}

interface ChartProps {
  shown: Shown;
  found: Row[];
  scale: Scale;
  parts: ReturnType<typeof segments>;
}

function Chart({ shown, found, scale, parts }: ChartProps) {
  const window = readWindow();
  const chosen = query.value.get("step");
  const width = window.to - window.from;
  const left = (moment: number) => (scale.at(moment) - window.from) / width;
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      const now = readWindow();
      const size = now.to - now.from;
      if (event.key === "+") zoom({ from: now.from + size / 4, to: now.to - size / 4 });
      else if (event.key === "-") zoom({ from: now.from - size / 2, to: now.to + size / 2 });
      else if (event.key === "0") zoom(WHOLE);
      else if (event.key === "ArrowLeft" && event.shiftKey) zoom({ from: now.from - size / 4, to: now.to - size / 4 });
      else if (event.key === "ArrowRight" && event.shiftKey) zoom({ from: now.from + size / 4, to: now.to + size / 4 });
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  const at = found.findIndex((row) => row.step.id === chosen);
  const total = found.filter((row) => !isAttempt(row.step)).length;
  return (
    <div class="timeline">
      <div class="timeline-tools">
        <button
          type="button"
          class="small"
          onClick={() => zoom({ from: window.from + width / 4, to: window.to - width / 4 })}
          aria-keyshortcuts="+"
        >
          Zoom in
        </button>
        <button
          type="button"
          class="small"
          onClick={() => zoom({ from: window.from - width / 2, to: window.to + width / 2 })}
          aria-keyshortcuts="-"
        >
          Zoom out
        </button>
        <button type="button" class="small" onClick={() => zoom(WHOLE)} aria-keyshortcuts="0">
          Fit
        </button>
        <span class="quiet">
          {total} {total === 1 ? "step" : "steps"}. Bars with an outline are on the critical path; hatched stretches are idle and drawn
          short.
        </span>
      </div>
      <Brush scale={scale} parts={parts} window={window} />
      <div class="axis" aria-hidden="true">
        {ticks(scale).map((tick) => {
          const place = left(tick);
          return place >= 0 && place <= 1 ? (
            <span key={tick} style={{ left: `${place * 100}%` }}>
              {axisTime(tick, scale.end - scale.start)}
            </span>
          ) : null;
        })}
      </div>
      <div class="timeline-body">
        <Rows
          count={found.length}
          height={HEIGHT}
          label="Steps in time"
          reveal={at >= 0 ? at : undefined}
          row={(index) => (
            <Bar row={found[index]!} scale={scale} left={left} chosen={found[index]!.step.id === chosen} />
          )}
        />
        {chosen && <StepPanel shown={shown} step={chosen} />}
      </div>
    </div>
  );
}

/** As exact as the whole time is short. */
function axisTime(tick: number, whole: number): string {
  const text = time(new Date(tick).toISOString(), true);
  if (whole < 20_000) return text.slice(14, 23);
  return whole < 48 * 3_600_000 ? text.slice(11, 19) : text.slice(5, 16);
}

interface BarProps {
  row: Row;
  scale: Scale;
  left: (moment: number) => number;
  chosen: boolean;
}

function Bar({ row, scale, left, chosen }: BarProps) {
  const { step, start, end } = row;
  const kind = step.kind ?? step.assignee?.type ?? "task";
  const spent = start === undefined ? "not started" : duration(end! - start);
  const from = start === undefined ? 0 : Math.min(Math.max(left(start), 0), 1);
  const to = start === undefined ? 0 : Math.min(Math.max(left(end!), 0), 1);
  return (
    <div class={chosen ? "bar-row chosen" : "bar-row"}>
      {isAttempt(step) ? (
        <span class="bar-name">
          <strong>{step.name}</strong>
        </span>
      ) : (
        <a
          class={`bar-name ${step.assignee?.type ?? DONE_BY[kind] ?? ""}`}
          href={stepAddress(step.id)}
          style={{ paddingLeft: `${row.depth * 14}px` }}
          aria-label={`${step.name}, ${kind}, ${step.status}, ${spent}`}
        >
          <span aria-hidden="true">{KINDS[kind] ?? "▪"}</span> {step.name}
        </a>
      )}
      <div class="bar-track" aria-hidden="true">
        {scale.gaps.map((gap) => (
          <span
            key={gap.start}
            class="gap"
            style={{ left: `${left(gap.start) * 100}%`, width: `${(left(gap.end) - left(gap.start)) * 100}%` }}
          />
        ))}
        {start !== undefined && to >= 0 && from <= 1 && (
          <span
            class={`bar-fill ${step.status} who-${step.assignee?.type ?? "none"}${row.critical ? " critical" : ""}`}
            style={{ left: `${from * 100}%`, width: `max(3px, ${(to - from) * 100}%)` }}
            title={`${step.name}: ${spent}`}
          />
        )}
      </div>
      <span class="bar-time" aria-hidden="true">
        <StatusMark status={step.status} /> {spent}
      </span>
    </div>
  );
}

function stepAddress(id: string): string {
  const next = new URLSearchParams(query.value);
  next.set("step", id);
  return `${location.pathname}?${next.toString()}`;
}

/** The whole time in one strip; a stretch of it that is drawn over with the pointer is shown larger. */
function Brush({ scale, parts, window }: { scale: Scale; parts: ReturnType<typeof segments>; window: Window }) {
  const strip = useRef<HTMLDivElement>(null);
  const from = useRef<number | undefined>(undefined);
  const place = (event: PointerEvent) => {
    const box = strip.current!.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  return (
    <div
      class="brush"
      ref={strip}
      onPointerDown={(event) => ((from.current = place(event)), strip.current!.setPointerCapture(event.pointerId))}
      onPointerUp={(event) => {
        const begin = from.current ?? 0;
        const end = place(event);
        from.current = undefined;
        if (Math.abs(end - begin) > 0.005) zoom({ from: Math.min(begin, end), to: Math.max(begin, end) });
      }}
    >
      {parts.map((part) => (
        <span
          key={part.start}
          class={`segment ${part.kind}`}
          style={{
            left: `${scale.at(part.start) * 100}%`,
            width: `${(scale.at(part.end) - scale.at(part.start)) * 100}%`,
          }}
          title={`${part.kind} ${duration(part.end - part.start)}`}
        />
      ))}
      {scale.gaps.map((gap) => (
        <span
          key={gap.start}
          class="gap label"
          style={{
            left: `${scale.at(gap.start) * 100}%`,
            width: `${(scale.at(gap.end) - scale.at(gap.start)) * 100}%`,
          }}
        >
          {duration(gap.end - gap.start)}
        </span>
      ))}
      <span class="window" style={{ left: `${window.from * 100}%`, width: `${(window.to - window.from) * 100}%` }} />
      <span class="hidden">
        {parts.map((part) => `${part.kind} for ${duration(part.end - part.start)}`).join(", ")}
      </span>
    </div>
  );
}
