import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { carryTokensInSubprotocols, subprotocolWebSocket } from '../src/google-genai.js';
import { configure, credentialProtocol } from '../src/index.js';
import { codeOf, FakeSocket, KEY, TOKEN } from './support.js';

const PATH = 'ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained';
const baseUrl = 'https://gateway.example/gemini';

beforeEach(() => {
  FakeSocket.made = [];
  vi.stubGlobal('WebSocket', FakeSocket);
});
afterEach(() => configure({ token: undefined, baseUrl: undefined }));

describe('to the gateway', () => {
  test.each([
    [`wss://gateway.example/gemini//${PATH}?access_token=auth_tokens/${TOKEN}`, `auth_tokens/${TOKEN}`],
    [`wss://gateway.example/gemini//${PATH}?key=auth_tokens%2F${TOKEN}`, `auth_tokens/${TOKEN}`],
    [`wss://gateway.example:443/gemini//${PATH}?key=${TOKEN}&access_token=${TOKEN}`, TOKEN],
    [`wss://gateway.example/gemini//${PATH}?key=undefined&access_token=${TOKEN}`, TOKEN],
  ])('the credential of %s goes into a subprotocol', (url, credential) => {
    carryTokensInSubprotocols({ baseUrl });
    new WebSocket(url);
    expect(FakeSocket.last.url).toBe(`wss://gateway.example/gemini//${PATH}`);
    expect(FakeSocket.last.protocols).toEqual(['keymoat.v1', credentialProtocol(credential)]);
  });

  test('other parameters and protocols stay', () => {
    carryTokensInSubprotocols({ baseUrl });
    new WebSocket(new URL(`wss://gateway.example/${PATH}?a=b&key=${TOKEN}`), 'app');
    expect(FakeSocket.last.url).toBe(`wss://gateway.example/${PATH}?a=b`);
    expect(FakeSocket.last.protocols).toEqual(['keymoat.v1', 'app', credentialProtocol(TOKEN)]);
  });

  test('no credential is none', () => {
    carryTokensInSubprotocols({ baseUrl });
    new WebSocket(`wss://gateway.example/${PATH}?key=undefined`);
    expect([FakeSocket.last.url, FakeSocket.last.protocols]).toEqual([`wss://gateway.example/${PATH}`, []]);
  });

  test('two different ones, other places in the URL, plain text and keys in a page are refused', () => {
    const open = (url: string) => codeOf(() => new WebSocket(url));
    carryTokensInSubprotocols({ baseUrl });
    expect(open(`wss://gateway.example/${PATH}?key=${TOKEN}&access_token=canary`)).toBe('credential_in_url');
    expect(open(`wss://gateway.example/${PATH}?api_key=canary`)).toBe('credential_in_url');
    expect(open(`wss://gateway.example/${TOKEN}?key=${TOKEN}`)).toBe('credential_in_url');
    expect(codeOf(() => carryTokensInSubprotocols({ baseUrl: 'http://gateway.example' }))).toBe('insecure_url');
    vi.stubGlobal('document', {});
    expect(open(`wss://gateway.example/${PATH}?key=${KEY}`)).toBe('long_lived_key_in_browser');
    expect(FakeSocket.made).toEqual([]);
  });

  test('a relative URL is that of the page', () => {
    vi.stubGlobal('location', { origin: 'https://app.example', href: 'https://app.example/page' });
    carryTokensInSubprotocols();
    new WebSocket(`/${PATH}?key=${TOKEN}`);
    expect([FakeSocket.last.url, FakeSocket.last.credential]).toEqual([`wss://app.example/${PATH}`, TOKEN]);
  });
});

test.each([
  'wss://generativelanguage.googleapis.com/ws/x?key=canary',
  'wss://gateway.example.evil.example/?key=canary',
  'wss://gateway.example:8443/?key=canary',
  'ws://gateway.example/?key=canary',
])('what goes elsewhere is left alone: %s', (url) => {
  configure({ baseUrl });
  carryTokensInSubprotocols();
  new WebSocket(url, ['app']);
  expect([FakeSocket.last.url, FakeSocket.last.protocols]).toEqual([url, ['app']]);
});

test('the global one comes back, unless somebody has replaced it since', () => {
  const restore = carryTokensInSubprotocols({ baseUrl });
  expect(WebSocket).not.toBe(FakeSocket);
  expect(new WebSocket('wss://gateway.example/')).toBeInstanceOf(FakeSocket);
  restore();
  expect(WebSocket).toBe(FakeSocket);
  const second = carryTokensInSubprotocols({ baseUrl });
  const other = class extends FakeSocket {};
  vi.stubGlobal('WebSocket', other);
  second();
  expect(WebSocket).toBe(other);
});

test("a class of one's own can be had without touching the global one", () => {
  const Own = subprotocolWebSocket(FakeSocket as unknown as typeof WebSocket, { baseUrl });
  new Own(`wss://gateway.example/${PATH}?key=${TOKEN}`);
  expect(FakeSocket.last.credential).toBe(TOKEN);
  expect(WebSocket).toBe(FakeSocket);
});
