import { expect, test } from 'vitest';
import { waitBefore } from '../src/backoff.js';
import { closeMeaning } from '../src/index.js';
import { vectors } from './vectors.js';

test('every refusal of the gateway has its action, whichever code a dialect gives it', () => {
  for (const { word, own, gemini, openai, action } of vectors('close-codes').refusals) {
    expect(closeMeaning(own, `${word}: why`).action, word).toBe(action);
    expect(closeMeaning(gemini, `${word}: why`).action, `${word} in Gemini`).toBe(action);
    expect(closeMeaning(openai, `${word}: why`).action, `${word} in OpenAI`).toBe(action);
  }
});

test('codes alone have theirs, and seconds are read', () => {
  for (const { code, reason, action, retry_after } of vectors('close-codes').others) {
    expect(closeMeaning(code, reason), `${code} ${reason}`).toEqual(
      retry_after === undefined ? { action } : { action, retryAfter: retry_after },
    );
  }
});

test('waits double up to the longest, and a server that says longer is obeyed', () => {
  const waits = [0, 1, 2, 3, 4, 5, 6, 1000].map((failures) => waitBefore(failures, undefined, { jitter: 0 }));
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  expect(waitBefore(0, 12, { jitter: 0 })).toBe(12_000);
  expect(waitBefore(9, 12, { jitter: 0 })).toBe(30_000);
  expect(waitBefore(0, 999_999, { jitter: 0 })).toBe(3_600_000);
});

test('jitter is added, never taken away', () => {
  const waits = Array.from({ length: 200 }, () => waitBefore(0, 10, { jitter: 0.5 }) ?? 0);
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(10_000);
  expect(Math.max(...waits)).toBeLessThanOrEqual(15_000);
  expect(new Set(waits).size).toBeGreaterThan(100);
});

test('the last attempt is the last', () => {
  expect(waitBefore(2, undefined, { maxAttempts: 3 })).toBeDefined();
  expect(waitBefore(3, undefined, { maxAttempts: 3 })).toBeUndefined();
});
