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
  const exact = query.value.get(`${name}[eq]`);
  return exact === null ? (query.value.get(name) ?? "").split(",").filter(Boolean) : [exact];
}

/** A value that has a comma stands alone, as no list of values can have it. */
function toggle(name: string, value: string): void {
  const before = chosen(name);
  const others = before.filter((each) => each !== value && !each.includes(","));
  const exact = `${name}[eq]`;
  if (before.includes(value)) setQuery({ [name]: others.join(","), [exact]: undefined });
  else if (value.includes(",")) setQuery({ [name]: undefined, [exact]: value });
  else setQuery({ [name]: [...others, value].join(","), [exact]: undefined });
}
