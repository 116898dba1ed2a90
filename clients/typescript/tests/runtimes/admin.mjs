// The package against `/ws/events` and `/api/events/stream` of the admin listener, on whichever runtime this is run by.

import assert from 'node:assert/strict';
import { buildWebSocketOptions, configure, createEventStream, createWebSocket } from 'keymoat';
import { KEPT, open, wayTo } from './listener.mjs';
import { report } from './report.mjs';

const { SUITE_WRONG_KEY: WRONG_KEY } = process.env;
const own = globalThis.WebSocket;
const WebSocket = own ?? (await import('ws')).default;
const given = own ? {} : { WebSocket };
const where = globalThis.Deno ? 'Deno' : globalThis.Bun ? 'Bun' : `Node ${process.versions.node.split('.')[0]}`;
const { base, key, note, ask, makeKeys, forgets, end } = await open(where);
const way = await wayTo(base);

/** The messages of a WebSocket, to be waited for one after the other; a close is one that ends them. */
function messagesOf(socket) {
  const [come, waiting] = [[], []];
  const take = (message) => (waiting.length > 0 ? waiting.shift()(message) : come.push(message));
  socket.addEventListener('message', ({ data }) => take(JSON.parse(data)));
  socket.addEventListener('close', ({ code, reason }) => take({ closed: code, word: reason.split(':')[0] }));
  const next = () =>
    come.length > 0 ? Promise.resolve(come.shift()) : new Promise((message) => waiting.push(message));
  /** The next so many events, whatever else comes in between. */
  const events = async (number) => {
    const found = [];
    while (found.length < number) {
      const message = await next();
      assert.ok(message.closed === undefined, JSON.stringify(message));
      if (message.type === 'event') found.push(message);
    }
    return found;
  };
  return { next, events, rest: come };
}

/** Opens what `buildWebSocketOptions` built, as an application does. */
async function opened(options = {}) {
  configure({ baseUrl: base, token: key });
  const { url, protocols, headers } = buildWebSocketOptions('/ws/events', options);
  configure({ baseUrl: undefined, token: undefined });
  assert.equal(url, `${base.replace('http', 'ws')}/ws/events`);
  let socket;
  if (!headers) socket = new WebSocket(url, protocols);
  else
    socket = own
      ? new WebSocket(url, { protocols: protocols ?? [], headers })
      : new WebSocket(url, protocols, { headers });
  const messages = messagesOf(socket);
  const first = await messages.next();
  assert.deepEqual([first.type, first.data?.health], ['system_status', 'healthy'], JSON.stringify(first));
  assert.equal(first.lastSeq, first.data.lastSeq);
  return { socket, ...messages, lastSeq: first.lastSeq, send: (message) => socket.send(JSON.stringify(message)) };
}

/** A WebSocket over the way that can be cut, which comes back and says where it was. */
const comesBack = () =>
  createWebSocket('/ws/events', {
    baseUrl: way.base,
    token: key,
    reconnect: { min: 50, max: 100 },
    resume: ({ lastSeq }) => JSON.stringify({ type: 'resume', lastSeq }),
    ...given,
  });

/** Numbers from `first` on. */
const from = (first, number) => Array.from({ length: number }, (_, at) => first + at);

/** The events of a stream until there are so many. */
async function streamed(number, options) {
  const found = [];
  for await (const event of createEventStream('/api/events/stream', { baseUrl: base, token: key, ...options })) {
    found.push(event);
    if (found.length === number) break;
  }
  return found;
}

