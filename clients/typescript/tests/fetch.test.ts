import { afterEach, describe, expect, test, vi } from 'vitest';
import { configure, createFetch, type FetchOptions, TokenSource } from '../src/index.js';
import { codeOf, codeOfRejection, KEY, TOKEN } from './support.js';

const ORIGIN = 'https://gateway.example';
afterEach(() => configure({ token: undefined, baseUrl: undefined }));

interface Seen {
  url: string;
  headers: Headers;
  redirect: string | undefined;
  body: string | undefined;
}

/** A `fetch` that answers with these statuses in turn, and notes what it was asked. */
function network(...statuses: number[]) {
  const seen: Seen[] = [];
  const fetch = vi.fn<typeof globalThis.fetch>(async (input, init) => {
    const isRequest = input instanceof Request;
    const request = isRequest ? new Request(input, init) : undefined;
    const headers = request?.headers ?? new Headers(init?.headers);
    const body = request ? await request.text() : typeof init?.body === 'string' ? init.body : undefined;
    seen.push({ url: isRequest ? input.url : String(input), headers, redirect: init?.redirect, body });
    return new Response('{}', { status: statuses.shift() ?? 200 });
  });
  return { fetch, seen };
}

const making = (options: Partial<FetchOptions> = {}, ...statuses: number[]) => {
  let count = 0;
  const token = TokenSource.custom(() => ({ value: `canary-${++count}`, expiresAt: Date.now() / 1000 + 600 }));
  const { fetch, seen } = network(...statuses);
  return { ask: createFetch({ origins: [ORIGIN], token, fetch, ...options }), seen };
};
const sent = (seen: Seen[]) => seen.map(({ headers }) => headers.get('authorization'));

describe('a credential goes', () => {
  test('to the named origins, however they are written', async () => {
    const { ask, seen } = making({ origins: ['HTTPS://gateway.example:443/', 'http://localhost:8787'] });
    for (const url of [
      `${ORIGIN}/api`,
      `${ORIGIN}:443/api`,
      'https://GATEWAY.example/api',
      'http://localhost:8787/x',
    ]) {
      await ask(url, { headers: { 'X-Own': '1' } });
    }
    await ask(new URL(`${ORIGIN}/api`));
    await ask(new Request(`${ORIGIN}/api`, { headers: { 'X-Own': '1' } }));
    expect(sent(seen)).toEqual(Array(6).fill('Bearer canary-1'));
    expect(seen.at(-1)?.headers.get('x-own')).toBe('1');
  });

  test('nowhere else', async () => {
    const { ask, seen } = making();
    for (const url of [
      'https://evil.example/',
      'https://gateway.example.evil.example/',
      'https://gateway.example@evil.example/',
      'https://evil.example/https://gateway.example/',
      'https://gateway.example:8443/',
      'http://gateway.example/',
      '//evil.example/x',
      '/relative',
      'data:text/plain,x',
    ]) {
      await ask(url);
    }
    expect(sent(seen)).toEqual(Array(9).fill(null));
  });

  test("to the page's own origin for a relative URL", async () => {
    vi.stubGlobal('location', { origin: ORIGIN });
    const { ask, seen } = making();
    await ask('/api');
    await ask('//evil.example/api');
    await ask('\\\\evil.example/api');
    expect(sent(seen)).toEqual(['Bearer canary-1', null, null]);
  });

  test('in the header that was asked for', async () => {
    const { ask, seen } = making({ header: 'x-api-key' });
    await ask(`${ORIGIN}/api`);
    expect([seen[0]?.headers.get('x-api-key'), seen[0]?.headers.get('authorization')]).toEqual(['canary-1', null]);
  });

  test('from the configuration, and not at all without one', async () => {
    const { fetch, seen } = network();
    await createFetch({ origins: [ORIGIN], fetch })(`${ORIGIN}/`);
    configure({ token: TOKEN });
    await createFetch({ origins: [ORIGIN], fetch })(`${ORIGIN}/`);
    expect(sent(seen)).toEqual([null, `Bearer ${TOKEN}`]);
  });

  test('not beside one that the request already has', async () => {
    const { ask, seen } = making();
    await ask(`${ORIGIN}/api`, { headers: { Authorization: 'Bearer own' } });
    expect(sent(seen)).toEqual(['Bearer own']);
  });

  test('not along a redirect, unless the request says so', async () => {
    const { ask, seen } = making();
    await ask(`${ORIGIN}/a`);
    await ask(`${ORIGIN}/a`, { redirect: 'follow' });
    await ask(new Request(`${ORIGIN}/a`, { redirect: 'manual' }));
    await ask('https://elsewhere.example/a');
    expect(seen.map(({ redirect }) => redirect)).toEqual(['error', 'follow', 'manual', undefined]);
  });
});

