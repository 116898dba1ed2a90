// A WebSocket that comes back: a token for each attempt, and the server's close code decides what happens next.
//
//   connecting ──▶ open ──▶ waiting ──▶ connecting        unauthorized: a person has to act
//        └───────────────────▲                            closed: it is over, or the program said so

import { type ReconnectOptions, waitBefore } from './backoff.js';
import { type CloseAction, closeMeaning } from './close.js';
import { baseUrlFor, sourceFor } from './configure.js';
import { TOKEN_PREFIX } from './credential.js';
import { resolve } from './endpoint.js';
import { KeymoatError } from './errors.js';
import { connectionTo, type WebSocketBuildOptions } from './options.js';
import { hasThirdArgument } from './platform.js';
import type { Credential, TokenReason } from './token-source.js';

/** Where a {@link ReconnectingSocket} stands. */
export type SocketState = 'connecting' | 'open' | 'waiting' | 'unauthorized' | 'closed';

/** What is known of the last connection when a new one has opened. */
export interface ResumeContext {
  /** The highest `seq` (or `lastSeq`) of the messages so far. */
  lastSeq?: number;
  /** The last handle of a Gemini session. */
  handle?: string;
}

/** The end of one connection. */
export interface SocketCloseEvent {
  type: 'close';
  code: number;
  reason: string;
  /** What is done about it. */
  action: CloseAction;
}

/** What listeners get. */
export interface SocketEvents {
  open: { type: 'open' };
  message: MessageEvent;
  close: SocketCloseEvent;
  error: { type: 'error'; error: KeymoatError };
  statechange: { type: 'statechange'; state: SocketState };
}

/** How a {@link ReconnectingSocket} behaves. */
export interface ReconnectingSocketOptions extends Omit<WebSocketBuildOptions, 'token'> {
  /** The credential, or where each attempt gets its own. Default: the configured one. */
  token?: Credential | undefined;
  /** The constructor, for example that of the package `ws`. Default: the global one. */
  WebSocket?: unknown;
  /** `open` waits for the first message, because servers upgrade first and refuse then. */
  waitForAuth?: boolean | undefined;
  /** `false`: one attempt only, and a new token after `token_expired`. */
  reconnect?: false | ReconnectOptions | undefined;
  /** How long an attempt may take, in milliseconds. Default 10000. */
  connectTimeout?: number | undefined;
  /** The message to send first on every connection but the first one. */
  resume?: ((context: ResumeContext) => string | undefined) | undefined;
  /** Decides about a close before the rules do; `undefined` leaves it to them. */
  onClose?: ((code: number, reason: string) => CloseAction | undefined) | undefined;
}

/** Much like a WebSocket, over many connections. */
export interface ReconnectingSocket {
  /** Without any credential. */
  readonly url: string;
  readonly state: SocketState;
  /** As of a WebSocket; 0 while there will be another attempt. */
  readonly readyState: number;
  /** What the server selected. */
  readonly protocol: string;
  readonly bufferedAmount: number;
  /** The last error. */
  readonly error: KeymoatError | null;
  binaryType: BinaryType;
  addEventListener<T extends keyof SocketEvents>(type: T, listener: (event: SocketEvents[T]) => void): void;
  removeEventListener<T extends keyof SocketEvents>(type: T, listener: (event: SocketEvents[T]) => void): void;
  /** Sends on an open connection; throws `not_open` on any other: nothing is queued. */
  send(data: string | Blob | BufferSource): void;
  /** Ends it for good. */
  close(code?: number, reason?: string): void;
  /** Tries again at once with a new token, from any state: after a sign-in, or when an app comes to the foreground. */
  reconnect(): void;
}

type Listener = (event: never) => void;
type Constructor = new (url: string, protocols?: unknown, options?: unknown) => WebSocket;

/** A connection that lasted so long counts as good. */
const STABLE_MS = 5000;
const CONNECT_MS = 10_000;

