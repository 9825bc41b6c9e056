// Loading data for a part of a page: what was loaded stays until the next answer is there.

import { useEffect, useRef, useState } from "preact/hooks";
import { problemFrom, purpose, type Problem } from "./api";
import { connection, listen } from "./live";
import type { Envelope } from "./types";

export interface Loaded<T> {
  data: T | undefined;
  problem: Problem | undefined;
  busy: boolean;
  reload: () => void;
}

/** What `load` answers, anew whenever `key` is another; `null` as key loads nothing. */
export function useLoad<T>(key: string | null, load: (abort: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ key: string | null; data?: T; problem?: Problem; busy: boolean }>({
    key: null,
    busy: true,
  });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    if (key === null) return;
    const abort = new AbortController();
    setState((before) => ({ ...before, busy: true }));
    latest.current(abort.signal).then(
      (data) => !abort.signal.aborted && setState({ key, data, busy: false }),
      (error: unknown) => {
        if (!abort.signal.aborted) setState((before) => ({ ...before, key, problem: problemFrom(error), busy: false }));
      },
    );
    return () => abort.abort();
  }, [key, turn, purpose.value]);
  return { data: state.data, problem: state.problem, busy: state.busy, reload: () => setTurn((before) => before + 1) };
}

/** Call `changed` at most once in `pause` milliseconds while events come that are `wanted`, and after each reconnect:
 * then events may have been `missed`. */
export function useLive(
  wanted: (event: Envelope) => boolean,
  changed: (missed: boolean) => void,
  pause = 500,
): void {
  const latest = useRef({ wanted, changed, pause });
  latest.current = { wanted, changed, pause };
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let missed = false;
    const soon = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        latest.current.changed(missed);
        missed = false;
      }, latest.current.pause);
    };
    let was = connection.value.state;
    const stop = listen((event) => latest.current.wanted(event) && soon());
    const unsubscribe = connection.subscribe(({ state }) => {
      if (state === "live" && was !== "live") {
        missed = true;
        soon();
      }
      was = state;
    });
    return () => {
      stop();
      unsubscribe();
      clearTimeout(timer);
    };
  }, []);
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Executions`;
  }, [title]);
}
