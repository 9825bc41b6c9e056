// Requests to the API. The session's cookie says who asks; the token itself is never kept here.

import { signal } from "@preact/signals";
import { parseExactly } from "./exact";

const ROOT = "/api";

/** Why an answer was no 2xx: the members of its problem+json. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly members: Record<string, unknown>,
  ) {
    super(detail || title);
  }
}

/** Why a request failed, also where there was no answer. */
export function problemFrom(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, "The server cannot be reached", String(error), {});
}

/** Whether the session is over, so that the page asks to sign in again. */
export const signedOut = signal(false);

const PURPOSE = "executions.purpose";

/** What an auditor reads for, as the access log keeps it; for this tab alone. */
export const purpose = signal(sessionStorage.getItem(PURPOSE) ?? "");
/** Whether the service wants to know it before it answers. */
export const purposeWanted = signal(false);

export function setPurpose(text: string): void {
  sessionStorage.setItem(PURPOSE, text);
  purpose.value = text;
  purposeWanted.value = false;
}

/** The header that says it. Its characters are those that a header can have. */
export function purposeHeader(): Record<string, string> {
  return purpose.value ? { "x-purpose": purpose.value } : {};
}

/** The highest position that this page has seen, of its own commands and of the stream. */
let seen = 0;
/** The id of the log that its data and positions are of: that of the first answer. */
let log: string | null = null;

/** Whether another log is in place of that one: all that this page has is to be loaded again. */
export const replaced = signal(false);

export function sawLog(response: Response): void {
  log ??= response.headers.get("log-id");
}

/** `log` beside a position: the answer is a refusal where the position is of another log. */
export function ofLog(): Parameters {
  return log ? { log } : {};
}

export interface Answer<T> {
  body: T;
  position: number;
  etag: string | null;
}

export async function get<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<Answer<T>> {
  return request<T>("GET", path + query(parameters), undefined, {}, signal);
}

/** An answer that is no JSON. */
export async function getText(path: string, abort?: AbortSignal): Promise<string> {
  const response = await fetch(ROOT + path, { credentials: "same-origin", ...(abort ? { signal: abort } : {}) });
  if (!response.ok) throw await problemOf(response);
  return response.text();
}

export async function post<T>(
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
  method = "POST",
): Promise<Answer<T>> {
  const answer = await request<T>(method, path, body, headers);
  sawPosition(answer.position);
  return answer;
}

export function sawPosition(position: number): void {
  seen = Math.max(seen, position);
}

/** `minPosition` for reads of what follows the log on its own: no older than what this page has seen. */
export function seenSoFar(): Parameters {
  return seen > 0 ? { minPosition: seen, ...ofLog() } : {};
}

export type Parameters = Record<string, string | number | boolean | string[] | undefined>;

export function query(parameters: Parameters): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (Array.isArray(value)) value.forEach((each) => found.append(name, each));
    else if (value !== undefined && value !== "") found.append(name, String(value));
  }
  const text = found.toString();
  return text ? `?${text}` : "";
}

export function segment(id: string): string {
  return encodeURIComponent(id);
}

async function request<T>(
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
  abort?: AbortSignal,
): Promise<Answer<T>> {
  const response = await fetch(ROOT + path, {
    method,
    credentials: "same-origin",
    headers: {
      accept: "application/json",
      ...purposeHeader(),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(abort ? { signal: abort } : {}),
  });
  if (!response.ok) throw await problemOf(response);
  sawLog(response);
  const text = await response.text();
  return {
    body: (text ? parseExactly(text) : null) as T,
    position: Number(response.headers.get("log-position") ?? 0),
    etag: response.headers.get("etag"),
  };
}

/** Save what a path answers as a file. */
export async function download(path: string, name: string): Promise<void> {
  const response = await fetch(ROOT + path, { credentials: "same-origin", headers: purposeHeader() });
  if (!response.ok) throw await problemOf(response);
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}

/** What an answer that is no 2xx says; and asks to sign in, or for a purpose, where it wants that. */
export async function problemOf(response: Response): Promise<Problem> {
  let members: Record<string, unknown> = {};
  try {
    members = (await response.json()) as Record<string, unknown>;
  } catch {
    // A proxy's page in between has no members.
  }
  if (response.status === 401) signedOut.value = true;
  if (members.type === "/problems/other-log") replaced.value = true;
  if (members.type === "/problems/purpose-required") purposeWanted.value = true;
  const title = String(members.title ?? `${response.status} ${response.statusText}`);
  return new Problem(response.status, title, String(members.detail ?? ""), members);
}
