// What the package does on a server, on whichever runtime this is run by: Node with and without a WebSocket of its own, Deno, Bun.
//
// Where things are comes from the environment: SUITE_PLAIN and SUITE_TLS (the gateway), SUITE_KEY_FILE (a key), SUITE_WRONG_KEY.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import {
  buildWebSocketOptions,
  configure,
  createEventStream,
  createFetch,
  createWebSocket,
  TokenSource,
} from 'keymoat';
import { report } from './report.mjs';

const { SUITE_PLAIN, SUITE_TLS, SUITE_KEY_FILE, SUITE_WRONG_KEY: WRONG_KEY } = process.env;
const KEY = readFileSync(SUITE_KEY_FILE, 'utf8').trim();
const plain = SUITE_PLAIN.replace(/\/$/, '');
const own = globalThis.WebSocket;
const WebSocket = own ?? (await import('ws')).default;
const given = own ? {} : { WebSocket };
const where = globalThis.Deno ? 'Deno' : globalThis.Bun ? 'Bun' : `Node ${process.versions.node.split('.')[0]}`;

/** The first event that comes, or why none does. */
const firstEvent = (socket) =>
  new Promise((resolve, reject) => {
    socket.addEventListener('message', ({ data }) => {
      const { type, data: event } = JSON.parse(data);
      if (type === 'event') resolve(event);
    });
    socket.addEventListener('close', ({ code, reason }) => reject(new Error(`closed ${code} ${reason}`)));
  });

/** Reads an event by a WebSocket that comes back, and gives the protocol that was selected. */
async function reads(options) {
  const socket = createWebSocket('/ws/events', { baseUrl: plain, token: KEY, ...given, ...options });
  try {
    const event = await firstEvent(socket);
    assert.ok(event.id !== undefined && event.risk_level, 'not an event');
    assert.equal(socket.state, 'open');
    return socket.protocol;
  } finally {
    socket.close();
  }
}

await report(where, {
  'reads events': async () => assert.equal(await reads(), own ? 'keymoat.v1' : ''),
  'reads events over TLS': async () => assert.equal(await reads({ baseUrl: SUITE_TLS }), own ? 'keymoat.v1' : ''),
  'reads events with the key in a subprotocol': async () => {
    assert.equal(await reads({ carrier: 'subprotocol', protocols: ['app'] }), 'keymoat.v1');
  },
  'reads events with the key in a header': async () => assert.equal(await reads({ carrier: 'header' }), ''),
  'opens what buildWebSocketOptions built': async () => {
    configure({ baseUrl: plain, token: KEY });
    const options = buildWebSocketOptions('/ws/events');
    assert.deepEqual(Object.keys(options), ['url', own ? 'protocols' : 'headers']);
    const ws = own
      ? new WebSocket(options.url, options.protocols)
      : new WebSocket(options.url, options.protocols, { headers: options.headers });
    assert.ok((await firstEvent(ws)).risk_level);
    ws.close();
    configure({ baseUrl: undefined, token: undefined });
  },
  'knows why a wrong key is refused, and stops': async () => {
    const socket = createWebSocket('/ws/events', { baseUrl: plain, token: WRONG_KEY, ...given });
    const close = await new Promise((resolve) => socket.addEventListener('close', resolve));
    assert.equal(close.action, 'unauthorized');
    // Without a subprotocol the gateway may answer before it upgrades.
    if (own) assert.deepEqual([close.code, close.reason.split(':')[0]], [4001, 'credential_invalid']);
    assert.equal(socket.state, 'unauthorized');
  },
  'asks for another token when one is refused': async () => {
    const asked = [];
    const source = TokenSource.custom(({ reason }) => {
      asked.push(reason);
      return { value: asked.length > 1 ? KEY : WRONG_KEY, expiresAt: Date.now() / 1000 + 600 };
    });
    const request = createFetch({ origins: [plain], token: source });
    const response = await request(`${plain}/api/events?limit=1`);
    assert.deepEqual([response.status, asked], [200, ['initial', 'rejected']]);
    assert.equal((await response.json()).length, 1);
  },
  'mints tokens, and another one when the first is used up': async () => {
    const init = { headers: { Authorization: `Bearer ${KEY}` }, body: '{"uses":1}' };
    const minting = TokenSource.endpoint(`${plain}/keymoat/v1/tokens`, init);
    const used = await minting.fetch();
    assert.match(used.value, /^kmt_/);
    assert.ok(used.singleUse && used.expiresAt > Date.now() / 1000, 'its uses and its end are known');
    await reads({ token: used.value });
    const asked = [];
    const token = TokenSource.custom(async ({ reason }) => {
      asked.push(reason);
      return asked.length > 1 ? minting.fetch() : used;
    });
    const socket = createWebSocket('/ws/events', { baseUrl: plain, token, carrier: 'subprotocol', ...given });
    const closed = [];
    socket.addEventListener('close', ({ code, reason }) => closed.push(`${code} ${reason.split(':')[0]}`));
    await new Promise((resolve) => socket.addEventListener('message', resolve));
    socket.close();
    assert.deepEqual(
      [closed, asked],
      [
        ['4002 token_used_up', '1000 '],
        ['initial', 'expired'],
      ],
    );
  },
  'reads an event stream, and goes on where it was': async () => {
    const read = async (lastEventId) => {
      const ids = [];
      const options = { baseUrl: plain, token: KEY, reconnect: false, lastEventId };
      for await (const { event, id } of createEventStream('/demo/sse?count=4', options)) ids.push(`${event} ${id}`);
      return ids;
    };
    assert.deepEqual(await read(), ['tick 1', 'tick 2', 'tick 3', 'tick 4']);
    assert.deepEqual(await read('2'), ['tick 3', 'tick 4']);
  },
  'reads on where the stream was cut off': async () => {
    const asked = [];
    // The first answer ends in the middle of its second event.
    const cutting = async (url, init) => {
      asked.push(new Headers(init.headers).get('last-event-id'));
      const response = await fetch(url, init);
      if (asked.length > 1) return response;
      return new Response((await response.text()).slice(0, 45), response);
    };
    const ids = [];
    const options = { baseUrl: plain, token: KEY, reconnect: { min: 1 }, fetch: cutting };
    for await (const { id } of createEventStream('/demo/sse?count=4', options)) {
      ids.push(id);
      if (ids.length === 4) break;
    }
    assert.deepEqual(
      [ids, asked],
      [
        ['1', '2', '3', '4'],
        [null, '1'],
      ],
    );
  },
  'says that a stream is not for a wrong key': async () => {
    const read = async () => {
      for await (const { data } of createEventStream('/demo/sse', { baseUrl: plain, token: WRONG_KEY }))
        assert.fail(`an event: ${data}`);
    };
    await assert.rejects(read, { code: 'unauthorized' });
  },
  'sends nothing with a key in the URL': async () => {
    const url = `/ws/events?api_key=${KEY}`;
    assert.throws(() => createWebSocket(url, { baseUrl: plain, ...given }), { code: 'credential_in_url' });
  },
});
