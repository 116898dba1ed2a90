// What a credential is, and how it travels in a subprotocol.

import { KeymoatError } from './errors.js';

/** Offered beside the credential, and selected by the gateway, so that no answer holds a secret. */
export const MARKER = 'keymoat.v1';

/** What the protocol that carries a credential starts with. */
export const TOKEN_PREFIX = 'keymoat.token.';

const LENGTH_MAX = 1024;

/** A short-lived credential. */
export interface Token {
  /** The credential itself. */
  value: string;
  /** When it ends, in seconds since 1970. Without it the token is asked for anew each time. */
  expiresAt?: number;
  /** It opens one connection only, and is never kept. */
  singleUse?: boolean;
}

/** Whether it counts as no credential, as it does at the gateway. */
export const isAbsent = (value: unknown): value is undefined | null | '' =>
  value === undefined || value === null || value === '' || value === 'undefined' || value === 'null';

/** Gives the credential back if it can travel in a header and a subprotocol. */
export function checked(value: unknown): string {
  if (isAbsent(value)) throw new KeymoatError('credential_missing', 'there is no credential');
  if (typeof value !== 'string' || value.length > LENGTH_MAX || !/^[\x21-\x7e]+$/.test(value)) {
    throw new KeymoatError(
      'credential_malformed',
      'a credential is printable ASCII without white space, 1 KiB at most',
    );
  }
  return value;
}

/** The subprotocol that carries `credential`: `keymoat.token.` and base64url without padding. */
export const credentialProtocol = (credential: string): string =>
  TOKEN_PREFIX + btoa(checked(credential)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
