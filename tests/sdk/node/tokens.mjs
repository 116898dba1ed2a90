// Ephemeral tokens as applications use them: a backend mints with its key, an app connects with the token.
import assert from 'node:assert/strict';
import { Modality } from '@google/genai';
import WebSocket from 'ws';
import { note } from './checks.mjs';
import { LIVE_MODEL, REST_MODEL, SUITE_TLS, client, ended, live, music, parts, session } from './suite.mjs';

const LIMIT_MS = 10_000;

/** A token as a backend mints it. */
async function mint(config, apiVersion) {
  const { name } = await client(SUITE_TLS, undefined, apiVersion).authTokens.create({ config });
  assert.match(name, /^auth_tokens\/kmt_/, 'another name was given');
  return note(name);
}

/** What the model says to `hello` in a session that is opened with `token`. */
async function talk(token, modality = Modality.TEXT, config = {}, apiVersion = undefined) {
  const opened = await live(client(SUITE_TLS, token, apiVersion), modality, config);
  session(opened).sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'hello' }] }], turnComplete: true });
  await opened.until(ended);
  opened.session.close();
  return opened;
}

const text = (opened) => parts(opened).map(({ text }) => text ?? '').join('');
const speaks = (opened) => parts(opened).some(({ inlineData }) => inlineData?.data);

async function refused(token, code, reason) {
  const { close } = await live(client(SUITE_TLS, token), Modality.TEXT);
  assert.equal(close?.code, code);
  assert.match(close.reason, reason);
}

const PATH = '/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent';

/** One attempt of the forum post: React Native's WebSocket takes headers as a third argument, as `ws` does. */
function attempt(query, headers) {
  const socket = new WebSocket(`${SUITE_TLS.replace(/^http/, 'ws').replace(/\/$/, '')}${PATH}${query}`, [], { headers });
  const setup = { model: 'models/gemini-2.0-flash-exp', generationConfig: { responseModalities: ['AUDIO'] } };
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('nothing came in time')), LIMIT_MS);
    socket.on('open', () => socket.send(JSON.stringify({ setup })));
    socket.on('message', (data) => {
      if (JSON.parse(data).setupComplete) resolve();
    });
    socket.on('close', (code, reason) => reject(new Error(`closed: ${code} ${reason}`)));
    socket.on('error', reject);
    socket.on('close', () => clearTimeout(timer));
  }).finally(() => socket.terminate());
}

/** A token of the forum post's backend. */
const ofTheForum = () =>
  mint(
    {
      uses: 10,
      liveConnectConstraints: { model: 'models/gemini-2.0-flash-exp', config: { responseModalities: [Modality.AUDIO] } },
    },
    'v1alpha',
  );

export const tokens = {
  'a token without any limits of its own talks': async () => assert.match(text(await talk(await mint({}))), /hello/),
  'a token talks in every version of the API': async () => {
    for (const version of ['v1', 'v1beta', 'v1alpha']) {
      assert.match(text(await talk(await mint({}, version), Modality.TEXT, {}, version)), /hello/, version);
    }
  },
  'a token with two uses talks twice and is then used up': async () => {
    const token = await mint({ uses: 2 });
    for (let n = 0; n < 2; n++) assert.match(text(await talk(token)), /hello/);
    await refused(token, 1008, /^token_used_up/);
  },
  'a locked setup is the session\'s, whatever the app asks for': async () => {
    const config = { responseModalities: [Modality.TEXT], systemInstruction: 'Be brief.' };
    const opened = await talk(await mint({ uses: 1, liveConnectConstraints: { model: LIVE_MODEL, config } }), Modality.AUDIO);
    assert.ok(text(opened) && !speaks(opened), 'the lock did not hold');
  },
  'a lock of some fields leaves the others to the app': async () => {
    for (const lockAdditionalFields of [[], ['topK', 'temperature']]) {
      const liveConnectConstraints = { model: LIVE_MODEL, config: { temperature: 0.5, tools: [{ googleSearch: {} }] } };
      const token = await mint({ uses: 1, liveConnectConstraints, lockAdditionalFields });
      assert.ok(speaks(await talk(token, Modality.AUDIO)), `no audio with ${lockAdditionalFields}`);
    }
  },
  'times are taken as the SDK writes them': async () => {
    const ahead = (minutes) => new Date(Date.now() + minutes * 60_000).toISOString();
    await talk(await mint({ uses: 1, expireTime: ahead(30), newSessionExpireTime: ahead(2) }));
    const far = client(SUITE_TLS).authTokens.create({ config: { expireTime: ahead(21 * 60) } });
    const error = await far.then(() => assert.fail('it was not refused'), (error) => error);
    assert.equal(error.status, 400);
    assert.match(error.message, /INVALID_ARGUMENT/);
  },
  'music plays with a token': async () => {
    const opened = await music(client(SUITE_TLS, await mint({ uses: 1 })));
    await session(opened).setWeightedPrompts({ weightedPrompts: [{ text: 'techno', weight: 1 }] });
    await opened.session.play();
    await opened.until(({ serverContent }) => serverContent?.audioChunks?.length);
    opened.session.close();
  },
  'a session is resumed with a token of one use': async () => {
    const token = await mint({ uses: 1 });
    const opened = await live(client(SUITE_TLS, token), Modality.TEXT, { sessionResumption: {} });
    session(opened).sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'hello' }] }], turnComplete: true });
    const { sessionResumptionUpdate } = await opened.until((message) => message.sessionResumptionUpdate?.newHandle);
    opened.session.close();
    await talk(token, Modality.TEXT, { sessionResumption: { handle: sessionResumptionUpdate.newHandle } });
  },
  'the three attempts of the forum post connect': async () => {
    const token = await ofTheForum();
    await attempt(`?key=${encodeURIComponent(token)}`);
    await attempt('', { Authorization: `Bearer ${token}` });
    await attempt('', { 'x-goog-api-key': token });
  },
  'the app of the forum post talks through the SDK': async () => {
    assert.ok(speaks(await talk(await ofTheForum(), Modality.AUDIO, {}, 'v1alpha')), 'no audio');
  },
  'a token mints no token': async () => {
    // The SDK itself keeps a token in Google's spelling away from such calls.
    const bare = (await mint({})).replace('auth_tokens/', '');
    const call = client(SUITE_TLS, bare).authTokens.create({ config: {} });
    const error = await call.then(() => assert.fail('it was not refused'), (error) => error);
    assert.equal(error.status, 403);
  },
  'a bare token is told that it does not reach REST': async () => {
    const token = (await mint({})).replace('auth_tokens/', '');
    const call = client(SUITE_TLS, token).models.generateContent({ model: REST_MODEL, contents: 'hello' });
    const error = await call.then(() => assert.fail('it was not refused'), (error) => error);
    assert.equal(error.status, 403);
    assert.match(error.message, /forbidden/);
  },
};
