// Drives one unmodified release of @google/genai through the gateway; only the base URL and NODE_EXTRA_CA_CERTS differ from direct use.
import assert from 'node:assert/strict';
import { Modality } from '@google/genai';
import { WRONG_KEY, run } from './checks.mjs';
import {
  REST_MODEL,
  SUITE_TLS,
  SUITE_WATCHED_TLS,
  client,
  ended,
  live,
  music,
  musicRefusal,
  parts,
  session,
} from './suite.mjs';
import { tokens } from './tokens.mjs';

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

await run({ ...checks, ...tokens });
