// The address is the state of the page: a path and a query. Back, reload and a copied link restore all of it.

import { computed, signal } from "@preact/signals";

const BASE = "/ui";

const place = signal(readPlace());

export const path = computed(() => place.value.path);
export const query = computed(() => place.value.query);

addEventListener("popstate", () => (place.value = readPlace()));

function readPlace() {
  const { pathname, search } = location;
  return {
    path: pathname.startsWith(BASE) ? pathname.slice(BASE.length) || "/" : "/",
    query: new URLSearchParams(search),
  };
}

/** The address of a page of the dashboard. */
export function link(to: string, parameters: Record<string, string | undefined> = {}): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined && value !== "") found.set(name, value);
  const text = found.toString();
  return BASE + to + (text ? `?${text}` : "");
}

/** The parameter of a list that a field has just this value: a comma would separate values, but for after `[eq]`. */
export function exactly(field: string, value: string | null | undefined): Record<string, string | undefined> {
  return { [value?.includes(",") ? `${field}[eq]` : field]: value ?? undefined };
}

export function go(address: string, replace = false): void {
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  place.value = readPlace();
}

/** Change parameters of the query; undefined removes one. What is worth a step of Back is pushed. */
export function setQuery(changes: Record<string, string | undefined>, replace = false): void {
  const next = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === "") next.delete(name);
    else next.set(name, value);
  }
  const text = next.toString();
  go(BASE + path.value + (text ? `?${text}` : ""), replace);
}

/** Follow links to pages of the dashboard without loading it again. */
export function followLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  const anchor = (event.target as Element).closest("a");
  if (!anchor || anchor.target || anchor.hasAttribute("download") || anchor.origin !== location.origin) return;
  if (!anchor.pathname.startsWith(BASE) || anchor.hash) return;
  event.preventDefault();
  go(anchor.pathname + anchor.search);
  document.getElementById("main")?.focus();
}
