// Small things that turn data into words.

import { expect, test } from 'vitest';
import { takeClaim } from '../src/claim.ts';
import { match } from '../src/routing.tsx';
import { barsOf } from '../src/screens/overview.tsx';
import { fixFor, keySnippets } from '../src/snippets.ts';
import { niceCeiling } from '../src/ui/chart.tsx';
import { bytes, fromNow, lasting } from '../src/ui/time.tsx';
import { carrierWords, kindOf } from '../src/words.ts';

test('carriers are four kinds', () => {
  expect(['header:x-api-key', 'subprotocol', 'subprotocol:api-key', 'query:key', 'first_message'].map(kindOf)).toEqual([
    'header',
    'subprotocol',
    'subprotocol',
    'query',
    'message',
  ]);
  expect(carrierWords('query:api_key')).toBe('URL query ?api_key=…');
});

test('lengths of time and amounts are short', () => {
  expect(lasting(0)).toBe('0 s');
  expect(lasting(3671)).toBe('1 h 1 min');
  expect(bytes(999)).toBe('999 B');
  expect(bytes(1_234_567)).toBe('1.2 MB');
  expect(fromNow('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:03:10Z'))).toBe('3 min. ago');
  expect(fromNow('not a time', 0)).toBe('unknown');
});

test('an axis ends at a round number that holds the largest bar', () => {
  for (const value of [1, 7, 99, 100, 101, 5601, 123_456]) {
    expect(niceCeiling(value)).toBeGreaterThanOrEqual(value);
    expect(niceCeiling(value)).toBeLessThanOrEqual(Math.max(2, value * 2));
  }
});

test('addresses are matched part by part', () => {
  expect(match('/keys/:', '/keys/key_1')).toEqual(['key_1']);
  expect(match('/keys/:', '/keys/a%2Fb')).toEqual(['a/b']);
  expect(match('/keys/:', '/keys')).toBeUndefined();
  expect(match('/', '/')).toEqual([]);
  expect(match('/keys', '/keys/')).toEqual([]);
});

test('each day has a bar, also without a request, and other days have none', () => {
  const today = Date.parse('2026-11-22T15:00:00Z');
  const row = (at: string, group: string, requests: number) => ({
    ...{ at, group, requests },
    ...{ sessions: 0, bytes_in: 0, bytes_out: 0, let_in_by_url: 0 },
  });
  const bars = barsOf(
    [
      row('2026-11-22T00:00:00Z', 'query:key', 2),
      row('2026-11-22T00:00:00Z', 'query:api_key', 3),
      row('2020-01-01T00:00:00Z', 'header', 9),
    ],
    today,
  );
  expect(bars).toHaveLength(30);
  expect(bars.at(-1)).toMatchObject({ name: '2026-11-22', values: { query: 5 } });
  expect(bars[0]).toMatchObject({ name: '2026-10-24', values: {} });
});

test('no snippet has a credential in a URL, and none can be broken out of', () => {
  for (const isWebSocket of [true, false]) {
    const path = '/api/"); rm -rf ~ $(touch x) `y` \'';
    for (const [name, text] of keySnippets({ base: 'https://gateway.example', path, isWebSocket })) {
      expect(text, name).not.toMatch(/[?&](api_?key|key|token|access_token)=/i);
      // In the shell it stands between single quotes, elsewhere between double ones.
      if (name === 'curl') expect(text).toContain(`'\\''`);
      else expect(text, name).not.toMatch(/(?<!\\)"\); rm|\$\(touch|`y`/);
    }
  }
});

test('the fix speaks the language of the client', () => {
  const target = { base: 'https://gateway.example', path: '/ws/events', isWebSocket: true };
  const titles = ['python-websockets/12.0', 'Mozilla/5.0 (X11)', 'okhttp/4.9', 'curl/8', undefined].map(
    (user_agent) => fixFor({ carrier: 'query:key', user_agent: user_agent ?? null }, target).title,
  );
  expect(titles).toEqual(['Python', 'Browser', 'React Native', 'curl', 'curl']);
});

test('a claim leaves the address bar at once', () => {
  history.replaceState(null, '', '/?x=1#claim=secret-of-the-link');
  expect(takeClaim()).toBe('secret-of-the-link');
  expect(location.href).not.toContain('secret-of-the-link');
  expect(location.search).toBe('?x=1');
  expect(takeClaim()).toBeUndefined();
});
