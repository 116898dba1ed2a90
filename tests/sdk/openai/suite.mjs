// What the checks share: where things are, a client and sessions as an application makes them, and a runner that prints each outcome.
//
// Prints `ok NAME` or `FAIL NAME: DETAIL` for every check. Where things are comes from the environment:
// SUITE_TLS (the gateway; OpenAI's paths are at its root and below /openai), SUITE_KEY_FILE (the client's key), SUITE_WRONG_KEY,
// SUITE_TOKENS_FILE (where minted tokens are noted, to be searched for afterwards).
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync } from 'node:fs';
import OpenAI from 'openai';
import { WebSocket } from 'ws';

// Node 20 has none of its own; what it is here is a standard one, which cannot set headers.
globalThis.WebSocket ??= WebSocket;

const { SUITE_TLS, SUITE_KEY_FILE, SUITE_TOKENS_FILE } = process.env;
export const { SUITE_WRONG_KEY: WRONG_KEY } = process.env;
export const KEY = readFileSync(SUITE_KEY_FILE, 'utf8').trim();
export const MODEL = 'gpt-realtime';
const LIMIT_MS = 20_000;
const HELLO = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'hello' }] };

const root = SUITE_TLS.replace(/\/$/, '');
export const base = (below = '') => `${root}${below}/v1`;
export const client = (apiKey = KEY, below = '', more = {}) =>
  new OpenAI({ apiKey, baseURL: base(below), maxRetries: 0, ...more });

/** Notes a minted token, so that everything can be searched for it when all is over. */
export function note(token) {
  appendFileSync(SUITE_TOKENS_FILE, `${token}\n`);
  return token;
}

/** A call that no SDK makes: `path` below the gateway's root, with the backend's key and a JSON body. */
export async function call(method, path, body) {
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
  const response = await fetch(`${root}${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `status ${response.status}`);
  return response.status === 204 ? undefined : response.json();
}

/** What an application sees of a session: its events, its errors, its end. */
export function watch(realtime) {
  const seen = { events: [], errors: [], waiting: [] };
  const wake = () => seen.waiting.splice(0).forEach((resume) => resume());
  realtime.on('event', (event) => (seen.events.push(event), wake()));
  realtime.on('error', (error) => (seen.errors.push(error), wake()));
  seen.closed = new Promise((resolve) => {
    // `ws` gives two arguments, a standard WebSocket one event.
    const end = (first, reason) => (resolve(first?.code ? first : { code: first, reason: String(reason) }), wake());
    realtime.socket.on ? realtime.socket.on('close', end) : realtime.socket.addEventListener('close', end);
  });
  /** Waits for an event of this type, or for the `count`th one. */
  seen.until = async (type, count = 1) => {
    for (;;) {
      const found = seen.events.filter((event) => event.type === type)[count - 1];
      if (found) return found;
      const close = await Promise.race([seen.closed, new Promise((resume) => seen.waiting.push(resume))]);
      if (close) throw new Error(`closed: ${close.code} ${close.reason}; ${seen.errors.map(({ message }) => message)}`);
    }
  };
  return seen;
}

export async function talk(realtime) {
  const seen = watch(realtime);
  await seen.until('session.created');
  realtime.send({ type: 'session.update', session: { type: 'realtime', output_modalities: ['text'] } });
  realtime.send({ type: 'conversation.item.create', item: HELLO });
  realtime.send({ type: 'response.create' });
  const done = await seen.until('response.done');
  assert.match(done.response.output[0].content[0].text, /hello/);
  const deltas = seen.events.filter(({ type }) => type === 'response.output_text.delta');
  assert.match(deltas.map(({ delta }) => delta).join(''), /hello/);
  realtime.close();
  return seen;
}

/** Runs every check and ends the process. */
export async function run(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error('nothing came in time')), LIMIT_MS)));
    try {
      await Promise.race([check(), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${name}: ${String(error?.message ?? error).replace(/\s+/g, ' ')}`);
    }
    clearTimeout(timer);
  }
  process.exit(failed ? 1 : 0);
}
