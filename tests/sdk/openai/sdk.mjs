// Drives one unmodified release of openai through the gateway; only the base URL and NODE_EXTRA_CA_CERTS differ from direct use.
//
// Prints `ok NAME` or `FAIL NAME: DETAIL` for every check. Where things are comes from the environment:
// SUITE_TLS (the gateway; OpenAI's paths are at its root and below /openai), SUITE_KEY_FILE (the client's key), SUITE_WRONG_KEY.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { WebSocket } from 'ws';

// Node 20 has none of its own; what it is here is a standard one, which cannot set headers.
globalThis.WebSocket ??= WebSocket;

const { SUITE_TLS, SUITE_KEY_FILE, SUITE_WRONG_KEY: WRONG_KEY } = process.env;
const KEY = readFileSync(SUITE_KEY_FILE, 'utf8').trim();
const MODEL = 'gpt-realtime';
const REST_MODEL = 'gpt-5';
const LIMIT_MS = 20_000;
const HELLO = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'hello' }] };

const base = (below = '') => `${SUITE_TLS.replace(/\/$/, '')}${below}/v1`;
const client = (apiKey = KEY, below = '', more = {}) => new OpenAI({ apiKey, baseURL: base(below), maxRetries: 0, ...more });

/** What an application sees of a session: its events, its errors, its end. */
function watch(realtime) {
  const seen = { events: [], errors: [], waiting: [] };
  const wake = () => seen.waiting.splice(0).forEach((resume) => resume());
  realtime.on('event', (event) => (seen.events.push(event), wake()));
  realtime.on('error', (error) => (seen.errors.push(error), wake()));
  seen.closed = new Promise((resolve) => {
    // `ws` gives two arguments, a standard WebSocket one event.
    const end = (first, reason) => (resolve(first?.code ? first : { code: first, reason: String(reason) }), wake());
    realtime.socket.on ? realtime.socket.on('close', end) : realtime.socket.addEventListener('close', end);
  });
  /** Waits for an event of this type. */
  seen.until = async (type) => {
    for (;;) {
      const found = seen.events.find((event) => event.type === type);
      if (found) return found;
      const close = await Promise.race([seen.closed, new Promise((resume) => seen.waiting.push(resume))]);
      if (close) throw new Error(`closed: ${close.code} ${close.reason}; ${seen.errors.map(({ message }) => message)}`);
    }
  };
  return seen;
}

async function talk(realtime) {
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

async function refused(realtime) {
  const seen = watch(realtime);
  const { code, reason } = await seen.closed;
  assert.equal(code, 3000);
  assert.match(reason, /^credential_invalid: \S/);
  assert.equal(seen.errors[0]?.error?.code, 'credential_invalid');
  assert.match(seen.errors[0].message, /credential_invalid: \S/);
}

const checks = {
  'realtime by subprotocol': async () => {
    const realtime = new OpenAIRealtimeWebSocket({ model: MODEL, dangerouslyAllowBrowser: true }, client());
    await talk(realtime);
    assert.equal(realtime.socket.protocol, 'realtime');
  },
  'realtime by subprotocol, of a client with an organization and a project': async () => {
    const more = { organization: 'org_client', project: 'proj_client' };
    await talk(new OpenAIRealtimeWebSocket({ model: MODEL }, client(KEY, '', more)));
  },
  'realtime by header': async () => {
    await talk(new OpenAIRealtimeWS({ model: MODEL }, client()));
  },
  'realtime by header, below a prefix': async () => {
    await talk(new OpenAIRealtimeWS({ model: MODEL }, client(KEY, '/openai')));
  },
  'responses': async () => {
    const answer = await client().responses.create({ model: REST_MODEL, input: 'hello' });
    assert.match(answer.output_text, /hello/);
  },
  'responses, as a stream': async () => {
    const events = [];
    const stream = await client().responses.create({ model: REST_MODEL, input: 'hello', stream: true });
    for await (const event of stream) events.push(event);
    const deltas = events.filter(({ type }) => type === 'response.output_text.delta');
    assert.match(deltas.map(({ delta }) => delta).join(''), /hello/);
    assert.equal(events.at(-1).type, 'response.completed');
  },
  'chat completions, as a stream': async () => {
    const chunks = [];
    const messages = [{ role: 'user', content: 'hello' }];
    const stream = await client().chat.completions.create({ model: REST_MODEL, messages, stream: true });
    for await (const chunk of stream) chunks.push(chunk.choices[0]?.delta?.content ?? '');
    assert.match(chunks.join(''), /hello/);
  },
  'models, below a prefix': async () => {
    const models = [];
    for await (const model of client(KEY, '/openai').models.list()) models.push(model.id);
    assert.ok(models.includes(MODEL), models.join());
  },
  'realtime by subprotocol says why a wrong key is refused': () =>
    refused(new OpenAIRealtimeWebSocket({ model: MODEL }, client(WRONG_KEY))),
  'realtime by header says why a wrong key is refused': () =>
    refused(new OpenAIRealtimeWS({ model: MODEL }, client(WRONG_KEY))),
  'responses say why a wrong key is refused': async () => {
    const attempt = client(WRONG_KEY).responses.create({ model: REST_MODEL, input: 'hello' });
    const error = await attempt.then(() => assert.fail('it was not refused'), (error) => error);
    assert.equal(error.status, 401);
    assert.equal(error.code, 'credential_invalid');
    assert.match(error.message, /credential_invalid: \S/);
  },
};

// Where the agents' SDK is installed as well, it takes the same road.
const agents = await import('@openai/agents-realtime').catch(() => undefined);
if (agents) {
  const url = `${base()}/realtime?model=${MODEL}`.replace(/^https/, 'wss');
  const open = async (apiKey) => {
    const layer = new agents.OpenAIRealtimeWebSocket({ url });
    const seen = { events: [], errors: [] };
    layer.on('error', (error) => seen.errors.push(error));
    const done = new Promise((resolve) => layer.on('*', (event) => (seen.events.push(event), event.type === 'response.done' && resolve(event))));
    const ended = new Promise((resolve) => layer.on('connection_change', (status) => status === 'disconnected' && resolve()));
    await layer.connect({ apiKey, url });
    return { layer, seen, done, ended };
  };
  checks['the agents\' SDK talks'] = async () => {
    const { layer, done } = await open(KEY);
    layer.sendMessage('hello', {});
    const { response } = await done;
    assert.match(response.output[0].content[0].transcript, /hello/);
    layer.close();
  };
  checks['the agents\' SDK says why a wrong key is refused'] = async () => {
    const attempt = await open(WRONG_KEY).catch((error) => ({ error }));
    if (attempt.ended) await attempt.ended;
    const told = attempt.error ? String(attempt.error.message ?? JSON.stringify(attempt.error)) : JSON.stringify(attempt.seen.errors);
    assert.match(told, /credential_invalid/);
  };
}

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
