// JSON as an outline that opens on demand. Content is text: nothing in it is ever taken for markup.

import { useState } from "preact/hooks";
import { isLongInteger } from "../lib/exact";

const SHOWN = 100;

export function Json({ value, name, open = false }: { value: unknown; name?: string; open?: boolean }) {
  if (value === null || typeof value !== "object" || isLongInteger(value)) return <Leaf value={value} name={name} />;
  return <Branch value={value} name={name} open={open} />;
}

function Leaf({ value, name }: { value: unknown; name: string | undefined }) {
  const kind = value === null ? "null" : isLongInteger(value) ? "number" : typeof value;
  return (
    <div class="json-leaf">
      {name !== undefined && <span class="json-name">{name}: </span>}
      <span class={`json-${kind}`}>{typeof value === "string" ? value : JSON.stringify(value)}</span>
    </div>
  );
}

function Branch({ value, name, open }: { value: object; name: string | undefined; open: boolean }) {
  const entries = Object.entries(value);
  const [opened, setOpened] = useState(open);
  const [limit, setLimit] = useState(SHOWN);
  const bounds = Array.isArray(value) ? "[]" : "{}";
  return (
    <details class="json" open={opened} onToggle={(event) => setOpened(event.currentTarget.open)}>
      <summary>
        {name !== undefined && <span class="json-name">{name}: </span>}
        {bounds[0]}
        {entries.length}
        {bounds[1]}
      </summary>
      {opened && (
        <div class="json-members">
          {entries.slice(0, limit).map(([key, each]) => (
            <Json key={key} name={key} value={each} open={entries.length < 8 && depthIsSmall(each)} />
          ))}
          {entries.length > limit && (
            <button type="button" class="small" onClick={() => setLimit(limit + SHOWN)}>
              {entries.length - limit} more
            </button>
          )}
        </div>
      )}
    </details>
  );
}

function depthIsSmall(value: unknown): boolean {
  return value !== null && typeof value === "object" && Object.keys(value).length < 8;
}
