// The package in a page of the admin listener's origin that is not the console, in headless Chromium, with tokens for one stream.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { open, wayTo } from './listener.mjs';
import { report } from './report.mjs';

const { SUITE_CHROMIUM, SUITE_FOLDER } = process.env;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'];
const PAGE = '<!doctype html><meta charset="utf-8"><title>page</title><script type="module" src="/script.js"></script>';

const { outputFiles } = await build({
  stdin: {
    contents: `import * as keymoat from 'keymoat'; Object.assign(globalThis, { keymoat, isReady: true });`,
    resolveDir: import.meta.dirname,
  },
  bundle: true,
  format: 'esm',
  write: false,
});
const script = outputFiles[0].text;
const { base, person, note, makeKeys, end } = await open('Chromium');
const pages = {
  '/outside': { type: 'text/html', body: PAGE },
  '/script.js': { type: 'text/javascript', body: script },
};
const way = await wayTo(base, pages);
// The same page of another origin, which is to get nothing.
const elsewhere = createServer(({ url }, response) => {
  const { type, body } = pages[url] ?? { type: 'text/plain', body: '' };
  response.writeHead(200, { 'content-type': type }).end(body);
});
await new Promise((listening) => elsewhere.listen(0, '127.0.0.1', listening));

mkdirSync(`${SUITE_FOLDER}/admin-profile`, { recursive: true });
const browser = await chromium.launchPersistentContext(`${SUITE_FOLDER}/admin-profile`, {
  executablePath: SUITE_CHROMIUM,
  headless: true,
  chromiumSandbox: false,
  args: FLAGS,
});
const [dialled, asked, printed, minted] = [[], [], [], []];

/** The page at `origin`. */
async function pageAt(origin) {
  const page = await browser.newPage();
  page.on('websocket', (socket) => dialled.push(socket.url()));
  page.on('request', (request) => asked.push(request.url()));
  page.on('console', (message) => printed.push(message.text()));
  page.on('response', async (response) => {
    if (!response.url().endsWith('/stream-tokens') || response.status() !== 201) return;
    minted.push(note((await response.json()).token));
  });
  await page.goto(`${origin}/outside`);
  await page.waitForFunction(() => globalThis.isReady);
  return page;
}

const page = await pageAt(way.base);
await page.evaluate(async (person) => {
  const headers = { 'Content-Type': 'application/json' };
  const answer = await fetch('/api/v1/sign-in', { method: 'POST', headers, body: JSON.stringify(person) });
  if (!answer.ok) throw new Error(`the sign-in is answered with ${answer.status}`);
  // What every check below uses.
  globalThis.inPage = {};
  inPage.source = keymoat.TokenSource.endpoint('/api/v1/stream-tokens', { headers: { 'X-Keymoat-Request': '1' } });
  inPage.until = (socket, wanted) =>
    new Promise((resolve) => {
      socket.addEventListener('message', ({ data }) => {
        const message = JSON.parse(data);
        if (wanted(message)) resolve(message);
      });
      socket.addEventListener('close', ({ code, reason }) => wanted({ code }) && resolve({ code, reason }));
    });
}, person);

