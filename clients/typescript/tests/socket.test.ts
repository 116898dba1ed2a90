import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  configure,
  createWebSocket,
  type ReconnectingSocketOptions,
  TokenSource,
  UnauthorizedError,
} from '../src/index.js';
import { codeOf, codeOfError, FakeSocket, KEY, TOKEN } from './support.js';

const URL = 'wss://gateway.example/ws';

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  vi.spyOn(Math, 'random').mockReturnValue(0);
  vi.stubGlobal('WebSocket', FakeSocket);
  FakeSocket.made = [];
});
afterEach(() => {
  vi.useRealTimers();
  configure({ token: undefined, baseUrl: undefined });
});

/** Lets promises settle, and `milliseconds` pass. */
const pass = (milliseconds = 0) => vi.advanceTimersByTimeAsync(milliseconds);

function minting() {
  let count = 0;
  return vi.fn(async () => `canary-${++count}`);
}

async function connect(options: ReconnectingSocketOptions = {}) {
  const socket = createWebSocket('/ws', { baseUrl: 'https://gateway.example', token: minting(), ...options });
  const heard: unknown[] = [];
  socket.addEventListener('open', () => heard.push('open'));
  socket.addEventListener('message', ({ data }) => heard.push(data));
  socket.addEventListener('close', ({ code, action }) => heard.push(`close ${code} ${action}`));
  socket.addEventListener('error', ({ error }) => heard.push(`error ${codeOfError(error)}`));
  await pass();
  return { socket, heard };
}

describe('opens', () => {
  test('with a token in a subprotocol and a clean URL', async () => {
    const { socket, heard } = await connect({ protocols: ['app'] });
    expect(FakeSocket.last.url).toBe(URL);
    expect(FakeSocket.last.protocols).toEqual(['keymoat.v1', 'app', expect.stringMatching(/^keymoat\.token\./)]);
    expect(FakeSocket.last.credential).toBe('canary-1');
    expect([socket.state, socket.readyState]).toEqual(['connecting', 0]);
    FakeSocket.last.open();
    FakeSocket.last.message('hello');
    expect([socket.state, socket.readyState, socket.protocol, socket.url]).toEqual(['open', 1, 'keymoat.v1', URL]);
    expect(heard).toEqual(['open', 'hello']);
  });

  test('with what was configured', async () => {
    configure({ token: TOKEN, baseUrl: 'https://gateway.example/gw' });
    createWebSocket('/ws');
    await pass();
    expect([FakeSocket.last.url, FakeSocket.last.credential]).toEqual(['wss://gateway.example/gw/ws', TOKEN]);
  });

  test('without a credential where there is none', async () => {
    await connect({ token: undefined });
    expect(FakeSocket.last.protocols).toBeUndefined();
  });

  test('with headers in the third argument on React Native', async () => {
    vi.stubGlobal('navigator', { product: 'ReactNative' });
    await connect({ protocols: ['app'] });
    expect(FakeSocket.last.protocols).toEqual(['app']);
    expect(FakeSocket.last.options).toEqual({ headers: { Authorization: 'Bearer canary-1' } });
  });

  test('with headers in the third argument of a class that was passed, where Node has none', async () => {
    vi.stubGlobal('WebSocket', undefined);
    expect(codeOf(() => createWebSocket(URL))).toBe('websocket_missing');
    await connect({ WebSocket: FakeSocket });
    expect(FakeSocket.last.options).toEqual({ headers: { Authorization: 'Bearer canary-1' } });
  });

  test("with headers in the second argument of a server's own WebSocket, if asked to", async () => {
    await connect({ carrier: 'header' });
    expect(FakeSocket.last.protocols).toEqual({ protocols: [], headers: { Authorization: 'Bearer canary-1' } });
  });

  test('after the first message only, if the caller waits for that', async () => {
    const { socket, heard } = await connect({ waitForAuth: true });
    FakeSocket.last.open();
    expect(socket.state).toBe('connecting');
    FakeSocket.last.message('hello');
    expect(heard).toEqual(['open', 'hello']);
    expect(socket.state).toBe('open');
  });
});

