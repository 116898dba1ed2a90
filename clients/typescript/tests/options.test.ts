import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  buildHeaders,
  buildWebSocketOptions,
  configure,
  credentialProtocol,
  inspectCredential,
  MARKER,
  TokenSource,
} from '../src/index.js';
import { codeOf, KEY, TOKEN } from './support.js';
import { vectors } from './vectors.js';

const BASE = 'https://gateway.example';
const inBrowser = () => vi.stubGlobal('document', {});
const withWebSocket = () => vi.stubGlobal('WebSocket', class {});

afterEach(() => configure({ token: undefined, baseUrl: undefined }));

describe('subprotocols', () => {
  test('encode as the vectors say', () => {
    const { marker, encoded } = vectors('subprotocols');
    expect(MARKER).toBe(marker);
    for (const { credential, protocol } of encoded) expect(credentialProtocol(credential)).toBe(protocol);
  });

  test('refuse what is no credential', () => {
    const { absent, malformed } = vectors('subprotocols');
    for (const value of absent) expect(codeOf(() => credentialProtocol(value))).toBe('credential_missing');
    for (const value of malformed) expect(codeOf(() => credentialProtocol(value))).toBe('credential_malformed');
  });

  test('are tokens that every WebSocket takes', () => {
    for (const { protocol } of vectors('subprotocols').encoded) expect(protocol).toMatch(/^[\w.-]+$/);
  });
});

test('credentials look as the vectors say', () => {
  for (const { credential, ...shape } of vectors('credentials').shapes) {
    expect(inspectCredential(credential), credential).toEqual(shape);
  }
});

describe('buildWebSocketOptions', () => {
  test('works as the home-security frontend calls it', () => {
    withWebSocket();
    configure({ token: TOKEN, baseUrl: 'http://localhost:8000' });
    const options = buildWebSocketOptions('/ws/events');
    expect(options).toEqual({
      url: 'ws://localhost:8000/ws/events',
      protocols: ['keymoat.v1', credentialProtocol(TOKEN)],
    });
  });

  test('offers the marker, then the application, then the credential', () => {
    withWebSocket();
    const options = buildWebSocketOptions('/ws', { baseUrl: BASE, token: TOKEN, protocols: ['graphql-ws', 'chat'] });
    expect(options.protocols).toEqual(['keymoat.v1', 'graphql-ws', 'chat', credentialProtocol(TOKEN)]);
  });

  test('takes the page as its base', () => {
    inBrowser();
    vi.stubGlobal('location', { origin: 'https://app.example:8443' });
    expect(buildWebSocketOptions('/ws/events').url).toBe('wss://app.example:8443/ws/events');
  });

  test('gives a WebSocket URL for each spelling of a base', () => {
    for (const [baseUrl, url] of [
      ['http://localhost:8000', 'ws://localhost:8000/ws'],
      ['ws://localhost:80', 'ws://localhost/ws'],
      ['https://gateway.example', 'wss://gateway.example/ws'],
      ['WSS://gateway.example:444', 'wss://gateway.example:444/ws'],
    ]) {
      expect(buildWebSocketOptions('/ws', { baseUrl }).url).toBe(url);
    }
  });

  test('keeps the prefix of a base and the query of an endpoint', () => {
    const url = (endpoint: string, baseUrl = 'wss://Gateway.example:443/gw/') =>
      buildWebSocketOptions(endpoint, { baseUrl }).url;
    expect(url('/ws/events?camera=1#part')).toBe('wss://gateway.example/gw/ws/events?camera=1');
    expect(url('ws/events')).toBe('wss://gateway.example/gw/ws/events');
    expect(url('//evil.example/ws')).toBe('wss://gateway.example/gw/evil.example/ws');
    expect(url('wss://gateway.example/other')).toBe('wss://gateway.example/other');
    expect(url('@evil.example/ws', 'https://gateway.example')).toBe('wss://gateway.example/@evil.example/ws');
  });

  test('sends nothing where there is no credential', () => {
    for (const token of [undefined, '', 'undefined']) {
      configure({ token, baseUrl: BASE });
      expect(buildWebSocketOptions('/ws')).toEqual({ url: 'wss://gateway.example/ws' });
    }
    configure({ token: TOKEN });
    expect(buildWebSocketOptions('/ws', { token: '', protocols: ['app'] }).protocols).toEqual(['app']);
  });

  test('sends headers on React Native and where Node has no WebSocket of its own', () => {
    const headers = { Authorization: `Bearer ${TOKEN}` };
    vi.stubGlobal('WebSocket', undefined);
    expect(buildWebSocketOptions('/ws', { baseUrl: BASE, token: TOKEN })).toEqual({
      url: 'wss://gateway.example/ws',
      headers,
    });
    withWebSocket();
    vi.stubGlobal('navigator', { product: 'ReactNative' });
    const options = buildWebSocketOptions('/ws', { baseUrl: BASE, token: TOKEN, protocols: ['app'] });
    expect(options).toEqual({ url: 'wss://gateway.example/ws', protocols: ['app'], headers });
    const named = buildWebSocketOptions('/ws', { baseUrl: BASE, token: TOKEN, header: 'x-api-key' });
    expect(named.headers).toEqual({ 'X-API-Key': TOKEN });
    expect(
      buildWebSocketOptions('/ws', { baseUrl: BASE, token: TOKEN, carrier: 'subprotocol' }).headers,
    ).toBeUndefined();
  });

  test('takes the token at hand of a source, and says when there is none', async () => {
    withWebSocket();
    const source = TokenSource.custom(() => ({ value: TOKEN, expiresAt: Date.now() / 1000 + 600 }));
    configure({ token: source, baseUrl: BASE });
    expect(codeOf(() => buildWebSocketOptions('/ws'))).toBe('token_not_ready');
    await source.fetch();
    expect(buildWebSocketOptions('/ws').protocols?.[1]).toBe(credentialProtocol(TOKEN));
  });

  test('never puts the credential into the URL', () => {
    withWebSocket();
    for (const carrier of ['auto', 'subprotocol', 'header'] as const) {
      const { url } = buildWebSocketOptions('/ws?a=b', { baseUrl: BASE, token: TOKEN, carrier });
      expect(url).toBe('wss://gateway.example/ws?a=b');
    }
  });
});

