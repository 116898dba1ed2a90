// What a WebSocket and a request are opened with: a clean URL, and the credential in a subprotocol or a header.

import { baseUrlFor, sourceFor } from './configure.js';
import { checked, credentialProtocol, isAbsent, MARKER, type Token } from './credential.js';
import { type EndpointOptions, resolve } from './endpoint.js';
import { KeymoatError } from './errors.js';
import { hasThirdArgument, isBrowser } from './platform.js';
import type { TokenSource } from './token-source.js';

/** In what a credential travels: `auto` is a header where the WebSocket takes one, else a subprotocol. */
export type Carrier = 'auto' | 'subprotocol' | 'header';

/** What a WebSocket is opened with. */
export interface WebSocketConnectionOptions {
  /** Without any credential. */
  url: string;
  /** The second argument of `new WebSocket`. */
  protocols?: string[];
  /** For the third argument, `{ headers }`, of React Native's WebSocket and of `ws`. */
  headers?: Record<string, string>;
}

/** How a WebSocket is opened. */
export interface WebSocketBuildOptions extends EndpointOptions {
  /** Which header, where the credential travels in one: as the gateway's route lists it. Default `authorization`, with `Bearer`. */
  header?: HeaderOptions['header'];
  /** The credential. Default: the configured one. */
  token?: string | Token | TokenSource | undefined;
  /** Default `auto`. */
  carrier?: Carrier | undefined;
  /** Your application's own protocols. */
  protocols?: readonly string[] | undefined;
  /** Takes a long-lived key in a page, where everybody can read it. For trying things out on your own machine. */
  dangerouslyAllowLongLivedKey?: boolean | undefined;
}

/**
 * What to open a WebSocket to `endpoint` with: `new WebSocket(options.url, options.protocols)`.
 *
 * Without a credential, given or configured, none is sent. There is no variant that puts it into the URL.
 */
export function buildWebSocketOptions(
  endpoint: string,
  options: WebSocketBuildOptions = {},
): WebSocketConnectionOptions {
  const url = resolve(endpoint, 'ws', { ...options, baseUrl: baseUrlFor(options.baseUrl) });
  return connectionTo(url, credentialOf(options.token), options);
}

/** The same for a URL that was resolved and a credential that is at hand. */
export function connectionTo(
  url: string,
  credential: string | undefined,
  { carrier = 'auto', header, protocols = [], dangerouslyAllowLongLivedKey }: Omit<WebSocketBuildOptions, 'token'>,
): WebSocketConnectionOptions {
  const own = protocols.length > 0 ? { protocols: [...protocols] } : {};
  if (isAbsent(credential)) return { url, ...own };
  admit(credential, dangerouslyAllowLongLivedKey);
  if (carrier === 'header' && isBrowser()) {
    throw new KeymoatError('carrier_unavailable', 'a browser sends no headers with a WebSocket');
  }
  if (carrier === 'header' || (carrier === 'auto' && hasThirdArgument())) {
    return { url, ...own, headers: headersOf(credential, header) };
  }
  return { url, protocols: [MARKER, ...protocols, credentialProtocol(credential)] };
}

/** How headers are made. */
export interface HeaderOptions {
  /** Which header. Default `authorization`, with `Bearer`. */
  header?: 'authorization' | 'x-api-key' | undefined;
  /** As in {@link WebSocketBuildOptions}. */
  dangerouslyAllowLongLivedKey?: boolean | undefined;
}

/** The header with a credential, given or configured, for an HTTP request. */
export function buildHeaders(
  token?: string | Token | TokenSource,
  options: HeaderOptions = {},
): Record<string, string> {
  const credential = checked(credentialOf(token));
  admit(credential, options.dangerouslyAllowLongLivedKey);
  return headersOf(credential, options.header);
}

const headersOf = (credential: string, header = 'authorization'): Record<string, string> =>
  header === 'x-api-key' ? { 'X-API-Key': checked(credential) } : { Authorization: `Bearer ${checked(credential)}` };

/** Refuses what may not be where this runs. */
export function admit(credential: string, allowLongLived: boolean | undefined): void {
  if (/^km_/.test(credential) && isBrowser() && !allowLongLived) {
    throw new KeymoatError(
      'long_lived_key_in_browser',
      'anyone can read a key in a page: mint a short-lived token on your server',
    );
  }
}

function credentialOf(token: string | Token | TokenSource | undefined): string | undefined {
  if (token !== undefined && isAbsent(token)) return;
  const source = sourceFor(token);
  if (!source) return;
  const found = source.peek?.();
  if (found) return found.value;
  throw new KeymoatError('token_not_ready', 'no token at hand: await `fetch()` of its source first');
}