describe('comes back', () => {
  test('with a token of its own for each attempt, ever later', async () => {
    const { socket, heard } = await connect();
    for (const wait of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      FakeSocket.last.end(1006);
      expect(socket.state).toBe('waiting');
      await pass(wait - 1);
      expect(socket.state).toBe('waiting');
      await pass(1);
      expect(socket.state).toBe('connecting');
    }
    const used = FakeSocket.made.map(({ credential }) => credential);
    expect(used).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => `canary-${n}`));
    expect(new Set(heard)).toEqual(new Set(['close 1006 retry']));
  });

  test('later than its own pace when the server says so', async () => {
    const { socket } = await connect();
    FakeSocket.last.open();
    FakeSocket.last.end(4029, 'rate_limited: retry_after=12: too many');
    await pass(11_999);
    expect([socket.state, FakeSocket.made.length]).toEqual(['waiting', 1]);
    await pass(1);
    expect(FakeSocket.made.length).toBe(2);
  });

  test.each([1012, 1013, 1011, 1001])('after %i', async (code) => {
    await connect();
    FakeSocket.last.open();
    FakeSocket.last.end(code);
    await pass(1000);
    expect(FakeSocket.made.length).toBe(2);
  });

  test('with jitter', async () => {
    vi.mocked(Math.random).mockReturnValue(1);
    const { socket } = await connect();
    FakeSocket.last.end(1006);
    await pass(1249);
    expect(socket.state).toBe('waiting');
    await pass(1);
    expect(socket.state).toBe('connecting');
  });

  test('no faster because the server upgrades first and closes then', async () => {
    await connect();
    for (const wait of [1000, 2000, 4000]) {
      FakeSocket.last.open();
      FakeSocket.last.end(1013);
      const before = FakeSocket.made.length;
      await pass(wait - 1);
      expect(FakeSocket.made.length).toBe(before);
      await pass(1);
    }
  });

  test('at its first pace after a connection that was good', async () => {
    for (const good of [() => FakeSocket.last.message('x'), () => pass(5000)]) {
      FakeSocket.made = [];
      const { socket } = await connect();
      FakeSocket.last.end(1006);
      await pass(1000);
      FakeSocket.last.open();
      await good();
      FakeSocket.last.end(1006);
      await pass(1000);
      expect(FakeSocket.made.length).toBe(3);
      socket.close();
    }
  });

  test('when nothing answers in time', async () => {
    const { socket, heard } = await connect();
    const first = FakeSocket.last;
    await pass(10_000);
    expect(heard).toEqual(['close 1006 retry']);
    expect(first.closedWith).toBeDefined();
    first.open();
    expect(socket.state).toBe('waiting');
  });

  test('so many times and no more', async () => {
    const { socket, heard } = await connect({ reconnect: { maxAttempts: 2 } });
    FakeSocket.last.end(1006);
    await pass(1000);
    FakeSocket.last.end(1006);
    await pass(2000);
    FakeSocket.last.end(1006);
    expect(socket.state).toBe('closed');
    expect(heard.at(-1)).toBe('error connection_failed');
    await pass(600_000);
    expect(FakeSocket.made.length).toBe(3);
  });

  test('not at all, if the caller does not want it', async () => {
    const { socket } = await connect({ reconnect: false });
    FakeSocket.last.end(1006);
    expect(socket.state).toBe('closed');
  });

  test("at once when the machine is online again, but not before a server's time", async () => {
    const listeners = new Map<string, () => void>();
    vi.stubGlobal('addEventListener', (type: string, listener: () => void) => listeners.set(type, listener));
    vi.stubGlobal('removeEventListener', (type: string) => listeners.delete(type));
    const { socket } = await connect();
    FakeSocket.last.end(1006);
    listeners.get('online')?.();
    await pass();
    expect(FakeSocket.made.length).toBe(2);
    FakeSocket.last.end(4029, 'rate_limited: retry_after=60: too many');
    listeners.get('online')?.();
    await pass();
    expect(FakeSocket.made.length).toBe(2);
    socket.close();
    expect(listeners.size).toBe(0);
  });

  test('and says first where it was', async () => {
    const resume = vi.fn(({ lastSeq }) => JSON.stringify({ type: 'resume', lastSeq }));
    const { heard } = await connect({ resume });
    FakeSocket.last.open();
    expect(resume).not.toHaveBeenCalled();
    FakeSocket.last.message('{"type":"event","seq":7}');
    FakeSocket.last.message('{"type":"ping","lastSeq":9}');
    FakeSocket.last.message('no JSON');
    FakeSocket.last.message('null');
    FakeSocket.last.message('{"sessionResumptionUpdate":{"newHandle":"h1","resumable":true}}');
    FakeSocket.last.end(1012, 'draining: restart');
    await pass(1000);
    heard.length = 0;
    FakeSocket.last.open();
    expect(resume).toHaveBeenCalledWith({ lastSeq: 9, handle: 'h1' });
    expect(FakeSocket.last.sent).toEqual(['{"type":"resume","lastSeq":9}']);
    expect(heard).toEqual(['open']);
  });
});