describe('after a 401', () => {
  test('a new token is tried once', async () => {
    const { ask, seen } = making({}, 401, 200);
    const response = await ask(`${ORIGIN}/api`, { method: 'POST', body: 'payload' });
    expect([response.status, sent(seen)]).toEqual([200, ['Bearer canary-1', 'Bearer canary-2']]);
    expect(seen.map(({ body }) => body)).toEqual(['payload', 'payload']);
  });

  test('and not twice', async () => {
    const { ask, seen } = making({}, 401, 401, 200);
    expect((await ask(`${ORIGIN}/api`)).status).toBe(401);
    expect(seen.length).toBe(2);
  });

  test('a request with a body is sent again whole', async () => {
    const { ask, seen } = making({}, 401, 200);
    await ask(new Request(`${ORIGIN}/api`, { method: 'POST', body: 'payload' }));
    expect(seen.map(({ body }) => body)).toEqual(['payload', 'payload']);
  });

  test('a stream cannot be sent again', async () => {
    const { ask, seen } = making({}, 401, 200);
    const init = { method: 'POST', body: new ReadableStream(), duplex: 'half' } as RequestInit;
    expect((await ask(`${ORIGIN}/api`, init)).status).toBe(401);
    expect(seen.length).toBe(1);
  });

  test('nothing is tried with a literal', async () => {
    const { ask, seen } = making({ token: TOKEN }, 401, 200);
    expect((await ask(`${ORIGIN}/api`)).status).toBe(401);
    expect(seen.length).toBe(1);
  });

  test('many requests mint one new token', async () => {
    const { ask, seen } = making({}, 401, 401, 401);
    const answers = await Promise.all([1, 2, 3].map((n) => ask(`${ORIGIN}/${n}`)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(sent(seen).slice(3)).toEqual(Array(3).fill('Bearer canary-2'));
  });

  test.each([403, 429, 500])('but not after a %i', async (status) => {
    const { ask, seen } = making({}, status);
    expect((await ask(`${ORIGIN}/api`)).status).toBe(status);
    expect(seen.length).toBe(1);
  });
});

describe('refuses', () => {
  test('a credential in the URL', async () => {
    const { ask, seen } = making({ allowParameters: ['key'] });
    expect(await codeOfRejection(ask(`${ORIGIN}/api?api_key=s3cret`))).toBe('credential_in_url');
    expect(await codeOfRejection(ask(new Request(`${ORIGIN}/api?access_token=s3cret`)))).toBe('credential_in_url');
    await ask(`${ORIGIN}/objects?key=photo.jpg`);
    expect(seen.length).toBe(1);
  });

  test('origins in plain text beyond this machine, and what is no origin', () => {
    expect(codeOf(() => making({ origins: ['http://gateway.example'] }))).toBe('insecure_url');
    for (const origin of ['*', 'gateway.example', '']) {
      expect(
        codeOf(() => making({ origins: [origin] })),
        origin,
      ).toBe('url_invalid');
    }
  });

  test('a long-lived key in a page', async () => {
    vi.stubGlobal('document', {});
    const { ask, seen } = making({ token: KEY });
    expect(await codeOfRejection(ask(`${ORIGIN}/api`))).toBe('long_lived_key_in_browser');
    expect(seen.length).toBe(0);
  });
});

test('a request that is given up while its token is minted is not sent', async () => {
  const ending = new AbortController();
  const { ask, seen } = making({ token: () => new Promise(() => {}) });
  const asked = codeOfRejection(ask(`${ORIGIN}/api`, { signal: ending.signal }));
  ending.abort();
  expect(await asked).toBe('token_unavailable');
  expect(seen.length).toBe(0);
});
