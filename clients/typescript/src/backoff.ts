// How long to wait before trying again.

/** How often and how fast to try again. */
export interface ReconnectOptions {
  /** The first wait in milliseconds; it doubles each time. Default 1000. */
  min?: number;
  /** The longest wait. Default 30000. */
  max?: number;
  /** So much of the wait is added at random, so that clients do not come back all at once. Default 0.25. */
  jitter?: number;
  /** How many attempts in a row may fail. Default: no end to it. */
  maxAttempts?: number;
}

const SERVER_WAIT_MAX_MS = 3_600_000;

/** The wait before attempt number `failures` + 1, in milliseconds; `undefined` when it was the last. */
export function waitBefore(
  failures: number,
  retryAfter: number | undefined,
  { min = 1000, max = 30_000, jitter = 0.25, maxAttempts = Number.POSITIVE_INFINITY }: ReconnectOptions = {},
): number | undefined {
  if (failures >= maxAttempts) return;
  const own = Math.min(max, min * 2 ** Math.min(failures, 30));
  const told = Math.min((retryAfter ?? 0) * 1000, SERVER_WAIT_MAX_MS);
  return Math.max(own, told) * (1 + jitter * Math.random());
}
