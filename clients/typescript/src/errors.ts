// What can go wrong, each with a stable code. No error of this package holds a credential, nor another error that might.

/** The stable word of an error, for programs; the message is for people. */
export type ErrorCode =
  | 'base_url_missing'
  | 'carrier_unavailable'
  | 'connection_failed'
  | 'credential_in_url'
  | 'credential_malformed'
  | 'credential_missing'
  | 'event_too_large'
  | 'insecure_url'
  | 'long_lived_key_in_browser'
  | 'not_open'
  | 'origin_not_allowed'
  | 'response_refused'
  | 'token_not_ready'
  | 'token_not_renewable'
  | 'token_unavailable'
  | 'unauthorized'
  | 'url_invalid'
  | 'websocket_missing';

/** An error of this package: what, where, and what to do instead. */
export class KeymoatError extends Error {
  /** The stable word. */
  readonly code: ErrorCode;
  /** After how many seconds it is worth trying again, if the other side said so. */
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, message: string, retryAfter?: number) {
    super(message);
    this.name = 'KeymoatError';
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** Nobody will be let in until a person acts. A {@link TokenProvider} throws it to stop all attempts. */
export class UnauthorizedError extends KeymoatError {
  constructor(message = 'not authorised: sign in again') {
    super('unauthorized', message);
    this.name = 'UnauthorizedError';
  }
}