describe('refuses', () => {
  const build = (endpoint: string, more = {}) =>
    codeOf(() => buildWebSocketOptions(endpoint, { baseUrl: BASE, token: TOKEN, ...more }));

  test.each([
    '/ws?api_key=s3cret',
    '/ws?key=s3cret',
    '/ws?a=b&access_token=s3cret',
    '/ws?ACCESS-TOKEN=s3cret',
    '/ws?apiKey=s3cret',
    '/ws?api%5Fkey=s3cret',
    '/ws?api%255Fkey=s3cret',
    '/ws?x-goog-api-key=s3cret',
    '/ws?token=s3cret',
    '/ws?jwt=s3cret',
    '/ws?Authorization=Bearer%20s3cret',
    '/ws?a;key=s3cret',
    '/ws#access_token=s3cret',
    '/ws?api_key',
    `/ws/${TOKEN}`,
    `/ws/${KEY}/x`,
    `/ws?next=${encodeURIComponent(encodeURIComponent(`/x?k=${KEY}`))}`,
    'https://user:s3cret@gateway.example/ws',
    'https:\\\\user:s3cret@gateway.example/ws',
  ])('a credential in the URL: %s', (endpoint) => {
    expect(build(endpoint)).toBe('credential_in_url');
  });

  test.each([
    '/ws?keyboard=1',
    '/ws?monkey=1',
    '/ws?pageToken=abc',
    '/ws?camera=key',
    '/keys/token',
    '/ws?author=x',
    '/100%/x?a=%zz',
  ])('nothing harmless: %s', (endpoint) => {
    expect(build(endpoint)).toBeUndefined();
  });

  test('a parameter that is said to be harmless only if it is', () => {
    const allowParameters = ['key'];
    expect(build('/objects?key=photo.jpg', { allowParameters })).toBeUndefined();
    expect(build('/objects?key=photo.jpg&api_key=s3cret', { allowParameters })).toBe('credential_in_url');
    expect(build(`/objects?key=${KEY}`, { allowParameters })).toBe('credential_in_url');
  });

  test('a base URL with a credential', () => {
    for (const baseUrl of [
      'https://user:s3cret@gateway.example',
      'https://gateway.example?key=s3cret',
      `https://gateway.example/${KEY}`,
    ]) {
      expect(build('/ws', { baseUrl })).toBe('credential_in_url');
      expect(codeOf(() => configure({ baseUrl }))).toBe('credential_in_url');
    }
  });

  test('plain text beyond this machine', () => {
    for (const host of [
      'gateway.example',
      '192.168.1.10',
      '127.0.0.1.evil.example',
      'localhost.evil.example',
      '10.0.2.2:80',
      '[::2]',
    ]) {
      expect(build('/ws', { baseUrl: `http://${host}` }), host).toBe('insecure_url');
      expect(build(`ws://${host}/ws`, { baseUrl: undefined }), host).toBe('insecure_url');
    }
    for (const host of ['localhost', 'app.localhost:3000', '127.0.0.1:8787', '127.1.2.3', '[::1]:8787', 'LOCALHOST']) {
      expect(build('/ws', { baseUrl: `ws://${host}` }), host).toBeUndefined();
    }
  });

  test('what is no URL', () => {
    for (const endpoint of [
      'ftp://gateway.example/',
      'localhost:8000/ws',
      'https://',
      'javascript:alert(1)',
      'data:,x',
    ]) {
      expect(build(endpoint), endpoint).toBe('url_invalid');
    }
    expect(build('/ws\nx')).toBe('url_invalid');
    expect(build('/ws', { baseUrl: 'https://gateway.example\\@evil.example' })).toBe('url_invalid');
    expect(build('/ws', { baseUrl: 'https://gateway.example/?a=b' })).toBe('url_invalid');
    expect(build('/ws', { baseUrl: undefined })).toBe('base_url_missing');
  });

  test('an absolute endpoint on another origin than the base', () => {
    expect(build('wss://evil.example/ws')).toBe('origin_not_allowed');
    expect(build('wss://gateway.example:8443/ws')).toBe('origin_not_allowed');
    expect(build('ws://gateway.example/ws')).toBe('origin_not_allowed');
    expect(build('https://GATEWAY.example:443/ws')).toBeUndefined();
  });

  test('a long-lived key in a browser, unless the call says otherwise', () => {
    withWebSocket();
    expect(build('/ws', { token: KEY })).toBeUndefined();
    inBrowser();
    expect(build('/ws', { token: KEY })).toBe('long_lived_key_in_browser');
    expect(codeOf(() => buildHeaders(KEY))).toBe('long_lived_key_in_browser');
    expect(build('/ws', { token: 'km_short' })).toBe('long_lived_key_in_browser');
    expect(build('/ws', { token: KEY, dangerouslyAllowLongLivedKey: true })).toBeUndefined();
    expect(build('/ws', { token: TOKEN })).toBeUndefined();
  });

  test('a long-lived key in a worker, but not on a server with workers', () => {
    vi.stubGlobal('WorkerGlobalScope', class {});
    expect(codeOf(() => buildHeaders(KEY))).toBeUndefined();
    vi.stubGlobal('process', { versions: {} });
    expect(codeOf(() => buildHeaders(KEY))).toBe('long_lived_key_in_browser');
  });

  test('headers in a browser', () => {
    inBrowser();
    expect(build('/ws', { carrier: 'header' })).toBe('carrier_unavailable');
  });
});

describe('buildHeaders', () => {
  test('makes one header', () => {
    expect(buildHeaders(TOKEN)).toEqual({ Authorization: `Bearer ${TOKEN}` });
    expect(buildHeaders('a/b=', { header: 'x-api-key' })).toEqual({ 'X-API-Key': 'a/b=' });
    configure({ token: TOKEN });
    expect(buildHeaders()).toEqual({ Authorization: `Bearer ${TOKEN}` });
  });

  test('refuses nothing, and what no header can hold', () => {
    expect(codeOf(() => buildHeaders())).toBe('credential_missing');
    expect(codeOf(() => buildHeaders(''))).toBe('credential_missing');
    expect(codeOf(() => buildHeaders('canary\r\nX-Evil: 1'))).toBe('credential_malformed');
  });
});
