// What the checks share: a client and sessions as an application makes them.
//
// Where the gateway is comes from the environment: SUITE_TLS; OpenAI's paths are at its root and below /openai.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { WebSocket } from 'ws';
import { KEY } from './checks.mjs';

// Node 20 has none of its own; what it is here is a standard one, which cannot set headers.
globalThis.WebSocket ??= WebSocket;

const { SUITE_TLS } = process.env;
export const MODEL = 'gpt-realtime';
const HELLO = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'hello' }] };

const root = SUITE_TLS.replace(/\/$/, '');
export const base = (below = '') => `${root}${below}/v1`;
export const client = (apiKey = KEY, below = '', more = {}) =>
  new OpenAI({ apiKey, baseURL: base(below), maxRetries: 0, ...more });

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
