// OpenAI's own browser builds, unmodified, in the page: openai and the agents' SDK, with a client secret that a backend has minted.
import assert from 'node:assert/strict';
import { build } from 'esbuild';
import { KEY, note } from './checks.mjs';

const { SUITE_TLS } = process.env;
const BASE = SUITE_TLS.replace(/\/$/, '');
const MODEL = 'gpt-realtime';
const PIRATE = { type: 'realtime', model: MODEL, instructions: 'Talk like a pirate.' };
const UNKNOWN = 'ek_kmt_TestVector0TestVector0TestVector0TestVector13nLa6';
const LIMIT_MS = 15_000;

/** Both packages as an application ships them to browsers: bundled, otherwise unchanged. */
export async function bundle() {
  const contents = `export { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
    export { RealtimeAgent, RealtimeSession } from '@openai/agents-realtime';`;
  const stdin = { contents, resolveDir: import.meta.dirname };
  const { outputFiles } = await build({ stdin, bundle: true, format: 'esm', platform: 'browser', write: false });
  return outputFiles[0].contents;
}

/** A call of the backend, with its key in a header: through the browser's own stack, not from the page. */
async function call(page, method, path, data) {
  const headers = { authorization: `Bearer ${KEY}` };
  const response = await page.context().request.fetch(`${BASE}${path}`, { method, headers, data, ignoreHTTPSErrors: true });
  assert.ok(response.ok(), `status ${response.status()}`);
  return response.status() === 204 ? undefined : response.json();
}

const mint = async (page) => note((await call(page, 'POST', '/v1/realtime/client_secrets', { session: PIRATE })).value);

/** The same with limits that OpenAI's API has no words for, and the id to revoke it by. */
async function mintOwn(page, body) {
  const { spellings, id } = await call(page, 'POST', '/keymoat/v1/tokens', body);
  return { value: note(spellings.openai), id };
}

/** Opens a session with `openai` in the page; it stays there as `window.seen` until the page says how it ended. */
const open = (page, apiKey, asked = {}) =>
  page.evaluate(
    async ({ baseURL, apiKey, model, asked }) => {
      const { OpenAIRealtimeWebSocket } = await import('/openai.mjs');
      // Without `dangerouslyAllowBrowser`: the SDK lets what begins with `ek_` pass.
      const realtime = new OpenAIRealtimeWebSocket({ model }, { apiKey, baseURL });
      const seen = { realtime, text: '', instructions: [], error: null, code: null, reason: null, protocol: null };
      window.seen = seen;
      realtime.on('error', (error) => (seen.error ??= error.error?.code ?? error.message));
      realtime.on('session.created', () => {
        seen.protocol = realtime.socket.protocol;
        realtime.send({ type: 'session.update', session: { type: 'realtime', output_modalities: ['text'], ...asked } });
        realtime.send({
          type: 'conversation.item.create',
          item: { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'hello' }] },
        });
        realtime.send({ type: 'response.create' });
      });
      realtime.on('session.updated', ({ session }) => seen.instructions.push(session.instructions));
      realtime.on('response.output_text.delta', ({ delta }) => (seen.text += delta));
      realtime.on('response.done', () => (seen.done = true));
      realtime.socket.addEventListener('close', ({ code, reason }) => Object.assign(seen, { code, reason }));
    },
    { baseURL: `${BASE}/v1`, apiKey, model: MODEL, asked },
  );

/** What the page has seen once `condition` holds there. */
async function seen(page, condition) {
  await page.waitForFunction(condition, undefined, { timeout: LIMIT_MS }).catch(() => {});
  return page.evaluate(() => {
    const { realtime, ...seen } = window.seen;
    return seen;
  });
}

const spoken = (page) => seen(page, () => window.seen.done || window.seen.code);
const closed = (page) => seen(page, () => window.seen.code);

