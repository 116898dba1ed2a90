// Reads `text/event-stream` as the HTML standard does (section 9.2.6), from chunks that may end anywhere.

import { KeymoatError } from './errors.js';

/** One event of a stream. */
export interface StreamEvent {
  /** Its type; `message` where the server names none. */
  event: string;
  data: string;
  /** The last id that the stream named, on this event or before. */
  id: string;
}

/** What a parser tells beside events. */
export interface StreamPosition {
  /** The last id that the stream named. */
  id: string;
  /** How long the server wants clients to wait before they come back, in milliseconds. */
  retry?: number;
}

/** A parser of one stream: it is fed with text, and gives the events that are whole. */
export interface EventStreamParser {
  push(text: string): StreamEvent[];
  readonly position: StreamPosition;
}

/** Makes a parser that refuses events longer than `sizeMax` characters. */
export function createEventStreamParser(sizeMax = 1 << 20, lastId = ''): EventStreamParser {
  const position: StreamPosition = { id: lastId };
  let pending = '';
  let data: string[] = [];
  let size = 0;
  let type = '';
  let id = lastId;
  let isFirst = true;
  let hadReturn = false;

  const field = (line: string, found: StreamEvent[]) => {
    if (line === '') {
      position.id = id;
      if (data.length > 0) found.push({ event: type || 'message', data: data.join('\n'), id });
      data = [];
      type = '';
      size = 0;
      return;
    }
    const [, name, value = ''] = /^([^:]*)(?::[ ]?(.*))?$/s.exec(line) ?? [];
    if (name === 'data') {
      data.push(value);
      size += value.length + 1;
    } else if (name === 'event') type = value;
    else if (name === 'id' && !value.includes('\0')) id = value;
    else if (name === 'retry' && /^\d{1,9}$/.test(value)) position.retry = Number(value);
  };

  return {
    position,
    push(text) {
      const found: StreamEvent[] = [];
      if (isFirst && text !== '') {
        text = text.replace(/^\ufeff/, '');
        isFirst = false;
      }
      // The line feed of a line end that fell between two chunks.
      if (hadReturn && text !== '') {
        text = text.replace(/^\n/, '');
        hadReturn = false;
      }
      const lines = text.split(/\r\n|\r|\n/);
      hadReturn = text === '' ? hadReturn : text.endsWith('\r');
      lines[0] = pending + (lines[0] ?? '');
      pending = lines.pop() ?? '';
      for (const line of lines) field(line, found);
      if (pending.length + size > sizeMax) {
        throw new KeymoatError('event_too_large', `an event is longer than ${sizeMax} characters`);
      }
      return found;
    },
  };
}
