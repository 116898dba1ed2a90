// Server-sent events by `fetch`, because an `EventSource` sends no headers.

import { type ReconnectOptions, waitBefore } from './backoff.js';
import { baseUrlFor, sourceFor } from './configure.js';
import { type EndpointOptions, resolve } from './endpoint.js';
import { KeymoatError, UnauthorizedError } from './errors.js';
import { buildHeaders, type HeaderOptions } from './options.js';
import { createEventStreamParser, type StreamEvent } from './sse.js';
import { type Credential, retryAfterOf, type TokenReason } from './token-source.js';

/** How a stream is read. */
export interface EventStreamOptions extends EndpointOptions, HeaderOptions {
  /** The credential, or where each attempt gets its own. Default: the configured one. */
  token?: Credential | undefined;
  /** More headers. */
  headers?: Record<string, string> | undefined;
  /** Default GET. */
  method?: string | undefined;
  /** A text, because it is sent again with every attempt. */
  body?: string | undefined;
  /** Where to go on. */
  lastEventId?: string | undefined;
  /** `false`: the end of the first answer is the end. */
  reconnect?: false | ReconnectOptions | undefined;
  /** The longest event in characters. Default 1048576. */
  eventSizeMax?: number | undefined;
  /** Ends the stream. */
  signal?: AbortSignal | undefined;
  /** What does the work; its answers must have a readable `body`. Default: the global `fetch`. */
  fetch?: typeof fetch | undefined;
}

/**
 * Reads the events of `endpoint`, and comes back with `Last-Event-ID` where it was cut off.
 *
 * It ends with status 204, with `signal`, or when the loop is left; it throws what no new attempt could help.
 */
export function createEventStream(endpoint: string, options: EventStreamOptions = {}): AsyncIterable<StreamEvent> {
  const url = resolve(endpoint, 'http', { ...options, baseUrl: baseUrlFor(options.baseUrl) });
  return { [Symbol.asyncIterator]: () => events(url, options) };
}

async function* events(url: string, options: EventStreamOptions): AsyncGenerator<StreamEvent, void, undefined> {
  const source = sourceFor(options.token);
  const ending = new AbortController();
  const end = () => ending.abort();
  if (options.signal?.aborted) return;
  options.signal?.addEventListener('abort', end);
  let id = options.lastEventId ?? '';
  let reason: TokenReason = 'initial';
  let used: string | undefined;
  let failures = 0;
  let told: number | undefined;
  let least = 0;

  try {
    while (!ending.signal.aborted) {
      told = undefined;
      try {
        used = (await source?.fetch({ reason, rejected: used, signal: ending.signal }))?.value;
        const response = await open(url, id, used, options, ending.signal);
        if (response.status === 204) return;
        if (response.status === 401 && source && reason !== 'rejected') {
          void response.body?.cancel().catch(() => {});
          reason = 'rejected';
          continue;
        }
        const reader = readerOf(response);
        reason = 'reconnect';
        const parser = createEventStreamParser(options.eventSizeMax, id);
        const decoder = new TextDecoder();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          for (const event of parser.push(decoder.decode(value, { stream: true }))) {
            failures = 0;
            yield event;
          }
          id = parser.position.id;
          least = parser.position.retry ?? least;
        }
      } catch (error) {
        if (ending.signal.aborted) return;
        if (error instanceof KeymoatError && !TEMPORARY.includes(error.code)) {
          throw error.code === 'token_not_renewable' ? new UnauthorizedError() : error;
        }
        told = error instanceof KeymoatError ? error.retryAfter : undefined;
        if (reason === 'rejected') reason = 'reconnect';
      }
      const wait = options.reconnect === false ? undefined : waitBefore(failures++, told, options.reconnect);
      if (wait === undefined) {
        if (options.reconnect === false && told === undefined) return;
        throw new KeymoatError('connection_failed', 'the last attempt has failed');
      }
      await sleep(Math.max(wait, least), ending.signal);
    }
  } finally {
    options.signal?.removeEventListener('abort', end);
    ending.abort();
  }
}

const TEMPORARY = ['token_unavailable', 'connection_failed'];

async function open(
  url: string,
  id: string,
  credential: string | undefined,
  options: EventStreamOptions,
  signal: AbortSignal,
): Promise<Response> {
  const headers = {
    Accept: 'text/event-stream',
    ...options.headers,
    ...(id && { 'Last-Event-ID': id }),
    ...(credential !== undefined && buildHeaders(credential, options)),
  };
  const { method = 'GET', body = null } = options;
  const ask = options.fetch ?? globalThis.fetch;
  return ask(url, { method, headers, body, signal, cache: 'no-store', redirect: 'error' });
}

/** The reader of an answer that is an event stream; what else came is an error that says whether time helps. */
function readerOf(response: Response): ReadableStreamDefaultReader<Uint8Array> {
  const { status, body, ok, headers } = response;
  const cancel = () => void body?.cancel().catch(() => {});
  if (!ok) {
    cancel();
    if (status === 401 || status === 403) throw new UnauthorizedError(`the server answered ${status}`);
    const isTemporary = status === 408 || status === 429 || status >= 500;
    const code = isTemporary ? 'connection_failed' : 'response_refused';
    throw new KeymoatError(code, `the server answered ${status}`, retryAfterOf(response));
  }
  if (!/^text\/event-stream\s*(;|$)/i.test(headers.get('content-type') ?? '')) {
    cancel();
    throw new KeymoatError('response_refused', 'the answer is no event stream');
  }
  if (!body) {
    throw new KeymoatError(
      'response_refused',
      'this `fetch` streams no answers: pass one that does, such as that of `expo/fetch`',
    );
  }
  return body.getReader();
}

const sleep = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    if (signal.aborted) done();
    signal.addEventListener('abort', done);
  });