describe('with a new token', () => {
  test('tries at once, once', async () => {
    const token = minting();
    const { socket, heard } = await connect({ token });
    FakeSocket.last.open();
    FakeSocket.last.end(4002, 'token_expired: mint a new token');
    await pass();
    expect(FakeSocket.last.credential).toBe('canary-2');
    expect(token).toHaveBeenLastCalledWith(expect.objectContaining({ reason: 'expired' }));
    FakeSocket.last.open();
    FakeSocket.last.end(4002, 'token_used_up: mint a new token');
    await pass(600_000);
    expect([socket.state, FakeSocket.made.length]).toEqual(['unauthorized', 2]);
    expect(heard).toEqual(['open', 'close 4002 refresh', 'open', 'close 4002 unauthorized', 'error unauthorized']);
  });

  test('tries again after a connection that was good', async () => {
    await connect();
    for (const n of [1, 2, 3]) {
      expect(FakeSocket.last.credential).toBe(`canary-${n}`);
      FakeSocket.last.open();
      FakeSocket.last.message('x');
      FakeSocket.last.end(1008, 'token_expired: as Gemini says it');
      await pass();
    }
  });

  test('replaces one that a source had kept', async () => {
    let count = 0;
    const token = TokenSource.custom(() => ({ value: `canary-${++count}`, expiresAt: Date.now() / 1000 + 600 }));
    await token.fetch();
    await connect({ token });
    expect(FakeSocket.last.credential).toBe('canary-1');
    FakeSocket.last.end(4002, 'token_used_up');
    await pass();
    expect(FakeSocket.last.credential).toBe('canary-2');
  });

  test('cannot try with a literal', async () => {
    const { socket, heard } = await connect({ token: TOKEN });
    FakeSocket.last.end(4002, 'token_expired');
    await pass(600_000);
    expect([socket.state, FakeSocket.made.length]).toEqual(['unauthorized', 1]);
    expect(heard).toEqual(['close 4002 refresh', 'error token_not_renewable']);
  });
});

describe('stops', () => {
  test.each([
    [4001, 'credential_invalid: not accepted', 'unauthorized'],
    [4003, 'forbidden: scope', 'unauthorized'],
    [1008, '', 'unauthorized'],
    [1007, 'credential_in_query: as Gemini says it', 'unauthorized'],
    [1000, '', 'closed'],
    [1009, 'body_too_large', 'closed'],
    [4004, 'route_unknown', 'closed'],
  ])('at %i %s', async (code, reason, state) => {
    const { socket } = await connect();
    FakeSocket.last.open();
    FakeSocket.last.end(code, reason);
    await pass(600_000);
    expect([socket.state, FakeSocket.made.length, socket.readyState]).toEqual([state, 1, 3]);
  });

  test('when the provider says that nobody is signed in, and goes on when told to', async () => {
    let isSignedIn = false;
    const token = () => {
      if (!isSignedIn) throw new UnauthorizedError();
      return 'canary';
    };
    const { socket, heard } = await connect({ token });
    expect([socket.state, heard]).toEqual(['unauthorized', ['error unauthorized']]);
    isSignedIn = true;
    socket.reconnect();
    await pass();
    FakeSocket.last.open();
    expect([socket.state, socket.error]).toEqual(['open', null]);
  });

  test('not at a provider that only fails', async () => {
    let isDown = true;
    const token = () => {
      if (isDown) throw new Error('canary');
      return 'canary-1';
    };
    const { socket, heard } = await connect({ token });
    expect([socket.state, heard, FakeSocket.made.length]).toEqual(['waiting', ['error token_unavailable'], 0]);
    isDown = false;
    await pass(1000);
    expect(FakeSocket.last.credential).toBe('canary-1');
  });

  test('when the program closes it, whatever is going on', async () => {
    const { socket, heard } = await connect();
    FakeSocket.last.open();
    socket.close(4999, 'bye');
    expect(FakeSocket.last.closedWith).toEqual([4999, 'bye']);
    FakeSocket.last.end(1006);
    await pass(600_000);
    expect([socket.state, FakeSocket.made.length, heard]).toEqual(['closed', 1, ['open', 'close 4999 stop']]);

    const waiting = await connect();
    FakeSocket.last.end(1006);
    waiting.socket.close();
    const minted = createWebSocket(URL, { token: () => new Promise((resolve) => setTimeout(resolve, 500, 'canary')) });
    minted.close();
    const { length } = FakeSocket.made;
    await pass(600_000);
    expect(FakeSocket.made.length).toBe(length);
  });

  test('also with a code that no program may send', async () => {
    const { socket, heard } = await connect();
    FakeSocket.last.open();
    socket.close(1006);
    expect(FakeSocket.last.closedWith).toEqual([undefined, undefined]);
    expect([socket.state, heard]).toEqual(['closed', ['open', 'close 1006 stop']]);
  });

  test('when a listener closes it on the way', async () => {
    const { socket } = await connect();
    socket.addEventListener('close', () => socket.close());
    FakeSocket.last.end(1006);
    await pass(600_000);
    expect([socket.state, FakeSocket.made.length]).toEqual(['closed', 1]);
  });

  test('or goes on as the program decides', async () => {
    const { socket } = await connect({
      onClose: (code) => (code === 1000 ? 'retry' : code === 1006 ? 'stop' : undefined),
    });
    FakeSocket.last.end(1000);
    await pass(1000);
    expect(FakeSocket.made.length).toBe(2);
    FakeSocket.last.end(1006);
    expect(socket.state).toBe('closed');
  });
});

