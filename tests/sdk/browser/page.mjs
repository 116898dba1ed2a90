// Opens WebSockets from a page in headless Chromium, as an application's own page does, straight to the gateway.
//
// Where things are comes from the environment: SUITE_PLAIN and SUITE_TLS (the gateway), SUITE_CHROMIUM, SUITE_FOLDER (a fresh one; HOME
// is in it and trusts the gateway's CA).
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';
import { KEY, WRONG_KEY, outcomes } from './checks.mjs';
import * as google from './genai.mjs';
import { cached, history } from './history.mjs';
import * as open from './openai.mjs';

const { SUITE_PLAIN, SUITE_TLS, SUITE_CHROMIUM, SUITE_FOLDER } = process.env;
const LIMIT_MS = 15_000;
const PAGE = '<!doctype html><meta charset="utf-8"><title>events</title><p>A page that listens to events.</p>';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const SCRIPTS = { '/genai.mjs': await google.bundle(), '/openai.mjs': await open.bundle() };
const server = createServer(({ url }, response) => {
  response.setHeader('content-type', SCRIPTS[url] ? 'text/javascript' : 'text/html').end(SCRIPTS[url] ?? PAGE);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const browser = await chromium.launchPersistentContext(`${SUITE_FOLDER}/profile`, {
  executablePath: SUITE_CHROMIUM,
  headless: true,
  chromiumSandbox: false,
  args: FLAGS,
});
const page = await browser.newPage();
await page.goto(`http://127.0.0.1:${server.address().port}/`);

/** What the page sees of one WebSocket: everything until the first event, or until the end. */
const listen = (base, protocols, query = '') =>
  page.evaluate(
    ({ url, protocols, limit }) =>
      new Promise((resolve) => {
        const seen = { opened: false, protocol: null, event: null, code: null, reason: null };
        const socket = new WebSocket(url, protocols);
        const done = () => (resolve(seen), socket.close());
        const timer = setTimeout(done, limit);
        socket.onopen = () => Object.assign(seen, { opened: true, protocol: socket.protocol });
        socket.onmessage = ({ data }) => {
          const message = JSON.parse(data);
          if (message.type !== 'event') return;
          seen.event = message.data;
          clearTimeout(timer);
          done();
        };
        socket.onclose = ({ code, reason }) => {
          Object.assign(seen, { code, reason });
          clearTimeout(timer);
          done();
        };
      }),
    { url: `${base.replace(/^http/, 'ws').replace(/\/$/, '')}/ws/events${query}`, protocols, limit: LIMIT_MS },
  );

const reads = async (base, protocols, selected, query) => {
  const seen = await listen(base, protocols, query);
  // The selected protocol may be the secret itself: compared, never shown.
  assert.ok(seen.event, `no event; opened ${seen.opened}, closed ${seen.code} ${seen.reason}`);
  assert.ok(seen.protocol === selected, 'another protocol was selected');
  assert.ok(seen.event.id !== undefined && seen.event.risk_level, `not an event: ${JSON.stringify(seen.event)}`);
};
const refused = async (base, protocols, query, reason) => {
  const seen = await listen(base, protocols, query);
  assert.equal(seen.event, null, 'an event came through');
  assert.equal(seen.code, 4001, `closed ${seen.code} ${seen.reason}`);
  assert.match(seen.reason, reason);
};

const checks = {
  'reads events with the marker and a key protocol': () => reads(SUITE_PLAIN, ['keymoat.v1', `api-key.${KEY}`], 'keymoat.v1'),
  'reads events with a lone key protocol': () => reads(SUITE_PLAIN, [`api-key.${KEY}`], `api-key.${KEY}`),
  'reads events over TLS with a trusted authority': () => reads(SUITE_TLS, ['keymoat.v1', `api-key.${KEY}`], 'keymoat.v1'),
  'sees why a wrong key is refused': () =>
    refused(SUITE_PLAIN, ['keymoat.v1', `api-key.${WRONG_KEY}`], '', /^credential_invalid/),
  'sees why a lone wrong key is refused': () => refused(SUITE_PLAIN, [`api-key.${WRONG_KEY}`], '', /^credential_invalid/),
  'sees why no key is refused': () => refused(SUITE_PLAIN, ['keymoat.v1'], '', /^credential_missing/),
  'sees why a key in the URL is refused': () => refused(SUITE_PLAIN, [], `?api_key=${KEY}`, /^credential_in_query: \S/),
  'sees over TLS why a wrong key is refused': () =>
    refused(SUITE_TLS, ['keymoat.v1', `api-key.${WRONG_KEY}`], '', /^credential_invalid/),
  ...google.genai(page),
  ...open.openai(page),
  ...history(browser, SUITE_PLAIN, KEY),
};

const failed = await outcomes(checks);
await browser.close();
server.close();
const files = cached(`${SUITE_FOLDER}/profile`, KEY);
if (files) failed++;
console.log(files ? `FAIL the cache keeps no key: ${files} files do` : 'ok the cache keeps no key');
process.exit(failed ? 1 : 0);
