// What the API's words mean, in the words of the people who read them.

import type { Series } from './ui/chart.tsx';
import type { Tone } from './ui/chip.tsx';

/** Where a credential travelled, as one of four kinds. */
export type CarrierKind = 'header' | 'subprotocol' | 'message' | 'query';

/** The kind of a carrier such as `header:x-api-key` or `query:key`. */
export function kindOf(carrier: string): CarrierKind {
  if (carrier.startsWith('query')) return 'query';
  if (carrier.startsWith('subprotocol')) return 'subprotocol';
  return carrier.startsWith('header') ? 'header' : 'message';
}

/** The chart's parts, from the bottom up: what one wants to see vanish is on top. */
export const CARRIERS: readonly Series[] = [
  { key: 'header', label: 'header', look: 'header' },
  { key: 'subprotocol', label: 'subprotocol', look: 'subprotocol' },
  { key: 'message', label: 'first message', look: 'message' },
  { key: 'query', label: 'URL query', look: 'query' },
];

/** "header X-API-Key", "URL query ?key=…". */
export function carrierWords(carrier: string): string {
  const [kind = '', name = ''] = carrier.split(':');
  if (kind === 'query') return name ? `URL query ?${name}=…` : 'URL query';
  if (kind === 'header') return name ? `header ${name}` : 'header';
  if (kind === 'first_message' || kind === 'message') return 'first message';
  return kind;
}

export const carrierTone = (carrier: string): Tone => (kindOf(carrier) === 'query' ? 'bad' : 'good');

export const outcomeTone = (outcome: string | undefined): Tone =>
  outcome === 'allowed' ? 'good' : outcome === 'refused' ? 'bad' : outcome === 'failed' ? 'warn' : 'plain';

/** What a route does with credentials in its URLs. */
export const QUERY_POLICIES: Record<string, { label: string; meaning: string; tone: Tone }> = {
  refuse: { label: 'Refused', meaning: 'No credential is taken from a URL.', tone: 'good' },
  tokens: { label: 'Tokens only', meaning: 'Short-lived tokens may stand in a URL, keys may not.', tone: 'good' },
  warn: { label: 'Warns', meaning: 'Keys in URLs still work, are counted and answered with a warning.', tone: 'warn' },
  allow: { label: 'Allowed', meaning: 'Keys in URLs work without a warning.', tone: 'bad' },
};

/** Why something was refused, by the stable code. */
const REASONS: Record<string, string> = {
  credential_missing: 'No credential came with the request',
  credential_invalid: 'The credential matches no key and no token',
  credential_ambiguous: 'Two different credentials came together',
  credential_in_query: 'A key stood in the URL',
  credential_revoked: 'The key or token was revoked',
  token_expired: 'The token had expired',
  token_used_up: 'The token had no uses left',
  forbidden: 'The scope, route, origin or setup was not allowed',
  rate_limited: 'A limit was reached',
  unavailable: 'The store or the upstream was not available',
  draining: 'The gateway was restarting',
  route_unknown: 'No route matches the path',
  upstream_failed: 'The upstream could not be reached',
  upstream_timeout: 'The upstream did not answer in time',
  request_invalid: 'The request could not be read in one way only',
};

export const reasonWords = (code: string): string => REASONS[code] ?? code.replaceAll('_', ' ');

/** The page of the book about an error code, which the gateway's admin listener does not serve: a path of the docs. */
export const roleWords: Record<string, string> = {
  viewer: 'Viewer: may look',
  operator: 'Operator: may look, make and revoke keys, end sessions',
  admin: 'Admin: may do everything',
};

const ACTIONS: Record<string, string> = {
  'key.created': 'made a key',
  'key.imported': 'imported a key',
  'key.changed': 'changed a key',
  'key.rotated': 'rotated a key',
  'key.revoked': 'revoked a key',
  'token.minted': 'minted a token',
  'token.revoked': 'revoked a token',
  'session.ended': 'ended a session',
  'upstream.secret_sealed': 'set an upstream’s secret',
  'upstream.secret_removed': 'removed an upstream’s secret',
  'upstream.tested': 'tested an upstream',
  'route.overridden': 'overrode a route',
  'route.override_removed': 'removed an override',
  'sunset.enforced': 'enforced: no keys in URLs',
  'configuration.reloaded': 'read the configuration again',
  'admin.claimed': 'claimed this Keymoat',
  'admin.created': 'added an admin',
  'admin.changed': 'changed an admin',
  'admin.removed': 'removed an admin',
  'admin.signed_in': 'signed in',
  'admin.signed_out': 'signed out',
  'admin.refused': 'was refused at the door',
  'keymoat.started': 'started',
  'keymoat.stopped': 'stopped',
};

export const actionWords = (action: string): string => ACTIONS[action] ?? action;
