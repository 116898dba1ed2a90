// As a page has it: a WebSocket without headers. All sockets that the snippet opens have to be answered, and all requests to go well.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const key = readFileSync('key.txt', 'utf8').trim();
const call = async (url, headers, body) => (await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })).json();
const google = { 'x-goog-api-key': key };
const { name: token } = await call('https://127.0.0.1:8789/v1alpha/auth_tokens', google, { uses: 1 });
const providers = readFileSync('token.txt', 'utf8').trim();
const { value: clientSecret } = await call('https://api.openai.com/v1/realtime/client_secrets', { authorization: `Bearer ${key}` }, {});
const waiting = [];
const Plain = globalThis.WebSocket;
globalThis.WebSocket = class extends Plain {
  constructor(url, protocols) {
    // What is said to go straight to Google has Google's own token.
    super(String(url).replace(`access_token=${token}`, `access_token=${providers}`), protocols);
    waiting.push(answered(this));
  }
};
const asked = globalThis.fetch;
globalThis.fetch = async (...call) => {
  const response = asked(...call);
  waiting.push(response.then(({ ok, status }) => assert.ok(ok, `status ${status}`)));
  return response;
};
const answered = (socket) =>
  new Promise((resolve, reject) => {
    if (socket.url.includes('BidiGenerate')) {
      socket.addEventListener('open', () => socket.send('{"setup": {"model": "models/gemini-2.5-flash-native-audio"}}'));
    }
    socket.addEventListener('message', resolve);
    socket.addEventListener('close', ({ code, reason }) => reject(new Error(`closed ${code} ${reason}`)));
  });
// SNIPPET
assert.ok(waiting.length, 'nothing was opened');
await Promise.all(waiting);
process.exit(0);
