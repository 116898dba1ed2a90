// Google's own web build of @google/genai, unmodified, in the page: a backend has minted the token that it connects with.
import assert from 'node:assert/strict';
import { build } from 'esbuild';
import { KEY, note } from './checks.mjs';

const { SUITE_TLS } = process.env;
const BASE = SUITE_TLS.replace(/\/$/, '');
const LIMIT_MS = 15_000;

/** The package as an application ships it to browsers: bundled, otherwise unchanged. */
export async function bundle() {
  const stdin = { contents: "export * from '@google/genai'", resolveDir: import.meta.dirname };
  const { outputFiles } = await build({ stdin, bundle: true, format: 'esm', platform: 'browser', write: false });
  return outputFiles[0].contents;
}

/** Mints as a backend does that has no SDK: one call, with the key in a header. */
async function mint(page, body) {
  // Through the browser's own stack, which trusts the gateway's authority; not from the page.
  const response = await page.context().request.post(`${BASE}/v1alpha/auth_tokens`, {
    headers: { 'x-goog-api-key': KEY },
    data: body,
    ignoreHTTPSErrors: true,
  });
  const { name } = await response.json();
  assert.ok(name, `status ${response.status()}`);
  return note(name);
}

/** What the page's application sees of one session: what the model says, or how it was closed. */
const talk = (page, apiKey) =>
  page.evaluate(
    async ({ baseUrl, apiKey, limit }) => {
      const { GoogleGenAI, Modality } = await import('/genai.mjs');
      const ai = new GoogleGenAI({ apiKey, httpOptions: { baseUrl, apiVersion: 'v1alpha' } });
      return new Promise((resolve) => {
        const seen = { text: '', code: null, reason: null };
        setTimeout(() => resolve(seen), limit);
        const callbacks = {
          onmessage: ({ serverContent }) => {
            for (const { text } of serverContent?.modelTurn?.parts ?? []) seen.text += text ?? '';
            if (serverContent?.turnComplete) resolve(seen);
          },
          onclose: ({ code, reason }) => resolve(Object.assign(seen, { code, reason })),
        };
        const params = { model: 'gemini-2.5-flash-native-audio', config: { responseModalities: [Modality.TEXT] }, callbacks };
        ai.live.connect(params).then(
          (session) => session.sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'hello' }] }], turnComplete: true }),
          (error) => resolve(Object.assign(seen, { reason: seen.reason ?? String(error) })),
        );
      });
    },
    { baseUrl: BASE, apiKey, limit: LIMIT_MS },
  );

/** The checks, for a page that is served the bundle as `/genai.mjs`. */
export const genai = (page) => ({
  'the web build of @google/genai talks with a token': async () => {
    const seen = await talk(page, await mint(page, { uses: 1 }));
    assert.match(seen.text, /hello/, `closed ${seen.code} ${seen.reason}`);
  },
  'the web build of @google/genai is told that a token is used up': async () => {
    const token = await mint(page, { uses: 1 });
    assert.match((await talk(page, token)).text, /hello/);
    const seen = await talk(page, token);
    assert.equal(seen.code, 1008, `closed ${seen.code} ${seen.reason}`);
    assert.match(seen.reason, /^token_used_up: \S/);
  },
  'the web build of @google/genai is told that its token is not one': async () => {
    const seen = await talk(page, 'auth_tokens/kmt_TestVector0TestVector0TestVector0TestVector13nLa6');
    assert.equal(seen.code, 1007, `closed ${seen.code} ${seen.reason}`);
    assert.match(seen.reason, /^credential_invalid: \S/);
  },
});