async function refused(page, apiKey, code) {
  await open(page, apiKey);
  const end = await closed(page);
  assert.equal(end.code, 3000, `closed ${end.code} ${end.reason}`);
  assert.match(end.reason, new RegExp(`^${code}: \\S`));
  assert.equal(end.error, code);
}

/** What an agent says to `hello`, or why it could not connect. */
const agent = (page, apiKey) =>
  page.evaluate(
    async ({ url, apiKey, model, limit }) => {
      const { RealtimeAgent, RealtimeSession } = await import('/openai.mjs');
      const agent = new RealtimeAgent({ name: 'parrot', instructions: 'Say what I say.' });
      const session = new RealtimeSession(agent, { transport: 'websocket', model });
      const seen = { said: null, instructions: [], errors: [] };
      const over = new Promise((resolve) => {
        setTimeout(resolve, limit);
        session.on('error', (error) => (seen.errors.push(JSON.stringify(error)), resolve()));
        session.on('transport_event', (event) => {
          if (event.type === 'session.updated') seen.instructions.push(event.session.instructions);
          if (event.type !== 'response.done') return;
          seen.said = event.response.output[0].content[0].transcript;
          resolve();
        });
      });
      try {
        await session.connect({ apiKey, url });
        session.sendMessage('hello');
        await over;
      } catch (error) {
        seen.errors.push(String(error?.message ?? error));
      }
      session.close();
      return seen;
    },
    { url: `${BASE.replace(/^http/, 'ws')}/v1/realtime?model=${MODEL}`, apiKey, model: MODEL, limit: LIMIT_MS },
  );

/** The checks, for a page that is served the bundle as `/openai.mjs`. */
export const openai = (page) => ({
  'the browser build of openai talks with a client secret': async () => {
    await open(page, await mint(page));
    const end = await spoken(page);
    assert.match(end.text, /hello/, `closed ${end.code} ${end.reason}, ${end.error}`);
    assert.equal(end.protocol, 'realtime');
  },
  'the browser build of openai does not get round what its client secret locks': async () => {
    await open(page, await mint(page), { instructions: 'Say what I say.' });
    const { instructions, text } = await spoken(page);
    assert.match(text, /hello/);
    assert.deepEqual(instructions, [PIRATE.instructions, PIRATE.instructions]);
  },
  'the browser build of openai is told that a client secret is used up': async () => {
    const { value } = await mintOwn(page, { uses: 1 });
    await open(page, value);
    assert.match((await spoken(page)).text, /hello/);
    await refused(page, value, 'token_used_up');
  },
  'the browser build of openai is told that a client secret has expired': async () => {
    const { value } = await mintOwn(page, { start_within: '1s', live_for: '1s' });
    await new Promise((resume) => setTimeout(resume, 1200));
    await refused(page, value, 'token_expired');
  },
  'the browser build of openai is told that its client secret is not one': () => refused(page, UNKNOWN, 'credential_invalid'),
  'the browser build of openai is told in the middle of a session that its client secret was revoked': async () => {
    const { value, id } = await mintOwn(page, { uses: 2 });
    await open(page, value);
    assert.match((await spoken(page)).text, /hello/);
    await call(page, 'DELETE', `/keymoat/v1/tokens/${id}`);
    const end = await closed(page);
    assert.equal(end.code, 3000, `closed ${end.code} ${end.reason}`);
    assert.match(end.reason, /^credential_revoked: \S/);
    await refused(page, value, 'credential_revoked');
  },
  'an agent in a page talks with a client secret, under its lock': async () => {
    const { said, instructions, errors } = await agent(page, await mint(page));
    assert.match(said ?? '', /hello/, errors.join());
    assert.ok(instructions.length > 1 && instructions.every((told) => told === PIRATE.instructions), `${instructions}`);
  },
  'an agent in a page is told that its client secret is used up': async () => {
    const { value } = await mintOwn(page, { uses: 1 });
    assert.match((await agent(page, value)).said ?? '', /hello/);
    assert.match((await agent(page, value)).errors.join(), /token_used_up: \S/);
  },
});
