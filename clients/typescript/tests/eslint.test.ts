import { Linter, RuleTester } from 'eslint';
import { describe, expect, it, test } from 'vitest';
import keymoat, { type Rule } from '../src/eslint.js';

RuleTester.describe = describe;
RuleTester.it = it;
RuleTester.itOnly = it.only;

const rule = keymoat.rules['no-credential-in-url'] as Rule;
const url = (name: string) => [{ messageId: 'url', data: { name } }];
const wrong = (code: string, name: string, output: string | null = null) => ({ code, errors: url(name), output });

new RuleTester().run('no-credential-in-url', rule as never, {
  valid: [
    'const options = buildWebSocketOptions("/ws/events"); new WebSocket(options.url, options.protocols);',
    'fetch(`${base}/api/events?limit=${limit}`)',
    'fetch(url, { headers: { "X-API-Key": key } })',
    'fetch(`/objects?key=photo.jpg`)',
    'fetch("/list?pageToken=" + next)',
    'fetch("/list?token=2")',
    'new Map().set("key", value)',
    'headers.set("x-api-key", key)',
    'const headers = new Headers(); headers.append("authorization", value)',
    'const params = new URLSearchParams(); params.set("limit", 1)',
    'url.searchParams.set("camera", camera)',
    'new URLSearchParams({ limit })',
    'new URLSearchParams("limit=" + limit)',
    'axios.get("/events", { params: { limit } })',
    'const text = `the parameter ?api_key= is gone`',
    'const text = "key=" + value',
    'a + b; tag`x${y}z`',
    'new URLSearchParams(...all); new URLSearchParams; x.set(); params.append(...all)',
  ],
  invalid: [
    // Templates, sums and texts.
    wrong('const u = `${base}/ws?api_key=${key}`', 'api_key'),
    wrong('const u = `${base}/ws?a=b&key=${key}`', 'key'),
    wrong('const u = `wss://x/ws?access_token=${token}&a=b`', 'access_token'),
    wrong('const u = `?apiKey=${key}`', 'apiKey'),
    wrong('const u = `?api%5Fkey=${key}`', 'api_key'),
    wrong('const u = `?x-goog-api-key=${key}`', 'x-goog-api-key'),
    wrong('const u = base + "/ws?api_key=" + key', 'api_key'),
    wrong('const u = "/ws?token=" + token + "&a=b"', 'token'),
    wrong('const u = "https://x/api?api_key=s3cret"', 'api_key'),
    wrong('const u = `https://x/api?api_key=s3cret`', 'api_key'),
    wrong('const u = "https://x/api?key=Zk7Qw2Lr9TnXb4Vm8PcYd6"', 'key'),
    wrong('new EventSource(`/sse?token=${token}`)', 'token'),
    wrong('const u = <const>(x) => x, v = 1'.replace('<const>(x) => x', '`?jwt=${jwt}`'), 'jwt'),

    // Parameters.
    wrong('url.searchParams.set("api_key", key)', 'api_key'),
    wrong('new URL(x).searchParams.append("access_token", token)', 'access_token'),
    wrong('const p = new URLSearchParams(); p.append("api_key", key)', 'api_key'),
    wrong('const p = url.searchParams; function f() { p.set("token", token) }', 'token'),
    wrong('new URLSearchParams({ limit, api_key: key })', 'api_key'),
    wrong('new URLSearchParams({ "api-key": key })', 'api-key'),
    wrong('new URLSearchParams([["api_key", key]])', 'api_key'),
    wrong('new URLSearchParams("api_key=" + key)', 'api_key'),
    wrong('new URLSearchParams(`access_token=${token}`)', 'access_token'),
    wrong('new URLSearchParams("api_key=s3cret")', 'api_key'),
    wrong('axios.get("/events", { params: { api_key: key } })', 'api_key'),

    // What can be put right at once.
    wrong(
      'fetch(`${base}/api/events?api_key=${key}`)',
      'api_key',
      "fetch(`${base}/api/events`, { headers: { 'X-API-Key': key } })",
    ),
    wrong(
      'fetch(`/api?limit=1&api-key=${encodeURIComponent(config.key)}`)',
      'api-key',
      "fetch(`/api?limit=1`, { headers: { 'X-API-Key': config.key } })",
    ),
    wrong(
      'fetch("/api?access_token=" + token)',
      'access_token',
      'fetch("/api", { headers: { Authorization: `Bearer ${token}` } })',
    ),
    wrong(
      'fetch(base + "/api?api_key=" + key)',
      'api_key',
      'fetch(base + "/api", { headers: { \'X-API-Key\': key } })',
    ),

    // What cannot: other arguments, something after it, an expression with effects, an unknown header.
    wrong('fetch(`/api?api_key=${key}`, { method: "POST" })', 'api_key'),
    wrong('fetch(`/api?api_key=${key}&limit=1`)', 'api_key'),
    wrong('fetch(`/api?api_key=${readKey()}`)', 'api_key'),
    wrong('fetch(`/api?api_key=${keys[at++]}`)', 'api_key'),
    wrong('fetch(`/api?key=${key}`)', 'key'),
    wrong('axios(`/api?api_key=${key}`)', 'api_key'),

    // A WebSocket's protocol may be no token, so a person decides.
    {
      code: 'new WebSocket(`ws://localhost:8000/ws/events?api_key=${key}`)',
      errors: [
        {
          messageId: 'url',
          suggestions: [
            {
              messageId: 'subprotocol',
              output: "new WebSocket(`ws://localhost:8000/ws/events`, ['keymoat.v1', `api-key.${key}`])",
            },
          ],
        },
      ],
    },
    wrong('new WebSocket(`ws://localhost:8000/ws/events?api_key=${key}`, protocols)', 'api_key'),

    // The builder itself.
    { code: 'new WebSocket(buildWebSocketUrl("/ws/events"))', errors: [{ messageId: 'builder' }] },
    { code: 'api.buildWebSocketUrl("/ws/events")', errors: [{ messageId: 'builder' }] },
    { code: 'import { buildWebSocketUrl } from "./api"', errors: [{ messageId: 'builder' }] },
  ],
});

test('the recommended configuration turns it on', () => {
  const messages = new Linter().verify('fetch(`/api?api_key=${key}`)', [keymoat.configs.recommended as never]);
  expect(messages.map(({ ruleId, severity }) => [ruleId, severity])).toEqual([['keymoat/no-credential-in-url', 2]]);
});
