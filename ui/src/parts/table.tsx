// A table of a page: its columns say what stands in each row. The first names the row.

import type { ComponentChildren } from "preact";
import { Wide } from "./basics";

export interface Column<Row> {
  title: string;
  cell: (row: Row) => ComponentChildren;
  number?: boolean;
  /** For screen readers alone. */
  hidden?: boolean;
}

interface Props<Row> {
  label: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row, index: number) => string | number;
  rowClass?: (index: number) => string | undefined;
  caption?: string;
}

export function Table<Row>({ label, columns, rows, rowKey, rowClass, caption }: Props<Row>) {
  return (
    <Wide label={label}>
      <table>
        {caption && <caption>{caption}</caption>}
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col" class={classOf(column)}>
                {column.hidden ? <span class="hidden">{column.title}</span> : column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={rowKey(row, index)} class={rowClass?.(index)}>
              {columns.map((column, nth) =>
                nth === 0 ? (
                  <th key={column.title} scope="row">
                    {column.cell(row)}
                  </th>
                ) : (
                  <td key={column.title} class={classOf(column)}>
                    {column.cell(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}

function classOf(column: { number?: boolean }): string | undefined {
  return column.number ? "number" : undefined;
}
