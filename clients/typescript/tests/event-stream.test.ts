import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createEventStream, type EventStreamOptions, type StreamEvent, UnauthorizedError } from '../src/index.js';
import { codeOf, codeOfRejection, KEY, TOKEN } from './support.js';

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => void vi.useRealTimers());

const stream = (...chunks: (string | Error)[]) => {
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    pull(controller) {
      const chunk = chunks.shift();
      if (chunk === undefined) controller.close();
      else if (chunk instanceof Error) controller.error(chunk);
      else controller.enqueue(encoder.encode(chunk));
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } });
};
const status = (code: number, headers = {}) => new Response(code === 204 ? null : 'canary', { status: code, headers });

/** Reads `endpoint` from answers that come in turn, to the end or until `limit` events have come. */
async function reading(answers: (Response | Error)[], options: EventStreamOptions = {}, limit = 100) {
  const asked: Headers[] = [];
  let count = 0;
  const fetch = vi.fn(async (_url, init) => {
    asked.push(new Headers(init.headers));
    const answer = answers.shift() ?? status(204);
    if (answer instanceof Error) throw answer;
    return answer;
  });
  const token = vi.fn(() => `canary-${++count}`);
  const events: StreamEvent[] = [];
  const done = (async () => {
    for await (const event of createEventStream('https://gateway.example/sse', { token, fetch, ...options })) {
      events.push(event);
      if (events.length === limit) break;
    }
  })();
  done.catch(() => {});
  await vi.advanceTimersByTimeAsync(0);
  return { events, asked, fetch, done, data: () => events.map(({ data }) => data) };
}

test('events come with a credential in a header', async () => {
  const { asked, fetch, done, data } = await reading([stream('data: 1\n\nda', 'ta: 2\n\n')], {
    reconnect: false,
    headers: { 'X-Own': '1' },
  });
  await done;
  expect(data()).toEqual(['1', '2']);
  expect(fetch.mock.calls[0]?.[0]).toBe('https://gateway.example/sse');
  expect(fetch.mock.calls[0]?.[1]).toMatchObject({ method: 'GET', cache: 'no-store', redirect: 'error' });
  expect(Object.fromEntries(asked[0] ?? [])).toEqual({
    accept: 'text/event-stream',
    authorization: 'Bearer canary-1',
    'x-own': '1',
  });
});

test('a stream that was cut off goes on where it was, with a token of its own', async () => {
  const { asked, done, data } = await reading([
    stream('id: 7\ndata: 1\n\nid: 8\ndata: half'),
    stream('id: 9\ndata: 2\n\n', new Error('cut')),
    new Error('network'),
    stream('data: 3\n\n'),
  ]);
  expect(data()).toEqual(['1']);
  await vi.advanceTimersByTimeAsync(1000);
  expect(data()).toEqual(['1', '2']);
  await vi.advanceTimersByTimeAsync(1000);
  await vi.advanceTimersByTimeAsync(2000);
  expect(data()).toEqual(['1', '2', '3']);
  await vi.advanceTimersByTimeAsync(1000);
  await done;
  expect(asked.map((headers) => headers.get('last-event-id'))).toEqual([null, '7', '9', '9', '9']);
  expect(asked.map((headers) => headers.get('authorization'))).toEqual(
    [1, 2, 3, 4, 5].map((n) => `Bearer canary-${n}`),
  );
});

test('a first position may be given, and the server says how long to wait', async () => {
  const { asked, done } = await reading([stream('retry: 5000\ndata: 1\n\n')], { lastEventId: '41' });
  await vi.advanceTimersByTimeAsync(4999);
  expect(asked.length).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  await done;
  expect(asked.map((headers) => headers.get('last-event-id'))).toEqual(['41', '41']);
});

