// The events of an execution as a long list of which pages are asked for when they come into view.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { get, problemFrom, segment, type Problem } from "./api";
import { useLoad } from "./load";
import type { Envelope, Page, Shown } from "./types";

const PAGE = 200;
const AT_ONCE = 2;

export interface History {
  count: number;
  hasMore: boolean;
  problem?: Problem | undefined;
  reload: () => void;
  at: (index: number) => Envelope | undefined;
  versionAt: (index: number) => number;
  /** -1 where it is not there (yet). */
  indexOf: (version: number) => number;
  /** Asks for what of these rows is missing. */
  need: (first: number, last: number) => void;
}

/** All events up to a version. A page is asked for by its first version, so one can begin anywhere. */
export function useWhole(id: string, total: number, newest: boolean): History {
  const pages = useRef(new Map<number, Envelope[]>());
  const wanted = useRef<number[]>([]);
  const shown = useRef<[number, number]>([0, 0]);
  const busy = useRef(0);
  const [, redraw] = useState(0);
  const [problem, setProblem] = useState<Problem>();
  const versionAt = (index: number) => (newest ? total - index : index + 1);
  const pageOf = (version: number) => Math.floor((version - 1) / PAGE);
  const isWhole = (page: number) => (pages.current.get(page)?.length ?? 0) >= Math.min(PAGE, total - page * PAGE);
  const fetchWanted = useCallback(() => {
    while (busy.current < AT_ONCE && wanted.current.length > 0) {
      const page = wanted.current.shift()!;
      busy.current += 1;
      get<Page<Envelope>>(`/executions/${segment(id)}/events`, { cursor: String(page * PAGE), limit: PAGE })
        .then(
          ({ body }) => (pages.current.set(page, body.data), setProblem(undefined)),
          (error: unknown) => setProblem(problemFrom(error)),
        )
        .finally(() => {
          busy.current -= 1;
          redraw((turn) => turn + 1);
          fetchWanted();
        });
    }
  }, [id]);
  const need = useCallback(
    (first: number, last: number) => {
      shown.current = [first, last];
      const [low, high] = [versionAt(first), versionAt(last)].sort((one, other) => one - other) as [number, number];
      const missing: number[] = [];
      for (let page = pageOf(low); page <= pageOf(high); page++) if (!isWhole(page)) missing.push(page);
      wanted.current = missing;
      fetchWanted();
    },
    [id, total, newest],
  );
  return {
    count: total,
    hasMore: false,
    problem,
    reload: () => need(...shown.current),
    at: (index) => pages.current.get(pageOf(versionAt(index)))?.[(versionAt(index) - 1) % PAGE],
    versionAt,
    indexOf: (version) => (version < 1 || version > total ? -1 : newest ? total - version : version - 1),
    need,
  };
}

/** Those of some types, page after page. */
export function useFiltered({ id, head, latest }: Shown, types: string, newest: boolean): History {
  const [more, setMore] = useState<{ data: Envelope[]; cursor: string | null }>();
  const [problem, setProblem] = useState<Problem>();
  const busy = useRef(false);
  const fetchPage = async (cursor: string | undefined, abort?: AbortSignal) => {
    const parameters = { types, order: newest ? "desc" : "asc", limit: 500, cursor };
    return (await get<Page<Envelope>>(`/executions/${segment(id)}/events`, parameters, abort)).body;
  };
  const first = useLoad(`${id} ${latest.version}`, (abort) => fetchPage(undefined, abort));
  useEffect(() => {
    if (!first.data) return;
    const { data, nextCursor } = first.data;
    setMore((before) => {
      if (!before || before.data.length <= data.length || newest) return { data, cursor: nextCursor };
      return { ...before, cursor: before.cursor ?? String(before.data.at(-1)!.version) };
    });
  }, [first.data]);
  const data = (more?.data ?? []).filter((event) => event.version <= head.version);
  const cursor = more?.cursor;
  const fetchMore = () => {
    if (busy.current || !cursor) return;
    busy.current = true;
    fetchPage(cursor)
      .then(
        (page) => {
          setMore((before) => ({ data: [...(before?.data ?? []), ...page.data], cursor: page.nextCursor }));
          setProblem(undefined);
        },
        (error: unknown) => setProblem(problemFrom(error)),
      )
      .finally(() => (busy.current = false));
  };
  const need = useCallback(
    (_: number, last: number) => {
      if (last >= data.length - 1) fetchMore();
    },
    [cursor, data.length],
  );
  return {
    count: data.length,
    hasMore: Boolean(cursor),
    problem: first.problem ?? problem,
    reload: first.problem ? first.reload : fetchMore,
    at: (index) => data[index],
    versionAt: (index) => data[index]!.version,
    indexOf: (version) => data.findIndex((event) => event.version === version),
    need,
  };
}
