import assert from 'node:assert/strict';
import { GoogleGenAI } from '@google/genai';

// SNIPPET
assert.ok((await rest.models.list()).page.length, 'no models');
const message = await new Promise((onmessage, onerror) =>
  live.live.connect({ model: 'gemini-2.5-flash-native-audio', callbacks: { onmessage, onclose: ({ reason }) => onerror(new Error(reason)) } }),
);
assert.ok(message.setupComplete);
process.exit(0);