test('characters may be cut anywhere', async () => {
  const bytes = new TextEncoder().encode('data: zażółć 🦡\n\n');
  const body = new ReadableStream({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const { data } = await reading([new Response(body, { headers: { 'content-type': 'text/event-stream' } })]);
  expect(data()).toEqual(['zażółć 🦡']);
});

test('a 401 is answered with a new token, once', async () => {
  const { asked, done, data } = await reading([status(401), stream('data: 1\n\n'), status(401), status(401)]);
  await vi.advanceTimersByTimeAsync(1000);
  expect(await codeOfRejection(done)).toBe('unauthorized');
  expect(data()).toEqual(['1']);
  expect(asked.length).toBe(4);
});

test.each([
  [401, { token: TOKEN }, 'unauthorized'],
  [403, {}, 'unauthorized'],
  [404, {}, 'response_refused'],
  [400, {}, 'response_refused'],
])('a %i that nothing can help is thrown', async (code, options, word) => {
  const { done, fetch } = await reading([status(code), status(code)], options);
  expect(await codeOfRejection(done)).toBe(word);
  expect(fetch).toHaveBeenCalledTimes(1);
});

test('a 429 waits as long as the server says, a 503 at its own pace', async () => {
  const { fetch, done } = await reading([status(429, { 'retry-after': '12' }), status(503)]);
  await vi.advanceTimersByTimeAsync(11_999);
  expect(fetch).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(fetch).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(2000);
  await done;
});

test('the attempts are counted', async () => {
  const { done, fetch } = await reading([status(503), status(503), status(503)], { reconnect: { maxAttempts: 2 } });
  const ended = codeOfRejection(done);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await ended).toBe('connection_failed');
  expect(fetch).toHaveBeenCalledTimes(3);
});

test('what is no event stream is thrown', async () => {
  const page = new Response('<html>canary', { headers: { 'content-type': 'text/html' } });
  expect(await codeOfRejection((await reading([page])).done)).toBe('response_refused');
  const unstreamed = {
    ok: true,
    status: 200,
    body: null,
    headers: new Headers({ 'content-type': 'text/event-stream' }),
  };
  expect(await codeOfRejection((await reading([unstreamed as Response])).done)).toBe('response_refused');
  const endless = stream(`data: ${'x'.repeat(100)}`);
  expect(await codeOfRejection((await reading([endless], { eventSizeMax: 50 })).done)).toBe('event_too_large');
});

test('a provider that gives up ends it, one that fails does not', async () => {
  const given = (token: () => string) => reading([], { token });
  const stop = await given(() => {
    throw new UnauthorizedError();
  });
  expect(await codeOfRejection(stop.done)).toBe('unauthorized');
  let isDown = true;
  const later = await given(() => {
    if (isDown) throw new Error('canary');
    return 'canary-1';
  });
  expect(later.fetch).not.toHaveBeenCalled();
  isDown = false;
  await vi.advanceTimersByTimeAsync(1000);
  await later.done;
  expect(later.fetch).toHaveBeenCalledTimes(1);
});

test('leaving the loop and the signal both end the request', async () => {
  const left = await reading([stream('data: 1\n\n', 'data: 2\n\n')], {}, 1);
  await left.done;
  expect(left.fetch.mock.calls[0]?.[1].signal.aborted).toBe(true);

  const ending = new AbortController();
  const waiting = await reading([status(503)], { signal: ending.signal });
  ending.abort();
  await waiting.done;
  expect(waiting.fetch).toHaveBeenCalledTimes(1);
  await (
    await reading([], { signal: ending.signal })
  ).done;
});

test('credentials in the URL, plain text, and keys in a page are refused', async () => {
  expect(codeOf(() => createEventStream('https://gateway.example/sse?token=s3cret'))).toBe('credential_in_url');
  expect(codeOf(() => createEventStream('http://gateway.example/sse'))).toBe('insecure_url');
  vi.stubGlobal('document', {});
  expect(await codeOfRejection((await reading([], { token: KEY })).done)).toBe('long_lived_key_in_browser');
});
