// One stream of events per browser: the tab that holds the lock reads it and tells the others. After a break it
// goes on behind the last position it saw, so nothing is missed. Where the log was replaced, by a restore, all tabs
// begin again.

import { signal } from "@preact/signals";
import { frames } from "./sse";
import { ofLog, problemOf, purposeHeader, query, replaced, sawLog, sawPosition, signedOut } from "./api";
import type { Envelope } from "./types";

export type Connection = "connecting" | "catching up" | "live" | "offline";

/** How the stream stands, and since when. */
export const connection = signal<{ state: Connection; since: number }>({ state: "connecting", since: Date.now() });

type Listener = (event: Envelope) => void;
type Message = { event: Envelope } | { state: Connection; cursor: number } | { asks: true } | { replaced: true };

const listeners = new Set<Listener>();
const channel = new BroadcastChannel("executions.live");
let cursor = 0;
let leads = false;

/** Call `listener` with every event from now on; returns what ends that. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function startLive(): void {
  channel.onmessage = (message: MessageEvent<Message>) => receive(message.data);
  channel.postMessage({ asks: true } satisfies Message);
  replaced.subscribe((is) => {
    if (!is) return;
    channel.postMessage({ replaced: true } satisfies Message);
    location.reload();
  });
  void navigator.locks.request("executions.live", lead);
}

function receive(message: Message): void {
  if ("replaced" in message) {
    location.reload();
    return;
  }
  if ("asks" in message) {
    if (leads) channel.postMessage({ state: connection.value.state, cursor } satisfies Message);
    return;
  }
  if ("state" in message) {
    // What this tab did not hear of, as it has just come or was asleep, its pages load when it is live again.
    if (message.cursor > cursor) stand("catching up");
    cursor = Math.max(cursor, message.cursor);
    stand(message.state);
    return;
  }
  if (message.event.position <= cursor) return;
  cursor = message.event.position;
  sawPosition(cursor);
  for (const listener of listeners) listener(message.event);
}

function stand(state: Connection): void {
  if (connection.value.state !== state) connection.value = { state, since: Date.now() };
}

function tell(message: Message): void {
  receive(message);
  channel.postMessage(message);
}

async function lead(): Promise<void> {
  let wait = 500;
  leads = true;
  for (;;) {
    const started = Date.now();
    try {
      await follow();
    } catch {
      // Whatever broke the stream, it is opened again behind the last event.
    }
    if (signedOut.value) await signedInAgain();
    tell({ state: "offline", cursor });
    wait = Date.now() - started > 10_000 ? 500 : Math.min(wait * 2, 15_000);
    await new Promise((done) => setTimeout(done, wait * (0.75 + Math.random() / 2)));
  }
}

async function follow(): Promise<void> {
  const headers: Record<string, string> = { accept: "text/event-stream", ...purposeHeader() };
  if (cursor > 0) headers["last-event-id"] = String(cursor);
  const parameters = { ...(cursor > 0 ? {} : { from: "now" }), ...ofLog() };
  const response = await fetch(`/api/events${query(parameters)}`, { headers, credentials: "same-origin" });
  if (!response.ok || !response.body) {
    const problem = await problemOf(response);
    // The position is beyond the end of the log: that was replaced, though it has the same id.
    if (cursor > 0 && problem.members.type === "/problems/malformed") replaced.value = true;
    return;
  }
  sawLog(response);
  tell({ state: cursor > 0 ? "catching up" : "live", cursor });
  for await (const frame of frames(response.body)) {
    if (frame.event === "closing") return;
    if (frame.event === "caught-up" || frame.event === "checkpoint") {
      if (frame.id) cursor = Math.max(cursor, Number(frame.id));
      tell({ state: "live", cursor });
    } else if (frame.data) tell({ event: JSON.parse(frame.data) as Envelope });
  }
}

function signedInAgain(): Promise<void> {
  return new Promise((done) => {
    const end = signedOut.subscribe((out) => {
      if (!out) queueMicrotask(() => (end(), done()));
    });
  });
}