await report(where, {
  'the admin socket says how things stand, and tells each event with its number': async () => {
    const { socket, events, lastSeq } = await opened();
    await makeKeys(3);
    const told = await events(3);
    assert.deepEqual(
      told.map(({ seq }) => seq),
      from(lastSeq + 1, 3),
    );
    for (const { seq, data } of told) {
      assert.deepEqual([data.id, data.type, data.event], [seq, 'key.created', 'act']);
      assert.ok(data.severity && data.timestamp && data.target, JSON.stringify(data));
    }
    socket.close();
  },
  'the admin socket answers a ping, and says what is wrong with a message': async () => {
    const { socket, next, send } = await opened();
    socket.send('ping');
    assert.deepEqual(await next(), { type: 'pong' });
    send({ type: 'ping' });
    assert.deepEqual(await next(), { type: 'pong' });
    send({ type: 'pong' });
    socket.send('{');
    assert.equal((await next()).error, 'invalid_json');
    send({ type: 'shout' });
    assert.equal((await next()).error, 'unknown_message_type');
    socket.close();
  },
  'the admin socket tells what was subscribed to, until it is taken back': async () => {
    const { socket, next, events, send } = await opened();
    send({ type: 'subscribe', data: { events: ['token.*', 'key.revoked'] } });
    assert.deepEqual(await next(), { action: 'subscribed', events: ['token.*', 'key.revoked'] });
    const { id } = await ask('POST', '/keys', { name: `of-${where}` }).then(
      ({ secret, ...made }) => (note(secret), made.key ?? made),
    );
    await ask('POST', `/keys/${id}/revoke`, {});
    const [{ seq, data }] = await events(1);
    assert.deepEqual([data.type, data.target], ['key.revoked', id], 'the one that was made is left out');
    send({ type: 'unsubscribe', data: { events: ['token.*', 'key.revoked'] } });
    assert.equal((await next()).action, 'unsubscribed');
    await makeKeys();
    const [behind] = await events(1);
    assert.deepEqual([behind.seq, behind.data.type], [seq + 1, 'key.created']);
    send({ type: 'subscribe', data: { events: [] } });
    assert.equal((await next()).error, 'validation_error');
    socket.close();
  },
  'the admin socket takes the key in every header and as a subprotocol': async () => {
    for (const options of [
      { carrier: 'header' },
      { carrier: 'header', header: 'x-api-key' },
      { carrier: 'header', protocols: ['keymoat.v1'] },
      { carrier: 'subprotocol' },
      { carrier: 'subprotocol', protocols: ['app'] },
    ]) {
      const { socket } = await opened(options);
      const isOffered = options.carrier === 'subprotocol' || options.protocols !== undefined;
      assert.equal(socket.protocol, isOffered ? 'keymoat.v1' : '', JSON.stringify(options));
      socket.close();
    }
    const raw = new WebSocket(`${base.replace('http', 'ws')}/ws/events`, ['keymoat.v1', `api-key.${key}`]);
    assert.equal((await messagesOf(raw).next()).type, 'system_status');
    assert.equal(raw.protocol, 'keymoat.v1');
    raw.close();
  },
  'the admin socket tells again what was lost, once and in order': async () => {
    const socket = comesBack();
    const { next, events } = messagesOf(socket);
    const { lastSeq } = await next();
    await makeKeys(2);
    assert.deepEqual(
      (await events(2)).map(({ seq }) => seq),
      from(lastSeq + 1, 2),
    );
    way.cut();
    const closed = await next();
    assert.ok('closed' in closed, JSON.stringify(closed));
    await makeKeys(3);
    way.mend();
    // Attempts that failed meanwhile are closes, too.
    let message = await next();
    while ('closed' in message) message = await next();
    assert.equal(message.type, 'system_status');
    assert.deepEqual(await next(), { action: 'resumed', lastSeq: lastSeq + 2 });
    assert.deepEqual(
      (await events(3)).map(({ seq }) => seq),
      from(lastSeq + 3, 3),
    );
    await makeKeys();
    assert.deepEqual(
      (await events(1)).map(({ seq }) => seq),
      [lastSeq + 6],
    );
    socket.close();
  },
  'the admin socket and stream tell of a gap where events were forgotten meanwhile': async () => {
    const socket = comesBack();
    const { next, events } = messagesOf(socket);
    await next();
    await makeKeys();
    const [{ seq: last }] = await events(1);
    way.cut();
    await makeKeys(KEPT + 5);
    await forgets(last + 1);
    way.mend();
    let message = await next();
    while ('closed' in message || message.type === 'system_status') message = await next();
    assert.deepEqual(message, { action: 'resumed', lastSeq: last });
    const gap = await next();
    assert.deepEqual([gap.type, gap.data.after], ['gap', last]);
    assert.ok(gap.data.next > last + 1, JSON.stringify(gap));
    const number = last + KEPT + 5 - gap.data.next + 1;
    assert.deepEqual(
      (await events(number)).map(({ seq }) => seq),
      from(gap.data.next, number),
    );
    socket.close();

    const [first, second] = await streamed(2, { lastEventId: String(last) });
    assert.deepEqual([first.event, JSON.parse(first.data)], ['gap', gap.data]);
    assert.equal(second.id, String(gap.data.next));
  },
  'the admin stream has numbers as ids, and goes on behind the last one': async () => {
    const abort = new AbortController();
    const stream = createEventStream('/api/events/stream', { baseUrl: base, token: key, signal: abort.signal })[
      Symbol.asyncIterator
    ]();
    const coming = stream.next();
    // Nothing comes before there is an event: until it is subscribed, more of them are made.
    const first = await Promise.race([
      coming,
      (async () => {
        for (let at = 0; at < 50; at++) {
          await makeKeys();
          await new Promise((later) => setTimeout(later, 200));
        }
      })(),
    ]).then(({ value }) => value);
    const data = JSON.parse(first.data);
    assert.deepEqual([first.event, String(data.id), data.type], ['key.created', first.id, 'key.created']);
    abort.abort();
    await makeKeys(2);
    const behind = await streamed(2, { lastEventId: first.id });
    assert.deepEqual(
      behind.map(({ id }) => Number(id)),
      from(Number(first.id) + 1, 2),
    );
  },
  'the admin stream goes on where it was cut off': async () => {
    const asked = [];
    const watching = (url, init) => {
      asked.push(new Headers(init.headers).get('last-event-id'));
      return fetch(url, init);
    };
    const { lastSeq } = await opened().then(({ socket, lastSeq }) => (socket.close(), { lastSeq }));
    await makeKeys(2);
    const ids = [];
    const options = { baseUrl: way.base, token: key, lastEventId: String(lastSeq), reconnect: { min: 50, max: 100 } };
    for await (const { id } of createEventStream('/api/events/stream', { ...options, fetch: watching })) {
      ids.push(Number(id));
      if (ids.length === 2) {
        way.cut();
        await makeKeys(2);
        way.mend();
      }
      if (ids.length === 4) break;
    }
    assert.deepEqual(ids, from(lastSeq + 1, 4));
    assert.deepEqual([asked[0], asked.at(-1)], [String(lastSeq), String(lastSeq + 2)]);
  },
  'a token for one admin stream opens one, by socket or by stream': async () => {
    const token = async () => note((await ask('POST', '/stream-tokens')).token);
    const used = await token();
    const { socket } = await opened({ token: used, carrier: 'subprotocol' });
    socket.close();
    const again = new WebSocket(
      ...Object.values(buildWebSocketOptions('/ws/events', { baseUrl: base, token: used, carrier: 'subprotocol' })),
    );
    assert.equal((await messagesOf(again).next()).closed, 4001);
    const { lastSeq } = await opened().then(({ socket, lastSeq }) => (socket.close(), { lastSeq }));
    await makeKeys();
    const options = { lastEventId: String(lastSeq), reconnect: false };
    const other = await token();
    const [event] = await streamed(1, { ...options, token: other });
    assert.equal(event.id, String(lastSeq + 1));
    await assert.rejects(() => streamed(1, { ...options, token: other }), { code: 'unauthorized' });
  },
  'who may not read the admin listener is told so, and does not come back': async () => {
    const data = note((await ask('POST', '/keys', { name: `data-${where}` })).secret);
    for (const token of [WRONG_KEY, data]) {
      const socket = createWebSocket('/ws/events', { baseUrl: base, token, ...given });
      const { code, reason, action } = await new Promise((resolve) => socket.addEventListener('close', resolve));
      assert.deepEqual([code, reason.split(':')[0], action], [4001, 'credential_invalid', 'unauthorized']);
      assert.equal(socket.state, 'unauthorized');
      await assert.rejects(() => streamed(1, { token }), { code: 'unauthorized' });
    }
  },
  'no credential stands in what the admin listener printed or kept': async () => {
    way.close();
    assert.deepEqual(await end(), []);
  },
});
