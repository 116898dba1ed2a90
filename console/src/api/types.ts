// What the API's answers hold: as its own description has it.

import type { components } from './schema.ts';

type Schemas = components['schemas'];

export type Role = Schemas['Role'];
export type Me = Schemas['Me'];
export type Admin = Schemas['Admin'];
/** An admin just made; `secret` for an admin key, this once. */
export type NewAdmin = Schemas['AdminMade'];
export type Key = Schemas['Key'];
/** A key just made or rotated: the only answer that ever holds its text. */
export type NewKey = Schemas['KeyMade'];
export type Imported = Schemas['ImportDone'];
export type Token = Schemas['Token'];
/** A token just minted: the only answer that holds its text. */
export type NewToken = Schemas['TokenMade'];
export type Session = Schemas['Session'];
export type QueryPolicy = Schemas['QueryPolicy'];
export type Upstream = Schemas['Upstream'];
export type Certificate = Schemas['CertificateShown'];
export type UpstreamTest = Schemas['UpstreamTest'];
export type Health = Schemas['Health'];
export type Redaction = Schemas['Redaction'];

export interface RouteOverride {
  query?: QueryPolicy;
  sunset?: string | null;
  at: string;
  by: string;
  toml: string;
}

export type Route = Schemas['Route'] & { override?: RouteOverride | null };

/** A request, a session or an act, as it is kept. What does not apply is left out. */
export interface Event {
  seq: number;
  /** Such as `request.refused` or `key.revoked`. */
  type: string;
  severity: 'low' | 'medium' | 'high' | 'critical';
  event: 'request' | 'session' | 'act' | 'lost';
  timestamp: string;
  id?: string;
  actor?: string;
  action?: string;
  target?: string;
  detail?: string;
  client?: string;
  protocol?: string;
  protocols_offered?: string[];
  protocol_chosen?: string;
  method?: string;
  path?: string;
  route?: string;
  upstream?: string;
  carrier?: string;
  copies_stripped?: number;
  key_id?: string;
  token_id?: string;
  outcome?: 'allowed' | 'refused' | 'failed' | 'aborted';
  code?: string;
  cause?: string;
  status?: number;
  close_code?: number;
  close_reason?: string;
  closed_by?: string;
  duration_millis?: number;
  bytes_in?: number;
  bytes_out?: number;
  messages_in?: number;
  messages_out?: number;
  user_agent?: string;
  sink?: string;
  count?: number;
}

export interface UsageRow {
  at: string;
  group: string;
  requests: number;
}

export interface SunsetRow {
  key_id: string;
  key_name: string;
  route: string;
  carrier: string;
  client?: string | null;
  user_agent?: string | null;
  protocol?: string | null;
  requests: number;
  last_seen_at: string;
}

export interface SunsetRoute {
  route: string;
  query: QueryPolicy;
  sunset?: string | null;
  requests: number;
  keys: number;
}

/** Opens the socket of events, once. */
export interface StreamToken {
  token: string;
  expires_at?: string | null;
}

/** How far the way off URL keys is. */
export interface SunsetStatus {
  keys_live: number;
  keys_by_url: number;
  routes: SunsetRoute[];
  items: SunsetRow[];
}

/** What enforcing on a route would have done. */
export interface SunsetPlan {
  routes: { route: string; refused_requests: number; refused_keys: number; toml?: string }[];
}
