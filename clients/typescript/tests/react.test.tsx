// @vitest-environment happy-dom
import { act, StrictMode } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { configure, TokenSource } from '../src/index.js';
import { type EventStreamHookOptions, type EventStreamState, useEventStream } from '../src/react.js';
import { FakeSocket, KEY, TOKEN } from './support.js';

interface Event {
  id: number;
}

let root: Root;
beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  vi.stubGlobal('WebSocket', FakeSocket);
  FakeSocket.made = [];
  configure({ token: TOKEN, baseUrl: 'https://gateway.example' });
  root = createRoot(document.createElement('div'));
});
afterEach(async () => {
  await act(async () => root.unmount());
  await act(() => vi.advanceTimersByTimeAsync(0));
  vi.useRealTimers();
  configure({ token: undefined, baseUrl: undefined });
});

type Options = EventStreamHookOptions<Event>;
/** What the hook gave last, by the name of the component. */
const seen: Record<string, EventStreamState<Event>> = {};
function Listener({
  name = 'one',
  endpoint = '/ws/events',
  options,
}: {
  name?: string;
  endpoint?: string;
  options?: Options | undefined;
}) {
  seen[name] = useEventStream<Event>(endpoint, options);
  return <p>{seen[name].events.length}</p>;
}
const current = { token: '' };
function Inline() {
  seen['one'] = useEventStream<Event>('/ws/events', { token: () => current.token });
  return null;
}
const render = async (node: React.ReactNode) => {
  await act(async () => root.render(node));
  await act(() => vi.advanceTimersByTimeAsync(0));
};
const open = () => act(async () => FakeSocket.last.open());
const receive = (message: unknown) => act(async () => FakeSocket.last.message(JSON.stringify(message)));
const event = (id: number) => ({ type: 'event', data: { id } });
const one = () => seen['one'] as EventStreamState<Event>;

test('gives events newest first, at most so many, and forgets them when told', async () => {
  await render(<Listener options={{ max: 3 }} />);
  expect(one()).toMatchObject({ events: [], latestEvent: null, isConnected: false, state: 'connecting', error: null });
  await open();
  expect(one()).toMatchObject({ isConnected: true, state: 'open' });
  for (const id of [1, 2, 3, 4]) await receive(event(id));
  expect(one().events).toEqual([{ id: 4 }, { id: 3 }, { id: 2 }]);
  expect(one().latestEvent).toEqual({ id: 4 });
  await act(async () => one().clearEvents());
  expect(one()).toMatchObject({ events: [], latestEvent: null, isConnected: true });
});

test('keeps 100 events by default', async () => {
  await render(<Listener />);
  await open();
  for (let id = 0; id < 120; id++) await receive(event(id));
  expect([one().events.length, one().events[0]?.id]).toEqual([100, 119]);
});

test('answers pings, and ignores what is no event', async () => {
  await render(<Listener />);
  await open();
  for (const message of [{ type: 'system_status', data: {} }, { type: 'pong' }, null, 7, { type: 'ping', lastSeq: 3 }])
    await receive(message);
  await act(async () => FakeSocket.last.message('no JSON'));
  expect(one().events).toEqual([]);
  expect(FakeSocket.last.sent).toEqual(['{"type":"pong"}']);
});

test('lets the component choose', async () => {
  const select = (message: unknown) => (message as { alert?: Event }).alert;
  await render(<Listener options={{ select }} />);
  await open();
  await receive({ alert: { id: 9 } });
  await receive(event(1));
  expect(one().events).toEqual([{ id: 9 }]);
});

test('components share one WebSocket, which ends with the last of them', async () => {
  await render([<Listener key="1" />, <Listener key="2" name="two" />]);
  await open();
  await receive(event(1));
  expect([FakeSocket.made.length, one().events, seen['two']?.events]).toEqual([1, [{ id: 1 }], [{ id: 1 }]]);
  const socket = FakeSocket.last;
  await render([<Listener key="1" />]);
  expect(socket.closedWith).toBeUndefined();
  await render([]);
  expect(socket.closedWith).toBeDefined();
});

test('nobody shares with another person, another endpoint, or against their will', async () => {
  const mine = TokenSource.literal('canary-mine');
  await render([
    <Listener key="1" />,
    <Listener key="2" options={{ token: mine }} />,
    <Listener key="3" options={{ token: mine }} />,
    <Listener key="4" endpoint="/ws/system" />,
    <Listener key="5" options={{ share: false }} />,
  ]);
  expect(FakeSocket.made.map(({ credential }) => credential)).toEqual([TOKEN, 'canary-mine', TOKEN, TOKEN]);
});

test('a provider written in the component does not connect again at each rendering', async () => {
  current.token = 'canary-1';
  await render(<Inline />);
  await open();
  for (const id of [1, 2, 3]) await receive(event(id));
  expect(FakeSocket.made.length).toBe(1);
  current.token = 'canary-2';
  await act(async () => FakeSocket.last.end(4002, 'token_expired'));
  await act(() => vi.advanceTimersByTimeAsync(0));
  expect(FakeSocket.made.map(({ credential }) => credential)).toEqual(['canary-1', 'canary-2']);
});

test('an endpoint that changes takes its events with it', async () => {
  await render(<Listener endpoint="/ws/a" />);
  await open();
  await receive(event(1));
  const [first] = FakeSocket.made;
  await render(<Listener endpoint="/ws/b" />);
  expect(one().events).toEqual([]);
  expect(FakeSocket.last.url).toBe('wss://gateway.example/ws/b');
  expect(first?.closedWith).toBeDefined();
});

test('strict mode opens one WebSocket', async () => {
  await render(
    <StrictMode>
      <Listener />
    </StrictMode>,
  );
  await open();
  await receive(event(1));
  expect([FakeSocket.made.length, FakeSocket.last.closedWith, one().events]).toEqual([1, undefined, [{ id: 1 }]]);
});

test('what is wrong can be seen, and tried again', async () => {
  await render(<Listener />);
  await open();
  await act(async () => FakeSocket.last.end(4001, 'credential_revoked: ask for another'));
  expect(one()).toMatchObject({ isConnected: false, state: 'unauthorized', error: { code: 'unauthorized' } });
  await act(async () => one().reconnect());
  expect(one().state).toBe('unauthorized');
  await render(<Listener options={{ token: KEY }} />);
  expect(one().error?.code).toBe('long_lived_key_in_browser');
});

test('nothing is opened while it is not enabled, nor on a server', async () => {
  await render(<Listener options={{ enabled: false }} />);
  expect([FakeSocket.made.length, one().state]).toEqual([0, 'closed']);
  expect(renderToString(<Listener name="server" />)).toBe('<p>0</p>');
  expect(FakeSocket.made.length).toBe(0);
  await render(<Listener options={{ enabled: true }} />);
  expect(FakeSocket.made.length).toBe(1);
});
