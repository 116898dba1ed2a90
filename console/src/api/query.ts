// Data that a screen shows: loaded when it opens, again when what it depends on changes, and given up when it closes.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ask, type CallOptions, type Problem, problemFrom } from './client.ts';

/** Where a load stands. Data that was there stays while it is loaded anew. */
export interface Loaded<T> {
  data: T | undefined;
  etag: string | undefined;
  problem: Problem | undefined;
  isLoading: boolean;
  reload: () => void;
}

/** Loads `path`, every `everyMs` again if that is given; `null` loads nothing. */
export function useLoaded<T>(path: string | null, query?: CallOptions['query'], everyMs?: number): Loaded<T> {
  const [state, setState] = useState<Omit<Loaded<T>, 'reload'>>({
    data: undefined,
    etag: undefined,
    problem: undefined,
    isLoading: path !== null,
  });
  const [turn, setTurn] = useState(0);
  const reload = useCallback(() => {
    setTurn((turn) => turn + 1);
  }, []);
  const asked = JSON.stringify([path, query]);
  const shown = useRef(asked);

  useEffect(() => {
    if (path === null) return;
    const ending = new AbortController();
    // What belongs to another address is not shown under this one.
    const isOther = shown.current !== asked;
    shown.current = asked;
    setState((state) => ({ ...state, ...(isOther && { data: undefined }), isLoading: true }));
    ask<T>('GET', path, { query, signal: ending.signal }).then(
      ({ data, etag }) => {
        if (!ending.signal.aborted) setState({ data, etag, problem: undefined, isLoading: false });
      },
      (error: unknown) => {
        if (ending.signal.aborted) return;
        setState((state) => ({ ...state, problem: problemFrom(error), isLoading: false }));
      },
    );
    return () => {
      ending.abort();
    };
  }, [asked, turn]);

  useEffect(() => {
    if (everyMs === undefined) return;
    const timer = setInterval(() => {
      if (!document.hidden) reload();
    }, everyMs);
    return () => {
      clearInterval(timer);
    };
  }, [everyMs, reload]);

  return { ...state, reload };
}

/** One page of a list. */
export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

/** A list that is read page by page, forwards by its cursors and back by those that were used. */
export interface Pages<T> extends Omit<Loaded<Page<T>>, 'data' | 'etag'> {
  rows: T[] | undefined;
  number: number;
  next: (() => void) | undefined;
  previous: (() => void) | undefined;
}

/** Reads the list at `path`; another query starts at its first page. */
export function usePages<T>(
  path: string,
  query: NonNullable<CallOptions['query']> = {},
  limit = 50,
  everyMs?: number,
): Pages<T> {
  const [place, setPlace] = useState<{ asked: string; cursors: string[] }>({ asked: '', cursors: [] });
  const asked = JSON.stringify([path, query]);
  const cursors = place.asked === asked ? place.cursors : [];
  const { data, problem, isLoading, reload } = useLoaded<Page<T>>(
    path,
    { ...query, limit, cursor: cursors.at(-1) },
    everyMs,
  );
  const go = (cursors: string[]) => () => {
    setPlace({ asked, cursors });
  };
  return {
    rows: data?.items,
    problem,
    isLoading,
    reload,
    number: cursors.length + 1,
    next: data?.next_cursor ? go([...cursors, data.next_cursor]) : undefined,
    previous: cursors.length > 0 ? go(cursors.slice(0, -1)) : undefined,
  };
}

/** Something that a person asks for: at most once at a time, with what came of it. */
export interface Action<A extends unknown[]> {
  run: (...parameters: A) => Promise<void>;
  isRunning: boolean;
  problem: Problem | undefined;
  clear: () => void;
}

/** Wraps `act`, so that a second click does nothing while the first is under way. */
export function useAction<A extends unknown[]>(act: (...parameters: A) => Promise<void>): Action<A> {
  const [state, setState] = useState<{ isRunning: boolean; problem: Problem | undefined }>({
    isRunning: false,
    problem: undefined,
  });
  const running = useRef(false);
  const run = async (...parameters: A) => {
    if (running.current) return;
    running.current = true;
    setState({ isRunning: true, problem: undefined });
    try {
      await act(...parameters);
      setState({ isRunning: false, problem: undefined });
    } catch (error) {
      setState({ isRunning: false, problem: problemFrom(error) });
    } finally {
      running.current = false;
    }
  };
  const clear = () => {
    setState({ isRunning: false, problem: undefined });
  };
  return { ...state, run, clear };
}
