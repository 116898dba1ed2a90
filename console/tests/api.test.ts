// What every request carries, and what becomes of a refusal.

import { afterEach, expect, test, vi } from 'vitest';
import { ApiError, ask, call, isSignedOut } from '../src/api/client.ts';

const answers = (status: number, body: unknown, headers: Record<string, string> = {}) => {
  const text = body === undefined ? null : JSON.stringify(body);
  const sent = vi.fn<(url: string, init: RequestInit) => Promise<Response>>(() =>
    Promise.resolve(new Response(text, { status, headers })),
  );
  vi.stubGlobal('fetch', sent);
  return sent;
};

afterEach(() => {
  isSignedOut.value = false;
});

test('a change shows that it comes from this page, and is asked for once', async () => {
  const sent = answers(200, {});
  await call('POST', '/keys', { body: { name: 'a' }, etag: '"1"', query: { text: 'x y', none: undefined, empty: '' } });
  const [url, init] = sent.mock.calls[0] ?? [];
  const headers = new Headers(init?.headers);
  expect(url).toBe('/api/v1/keys?text=x+y');
  expect(init).toMatchObject({ method: 'POST', credentials: 'same-origin', redirect: 'error', body: '{"name":"a"}' });
  expect(headers.get('x-keymoat-request')).toBe('console');
  expect(headers.get('if-match')).toBe('"1"');
  expect(headers.get('idempotency-key')).toMatch(/^[\da-f-]{36}$/);
});

test('the state of a resource comes with it', async () => {
  answers(200, { name: 'a' }, { etag: '"7"' });
  expect(await ask('GET', '/keys/1')).toEqual({ data: { name: 'a' }, etag: '"7"' });
});

test('a problem is told as the server told it, and 401 asks for the password', async () => {
  answers(401, { title: 'Nobody', status: 401, detail: 'the session is over', code: 'credential_invalid' });
  await expect(call('GET', '/keys')).rejects.toMatchObject({ problem: { detail: 'the session is over' } });
  expect(isSignedOut.value).toBe(true);
});

test('what is no problem document still says something', async () => {
  vi.stubGlobal('fetch', () => Promise.resolve(new Response('<html>', { status: 502 })));
  const error = await call('GET', '/keys').catch((error: unknown) => error);
  expect(error).toBeInstanceOf(ApiError);
  expect((error as ApiError).problem).toMatchObject({ status: 502, title: 'Status 502' });
});

test('a server that is gone is named as that', async () => {
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('failed')));
  await expect(call('GET', '/keys')).rejects.toMatchObject({ problem: { status: 0 } });
});
