// What to do when a WebSocket was closed: Keymoat's close codes, those of RFC 6455, and the word that a reason starts with.

/** `unauthorized`: nothing helps until a person acts. `refresh`: a new token helps. `retry`: time helps. `stop`: it is over. */
export type CloseAction = 'stop' | 'unauthorized' | 'refresh' | 'retry';

/** What a close means. */
export interface CloseMeaning {
  action: CloseAction;
  /** After how many seconds to try again, if the server said so. */
  retryAfter?: number;
}

/** Reasons of Keymoat's start with its word; these count more than the code, which a dialect may have of its own. */
const WORDS: [CloseAction, RegExp][] = [
  ['refresh', /^token_(expired|used_up)\b/],
  ['unauthorized', /^(credential_|forbidden\b|invalid_request_error\.invalid_api_key)/],
  ['retry', /^request_timeout\b/],
  ['stop', /^route_unknown\b/],
];

const CODES: [CloseAction, number[]][] = [
  ['refresh', [4002]],
  ['unauthorized', [1008, 4001, 4003, 4401, 4403]],
  ['stop', [1000, 1002, 1003, 1005, 1007, 1009, 1010, 3000, 4004, 4008]],
];

/** Says what a close with this code and reason asks for. */
export function closeMeaning(code: number, reason = ''): CloseMeaning {
  const [, seconds] = /\bretry_after=(\d{1,6})\b/.exec(reason) ?? [];
  const action =
    WORDS.find(([, words]) => words.test(reason))?.[0] ??
    CODES.find(([, codes]) => codes.includes(code))?.[0] ??
    // React Native tells an HTTP refusal in the reason.
    (code === 1006 && /\b40[13]\b/.test(reason) ? 'unauthorized' : 'retry');
  return action === 'retry' && seconds !== undefined ? { action, retryAfter: Number(seconds) } : { action };
}
