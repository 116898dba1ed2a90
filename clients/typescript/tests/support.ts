// A WebSocket that does what a test tells it, and a look at errors.

import { type ErrorCode, KeymoatError } from '../src/index.js';

export const KEY = 'km_TestVector0TestVector0TestVector0TestVector02cu8n';
export const TOKEN = 'kmt_TestVector0TestVector0TestVector0TestVector13nLa6';

/** The code of what `act` throws, after looking for a credential in everything that the error shows. */
export function codeOf(act: () => unknown): ErrorCode | undefined {
  try {
    act();
  } catch (error) {
    return codeOfError(error);
  }
  return undefined;
}

/** The same for what a promise is rejected with. */
export const codeOfRejection = (promise: Promise<unknown>): Promise<ErrorCode | undefined> =>
  promise.then(() => undefined, codeOfError);

export function codeOfError(error: unknown): ErrorCode | undefined {
  if (!(error instanceof KeymoatError)) throw error;
  const shown = [error.message, error.stack, String(error), JSON.stringify(error), ...Object.values(error)].join('\n');
  // The words of which all credentials in these tests are made.
  if (/TestVector|s3cret|canary/i.test(shown.replace(/at .*/g, ''))) throw new Error('an error shows a credential');
  return error.code;
}

/** A WebSocket without a network. */
export class FakeSocket {
  static made: FakeSocket[] = [];
  static get last(): FakeSocket {
    const last = FakeSocket.made.at(-1);
    if (!last) throw new Error('no WebSocket was made');
    return last;
  }

  readyState = 0;
  protocol = '';
  bufferedAmount = 0;
  binaryType = 'blob';
  sent: unknown[] = [];
  closedWith: unknown[] | undefined;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: (() => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  readonly url: string;
  readonly protocols: unknown;
  readonly options: unknown;

  constructor(url: string, protocols?: unknown, options?: unknown) {
    this.url = url;
    this.protocols = protocols;
    this.options = options;
    FakeSocket.made.push(this);
  }
  send(data: unknown) {
    this.sent.push(data);
  }
  close(code?: number, reason?: string) {
    if (code !== undefined && code !== 1000 && (code < 3000 || code > 4999))
      throw new SyntaxError('a code of the protocol');
    this.readyState = 3;
    this.closedWith = [code, reason];
  }
  /** What the network does. */
  open(protocol = 'keymoat.v1') {
    this.protocol = protocol;
    this.readyState = 1;
    this.onopen?.();
  }
  message(data: unknown) {
    this.onmessage?.({ data });
  }
  end(code: number, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  /** The credential that it was opened with. */
  get credential(): string | undefined {
    const entry = [this.protocols].flat().find((entry) => String(entry).startsWith('keymoat.token.'));
    return entry === undefined ? undefined : atob(String(entry).slice(14).replace(/-/g, '+').replace(/_/g, '/'));
  }
}
