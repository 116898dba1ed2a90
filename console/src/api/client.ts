// One request to the admin API: the session is a cookie that no script can read, and every refusal is a problem document.

import { signal } from '@preact/signals';

/** What the API answers when it says no (RFC 9457). */
export interface Problem {
  type?: string;
  title: string;
  status: number;
  detail: string;
  code?: string;
}

/** A request that was refused or never arrived. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** What goes along with a request. */
export interface CallOptions {
  query?: Record<string, string | number | boolean | undefined> | undefined;
  body?: unknown;
  /** What the resource was when the person looked at it: a change since then is refused and not overwritten. */
  etag?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** An answer and what it was an answer about. */
export interface Answer<T> {
  data: T;
  etag: string | undefined;
}

/** Set when the server no longer knows who this is: the shell then asks for the password. */
export const isSignedOut = signal(false);

export const API = '/api/v1';

/** The API's answer to one request, or an {@link ApiError}. */
export async function ask<T>(method: string, path: string, options: CallOptions = {}): Promise<Answer<T>> {
  // A page of another origin cannot set a header of its own: it shows that the request comes from here.
  const headers = new Headers({ Accept: 'application/json', 'X-Keymoat-Request': 'console' });
  if (method === 'POST') headers.set('Idempotency-Key', crypto.randomUUID());
  if (options.etag !== undefined) headers.set('If-Match', options.etag);
  const init: RequestInit = { method, headers, credentials: 'same-origin', cache: 'no-store', redirect: 'error' };
  if (options.signal) init.signal = options.signal;
  if (options.body !== undefined) {
    headers.set('Content-Type', 'application/json');
    init.body = JSON.stringify(options.body);
  }
  const response = await fetch(API + path + queryOf(options.query), init).catch((error: unknown) => {
    if (options.signal?.aborted) throw error;
    throw new ApiError({
      title: 'Keymoat does not answer',
      status: 0,
      detail: 'The request did not reach Keymoat. Check that it is running, then try again.',
    });
  });
  if (!response.ok) throw new ApiError(await problemOf(response));
  const data = (response.status === 204 ? undefined : await response.json()) as T;
  return { data, etag: response.headers.get('etag') ?? undefined };
}

/** The same without the envelope. */
export const call = async <T>(method: string, path: string, options?: CallOptions): Promise<T> =>
  (await ask<T>(method, path, options)).data;

/** What went wrong, whatever was thrown. */
export function problemFrom(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  return { title: 'The console failed', status: 0, detail: 'Something unexpected happened here. Reload the page.' };
}

function queryOf(query: CallOptions['query'] = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

async function problemOf(response: Response): Promise<Problem> {
  const { status } = response;
  const told = (await response.json().catch(() => ({}))) as Partial<Problem>;
  if (status === 401) isSignedOut.value = true;
  return {
    ...told,
    status,
    title: told.title ?? `Status ${status}`,
    detail: told.detail ?? 'Keymoat answered with an error and no explanation.',
  };
}
