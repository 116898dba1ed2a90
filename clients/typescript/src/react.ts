// A hook for streams of events over one WebSocket that components share.

import { useCallback, useEffect, useRef, useSyncExternalStore } from 'react';
import { baseUrlFor, sourceFor } from './configure.js';
import { resolve } from './endpoint.js';
import type { KeymoatError } from './errors.js';
import {
  createWebSocket,
  type ReconnectingSocket,
  type ReconnectingSocketOptions,
  type SocketState,
} from './socket.js';
import type { Credential } from './token-source.js';

/** How events are read. */
export interface EventStreamHookOptions<T> extends Omit<ReconnectingSocketOptions, 'resume' | 'onClose'> {
  /** The credential, or where each attempt gets its own. A source is made outside of the component. Default: the configured one. */
  token?: Credential | undefined;
  /** The event in a message that was read as JSON; `undefined` for none. Default: `data` of `{ type: 'event', data }`. */
  select?: ((message: unknown) => T | undefined) | undefined;
  /** How many events are kept. Default 100. */
  max?: number | undefined;
  /** Whether components with the same endpoint and token use one WebSocket. Default true. */
  share?: boolean | undefined;
  /** `false` opens nothing, for example until a person has signed in. */
  enabled?: boolean | undefined;
}

/** What a component gets. */
export interface EventStreamState<T> {
  /** Newest first. */
  events: readonly T[];
  latestEvent: T | null;
  isConnected: boolean;
  state: SocketState;
  error: KeymoatError | null;
  clearEvents(): void;
  /** Tries again at once. */
  reconnect(): void;
}

interface Connection {
  socket: ReconnectingSocket;
  users: number;
  key: string;
  owner: object;
}

/** By who is asking, then by where: a secret is no part of a key. */
const shared = new WeakMap<object, Map<string, Connection>>();
const nobody = {};
const selectEvent = (message: unknown): unknown => {
  const { type, data } = Object(message);
  return type === 'event' ? data : undefined;
};

const EMPTY = { events: [], latestEvent: null, isConnected: false, state: 'closed', error: null } as const;

/** The events of a WebSocket endpoint such as `/ws/events`. It answers the server's pings and ignores what it does not know. */
export function useEventStream<T = unknown>(
  endpoint: string,
  options: EventStreamHookOptions<T> = {},
): EventStreamState<T> {
  const { token, share = true, enabled = true } = options;
  const newest = useRef(options);
  newest.current = options;
  // A function written in the component is another one each time: not a reason to connect again.
  const identity = typeof token === 'function' ? 'provider' : token;
  const base = baseUrlFor(options.baseUrl);

  type Snapshot = Omit<EventStreamState<T>, 'clearEvents' | 'reconnect'>;
  const snapshot = useRef<Snapshot>(EMPTY);
  const changed = useRef<() => void>(() => {});
  const connection = useRef<Connection | undefined>(undefined);

  const update = useCallback((change: Partial<Snapshot>) => {
    snapshot.current = { ...snapshot.current, ...change };
    changed.current();
  }, []);
  const subscribe = useCallback((notify: () => void) => {
    changed.current = notify;
    return () => {
      changed.current = () => {};
    };
  }, []);

  useEffect(() => {
    if (!enabled) return;
    const { current } = newest;
    const provider = typeof current.token === 'function';
    const credential: Credential | undefined = provider ? providerOf(newest) : current.token;
    const taken = take(endpoint, { ...current, token: credential }, share && !provider);
    const { socket } = taken;
    connection.current = taken;
    const stand = () => update({ state: socket.state, isConnected: socket.state === 'open', error: socket.error });
    const receive = ({ data }: MessageEvent) => {
      const message = parsed(data);
      const select = newest.current.select ?? (selectEvent as (message: unknown) => T | undefined);
      const event = select(message);
      if (event === undefined) return;
      const events = [event, ...snapshot.current.events].slice(0, newest.current.max ?? 100);
      update({ events, latestEvent: event });
    };
    socket.addEventListener('statechange', stand);
    socket.addEventListener('error', stand);
    socket.addEventListener('message', receive);
    stand();
    return () => {
      socket.removeEventListener('statechange', stand);
      socket.removeEventListener('error', stand);
      socket.removeEventListener('message', receive);
      connection.current = undefined;
      leave(taken);
      // What was read before belongs to another endpoint or another person.
      update(EMPTY);
    };
  }, [endpoint, identity, base, share, enabled]);

  const current = useSyncExternalStore(
    subscribe,
    () => snapshot.current,
    () => EMPTY as Snapshot,
  );
  const clearEvents = useCallback(() => update({ events: [], latestEvent: null }), [update]);
  const reconnect = useCallback(() => connection.current?.socket.reconnect(), []);
  return { ...current, clearEvents, reconnect };
}

/** The provider of the last rendering, whichever that is when a token is needed. */
const providerOf =
  (newest: { current: { token?: Credential | undefined } }): Credential =>
  (context) => {
    const { token } = newest.current;
    return typeof token === 'function' ? token(context) : '';
  };

function take(endpoint: string, options: ReconnectingSocketOptions, wantsShared: boolean): Connection {
  // The one who asks is the source: two texts are not known to be one person's, and a secret is no part of a key.
  const { token } = options;
  const owner = typeof token === 'object' ? token : (sourceFor(undefined) ?? nobody);
  const share = wantsShared && (token === undefined || typeof token === 'object');
  const url = resolve(endpoint, 'ws', { ...options, baseUrl: baseUrlFor(options.baseUrl) });
  const key = JSON.stringify([url, options.protocols ?? [], options.carrier ?? '']);
  const known = shared.get(owner) ?? new Map<string, Connection>();
  const found = share ? known.get(key) : undefined;
  if (found) {
    found.users++;
    return found;
  }
  const socket = createWebSocket(endpoint, options);
  socket.addEventListener('message', ({ data }) => {
    if (isPing(data) && socket.state === 'open') socket.send('{"type":"pong"}');
  });
  const made = { socket, users: 1, key: share ? key : '', owner };
  if (share) shared.set(owner, known.set(key, made));
  return made;
}

function leave(connection: Connection): void {
  connection.users--;
  // Whoever takes it in the same turn, as React does when it runs effects twice, finds it open.
  setTimeout(() => {
    if (connection.users > 0) return;
    const known = shared.get(connection.owner);
    if (known?.get(connection.key) === connection) known.delete(connection.key);
    connection.socket.close();
  });
}

const isPing = (data: unknown): boolean => Object(parsed(data)).type === 'ping';

function parsed(data: unknown): unknown {
  if (typeof data !== 'string') return;
  try {
    return JSON.parse(data);
  } catch {
    return;
  }
}