/** Opens a WebSocket to `endpoint` that comes back by itself. */
export function createWebSocket(endpoint: string, options: ReconnectingSocketOptions = {}): ReconnectingSocket {
  const url = resolve(endpoint, 'ws', { ...options, baseUrl: baseUrlFor(options.baseUrl) });
  const source = sourceFor(options.token);
  const given = options.WebSocket as Constructor | undefined;
  const WebSocketClass = given ?? (globalThis as { WebSocket?: unknown }).WebSocket;
  if (WebSocketClass === undefined) {
    throw new KeymoatError('websocket_missing', 'pass a `WebSocket`, such as that of the package `ws`');
  }
  // A class that was passed in is taken for one like `ws`; a built-in one of a server wants its headers in the second argument.
  const isThird =
    hasThirdArgument() || (given !== undefined && given !== (globalThis as { WebSocket?: unknown }).WebSocket);
  const listeners = new Map<string, Set<Listener>>();
  const seen: ResumeContext = {};
  let state: SocketState = 'connecting';
  let error: KeymoatError | null = null;
  let binaryType: BinaryType = 'blob';
  let socket: WebSocket | undefined;
  let waiting = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let wasOpen = false;
  let hasRefreshed = false;
  let isTold = false;
  let last: string | undefined;

  const emit = <T extends keyof SocketEvents>(type: T, event: SocketEvents[T]) => {
    for (const listener of [...(listeners.get(type) ?? [])]) {
      try {
        (listener as (event: SocketEvents[T]) => void)(event);
      } catch (thrown) {
        // A listener's mistake is the program's, and not this connection's.
        setTimeout(() => {
          throw thrown;
        });
      }
    }
  };
  const become = (next: SocketState) => {
    if (state === next) return;
    state = next;
    if (next === 'closed' || next === 'unauthorized') stopWaking();
    emit('statechange', { type: 'statechange', state });
  };
  const fail = (reason: KeymoatError) => {
    error = reason;
    emit('error', { type: 'error', error });
  };
  /** Leaves whatever is going on; what it still says is heard no more. */
  const drop = (code?: number, reason?: string) => {
    waiting.abort();
    waiting = new AbortController();
    clearTimeout(timer);
    const old = socket;
    socket = undefined;
    if (!old) return;
    old.onopen = old.onmessage = old.onclose = null;
    old.onerror = () => {};
    try {
      old.close(code, reason);
    } catch {
      // A code that a program may not send.
      old.close();
    }
  };
  const retry = (retryAfter?: number) => {
    const wait = options.reconnect === false ? undefined : waitBefore(failures, retryAfter, options.reconnect);
    failures++;
    isTold = retryAfter !== undefined;
    if (wait === undefined) {
      fail(new KeymoatError('connection_failed', 'the last attempt has failed'));
      return become('closed');
    }
    timer = setTimeout(() => void connect('reconnect'), wait);
    become('waiting');
  };
  const connect = async (reason: TokenReason) => {
    drop();
    const { signal } = waiting;
    const rejected = reason === 'expired' ? last : undefined;
    become('connecting');
    try {
      last = (await source?.fetch({ reason, rejected, signal }))?.value;
      if (!signal.aborted) open();
    } catch (thrown) {
      if (signal.aborted) return;
      const why =
        thrown instanceof KeymoatError
          ? thrown
          : new KeymoatError('token_unavailable', 'no token at the moment: the source failed');
      fail(why);
      if (signal.aborted) return;
      if (why.code === 'token_unavailable') retry(why.retryAfter);
      else become(why.code === 'connection_failed' || why.code === 'carrier_unavailable' ? 'closed' : 'unauthorized');
    }
  };
  const open = () => {
    const { protocols, headers } = connectionTo(url, last, options);
    const made = construct(WebSocketClass as Constructor, url, protocols, headers, isThird);
    socket = made;
    made.binaryType = binaryType;
    const isGood = () => {
      failures = 0;
      hasRefreshed = false;
    };
    const opened = () => {
      wasOpen = true;
      error = null;
      become('open');
      emit('open', { type: 'open' });
    };
    timer = setTimeout(() => ended({ code: 1006, reason: 'no answer in time' }), options.connectTimeout ?? CONNECT_MS);
    made.onopen = () => {
      clearTimeout(timer);
      timer = setTimeout(isGood, STABLE_MS);
      const first = wasOpen ? options.resume?.({ ...seen }) : undefined;
      if (first !== undefined) made.send(first);
      if (!options.waitForAuth) opened();
    };
    made.onmessage = (event) => {
      isGood();
      if (state !== 'open') opened();
      if (socket !== made) return;
      if (options.resume) note(seen, event.data);
      emit('message', event);
    };
    // What went wrong is not told to pages; the close that follows says what can be known.
    made.onerror = () => {};
    made.onclose = ended;
  };
  const ended = ({ code, reason }: { code: number; reason: string }) => {
    drop();
    const { signal } = waiting;
    const meaning = closeMeaning(code, reason);
    let action = options.onClose?.(code, reason) ?? meaning.action;
    // A second new token in a row would be turned down as well.
    if (action === 'refresh' && (hasRefreshed || !source)) action = 'unauthorized';
    emit('close', { type: 'close', code, reason, action });
    // A listener may have decided otherwise.
    if (signal.aborted) return;
    if (action === 'refresh') {
      hasRefreshed = true;
      void connect('expired');
    } else if (action === 'retry') retry(meaning.retryAfter);
    else if (action === 'stop') become('closed');
    else {
      fail(new KeymoatError('unauthorized', `closed with ${code}`));
      if (!signal.aborted) become('unauthorized');
    }
  };
  const wake = () => {
    const { document } = globalThis as { document?: { visibilityState?: string } };
    if (state === 'waiting' && !isTold && document?.visibilityState !== 'hidden') void connect('reconnect');
  };
  const { addEventListener: listen, removeEventListener: unlisten } = globalThis as Partial<typeof globalThis>;
  const WAKING = ['online', 'pageshow', 'visibilitychange'] as const;
  const stopWaking = () => {
    for (const type of WAKING) unlisten?.call(globalThis, type, wake);
  };
  const start = (reason: TokenReason) => {
    for (const type of WAKING) listen?.call(globalThis, type, wake);
    void connect(reason);
  };
  start('initial');

  return {
    url,
    get state() {
      return state;
    },
    get readyState() {
      return state === 'open' ? (socket?.readyState ?? 3) : state === 'connecting' || state === 'waiting' ? 0 : 3;
    },
    get protocol() {
      const selected = socket?.protocol ?? '';
      return selected.startsWith(TOKEN_PREFIX) ? '' : selected;
    },
    get bufferedAmount() {
      return socket?.bufferedAmount ?? 0;
    },
    get error() {
      return error;
    },
    get binaryType() {
      return binaryType;
    },
    set binaryType(type) {
      binaryType = type;
      if (socket) socket.binaryType = type;
    },
    addEventListener(type, listener) {
      listeners.set(type, (listeners.get(type) ?? new Set()).add(listener));
    },
    removeEventListener(type, listener) {
      listeners.get(type)?.delete(listener);
    },
    send(data) {
      if (state !== 'open' || !socket) throw new KeymoatError('not_open', `the connection is ${state}`);
      socket.send(data);
    },
    close(code = 1000, reason = '') {
      if (state === 'closed') return;
      drop(code, reason);
      become('closed');
      emit('close', { type: 'close', code, reason, action: 'stop' });
    },
    reconnect() {
      failures = 0;
      hasRefreshed = false;
      start(state === 'unauthorized' ? 'rejected' : 'reconnect');
    },
  };
}

/** Makes a WebSocket; a runtime's own error about a protocol may show it, and is not passed on. */
function construct(
  WebSocketClass: Constructor,
  url: string,
  protocols: string[] | undefined,
  headers: Record<string, string> | undefined,
  isThird: boolean,
): WebSocket {
  try {
    if (!headers) return new WebSocketClass(url, protocols);
    if (isThird) return new WebSocketClass(url, protocols, { headers });
    return new WebSocketClass(url, { protocols: protocols ?? [], headers });
  } catch {
    throw new KeymoatError('connection_failed', 'the runtime refused the WebSocket: is each of `protocols` a token?');
  }
}

/** Notes where a stream stands, from messages that are JSON. */
function note(seen: ResumeContext, data: unknown): void {
  if (typeof data !== 'string') return;
  try {
    const message = JSON.parse(data);
    const seq = message.seq ?? message.lastSeq;
    if (typeof seq === 'number') seen.lastSeq = Math.max(seq, seen.lastSeq ?? seq);
    const handle = message.sessionResumptionUpdate?.newHandle;
    if (typeof handle === 'string') seen.handle = handle;
  } catch {
    // Not JSON, or not an object: nothing to note.
  }
}
