// The socket of events: the page has no credential of its own, and asks for a one-use token for each connection.

import { TokenSource } from 'keymoat';
import { call } from './api/client.ts';
import type { StreamToken } from './api/types.ts';

export const EVENT_STREAM = '/ws/events';

/** One for the whole console, so that all screens share one socket. */
export const streamTokens = TokenSource.custom(async () => {
  const { token, expires_at } = await call<StreamToken>('POST', '/stream-tokens');
  return { value: token, singleUse: true, ...(expires_at && { expiresAt: Date.parse(expires_at) / 1000 }) };
});
