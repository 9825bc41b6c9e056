// All steps of a version without their content, in pages that are asked for side by side.

import { get, segment } from "./api";
import type { Page, Step } from "./types";

const PAGE = 500;

export async function slimSteps(id: string, version: number, total: number, abort: AbortSignal): Promise<Step[]> {
  const path = `/executions/${segment(id)}/steps`;
  const pages: Step[][] = [];
  const starts = Array.from({ length: Math.max(1, Math.ceil(total / PAGE)) }, (_, nth) => nth * PAGE);
  const fetchPage = async (nth: number) => {
    const cursor = nth === 0 ? undefined : String(starts[nth]);
    const { body } = await get<Page<Step>>(path, { version, slim: true, limit: PAGE, cursor }, abort);
    pages[nth] = body.data;
  };
  const queue = starts.map((_, nth) => nth);
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let nth = queue.shift(); nth !== undefined; nth = queue.shift()) await fetchPage(nth);
    }),
  );
  return pages.flat();
}
