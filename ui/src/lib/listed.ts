// What events mean for a list that is open: which of its rows are others by now, and how many executions came since.

import { useRef, useState } from "preact/hooks";
import { post, problemFrom, query, seenSoFar, type Problem } from "./api";
import { useLive } from "./load";
import type { Execution, Page } from "./types";

const PORTION = 100;
const MOST_COUNTED = 99;

export interface Fresh {
  /** The newest that is known of a row. */
  of: (row: Execution) => Execution;
  problem: Problem | undefined;
  retry: () => void;
}

/** The rows of a list, which are loaded again where they stand: those that events concern, after a break all. */
export function useFresh(rows: Execution[], fields: string): Fresh {
  const touched = useRef(new Set<string>());
  const busy = useRef(false);
  const [changed, setChanged] = useState<Record<string, Execution>>({});
  const [problem, setProblem] = useState<Problem>();
  const shown = new Set(rows.map((row) => row.$id));
  const refresh = async () => {
    if (busy.current) return;
    busy.current = true;
    try {
      await drain(touched.current, fields, (found) => setChanged((before) => ({ ...before, ...found })));
      setProblem(undefined);
    } catch (error) {
      setProblem(problemFrom(error));
    }
    busy.current = false;
  };
  useLive(
    (event) => {
      if (!event.type.startsWith("execution.") || !shown.has(event.subject)) return false;
      touched.current.add(event.subject);
      return true;
    },
    (missed) => {
      if (missed) for (const id of shown) touched.current.add(id);
      void refresh();
    },
  );
  return {
    of: (row) => {
      const newer = changed[row.$id];
      return newer && newer.version > row.version ? newer : row;
    },
    problem,
    retry: () => void refresh(),
  };
}

/** Load all that are `touched`, also those that become so meanwhile. What cannot be loaded stays among them. */
async function drain(
  touched: Set<string>,
  fields: string,
  add: (found: Record<string, Execution>) => void,
): Promise<void> {
  while (touched.size > 0) {
    const ids = [...touched].slice(0, PORTION);
    for (const id of ids) touched.delete(id);
    try {
      const parameters = { ...seenSoFar(), fields, limit: PORTION };
      const path = `/executions/find${query(parameters)}`;
      const { body } = await post<Page<Execution>>(path, { $id: { $in: ids } });
      add(Object.fromEntries(body.data.map((row) => [row.$id, row])));
    } catch (error) {
      for (const id of ids) touched.add(id);
      throw error;
    }
  }
}

/** How many executions came after a position, in words: no more than `99+`, as no more are kept. Empty for none. */
export function useCreatedSince(position: number): string {
  const created = useRef<number[]>([]);
  const [, redraw] = useState(0);
  useLive(
    (event) => {
      if (event.type !== "execution.created") return false;
      created.current = [...created.current.slice(-MOST_COUNTED), event.position];
      return true;
    },
    () => redraw((turn) => turn + 1),
    300,
  );
  const number = created.current.filter((each) => each > position).length;
  return number > MOST_COUNTED ? `${MOST_COUNTED}+` : number > 0 ? String(number) : "";
}
