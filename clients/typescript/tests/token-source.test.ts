import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Token, TokenSource, UnauthorizedError } from '../src/index.js';
import { codeOf, codeOfRejection, TOKEN } from './support.js';

const NOW = 1_800_000_000;
beforeEach(() => void vi.useFakeTimers({ now: NOW * 1000 }));
afterEach(() => void vi.useRealTimers());

/** A provider of numbered tokens. */
const minting = (life?: number, more: Partial<Token> = {}) => {
  let count = 0;
  return vi.fn(async () => {
    const value = `canary-${++count}`;
    return life === undefined ? { value, ...more } : { value, expiresAt: Date.now() / 1000 + life, ...more };
  });
};
const values = async (asked: Promise<Token>[]) => (await Promise.all(asked)).map(({ value }) => value);
const answering = (body: unknown, init?: ResponseInit) =>
  vi.fn<typeof fetch>(async () => new Response(JSON.stringify(body), init));

test('a literal gives itself, and cannot be renewed', async () => {
  const source = TokenSource.literal({ value: TOKEN, expiresAt: NOW + 10 });
  expect((await source.fetch()).value).toBe(TOKEN);
  expect((await source.fetch({ reason: 'reconnect' })).value).toBe(TOKEN);
  expect(await codeOfRejection(source.fetch({ force: true }))).toBe('token_not_renewable');
  expect(await codeOfRejection(source.fetch({ reason: 'expired' }))).toBe('token_not_renewable');
  vi.advanceTimersByTime(10_000);
  expect(await codeOfRejection(source.fetch())).toBe('token_not_renewable');
  expect(source.peek?.()).toBeUndefined();
});

test('however many wait, one token is minted', async () => {
  const provider = minting(600);
  const source = TokenSource.custom(provider);
  expect(await values([source.fetch(), source.fetch(), source.fetch({ force: true })])).toEqual([
    'canary-1',
    'canary-1',
    'canary-1',
  ]);
  expect((await source.fetch()).value).toBe('canary-1');
  expect(provider).toHaveBeenCalledTimes(1);
});

test('a token is renewed before it ends', async () => {
  const source = TokenSource.custom(minting(600));
  await source.fetch();
  vi.advanceTimersByTime(539_000);
  expect((await source.fetch()).value).toBe('canary-1');
  vi.advanceTimersByTime(1_000);
  expect(source.peek?.()).toBeUndefined();
  expect((await source.fetch()).value).toBe('canary-2');
});

test('a short life is not spent on renewing', async () => {
  const source = TokenSource.custom(minting(60));
  await source.fetch();
  vi.advanceTimersByTime(44_999);
  expect((await source.fetch()).value).toBe('canary-1');
  vi.advanceTimersByTime(1);
  expect((await source.fetch()).value).toBe('canary-2');
});

test('how long before is for the caller to say', async () => {
  const source = TokenSource.custom(minting(600), { refreshBefore: 0 });
  await source.fetch();
  vi.advanceTimersByTime(599_000);
  expect((await source.fetch()).value).toBe('canary-1');
});

test('force mints anew, but not for a token that was replaced meanwhile', async () => {
  const provider = minting(600);
  const source = TokenSource.custom(provider);
  const { value: old } = await source.fetch();
  expect((await source.fetch({ force: true })).value).toBe('canary-2');
  // Another request that was sent with the old token hears of it only now.
  expect((await source.fetch({ reason: 'rejected', rejected: old })).value).toBe('canary-2');
  expect((await source.fetch({ reason: 'rejected', rejected: 'canary-2' })).value).toBe('canary-3');
  expect(provider).toHaveBeenCalledTimes(3);
});

test('a token without an end is not kept', async () => {
  const source = TokenSource.custom(minting());
  expect(await values([source.fetch()])).toEqual(['canary-1']);
  expect(source.peek?.()).toBeUndefined();
  expect(await values([source.fetch()])).toEqual(['canary-2']);
});

test('a token for one connection goes to one', async () => {
  const source = TokenSource.custom(minting(600, { singleUse: true }));
  const given = await values([source.fetch(), source.fetch(), source.fetch()]);
  expect(new Set(given).size).toBe(3);
  expect(source.peek?.()).toBeUndefined();
});

test('the provider is told why and how often', async () => {
  const told: unknown[] = [];
  const source = TokenSource.custom(({ attempt, reason }) => {
    told.push([attempt, reason]);
    throw new Error('s3cret');
  });
  for (const reason of ['initial', 'reconnect', 'expired'] as const) {
    expect(await codeOfRejection(source.fetch({ reason }))).toBe('token_unavailable');
  }
  expect(told).toEqual([
    [0, 'initial'],
    [1, 'reconnect'],
    [2, 'expired'],
  ]);
});

test('a provider that gives up is believed, and one that gives nonsense is not', async () => {
  const given = (what: unknown) => TokenSource.custom(() => what as string).fetch();
  expect(await codeOfRejection(TokenSource.custom(() => Promise.reject(new UnauthorizedError())).fetch())).toBe(
    'unauthorized',
  );
  expect(await codeOfRejection(given(''))).toBe('credential_missing');
  expect(await codeOfRejection(given('two canaries'))).toBe('credential_malformed');
  expect(await codeOfRejection(given(undefined))).toBe('credential_missing');
});

