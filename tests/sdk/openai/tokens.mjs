// Client secrets as applications use them: a backend mints with its key, an app connects with what it was given.
import assert from 'node:assert/strict';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { note } from './checks.mjs';
import { MODEL, call, client, talk, watch } from './suite.mjs';

/** What the backend below locks: the app may ask for anything else. */
export const PIRATE = { type: 'realtime', model: MODEL, instructions: 'Talk like a pirate.' };
const UNKNOWN = 'ek_kmt_TestVector0TestVector0TestVector0TestVector13nLa6';

/** A client secret as a backend mints it. */
export async function mint(body = { session: PIRATE }) {
  const { value, expires_at } = await client().realtime.clientSecrets.create(body);
  assert.match(value, /^ek_kmt_/, 'another value was given');
  assert.ok(expires_at * 1000 > Date.now(), 'it is over already');
  return note(value);
}

/** The same with limits that OpenAI's API has no words for, and the id to revoke it by. */
export async function mintOwn(body) {
  const { spellings, id } = await call('POST', '/keymoat/v1/tokens', body);
  return { value: note(spellings.openai), id };
}

const bySubprotocol = (secret) => new OpenAIRealtimeWebSocket({ model: MODEL }, client(secret));
const byHeader = (secret) => new OpenAIRealtimeWS({ model: MODEL }, client(secret));

/** How a session ends that is not let in: an event that says why, then a close that says it again. */
async function refused(realtime, code) {
  const seen = watch(realtime);
  const { code: close, reason } = await seen.closed;
  assert.equal(close, 3000, `closed: ${close} ${reason}`);
  assert.match(reason, new RegExp(`^${code}: \\S`));
  assert.equal(seen.errors[0]?.error?.code, code);
  assert.match(seen.errors[0].message, new RegExp(`${code}: \\S`));
}

export const tokens = {
  'a client secret talks by subprotocol and by header': async () => {
    const secret = await mint();
    const realtime = bySubprotocol(secret);
    await talk(realtime);
    assert.equal(realtime.socket.protocol, 'realtime');
    await talk(byHeader(secret));
  },
  'a client secret for no session in particular talks': async () => {
    await talk(bySubprotocol(await mint({ expires_after: { anchor: 'created_at', seconds: 60 } })));
  },
  'a client secret of the older call talks': async () => {
    const { client_secret } = await call('POST', '/v1/realtime/sessions', { model: MODEL, voice: 'marin' });
    assert.match(client_secret.value, /^ek_kmt_/, 'another value was given');
    await talk(bySubprotocol(note(client_secret.value)));
  },
  'an app does not get round what its client secret locks': async () => {
    for (const open of [bySubprotocol, byHeader]) {
      const realtime = open(await mint());
      const seen = watch(realtime);
      await seen.until('session.updated');
      const asked = { type: 'realtime', instructions: 'Say what I say.', output_modalities: ['text'] };
      realtime.send({ type: 'session.update', session: asked });
      const updated = await seen.until('session.updated', 2);
      assert.equal(updated.session.instructions, PIRATE.instructions);
      assert.deepEqual(updated.session.output_modalities, ['text'], 'what is not locked is the app\'s');
      realtime.send({ type: 'session.update', session: { type: 'realtime', model: 'gpt-realtime-mini' } });
      const { code, reason } = await seen.closed;
      assert.equal(code, 3000, `closed: ${code} ${reason}`);
      assert.match(reason, /^forbidden: .*gpt-realtime/);
    }
  },
  'a client secret is for the model that it was minted for': async () => {
    await refused(new OpenAIRealtimeWebSocket({ model: 'gpt-realtime-mini' }, client(await mint())), 'forbidden');
  },
  'an app is told that its client secret is used up': async () => {
    const { value } = await mintOwn({ uses: 1, calls: 'live' });
    await talk(byHeader(value));
    await refused(byHeader(value), 'token_used_up');
    await refused(bySubprotocol(value), 'token_used_up');
  },
  'an app is told that its client secret has expired': async () => {
    const { value } = await mintOwn({ uses: 2, start_within: '1s', live_for: '1s' });
    await new Promise((resume) => setTimeout(resume, 1200));
    await refused(bySubprotocol(value), 'token_expired');
    await refused(byHeader(value), 'token_expired');
  },
  'an app is told that its client secret is not one': async () => {
    await refused(bySubprotocol(UNKNOWN), 'credential_invalid');
    await refused(byHeader(UNKNOWN), 'credential_invalid');
  },
  'an app is told in the middle of a session that its client secret was revoked': async () => {
    for (const open of [bySubprotocol, byHeader]) {
      const { value, id } = await mintOwn({ uses: 2, constraints: { openai: { session: PIRATE } } });
      const realtime = open(value);
      const seen = watch(realtime);
      await seen.until('session.updated');
      await call('DELETE', `/keymoat/v1/tokens/${id}`);
      const { code, reason } = await seen.closed;
      assert.equal(code, 3000, `closed: ${code} ${reason}`);
      assert.match(reason, /^credential_revoked: \S/);
      await refused(open(value), 'credential_revoked');
    }
  },
  'a client secret mints no other and reaches no REST': async () => {
    const app = client(await mint());
    const attempts = [() => app.realtime.clientSecrets.create({}), () => app.responses.create({ model: 'gpt-5', input: 'hello' })];
    for (const attempt of attempts) {
      const error = await attempt().then(() => assert.fail('it was not refused'), (error) => error);
      assert.equal(error.status, 403, `${error}`);
      assert.equal(error.code, 'forbidden');
      assert.match(error.message, /forbidden: \S/);
    }
  },
};
