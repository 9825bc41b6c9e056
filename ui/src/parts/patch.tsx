// A JSON patch as a table: which member, what it became, by which event and whom.

import type { PatchOperation } from "../lib/types";
import { Wide } from "./basics";
import { Json } from "./json";

export function Patch({ operations }: { operations: PatchOperation[] }) {
  if (operations.length === 0) return <p class="quiet">Nothing in the document changed.</p>;
  return (
    <Wide label="Changes">
      <table class="patch">
        <thead>
          <tr>
            <th scope="col">Change</th>
            <th scope="col">Member</th>
            <th scope="col">Value</th>
            <th scope="col">By</th>
          </tr>
        </thead>
        <tbody>
          {operations.map((each, index) => (
            <tr key={index} class={each.op}>
              <td>{each.op}</td>
              <td>
                <code>{each.path}</code>
              </td>
              <td>{"value" in each ? <Json value={each.value} /> : "–"}</td>
              <td>
                {each.actor} <span class="quiet">{each.event.type}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}
