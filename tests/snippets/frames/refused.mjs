import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const key = readFileSync('.keymoat/demo.key', 'utf8').trim();
const socket = new WebSocket(`wss://gateway.example/ws/events?api_key=${key}`);
const told = [];
console.log = (...words) => told.push(words.join(' '));
// SNIPPET
await new Promise((closed) => socket.addEventListener('close', closed));
assert.ok(told[0].startsWith('4001 credential_in_query: '), told[0]);
