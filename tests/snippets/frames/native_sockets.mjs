// React Native's WebSocket takes headers in its third argument; so does that of `ws`. All that the snippet opens have to be answered.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { WebSocket as Native } from 'ws';

const key = readFileSync('key.txt', 'utf8').trim();
const token = readFileSync('token.txt', 'utf8').trim();
const minted = await fetch('https://api.openai.com/v1/realtime/client_secrets', {
  method: 'POST',
  headers: { authorization: `Bearer ${key}` },
  body: '{}',
});
const { value: clientSecret } = await minted.json();
const waiting = [];
class WebSocket extends Native {
  constructor(...opened) {
    super(...opened);
    waiting.push(
      new Promise((resolve, reject) => {
        this.addEventListener('message', resolve);
        this.addEventListener('close', ({ code, reason }) => reject(new Error(`closed ${code} ${reason}`)));
        this.addEventListener('error', ({ message }) => reject(new Error(message)));
      }),
    );
  }
}
// SNIPPET
assert.ok(waiting.length, 'nothing was opened');
await Promise.all(waiting);
process.exit(0);
