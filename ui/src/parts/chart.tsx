// Bars over time as SVG, with the same figures as a table for who cannot see them.

import { Table } from "./table";

interface Props {
  title: string;
  points: { label: string; value: number }[];
  show: (value: number) => string;
}

const HEIGHT = 120;
const WIDTH = 720;

export function Bars({ title, points, show }: Props) {
  const most = Math.max(...points.map((point) => point.value), 0);
  const step = WIDTH / Math.max(points.length, 1);
  return (
    <figure class="chart">
      <figcaption>{title}</figcaption>
      {points.length === 0 ? (
        <p class="quiet">Nothing in this time.</p>
      ) : (
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + 18}`} role="img" aria-label={`${title}: at most ${show(most)}`}>
          {points.map((point, index) => {
            const height = most > 0 ? (point.value / most) * HEIGHT : 0;
            return (
              <rect
                key={point.label}
                class="chart-bar"
                x={index * step + 1}
                y={HEIGHT - height}
                width={Math.max(step - 2, 1)}
                height={Math.max(height, point.value > 0 ? 1 : 0)}
              >
                <title>{`${point.label}: ${show(point.value)}`}</title>
              </rect>
            );
          })}
          <text x={0} y={HEIGHT + 14}>
            {points[0]!.label}
          </text>
          <text x={WIDTH} y={HEIGHT + 14} text-anchor="end">
            {points.at(-1)!.label}
          </text>
          <text x={0} y={10}>
            {show(most)}
          </text>
        </svg>
      )}
      <details>
        <summary>As a table</summary>
        <Table
          label={title}
          rows={points}
          rowKey={(point) => point.label}
          columns={[
            { title: "Time", cell: (point) => point.label },
            { title, number: true, cell: (point) => show(point.value) },
          ]}
        />
      </details>
    </figure>
  );
}
