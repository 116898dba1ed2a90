// What the API's answers hold: as its own description has it.

import type { components } from './schema.ts';

type Schemas = components['schemas'];

export type Role = Schemas['Role'];
export type Me = Schemas['Me'];
export type Admin = Schemas['Admin'];
/** An admin just made; `secret` for an admin key, this once. */
export type NewAdmin = Schemas['AdminMade'];
export type Key = Schemas['Key'];
/** A key in a list, with when and how it last came. */
export type ListedKey = Schemas['KeyListed'];
/** A key just made or rotated: the only answer that ever holds its text. */
export type NewKey = Schemas['KeyMade'];
export type Imported = Schemas['ImportDone'];
export type Token = Schemas['Token'];
/** A token just minted: the only answer that holds its text. */
export type NewToken = Schemas['TokenMade'];
export type Session = Schemas['Session'];
/** A session with what it was set up with. */
export type SessionWhole = Schemas['SessionWhole'];
export type QueryPolicy = Schemas['QueryPolicy'];
export type Upstream = Schemas['Upstream'];
export type Certificate = Schemas['CertificateShown'];
export type UpstreamTest = Schemas['UpstreamTest'];
export type Health = Schemas['Health'];
/** One process that serves over the store. */
export type Node = Schemas['Node'];
export type Redaction = Schemas['Redaction'];

export type Route = Schemas['Route'];
export type UsageRow = Schemas['UsageRow'];
/** Opens the socket of events, once. */
export type StreamToken = Schemas['StreamToken'];

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
  origin?: string;
  sink?: string;
  count?: number;
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
