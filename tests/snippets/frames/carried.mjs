import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { GoogleGenAI } from '@google/genai/web';
// SNIPPET

const key = readFileSync('.keymoat/demo.key', 'utf8').trim();
const minted = await fetch('https://127.0.0.1:8789/v1alpha/auth_tokens', { method: 'POST', headers: { 'x-goog-api-key': key }, body: '{"uses": 1}' });
const { name } = await minted.json();
const seen = [];
const Carrying = globalThis.WebSocket;
globalThis.WebSocket = class extends Carrying {
  constructor(...opened) {
    super(...opened);
    seen.push(this);
  }
};
const ai = new GoogleGenAI({ apiKey: name, httpOptions: { baseUrl: 'https://127.0.0.1:8789', apiVersion: 'v1alpha' } });
const message = await new Promise((onmessage, onerror) =>
  ai.live.connect({ model: 'gemini-2.5-flash-native-audio', callbacks: { onmessage, onclose: ({ reason }) => onerror(new Error(reason)) } }),
);
assert.ok(message.setupComplete, 'the session did not open');
assert.equal(seen.length, 1);
assert.ok(!seen[0].url.includes('kmt_'), 'the token stands in the URL');
process.exit(0);
