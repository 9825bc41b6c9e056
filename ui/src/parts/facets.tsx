// How many executions have each value, under the filter that holds: a click narrows to it, another one widens.

import { query, setQuery } from "../lib/route";
import { count } from "../lib/time";
import type { Facet } from "../lib/types";

const TITLES: Record<string, string> = {
  status: "Status",
  service: "Service",
  "assignee.type": "Who",
  "error.code": "Error",
};

export function Facets({ facets }: { facets: Record<string, Facet> | undefined }) {
  if (!facets) return <aside class="facets" aria-label="Narrow down" />;
  return (
    <aside class="facets" aria-label="Narrow down">
      {Object.entries(facets).map(([name, facet]) => (
        <fieldset key={name}>
          <legend>{TITLES[name] ?? name}</legend>
          {facet.values
            .filter(({ value }) => value !== null)
            .slice(0, 12)
            .map(({ value, count: number }) => (
              <label key={value}>
                <input type="checkbox" checked={chosen(name).includes(value!)} onChange={() => toggle(name, value!)} />
                <span>{value}</span> <span class="quiet">{count(number)}</span>
              </label>
            ))}
        </fieldset>
      ))}
    </aside>
  );
}

function chosen(name: string): string[] {
  return (query.value.get(name) ?? "").split(",").filter(Boolean);
}

function toggle(name: string, value: string): void {
  const before = chosen(name);
  const next = before.includes(value) ? before.filter((each) => each !== value) : [...before, value];
  setQuery({ [name]: next.join(",") });
}
