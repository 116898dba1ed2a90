// Drives one unmodified release of openai through the gateway; only the base URL and NODE_EXTRA_CA_CERTS differ from direct use.
import assert from 'node:assert/strict';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { KEY, WRONG_KEY, run } from './checks.mjs';
import { MODEL, client, talk, watch } from './suite.mjs';
import { agents } from './agents.mjs';
import { tokens } from './tokens.mjs';

const REST_MODEL = 'gpt-5';

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

await run({ ...checks, ...agents, ...tokens });
