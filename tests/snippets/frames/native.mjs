// React Native's WebSocket takes headers in its third argument; so does that of `ws`.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import WebSocket from 'ws';

const token = readFileSync('.keymoat/demo.key', 'utf8').trim();
// SNIPPET
const message = await new Promise((resolve, reject) => {
  socket.onopen = () => socket.send(JSON.stringify({ setup: { model: 'models/gemini-2.5-flash-native-audio' } }));
  socket.onmessage = ({ data }) => resolve(String(data));
  socket.onclose = ({ code, reason }) => reject(new Error(`closed ${code} ${reason}`));
  socket.onerror = reject;
});
assert.ok(JSON.parse(message).setupComplete);
process.exit(0);
