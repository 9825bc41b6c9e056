// One formatter for every time on the page, and one for every duration. The zone is always shown.

import { signal } from "@preact/signals";

const KEPT = "executions.zone";

/** "UTC", or the browser's own zone. */
export const zone = signal(localStorage.getItem(KEPT) ?? "UTC");
export const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export function setZone(name: string): void {
  zone.value = name;
  localStorage.setItem(KEPT, name);
}

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(name: string): Intl.DateTimeFormat {
  let found = formatters.get(name);
  if (!found) {
    found = new Intl.DateTimeFormat("sv-SE", {
      timeZone: name,
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    });
    formatters.set(name, found);
  }
  return found;
}

/** `2026-11-22 08:00:00.123 UTC` */
export function time(text: string | undefined, milliseconds = false): string {
  if (!text) return "–";
  const at = new Date(text);
  const rest = milliseconds ? `.${String(at.getUTCMilliseconds()).padStart(3, "0")}` : "";
  return `${formatter(zone.value).format(at)}${rest} ${zone.value === "UTC" ? "UTC" : zone.value}`;
}

/** `3 min ago`, only ever beside or above the absolute time. */
export function ago(text: string | undefined, now = Date.now()): string {
  if (!text) return "–";
  const passed = now - Date.parse(text);
  if (Math.abs(passed) < 1_000) return "now";
  return passed > 0 ? `${duration(passed)} ago` : `in ${duration(-passed)}`;
}

const UNITS: [string, number][] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
];

/** Two units at most: `2 h 5 min`, `1.4 s`, `35 ms`. */
export function duration(milliseconds: number | null | undefined): string {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds < 1_000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 10_000) return `${(milliseconds / 1_000).toFixed(1)} s`;
  const first = UNITS.findIndex(([, size]) => milliseconds >= size);
  const [unit, size] = UNITS[first]!;
  const whole = Math.floor(milliseconds / size);
  const next = UNITS[first + 1];
  const rest = next ? Math.floor((milliseconds % size) / next[1]) : 0;
  return rest && next ? `${whole} ${unit} ${rest} ${next[0]}` : `${whole} ${unit}`;
}

export function cost(amount: number | null | undefined, currency = "USD"): string {
  if (!amount) return "–"; // nobody has said what it cost, which is not nothing
  if (amount > 0 && amount < 0.01) return `<0.01 ${currency}`;
  return `${amount.toLocaleString("en", { maximumFractionDigits: 2, minimumFractionDigits: 2 })} ${currency}`;
}

export function count(number: number | null | undefined): string {
  return number === null || number === undefined ? "–" : number.toLocaleString("en");
}

export function bytes(number: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let nth = 0;
  while (number >= 1024 && nth < units.length - 1) {
    number /= 1024;
    nth += 1;
  }
  return `${number >= 100 || nth === 0 ? Math.round(number) : number.toFixed(1)} ${units[nth]}`;
}