describe('refuses', () => {
  test('a credential in the URL and plain text, at once', () => {
    expect(codeOf(() => createWebSocket('wss://gateway.example/ws?api_key=s3cret'))).toBe('credential_in_url');
    expect(codeOf(() => createWebSocket('ws://gateway.example/ws'))).toBe('insecure_url');
  });

  test('a long-lived key in a page', async () => {
    vi.stubGlobal('document', {});
    const { socket, heard } = await connect({ token: KEY });
    expect([socket.state, heard, FakeSocket.made.length]).toEqual([
      'unauthorized',
      ['error long_lived_key_in_browser'],
      0,
    ]);
    await connect({ token: KEY, dangerouslyAllowLongLivedKey: true });
    expect(FakeSocket.last.credential).toBe(KEY);
  });

  test('to send while it is not open', async () => {
    const { socket } = await connect();
    expect(codeOf(() => socket.send('x'))).toBe('not_open');
    FakeSocket.last.open();
    socket.send('x');
    expect(FakeSocket.last.sent).toEqual(['x']);
  });
});

test('no output shows a credential', async () => {
  class Echoing extends FakeSocket {
    constructor(url: string, protocols?: unknown) {
      super(url, protocols);
      if (String(protocols).includes('bad protocol')) throw new SyntaxError(`'${protocols}' is invalid`);
    }
  }
  const { socket, heard } = await connect({ WebSocket: Echoing, carrier: 'subprotocol' });
  // A server that selects the credential itself.
  FakeSocket.last.open(String([FakeSocket.last.protocols].flat().at(-1)));
  expect(socket.protocol).toBe('');
  const failed = await connect({ WebSocket: Echoing, carrier: 'subprotocol', protocols: ['bad protocol'] });
  expect([failed.socket.state, failed.heard]).toEqual(['closed', ['error connection_failed']]);
  const shown = JSON.stringify([socket, heard, failed.socket, { ...socket }]) + String(failed.socket.error?.stack);
  expect(shown).not.toMatch(/canary-|Y2FuYXJ5/);
});

test('a listener that throws disturbs nobody', async () => {
  const { socket, heard } = await connect();
  socket.addEventListener('message', () => {
    throw new Error('mine');
  });
  const after: unknown[] = [];
  socket.addEventListener('message', ({ data }) => after.push(data));
  FakeSocket.last.open();
  FakeSocket.last.message('x');
  expect([after, heard]).toEqual([['x'], ['open', 'x']]);
  expect(() => vi.runAllTimers()).toThrow('mine');
});

test('a listener that was removed hears nothing, and binaryType lasts', async () => {
  const { socket } = await connect();
  socket.binaryType = 'arraybuffer';
  const listener = vi.fn();
  socket.addEventListener('message', listener);
  socket.removeEventListener('message', listener);
  FakeSocket.last.open();
  FakeSocket.last.message('x');
  expect(listener).not.toHaveBeenCalled();
  FakeSocket.last.end(1006);
  await pass(1000);
  expect(FakeSocket.last.binaryType).toBe('arraybuffer');
});
