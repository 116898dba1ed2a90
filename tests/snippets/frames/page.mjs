import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const key = readFileSync('.keymoat/demo.key', 'utf8').trim();
const minted = await fetch('https://127.0.0.1:8789/v1beta/auth_tokens', { method: 'POST', headers: { 'x-goog-api-key': key }, body: '{"uses": 1}' });
const { name } = await minted.json();
// SNIPPET
const message = await new Promise((resolve, reject) => {
  socket.addEventListener('message', ({ data }) => resolve(data));
  socket.addEventListener('close', ({ code, reason }) => reject(new Error(`closed ${code} ${reason}`)));
});
assert.ok(JSON.parse(typeof message === 'string' ? message : await message.text()).setupComplete);
assert.equal(socket.protocol, 'keymoat.v1');
process.exit(0);
