// The filter of a list as fields; what it has no field for is written as the API takes it, like metadata.region=north.

import { useState } from "preact/hooks";
import { go, query, setQuery } from "../lib/route";

const FIELDS: [string, string][] = [
  ["service", "Service"],
  ["customer", "Customer"],
  ["provider", "Provider"],
  ["order", "Order"],
  ["tag", "Tag"],
];
const KNOWN = new Set([
  "sort",
  "pick",
  "status",
  "assignee.type",
  "error.code",
  "priority",
  ...FIELDS.map(([name]) => name),
]);

export function Filters({ sorts }: { sorts: [string, string][] }) {
  const [free, setFree] = useState("");
  const others = [...query.value.entries()].filter(([name]) => !KNOWN.has(name));
  const add = () => {
    const [name, ...value] = free.split("=");
    if (name && value.length > 0) {
      setQuery({ [name.trim()]: value.join("=").trim() });
      setFree("");
    }
  };
  return (
    <form class="filters" role="search" onSubmit={(event) => (event.preventDefault(), add())}>
      {FIELDS.map(([name, title], index) => (
        <label key={name}>
          {title}
          <input
            key={query.value.get(name)}
            defaultValue={query.value.get(name) ?? ""}
            onChange={(event) => setQuery({ [name]: event.currentTarget.value.trim() })}
            data-filter={index === 0 ? "" : undefined}
          />
        </label>
      ))}
      <label>
        Priority
        <select
          value={query.value.get("priority") ?? ""}
          onChange={(event) => setQuery({ priority: event.currentTarget.value })}
        >
          <option value="">any</option>
          {["urgent", "high", "normal", "low"].map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      </label>
      <label>
        Created since
        <input
          type="date"
          value={(query.value.get("metadata.createdAt[gte]") ?? "").slice(0, 10)}
          onChange={(event) =>
            setQuery({
              "metadata.createdAt[gte]": event.currentTarget.value && `${event.currentTarget.value}T00:00:00Z`,
            })
          }
        />
      </label>
      <label>
        Sorted by
        <select
          value={query.value.get("sort") ?? ""}
          onChange={(event) => setQuery({ sort: event.currentTarget.value })}
        >
          {sorts.map(([value, title], index) => (
            <option key={value} value={index === 0 ? "" : value}>
              {title}
            </option>
          ))}
        </select>
      </label>
      <label class="wide">
        Any field
        <input
          value={free}
          placeholder="metadata.region=north"
          onInput={(event) => setFree(event.currentTarget.value)}
        />
      </label>
      <button type="submit">Add</button>
      {others.map(([name, value]) => (
        <button
          key={name + value}
          type="button"
          class="pill"
          onClick={() => setQuery({ [name]: undefined })}
          aria-label={`Remove the filter ${name}=${value}`}
        >
          {name}={value} ✕
        </button>
      ))}
    </form>
  );
}

const KEPT = "executions.views";

function readViews(): Record<string, string> {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "{}") as Record<string, string>;
  } catch {
    return {};
  }
}

/** Named filters, kept in this browser: a name and the address. */
export function SavedViews() {
  const [views, setViews] = useState(readViews);
  const keep = (next: Record<string, string>) => {
    localStorage.setItem(KEPT, JSON.stringify(next));
    setViews(next);
  };
  const [name, setName] = useState("");
  return (
    <details class="menu">
      <summary>Saved views</summary>
      <div>
        {Object.entries(views).map(([each, address]) => (
          <p key={each}>
            <button type="button" class="link" onClick={() => go(address)}>
              {each}
            </button>{" "}
            <button
              type="button"
              class="small"
              aria-label={`Forget the view ${each}`}
              onClick={() => keep(Object.fromEntries(Object.entries(views).filter(([other]) => other !== each)))}
            >
              ✕
            </button>
          </p>
        ))}
        <label>
          Save this view as
          <input value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <button
          type="button"
          disabled={!name.trim()}
          onClick={() => (keep({ ...views, [name.trim()]: location.pathname + location.search }), setName(""))}
        >
          Save
        </button>
      </div>
    </details>
  );
}
