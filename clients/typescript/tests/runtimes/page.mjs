// What the package does in a page, in headless Chromium: the browser's own WebSocket, and Google's unmodified SDK.
//
// Where things are comes from the environment: SUITE_PLAIN (the gateway), SUITE_KEY_FILE (a key), SUITE_WRONG_KEY, SUITE_CHROMIUM,
// SUITE_FOLDER (a fresh one).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { report } from './report.mjs';

const { SUITE_PLAIN, SUITE_KEY_FILE, SUITE_WRONG_KEY: WRONG_KEY, SUITE_CHROMIUM, SUITE_FOLDER } = process.env;
const KEY = readFileSync(SUITE_KEY_FILE, 'utf8').trim();
const PLAIN = SUITE_PLAIN.replace(/\/$/, '');
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const PAGE = '<!doctype html><meta charset="utf-8"><title>page</title><script type="module" src="/script.js"></script>';

const { outputFiles } = await build({
  stdin: {
    contents: `
      import * as keymoat from 'keymoat';
      import * as shim from 'keymoat/google-genai';
      import { GoogleGenAI, Modality } from '@google/genai/web';
      Object.assign(globalThis, { keymoat, shim, GoogleGenAI, Modality, isReady: true });`,
    resolveDir: import.meta.dirname,
  },
  bundle: true,
  format: 'esm',
  write: false,
  metafile: true,
});
const script = outputFiles[0].text;
/** Where the application's server mints: the key stays with it. */
const MINTING = { '/api/token': '/keymoat/v1/tokens', '/api/gemini-token': '/v1alpha/auth_tokens' };
const minted = [];
const server = createServer(async ({ url, method }, response) => {
  if (method === 'POST' && MINTING[url]) {
    const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
    const answer = await fetch(PLAIN + MINTING[url], { method, headers, body: '{}' });
    const body = await answer.text();
    minted.push(JSON.parse(body).token ?? JSON.parse(body).name);
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(body);
    return;
  }
  response.setHeader('content-type', url === '/script.js' ? 'text/javascript' : 'text/html');
  response.end(url === '/script.js' ? script : PAGE);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const browser = await chromium.launchPersistentContext(`${SUITE_FOLDER}/profile`, {
  executablePath: SUITE_CHROMIUM,
  headless: true,
  chromiumSandbox: false,
  args: FLAGS,
});
const page = await browser.newPage();
const dialled = [];
page.on('websocket', (socket) => dialled.push(socket.url()));
const printed = [];
page.on('console', (message) => printed.push(message.text()));
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.waitForFunction(() => globalThis.isReady);

const given = { base: PLAIN, key: KEY, wrong: WRONG_KEY };
await report(
  'Chromium',
  {
    'opens what buildWebSocketOptions built': async () => {
      const seen = await page.evaluate(async ({ base }) => {
        keymoat.configure({ baseUrl: base, token: await keymoat.TokenSource.endpoint('/api/token').fetch() });
        const options = keymoat.buildWebSocketOptions('/ws/events');
        const ws = new WebSocket(options.url, options.protocols);
        return new Promise((resolve) => {
          ws.onmessage = ({ data }) => {
            if (JSON.parse(data).type !== 'event') return;
            resolve({ protocol: ws.protocol, keys: Object.keys(options) });
            ws.close();
          };
          ws.onclose = ({ code, reason }) => resolve({ code, reason });
        });
      }, given);
      assert.deepEqual(seen, { protocol: 'keymoat.v1', keys: ['url', 'protocols'] });
    },
    'reads events by a WebSocket that comes back': async () => {
      const seen = await page.evaluate(({ base }) => {
        const token = keymoat.TokenSource.endpoint('/api/token');
        const socket = keymoat.createWebSocket('/ws/events', { baseUrl: base, token, waitForAuth: true });
        const states = [];
        socket.addEventListener('statechange', ({ state }) => states.push(state));
        return new Promise((resolve) => {
          socket.addEventListener('message', ({ data }) => {
            if (JSON.parse(data).type !== 'event') return;
            resolve([...states]);
            socket.close();
          });
          socket.addEventListener('close', ({ code, reason }) => resolve([code, reason]));
        });
      }, given);
      assert.deepEqual(seen, ['open']);
    },
    'gets another token when one is used up': async () => {
      const seen = await page.evaluate(async ({ base }) => {
        const minting = keymoat.TokenSource.endpoint('/api/token');
        const used = await minting.fetch();
        const first = (socket) =>
          new Promise((resolve) => {
            socket.addEventListener('message', () => resolve(socket.close()));
          });
        await first(keymoat.createWebSocket('/ws/events', { baseUrl: base, token: used }));
        let count = 0;
        const token = keymoat.TokenSource.custom(() => (count++ ? minting.fetch() : used));
        const socket = keymoat.createWebSocket('/ws/events', { baseUrl: base, token });
        const closed = [];
        socket.addEventListener('close', ({ code, reason }) => closed.push(`${code} ${reason.split(':')[0]}`));
        await first(socket);
        return closed;
      }, given);
      assert.deepEqual(seen, ['4002 token_used_up', '1000 ']);
    },
    'knows why a wrong key is refused': async () => {
      const seen = await page.evaluate(({ base, wrong }) => {
        const options = { baseUrl: base, token: wrong, dangerouslyAllowLongLivedKey: true };
        const socket = keymoat.createWebSocket('/ws/events', options);
        return new Promise((resolve) => {
          socket.addEventListener('close', ({ code, reason, action }) => resolve([code, reason.split(':')[0], action]));
        });
      }, given);
      assert.deepEqual(seen, [4001, 'credential_invalid', 'unauthorized']);
    },
    'takes no long-lived key, no key in a URL, and no headers': async () => {
      const codes = await page.evaluate(({ base, key }) => {
        const codeOf = (endpoint, options) => {
          try {
            keymoat.buildWebSocketOptions(endpoint, { baseUrl: base, ...options });
          } catch (error) {
            return error.code;
          }
        };
        return [
          codeOf('/ws/events', { token: key }),
          codeOf(`/ws/events?key=${key}`),
          codeOf('/ws/events', { token: 'kmt_x', carrier: 'header' }),
        ];
      }, given);
      assert.deepEqual(codes, ['long_lived_key_in_browser', 'credential_in_url', 'carrier_unavailable']);
    },
    'lets the unmodified @google/genai talk to Gemini Live': async () => {
      const text = await page.evaluate(async ({ base }) => {
        const restore = shim.carryTokensInSubprotocols({ baseUrl: base });
        try {
          const { value } = await keymoat.TokenSource.endpoint('/api/gemini-token').fetch();
          const ai = new GoogleGenAI({ apiKey: value, httpOptions: { baseUrl: base, apiVersion: 'v1alpha' } });
          let text = '';
          let done;
          const ended = new Promise((resolve) => {
            done = resolve;
          });
          const session = await ai.live.connect({
            model: 'gemini-2.5-flash-native-audio',
            config: { responseModalities: [Modality.TEXT] },
            callbacks: {
              onmessage: ({ serverContent }) => {
                for (const part of serverContent?.modelTurn?.parts ?? []) text += part.text ?? '';
                if (serverContent?.turnComplete) done();
              },
              onclose: ({ code, reason }) => {
                text = `closed ${code} ${reason}`;
                done();
              },
            },
          });
          session.sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'badger' }] }], turnComplete: true });
          await ended;
          session.close();
          return text;
        } finally {
          restore();
        }
      }, given);
      assert.match(text, /badger/);
    },
    'and is told why a wrong key is refused': async () => {
      const seen = await page.evaluate(async ({ base, wrong }) => {
        const restore = shim.carryTokensInSubprotocols({ baseUrl: base, dangerouslyAllowLongLivedKey: true });
        const ai = new GoogleGenAI({ apiKey: wrong, httpOptions: { baseUrl: base } });
        const closed = new Promise((resolve) => {
          const callbacks = {
            onmessage: () => {},
            onclose: ({ code, reason }) => resolve([code, reason.split(':')[0]]),
          };
          ai.live.connect({ model: 'gemini-2.5-flash-native-audio', callbacks }).catch(() => {});
        });
        const seen = await closed;
        restore();
        return seen;
      }, given);
      assert.deepEqual(seen, [1007, 'credential_invalid']);
    },
    'dials no URL with a key, and prints none': async () => {
      assert.ok(dialled.length >= 7 && minted.length >= 5, `${dialled.length} WebSockets, ${minted.length} tokens`);
      const secrets = [KEY, WRONG_KEY, ...minted].map((secret) => secret.slice(-40));
      for (const shown of [...dialled, ...printed]) {
        assert.ok(!secrets.some((secret) => shown.includes(secret)), 'a credential was shown');
        assert.ok(!/[?&](key|access_token)=/.test(shown), 'a parameter for keys was dialled');
      }
    },
  },
  async () => {
    await browser.close();
    server.close();
  },
);
