// Drives one unmodified release of @google/genai through the gateway; only the base URL and NODE_EXTRA_CA_CERTS differ from direct use.
//
// Prints `ok NAME` or `FAIL NAME: DETAIL` for every check. Where things are comes from the environment:
// SUITE_TLS (the default route), SUITE_WATCHED_TLS (a route with `query = "warn"`), SUITE_KEY_FILE (the client's key), SUITE_WRONG_KEY.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { GoogleGenAI, Modality } from '@google/genai';

const { SUITE_TLS, SUITE_WATCHED_TLS, SUITE_KEY_FILE, SUITE_WRONG_KEY: WRONG_KEY } = process.env;
const KEY = readFileSync(SUITE_KEY_FILE, 'utf8').trim();
const LIVE_MODEL = 'gemini-2.5-flash-native-audio';
const MUSIC_MODEL = 'models/lyria-realtime-exp';
const REST_MODEL = 'gemini-2.5-flash';
const LIMIT_MS = 20_000;

const client = (baseUrl, apiKey = KEY) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl } });

/** Opens a session by `connect` and gives what the application sees: the session, its messages, its end. */
async function open(connect, params) {
  const seen = { messages: [], waiting: [] };
  const wake = () => seen.waiting.splice(0).forEach((resume) => resume());
  const closed = new Promise((resolve) => {
    params.callbacks = {
      onmessage: (message) => (seen.messages.push(message), wake()),
      onclose: ({ code, reason }) => (resolve({ code, reason }), wake()),
      onerror: () => {},
    };
  });
  // 2.x never settles `connect()` when the session is refused, 3.x rejects it: both call `onclose`.
  const opened = connect(params).then((session) => ({ session }));
  const ended = closed.then((close) => ({ close }));
  const first = await Promise.race([opened.catch(() => ended), ended]);
  /** Waits for a message that `wanted` accepts. */
  const until = async (wanted) => {
    for (;;) {
      const found = seen.messages.find(wanted);
      if (found) return found;
      const close = await Promise.race([closed, new Promise((resume) => seen.waiting.push(resume))]);
      if (close) throw new Error(`closed: ${close.code} ${close.reason}`);
    }
  };
  return { ...first, messages: seen.messages, until };
}

const live = (ai, modality) =>
  open((params) => ai.live.connect(params), { model: LIVE_MODEL, config: { responseModalities: [modality] } });
const music = (ai) => open((params) => ai.live.music.connect(params), { model: MUSIC_MODEL });
const ended = (message) => message.serverContent?.turnComplete;
const parts = ({ messages }) => messages.flatMap((message) => message.serverContent?.modelTurn?.parts ?? []);

function session(opened) {
  assert.ok(opened.session, `closed: ${opened.close?.code} ${opened.close?.reason}`);
  return opened.session;
}

/** How a music session ends; `connect()` may well succeed before the refusal arrives. */
async function musicRefusal(ai) {
  const opened = await music(ai);
  if (opened.close) return opened.close;
  const error = await opened.until(() => false).catch((error) => error);
  const [, code, reason] = /closed: (\d+) (.*)/.exec(error.message) ?? [];
  return { code: Number(code), reason };
}

const checks = {
  'live text, where the URL may carry the key': async () => {
    const opened = await live(client(SUITE_WATCHED_TLS), Modality.TEXT);
    session(opened).sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'hello' }] }], turnComplete: true });
    await opened.until(ended);
    assert.match(parts(opened).map(({ text }) => text).join(''), /hello/);
    opened.session.close();
  },
  'live audio, where the URL may carry the key': async () => {
    const opened = await live(client(SUITE_WATCHED_TLS), Modality.AUDIO);
    const tone = Int16Array.from({ length: 1600 }, (_, n) => 8000 * Math.sin((2 * Math.PI * 440 * n) / 16_000));
    const data = Buffer.from(tone.buffer).toString('base64');
    for (let n = 0; n < 5; n++) session(opened).sendRealtimeInput({ audio: { data, mimeType: 'audio/pcm;rate=16000' } });
    opened.session.sendRealtimeInput({ audioStreamEnd: true });
    await opened.until(ended);
    assert.ok(parts(opened).some(({ inlineData }) => inlineData?.data), 'no audio');
    opened.session.close();
  },
  'live music, where the URL may carry the key': async () => {
    const opened = await music(client(SUITE_WATCHED_TLS));
    await session(opened).setWeightedPrompts({ weightedPrompts: [{ text: 'techno', weight: 1 }] });
    await opened.session.setMusicGenerationConfig({ musicGenerationConfig: { bpm: 90 } });
    await opened.session.play();
    const message = await opened.until(({ serverContent }) => serverContent?.audioChunks?.length);
    assert.ok(message.serverContent.audioChunks[0].data, 'an empty audio chunk');
    opened.session.close();
  },
  'generateContent': async () => {
    const answer = await client(SUITE_TLS).models.generateContent({ model: REST_MODEL, contents: 'hello' });
    assert.match(answer.text, /hello/);
  },
  'generateContentStream': async () => {
    const chunks = [];
    const stream = await client(SUITE_TLS).models.generateContentStream({ model: REST_MODEL, contents: 'hello' });
    for await (const chunk of stream) chunks.push(chunk.text);
    assert.ok(chunks.length > 1, `${chunks.length} chunks`);
    assert.match(chunks.join(''), /hello/);
  },
  'live is told not to put a key in the URL': async () => {
    const { close } = await live(client(SUITE_TLS), Modality.TEXT);
    assert.equal(close?.code, 1007);
    assert.match(close.reason, /^credential_in_query: \S/);
  },
  'music is told not to put a key in the URL': async () => {
    const close = await musicRefusal(client(SUITE_TLS));
    assert.equal(close.code, 1007);
    assert.match(close.reason, /^credential_in_query: \S/);
  },
  'live says why a wrong key is refused': async () => {
    const { close } = await live(client(SUITE_WATCHED_TLS, WRONG_KEY), Modality.TEXT);
    assert.equal(close?.code, 1007);
    assert.match(close.reason, /^credential_invalid/);
  },
  'music says why a wrong key is refused': async () => {
    const close = await musicRefusal(client(SUITE_WATCHED_TLS, WRONG_KEY));
    assert.equal(close.code, 1007);
    assert.match(close.reason, /^credential_invalid/);
  },
  'generateContent says why a wrong key is refused': async () => {
    const attempt = client(SUITE_TLS, WRONG_KEY).models.generateContent({ model: REST_MODEL, contents: 'hello' });
    const error = await attempt.then(() => assert.fail('it was not refused'), (error) => error);
    assert.ok([400, 401].includes(error.status), `status ${error.status}`);
    assert.match(error.message, /credential_invalid/);
  },
};

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
// A session that was refused may keep the event loop alive in 2.x.
process.exit(failed ? 1 : 0);
