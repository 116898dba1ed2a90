// Where tokens come from: one mint at a time, renewed before they end, and anew when one was rejected.

import { checked, isAbsent, type Token } from './credential.js';
import { refuseCredential, resolve } from './endpoint.js';
import { KeymoatError, UnauthorizedError } from './errors.js';

/** Why a token is asked for. */
export type TokenReason = 'initial' | 'reconnect' | 'expired' | 'rejected';

/** What a provider is told. */
export interface TokenContext {
  /** How often it has been asked in a row without success, from 0. */
  attempt: number;
  /** Why. */
  reason: TokenReason;
  /** Ends when the token is not waited for any more. */
  signal: AbortSignal;
}

/** Makes a token, for example by asking your own server. A thrown {@link UnauthorizedError} means stop; another error, try later. */
export type TokenProvider = (context: TokenContext) => string | Token | Promise<string | Token>;

/** How a token is asked for. */
export interface TokenRequest {
  /** Mints anew even if the last token is still good. */
  force?: boolean | undefined;
  /** Why; all but `initial` mint anew. */
  reason?: TokenReason | undefined;
  /** The token that was turned down: another one that has arrived since is as good as a new one. */
  rejected?: string | undefined;
  /** Stops waiting. Others who wait for the same token still get it. */
  signal?: AbortSignal | undefined;
}

/** Gives tokens. */
export interface TokenSource {
  /** A token that is good now. */
  fetch(request?: TokenRequest): Promise<Token>;
  /** The token at hand, if there is one and it is still good. */
  peek?(): Token | undefined;
}

/** How a source renews. */
export interface RenewalOptions {
  /** So many seconds before its end a token is not given out any more, but at most a quarter of its life. Default 60. */
  refreshBefore?: number;
}

/** What is accepted wherever a credential is wanted. */
export type Credential = string | Token | TokenSource | TokenProvider;

const MINT_LIMIT_MS = 30_000;

/** Makes token sources. */
export const TokenSource: {
  /** One token that cannot be renewed. */
  literal(token: string | Token): TokenSource;
  /** Tokens of `provider`, which is asked once however many wait. Without `expiresAt` no token is kept. */
  custom(provider: TokenProvider, options?: RenewalOptions): TokenSource;
  /** Tokens of an HTTP endpoint, usually of your own server; by default POST. */
  endpoint(url: string, init?: RequestInit & RenewalOptions & { fetch?: typeof fetch }): TokenSource;
} = { literal, custom, endpoint };

/** Makes a source of whatever stands for a credential; nothing of nothing. */
export function sourceOf(credential: Credential | undefined): TokenSource | undefined {
  if (isAbsent(credential)) return;
  if (typeof credential === 'function') return custom(credential);
  return typeof credential === 'object' && 'fetch' in credential ? credential : literal(credential);
}

function literal(given: string | Token): TokenSource {
  const token = tokenOf(given);
  const isOver = () => token.expiresAt !== undefined && token.expiresAt * 1000 <= Date.now();
  return {
    fetch: ({ force, reason } = {}) =>
      force || reason === 'expired' || reason === 'rejected' || isOver()
        ? Promise.reject(new KeymoatError('token_not_renewable', 'a literal token cannot be renewed'))
        : Promise.resolve(token),
    peek: () => (isOver() ? undefined : token),
  };
}

function custom(provider: TokenProvider, { refreshBefore = 60 }: RenewalOptions = {}): TokenSource {
  let kept: Token | undefined;
  let freshUntil = 0;
  let minting: Promise<Token> | undefined;
  let attempt = 0;

  const peek = () => {
    if (Date.now() >= freshUntil) kept = undefined;
    return kept;
  };
  const mint = async (reason: TokenReason) => {
    const ending = new AbortController();
    const limit = setTimeout(() => ending.abort(), MINT_LIMIT_MS);
    try {
      const given = await until(ending.signal, (async () => provider({ attempt, reason, signal: ending.signal }))());
      const token = tokenOf(given);
      attempt = 0;
      const lifeMs = (token.expiresAt ?? 0) * 1000 - Date.now();
      freshUntil = Date.now() + lifeMs - Math.min(refreshBefore * 1000, lifeMs / 4);
      kept = token.singleUse ? undefined : token;
      return token;
    } catch (error) {
      attempt++;
      kept = undefined;
      throw error instanceof KeymoatError
        ? error
        : unavailable(`the provider threw ${error instanceof Error ? error.name : typeof error}`);
    } finally {
      clearTimeout(limit);
      minting = undefined;
    }
  };
  const fetch = async ({ force, reason, rejected, signal }: TokenRequest = {}): Promise<Token> => {
    const why = reason ?? (force ? 'rejected' : 'initial');
    const found = peek();
    if (found && (why === 'initial' || (rejected !== undefined && found.value !== rejected))) return found;
    const joined = minting !== undefined;
    minting ??= mint(why);
    const token = await (signal ? until(signal, minting) : minting);
    // A token for one connection belongs to the one who asked first.
    return joined && token.singleUse ? fetch({ force: true, reason: why, signal }) : token;
  };
  return { fetch, peek };
}

function endpoint(
  url: string,
  { refreshBefore, fetch: ask, ...init }: RequestInit & RenewalOptions & { fetch?: typeof fetch } = {},
): TokenSource {
  // A relative one leads to the page's own server, whatever the gateway's base is.
  const target = /^[a-z][a-z0-9+.-]*:/i.test(url) ? resolve(url, 'http') : url;
  refuseCredential(target);
  const provider: TokenProvider = async ({ signal }) => {
    const response = await (ask ?? globalThis.fetch)(target, {
      method: 'POST',
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
      ...init,
      signal,
    });
    if (response.status === 401 || response.status === 403) throw new UnauthorizedError();
    if (!response.ok) throw unavailable(`status ${response.status}`, retryAfterOf(response));
    return read(await response.json().catch(() => undefined));
  };
  return custom(provider, refreshBefore === undefined ? {} : { refreshBefore });
}

/** Reads the shapes in which Keymoat and providers give tokens out. */
function read(answer: unknown): Token {
  const { client_secret: inner, ...outer } = Object(answer);
  const { value, token, access_token, name, start_by, expires_at, expires, expireTime, expires_in, uses, single_use } =
    {
      ...outer,
      ...Object(inner),
    };
  // A token that no longer opens anything is of no use to a client, however long it keeps open what is.
  const expiresAt = seconds(start_by ?? expires_at ?? expires ?? expireTime) || Date.now() / 1000 + Number(expires_in);
  return {
    // Whatever is no text is refused where the token is checked.
    value: value ?? token ?? access_token ?? name,
    ...(expiresAt > 0 && { expiresAt }),
    singleUse: uses === 1 || single_use === true,
  };
}

/** Seconds since 1970, of seconds or a date. */
const seconds = (time: unknown): number => (typeof time === 'string' ? Date.parse(time) / 1000 : Number(time));

function tokenOf(given: string | Token): Token {
  const token = typeof given === 'object' ? given : { value: given };
  checked(token.value);
  return token;
}

/** Why there is no token, without what the provider said: that may hold one. */
const unavailable = (why: string, retryAfter?: number): KeymoatError =>
  new KeymoatError('token_unavailable', `no token at the moment: ${why}`, retryAfter);

/** The seconds of `Retry-After`, if it has seconds. */
export function retryAfterOf(response: Response): number | undefined {
  const seconds = response.headers.get('retry-after');
  return seconds && /^\d{1,6}$/.test(seconds) ? Number(seconds) : undefined;
}

/** What `promise` gives, unless `signal` ends first. */
export function until<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(unavailable('not waited for any more'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