test('who stops waiting gets an error, the others their token', async () => {
  const ending = new AbortController();
  let mint: (token: string) => void = () => {};
  const source = TokenSource.custom(() => {
    return new Promise((resolve) => {
      mint = resolve;
    });
  });
  const left = codeOfRejection(source.fetch({ signal: ending.signal }));
  const stays = source.fetch();
  ending.abort();
  expect(await left).toBe('token_unavailable');
  mint('canary-1');
  expect((await stays).value).toBe('canary-1');
});

test('a mint that never ends is given up', async () => {
  let signal: AbortSignal | undefined;
  const source = TokenSource.custom((context) => {
    ({ signal } = context);
    return new Promise(() => {});
  });
  const asked = codeOfRejection(source.fetch());
  await vi.advanceTimersByTimeAsync(30_000);
  expect(await asked).toBe('token_unavailable');
  expect(signal?.aborted).toBe(true);
});

test.each([
  [{ value: 'canary', expires_at: NOW + 600 }, NOW + 600],
  [{ value: 'ek_canary', expires_at: NOW + 600, session: { type: 'realtime' } }, NOW + 600],
  [{ token: 'canary', expires_in: 30 }, NOW + 30],
  [{ access_token: 'canary', token_type: 'Bearer', expires_in: 30 }, NOW + 30],
  [{ client_secret: { value: 'canary', expires_at: NOW + 60 }, id: 'x' }, NOW + 60],
  [{ name: 'auth_tokens/canary', expireTime: '2027-01-15T08:10:00Z' }, NOW + 600],
  [{ name: 'auth_tokens/canary' }, undefined],
  // Keymoat's own: what counts is how long it opens new sessions.
  [
    { token: 'canary', id: 'tok_1', uses: 5, start_by: '2027-01-15T08:01:00Z', expires: '2027-01-15T09:00:00Z' },
    NOW + 60,
  ],
])('an endpoint may answer %j', async (body, expiresAt) => {
  const source = TokenSource.endpoint('https://app.example/token', { fetch: answering(body) });
  const token = await source.fetch();
  expect(token.value).toMatch(/canary$/);
  expect(token.expiresAt).toBe(expiresAt);
});

test('an endpoint is asked by POST, without redirects and caches', async () => {
  const ask = answering({ token: 'canary' });
  await TokenSource.endpoint('/api/token', { fetch: ask, headers: { 'X-CSRF': '1' }, body: '{}' }).fetch();
  expect(ask).toHaveBeenCalledWith(
    '/api/token',
    expect.objectContaining({
      method: 'POST',
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
      headers: { 'X-CSRF': '1' },
      body: '{}',
    }),
  );
});

test('a token for one use is recognised', async () => {
  const single = TokenSource.endpoint('/t', { fetch: answering({ value: 'canary', expires_in: 600, uses: 1 }) });
  const many = TokenSource.endpoint('/t', { fetch: answering({ value: 'canary', expires_in: 600, uses: 10 }) });
  expect([(await single.fetch()).singleUse, (await many.fetch()).singleUse]).toEqual([true, false]);
});

test('what an endpoint refuses with decides whether to try again', async () => {
  const failing = (status: number, headers = {}) =>
    TokenSource.endpoint('/t', { fetch: answering({ detail: 'canary' }, { status, headers }) }).fetch();
  expect(await codeOfRejection(failing(401))).toBe('unauthorized');
  expect(await codeOfRejection(failing(403))).toBe('unauthorized');
  expect(await codeOfRejection(failing(500))).toBe('token_unavailable');
  await expect(failing(503, { 'retry-after': '7' })).rejects.toMatchObject({
    code: 'token_unavailable',
    retryAfter: 7,
  });
  const empty = TokenSource.endpoint('/t', { fetch: vi.fn(async () => new Response('no JSON')) });
  expect(await codeOfRejection(empty.fetch())).toBe('credential_missing');
});

test('an endpoint is encrypted and has no credential in its URL', () => {
  expect(codeOf(() => TokenSource.endpoint('http://app.example/token'))).toBe('insecure_url');
  expect(codeOf(() => TokenSource.endpoint('/token?api_key=s3cret'))).toBe('credential_in_url');
  expect(codeOf(() => TokenSource.endpoint('https://a:s3cret@app.example/'))).toBe('credential_in_url');
  expect(codeOf(() => TokenSource.endpoint('http://127.0.0.1:3000/token'))).toBeUndefined();
});

test('a source shows nothing', async () => {
  const source = TokenSource.custom(minting(600));
  await source.fetch();
  const shown = [source, TokenSource.literal(TOKEN)].map(
    (source) => JSON.stringify(source) + String(source) + Object.values(source).join(),
  );
  expect(shown.join()).not.toMatch(/canary-|TestVector/);
});
