import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const key = readFileSync('.keymoat/demo.key', 'utf8').trim();
// SNIPPET
await new Promise((resolve, reject) => {
  socket.addEventListener('message', resolve);
  socket.addEventListener('close', ({ code, reason }) => reject(new Error(`closed ${code} ${reason}`)));
});
assert.equal(socket.protocol, 'keymoat.v1');
process.exit(0);
