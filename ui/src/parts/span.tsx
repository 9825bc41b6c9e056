// The time that figures are of, in the address: the last day, week, month, or all.

import { query, setQuery } from "../lib/route";

const SPANS: [string, string, number][] = [
  ["1", "Last day", 1],
  ["7", "Last week", 7],
  ["30", "Last 30 days", 30],
  ["", "All time", 0],
];

/** `from` for analytics; whole days, so that the answer may be one that is kept. */
export function sinceOf(): { from?: string } {
  const days = Number(query.value.get("days") ?? 0);
  if (!days) return {};
  const since = new Date(Date.now() - days * 86_400_000);
  since.setUTCMinutes(0, 0, 0);
  return { from: since.toISOString() };
}

export function SpanChoice() {
  return (
    <label class="inline">
      Created
      <select value={query.value.get("days") ?? ""} onChange={(event) => setQuery({ days: event.currentTarget.value })}>
        {SPANS.map(([value, title]) => (
          <option key={value} value={value}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}