await report(
  'Chromium',
  {
    'a token for one stream opens one admin socket, and no second one': async () => {
      const seen = await page.evaluate(async () => {
        const token = await inPage.source.fetch();
        const { url, protocols } = keymoat.buildWebSocketOptions('/ws/events', { token });
        const open = () => new WebSocket(url, protocols);
        const first = open();
        const { type } = await inPage.until(first, () => true);
        const { protocol } = first;
        const second = await inPage.until(open(), () => true);
        first.close();
        return { type, protocol, singleUse: token.singleUse, second: second.code, url: url.replace(/\d+/g, '') };
      });
      assert.deepEqual(seen, {
        type: 'system_status',
        protocol: 'keymoat.v1',
        singleUse: true,
        second: 4001,
        url: 'ws://...:/ws/events',
      });
    },
    'an admin socket that was cut comes back with another token, and tells what was lost': async () => {
      await page.evaluate(() => {
        inPage.seqs = [];
        inPage.socket = keymoat.createWebSocket('/ws/events', {
          token: inPage.source,
          reconnect: { min: 50, max: 100 },
          resume: ({ lastSeq }) => JSON.stringify({ type: 'resume', lastSeq }),
        });
        inPage.socket.addEventListener('message', ({ data }) => {
          const { type, seq, data: event } = JSON.parse(data);
          if (type === 'event' && event.type === 'key.created') inPage.seqs.push(seq);
        });
        return inPage.until(inPage.socket, ({ type }) => type === 'system_status');
      });
      const tokens = minted.length;
      const told = (number) => page.waitForFunction((number) => inPage.seqs.length >= number, number);
      await makeKeys();
      await told(1);
      way.cut();
      await page.waitForFunction(() => inPage.socket.state === 'waiting');
      await makeKeys(2);
      way.mend();
      await told(3);
      const { seqs, state } = await page.evaluate(() => {
        const seen = { seqs: inPage.seqs, state: inPage.socket.state };
        inPage.socket.close();
        return seen;
      });
      assert.deepEqual([seqs[1] - seqs[0], seqs[2] - seqs[1], state], [1, 1, 'open']);
      assert.ok(minted.length > tokens, 'with another token');
    },
    'the admin stream goes on with another token where it was cut off': async () => {
      await page.evaluate(() => {
        inPage.ids = [];
        inPage.ending = new AbortController();
        inPage.over = (async () => {
          const options = { token: inPage.source, reconnect: { min: 50, max: 100 }, signal: inPage.ending.signal };
          for await (const { id, event } of keymoat.createEventStream('/api/events/stream', options)) {
            if (event === 'key.created') inPage.ids.push(Number(id));
          }
        })();
      });
      const told = (number) => page.waitForFunction((number) => inPage.ids.length >= number, number);
      // Nothing says when it has begun to listen: keys are made until one of them is told.
      const first = told(1).then(() => true);
      while (!(await Promise.race([first, new Promise((later) => setTimeout(later, 300))]))) await makeKeys();
      const before = await page.evaluate(() => inPage.ids.length);
      way.cut();
      await makeKeys(2);
      way.mend();
      await told(before + 2);
      const seen = await page.evaluate(async () => {
        inPage.ending.abort();
        await inPage.over;
        return inPage.ids;
      });
      assert.deepEqual(
        seen,
        Array.from(seen, (_, at) => seen[0] + at),
      );
    },
    'the admin stream is open to a signed-in page without any token': async () => {
      const newest = await page.evaluate(
        async () => (await (await fetch('/api/v1/events?limit=1')).json()).items[0].seq,
      );
      await makeKeys();
      const event = await page.evaluate(async (lastEventId) => {
        const options = { lastEventId: String(lastEventId), reconnect: false };
        for await (const event of keymoat.createEventStream('/api/events/stream', options)) return event;
      }, newest);
      assert.equal(event.id, String(newest + 1));
    },
    'a page of another origin gets no admin socket and no admin stream, token or not': async () => {
      const token = await page.evaluate(async () => (await inPage.source.fetch()).value);
      const foreign = await pageAt(`http://127.0.0.1:${elsewhere.address().port}`);
      const seen = await foreign.evaluate(
        async ({ base, token }) => {
          const { url, protocols } = keymoat.buildWebSocketOptions('/ws/events', { baseUrl: base, token });
          const closed = new Promise((resolve) => {
            const socket = new WebSocket(url, protocols);
            socket.onmessage = () => resolve('it was told something');
            socket.onclose = ({ code }) => resolve(code);
          });
          const options = { baseUrl: base, token, reconnect: false };
          const streamed = (async () => {
            for await (const { event } of keymoat.createEventStream('/api/events/stream', options)) return event;
            return 'nothing';
          })().catch((error) => error.name);
          return [await closed, await streamed];
        },
        { base: way.base, token },
      );
      assert.equal(seen[0], 1006);
      assert.ok(['nothing', 'KeymoatError', 'TypeError'].includes(seen[1]), seen[1]);
    },
    'no credential stands in what was dialled, asked, printed or kept': async () => {
      assert.ok(dialled.length >= 4 && minted.length >= 5, `${dialled.length} WebSockets, ${minted.length} tokens`);
      const secrets = [person.password, ...minted].flatMap((secret) => [
        secret,
        encodeURIComponent(secret),
        btoa(secret),
      ]);
      for (const shown of [...dialled, ...asked, ...printed]) {
        assert.ok(!secrets.some((secret) => shown.includes(secret.slice(0, 24))), 'a credential was shown');
      }
      way.close();
      assert.deepEqual(await end(), []);
    },
  },
  async () => {
    await browser.close();
    elsewhere.close();
  },
);
