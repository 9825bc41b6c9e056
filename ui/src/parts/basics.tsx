// Small parts that every page uses: a status is a shape, a word and a colour, never a colour alone.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Problem } from "../lib/api";
import { ago, time } from "../lib/time";
import type { Assignee } from "../lib/types";

const MARKS: Record<string, string> = {
  queued: "○",
  pending: "○",
  starting: "◔",
  running: "▶",
  paused: "‖",
  retry: "↻",
  completed: "✓",
  failed: "✕",
  cancelled: "⊘",
  skipped: "⇥",
};

export function StatusMark({ status, stalled }: { status: string; stalled?: boolean | undefined }) {
  return (
    <span class={`status ${status}`}>
      <span aria-hidden="true">{MARKS[status] ?? "•"}</span> {status}
      {stalled ? " (stalled)" : ""}
    </span>
  );
}

/** Marks of who works, from the basic plane: they need no font for emoji. */
export const WHO: Record<string, string> = { "ai-agent": "✦", human: "☻", hybrid: "⚭", system: "⚙" };

export function Who({ assignee }: { assignee: Assignee | undefined }) {
  if (!assignee) return <span class="quiet">–</span>;
  const name = assignee.name ?? assignee.id ?? assignee.type;
  return (
    <span
      class={`who ${assignee.type}`}
      title={[assignee.type, assignee.id, assignee.model].filter(Boolean).join(" · ")}
    >
      <span aria-hidden="true">{WHO[assignee.type] ?? "•"}</span> {name}
      <span class="hidden"> ({assignee.type})</span>
    </span>
  );
}

/** An absolute time with its zone; how long ago stands on hover and for screen readers. */
export function When({ at, milliseconds = false }: { at: string | undefined; milliseconds?: boolean }) {
  return at ? (
    <time dateTime={at} title={ago(at)}>
      {time(at, milliseconds)}
    </time>
  ) : (
    <span class="quiet">–</span>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = () => {
    void navigator.clipboard.writeText(text).then(() => {
      setDone(true);
      setTimeout(() => setDone(false), 1_500);
    });
  };
  return (
    <button type="button" class="small" onClick={copy} aria-label={`Copy ${label}`}>
      {done ? "Copied" : label}
    </button>
  );
}

/** A refusal in words, with its code and what the server names besides. */
export function Refusal({ problem, retry }: { problem: Problem | undefined; retry?: () => void }) {
  if (!problem) return null;
  const errors = (problem.members.errors ?? []) as { path: string; message: string }[];
  return (
    <div class="refusal" role="alert">
      <strong>{problem.title}</strong>
      {problem.detail && <p>{problem.detail}</p>}
      {errors.length > 0 && (
        <ul>
          {errors.map((each) => (
            <li key={each.path}>
              <code>{each.path}</code> {each.message}
            </li>
          ))}
        </ul>
      )}
      {typeof problem.members.type === "string" && (
        <p class="quiet">
          <a href={`/api${problem.members.type}`}>{problem.members.type}</a>
        </p>
      )}
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** What may be wider than the page, like a table: it scrolls by itself, also by keys. */
export function Wide({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <div class="wide" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

export function Facts({ children }: { children: ComponentChildren }) {
  return <dl class="facts">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

export function Progress({ value, label }: { value: number; label: string }) {
  return (
    <span class="progress">
      <progress max={100} value={value} aria-label={label} />
      <span>{Math.round(value)} %</span>
    </span>
  );
}
