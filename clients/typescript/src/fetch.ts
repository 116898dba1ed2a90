// `fetch` with a credential, for the origins that are named and for no other.

import { sourceFor } from './configure.js';
import { originOf, pageOrigin, refuseCredential, resolve } from './endpoint.js';
import { KeymoatError } from './errors.js';
import { buildHeaders, type HeaderOptions } from './options.js';
import { type Credential, type TokenReason, until } from './token-source.js';

/** Who gets a credential. */
export interface FetchOptions extends HeaderOptions {
  /** The credential, or where it comes from. Default: the configured one. */
  token?: Credential | undefined;
  /** The origins that get it, such as `https://gateway.example`. */
  origins: readonly string[];
  /** What does the work. Default: the global `fetch`. */
  fetch?: typeof fetch | undefined;
  /** Query parameters that have a credential's name and are none. */
  allowParameters?: readonly string[] | undefined;
}

/**
 * Makes a `fetch` that sends a credential to `origins`, and mints a new one once if it is answered 401.
 *
 * Redirects of such requests fail unless the request says otherwise, and a request with an `Authorization` of its own
 * goes as it is. To other origins requests go as they are.
 */
export function createFetch(options: FetchOptions): typeof fetch {
  const origins = options.origins.map((origin) => originOf(resolve('/', 'http', { baseUrl: origin })));
  const ask = options.fetch ?? globalThis.fetch;
  const source = sourceFor(options.token);

  return async (input, init) => {
    const request = typeof input === 'object' && 'url' in input ? input : undefined;
    const url = request?.url ?? (typeof input === 'string' ? input : (input as URL).href);
    const isRelative = !/^([a-z][a-z0-9+.-]*:|[\\/]{2})/i.test(url);
    const origin = isRelative ? pageOrigin() : originOf(url);
    const headers = new Headers(init?.headers ?? request?.headers);
    if (!source || !origin || !origins.includes(origin) || headers.has(options.header ?? 'authorization')) {
      return ask(input, init);
    }
    refuseCredential(url, options.allowParameters);
    const signal = init?.signal ?? request?.signal;
    // A stream is gone once it was sent; a request's body can be sent twice if it is copied first.
    const again = request?.body ? request.clone() : request;
    const isRepeatable = !(init?.body && typeof init.body === 'object' && 'getReader' in init.body);
    let used: string | undefined;
    const send = async (input: RequestInfo | URL, reason: TokenReason) => {
      const asked = source.fetch({ reason, rejected: used });
      const { value } = await (signal ? until(signal, asked) : asked);
      used = value;
      const [[name, header] = ['', '']] = Object.entries(buildHeaders(value, options));
      headers.set(name, header);
      const redirect = init?.redirect ?? (request && request.redirect !== 'follow' ? request.redirect : 'error');
      return ask(input, { ...init, headers, redirect });
    };

    const first = await send(input, 'initial');
    if (first.status !== 401 || !isRepeatable) return first;
    try {
      const second = await send(again ?? input, 'rejected');
      void first.body?.cancel().catch(() => {});
      return second;
    } catch (error) {
      // No other token: what the server said is the better answer.
      if (error instanceof KeymoatError) return first;
      throw error;
    }
  };
}
