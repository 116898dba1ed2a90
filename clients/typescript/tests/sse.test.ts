import { expect, test } from 'vitest';
import { createEventStreamParser, type StreamEvent } from '../src/index.js';
import { codeOf } from './support.js';

/** Everything that a parser finds in `text`, fed in chunks of `size`. */
function read(text: string, size = text.length || 1) {
  const parser = createEventStreamParser();
  const events: StreamEvent[] = [];
  for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
  return { events, position: parser.position };
}
const message = (data: string, id = '', event = 'message') => ({ event, data, id });

// The examples of the HTML standard, section 9.2.6, and what else it says.
const STREAMS: [string, string, StreamEvent[]][] = [
  ['several lines of data', 'data: YHOO\ndata: +2\ndata: 10\n\n', [message('YHOO\n+2\n10')]],
  [
    'comments, ids, and an id that is taken back; the last block is not whole',
    ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n',
    [message('first event', '1'), message('second event')],
  ],
  [
    'empty data, two empty lines of data, and a block that is not whole',
    'data\n\ndata\ndata\n\ndata:',
    [message(''), message('\n')],
  ],
  [
    'one space after the colon is no matter',
    'data:test\n\ndata: test\n\ndata:  test\n\n',
    [message('test'), message('test'), message(' test')],
  ],
  ['an event type for one event', 'event: add\ndata: 1\n\ndata: 2\n\n', [message('1', '', 'add'), message('2')]],
  ['an event without data is none, and its type is forgotten', 'event: add\n\ndata: 1\n\n', [message('1')]],
  ['an id lasts', 'id: 7\ndata: 1\n\ndata: 2\n\n', [message('1', '7'), message('2', '7')]],
  ['an id of an event without data counts', 'id: 7\n\ndata: 2\n\n', [message('2', '7')]],
  ['an id with NUL is ignored', 'id: 7\ndata: 1\n\nid: 8\0\ndata: 2\n\n', [message('1', '7'), message('2', '7')]],
  ['unknown fields and case', 'DATA: x\nfoo: y\n data: z\ndata: 1\n\n', [message('1')]],
  ['all line ends', 'data: 1\r\n\r\ndata: 2\r\rdata: 3\n\ndata: 4\r\n\n', [1, 2, 3, 4].map((n) => message(String(n)))],
  ['a byte order mark', '\ufeffdata: 1\n\n', [message('1')]],
  ['only one byte order mark', '\ufeff\ufeffdata: 1\n\ndata: 2\n\n', [message('2')]],
  ['colons in values', 'data: {"a":"b: c"}\n\n', [message('{"a":"b: c"}')]],
  ['a field that is only a name at the end', 'data', []],
];

test.each(STREAMS)('%s', (_, text, events) => {
  expect(read(text).events).toEqual(events);
});

test('chunks may end anywhere', () => {
  for (const [name, text, events] of STREAMS) {
    for (let size = 1; size < 8; size++) expect(read(text, size).events, `${name}, ${size}`).toEqual(events);
  }
});

test('an event is given when it is whole, not a byte later', () => {
  const parser = createEventStreamParser();
  expect(parser.push('data: 1\r\n\r')).toEqual([message('1')]);
  expect(parser.push('\ndata: 2\r')).toEqual([]);
  expect(parser.push('\n')).toEqual([]);
  expect(parser.push('\n')).toEqual([message('2')]);
});

test('the place to go on from is that of the last whole event', () => {
  expect(read('id: 7\ndata: 1\n\nid: 8\ndata: 2\n').position.id).toBe('7');
});

test('retry is a number of milliseconds', () => {
  expect(read('retry: 1500\n\n').position.retry).toBe(1500);
  for (const not of ['1.5', '-1', '', 'soon', '1e3']) expect(read(`retry: ${not}\n\n`).position.retry).toBeUndefined();
});

test('an endless event is refused', () => {
  expect(codeOf(() => createEventStreamParser(10).push('data: 12345678'))).toBe('event_too_large');
  const parser = createEventStreamParser(10);
  parser.push('data: 12345\n');
  expect(codeOf(() => parser.push('data: 12345\n'))).toBe('event_too_large');
  const fine = createEventStreamParser(10);
  for (let n = 0; n < 10; n++) expect(fine.push('data: 1234\n\n').length).toBe(1);
});
