// What the checks share: clients and sessions as an application makes them.
//
// Where the gateway is comes from the environment: SUITE_TLS (the default route), SUITE_WATCHED_TLS (a route with `query = "warn"`).
import assert from 'node:assert/strict';
import { GoogleGenAI } from '@google/genai';
import { KEY } from './checks.mjs';

export const { SUITE_TLS, SUITE_WATCHED_TLS } = process.env;
export const LIVE_MODEL = 'gemini-2.5-flash-native-audio';
const MUSIC_MODEL = 'models/lyria-realtime-exp';
export const REST_MODEL = 'gemini-2.5-flash';

export const client = (baseUrl, apiKey = KEY, apiVersion = undefined) =>
  new GoogleGenAI({ apiKey, httpOptions: { baseUrl, apiVersion } });

/** Opens a session by `connect` and gives what the application sees: the session, its messages, its end. */
async function open(connect, params) {
  const seen = { messages: [], waiting: [] };
  const wake = () => seen.waiting.splice(0).forEach((resume) => resume());
  const closed = new Promise((resolve) => {
    params.callbacks = {
      onmessage: (message) => (seen.messages.push(message), wake()),
      onclose: ({ code, reason }) => (resolve({ code, reason }), wake()),
      onerror: () => {},
    };
  });
  // 2.x never settles `connect()` when the session is refused, 3.x rejects it: both call `onclose`.
  const opened = connect(params).then((session) => ({ session }));
  const ended = closed.then((close) => ({ close }));
  const first = await Promise.race([opened.catch(() => ended), ended]);
  /** Waits for a message that `wanted` accepts. */
  const until = async (wanted) => {
    for (;;) {
      const found = seen.messages.find(wanted);
      if (found) return found;
      const close = await Promise.race([closed, new Promise((resume) => seen.waiting.push(resume))]);
      if (close) throw new Error(`closed: ${close.code} ${close.reason}`);
    }
  };
  return { ...first, messages: seen.messages, until };
}

export const live = (ai, modality, config = {}) =>
  open((params) => ai.live.connect(params), { model: LIVE_MODEL, config: { responseModalities: [modality], ...config } });
export const music = (ai) => open((params) => ai.live.music.connect(params), { model: MUSIC_MODEL });
export const ended = (message) => message.serverContent?.turnComplete;
export const parts = ({ messages }) => messages.flatMap((message) => message.serverContent?.modelTurn?.parts ?? []);

export function session(opened) {
  assert.ok(opened.session, `closed: ${opened.close?.code} ${opened.close?.reason}`);
  return opened.session;
}

/** How a music session ends; `connect()` may well succeed before the refusal arrives. */
export async function musicRefusal(ai) {
  const opened = await music(ai);
  if (opened.close) return opened.close;
  const error = await opened.until(() => false).catch((error) => error);
  const [, code, reason] = /closed: (\d+) (.*)/.exec(error.message) ?? [];
  return { code: Number(code), reason };
}
