// The agents' SDK, where it is installed as well: it takes the same road, with a key in a backend and with a client secret in an app.
import assert from 'node:assert/strict';
import { KEY, WRONG_KEY } from './checks.mjs';
import { MODEL, base } from './suite.mjs';
import { PIRATE, mint, mintOwn } from './tokens.mjs';

const sdk = await import('@openai/agents-realtime').catch(() => undefined);
const url = `${base()}/realtime?model=${MODEL}`.replace(/^https/, 'wss');

async function open(apiKey) {
  const layer = new sdk.OpenAIRealtimeWebSocket({ url });
  const seen = { events: [], errors: [] };
  layer.on('error', (error) => seen.errors.push(error));
  const done = new Promise((resolve) =>
    layer.on('*', (event) => (seen.events.push(event), event.type === 'response.done' && resolve(event))));
  const ended = new Promise((resolve) => layer.on('connection_change', (status) => status === 'disconnected' && resolve()));
  await layer.connect({ apiKey, url });
  return { layer, seen, done, ended };
}

async function refused(apiKey, code) {
  const attempt = await open(apiKey).catch((error) => ({ error }));
  if (attempt.ended) await attempt.ended;
  const told = attempt.error ? String(attempt.error.message ?? JSON.stringify(attempt.error)) : JSON.stringify(attempt.seen.errors);
  assert.match(told, new RegExp(code));
}

const checks = {
  'the agents\' SDK talks': async () => {
    const { layer, done } = await open(KEY);
    layer.sendMessage('hello', {});
    const { response } = await done;
    assert.match(response.output[0].content[0].transcript, /hello/);
    layer.close();
  },
  'the agents\' SDK says why a wrong key is refused': () => refused(WRONG_KEY, 'credential_invalid'),
  'an agent talks with a client secret, under its lock': async () => {
    const agent = new sdk.RealtimeAgent({ name: 'parrot', instructions: 'Say what I say.' });
    const session = new sdk.RealtimeSession(agent, { transport: 'websocket', model: MODEL });
    const events = [];
    session.on('transport_event', (event) => events.push(event));
    const spoken = new Promise((resolve, reject) => {
      session.on('transport_event', (event) => event.type === 'response.done' && resolve(event.response));
      session.on('error', ({ error }) => reject(new Error(JSON.stringify(error))));
    });
    await session.connect({ apiKey: await mint(), url });
    session.sendMessage('hello');
    assert.match((await spoken).output[0].content[0].transcript, /hello/);
    const told = events.filter(({ type }) => type === 'session.updated').map(({ session }) => session.instructions);
    assert.ok(told.length > 1 && told.every((instructions) => instructions === PIRATE.instructions), `${told}`);
    session.close();
  },
  'the agents\' SDK says that a client secret is used up': async () => {
    const { value } = await mintOwn({ uses: 1 });
    const { layer } = await open(value);
    layer.close();
    await refused(value, 'token_used_up');
  },
};

export const agents = sdk ? checks : {};
