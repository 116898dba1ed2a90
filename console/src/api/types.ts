// What the API's answers hold, as far as the console shows it.

export type Role = 'viewer' | 'operator' | 'admin';

/** Who is signed in. */
export interface Me {
  id: string | null;
  name: string | null;
  role: Role;
}

export interface KeySecret {
  id: string;
  created_at: string;
  ends_at: string | null;
  is_live: boolean;
}

export interface Limits {
  requests_per_second?: number | null;
  burst?: number | null;
  requests_per_day?: number | null;
  bytes_per_day?: number | null;
  sessions?: number | null;
  session_secs?: number | null;
  session_bytes?: number | null;
  models?: string[] | null;
}

export interface Key {
  id: string;
  name: string;
  source: 'store' | 'file';
  scopes: string[];
  state: 'live' | 'expired' | 'revoked';
  created_at: string;
  expires_at: string | null;
  revoked_at: string | null;
  rotate_after: string | null;
  rotate_after_secs: number | null;
  secrets: KeySecret[];
  limits: Limits | null;
}

/** A key just made or rotated: the only answer that ever holds its text. */
export interface NewKey {
  key: Key;
  secret: string;
}

export interface Token {
  id: string;
  key_id: string;
  key_name: string | null;
  routes: string[];
  calls: 'any' | 'live';
  state: 'live' | 'closed' | 'expired' | 'revoked';
  uses: number | null;
  uses_left: number | null;
  created_at: string;
  start_by: string;
  live_until: string;
  revoked_at: string | null;
  origins: string[];
  constraints: unknown;
}

export interface Session {
  id: string;
  route: string;
  upstream: string;
  key_id: string | null;
  key_name: string | null;
  secret_id: string | null;
  token_id: string | null;
  client: string;
  protocol: string;
  carrier: string | null;
  model: string | null;
  opened_at: string;
  bytes_in: number;
  bytes_out: number;
  is_ending: boolean;
}

export type QueryPolicy = 'refuse' | 'tokens' | 'warn' | 'allow';

export interface RouteOverride {
  query?: QueryPolicy;
  sunset?: string | null;
  at: string;
  by: string;
  toml: string;
}

export interface Route {
  name: string;
  upstream: string;
  dialect: string;
  paths: string[];
  prefix: string | null;
  carriers: string[];
  query: QueryPolicy;
  query_now: QueryPolicy;
  sunset: string | null;
  echoes_lone_subprotocol: boolean;
  origins: string[] | null;
  public: string[];
  override?: RouteOverride | null;
}

export interface Upstream {
  name: string;
  url: string;
  dialect: string;
  inject: string;
  http: string;
  secret: { source: string; reference: string | null; version: number | null; set_at: string | null };
  withheld: string | null;
}

export interface Certificate {
  names: string[];
  not_after: string;
  days_left: number;
}

export interface UpstreamTest {
  ok: boolean;
  detail: string;
  address: string | null;
  tls_version: string | null;
  certificate: Certificate | null;
  status: number | null;
  duration_millis: number;
}

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

export interface Redaction {
  text: string;
  rules: { name: string; count: number }[];
}

export interface Admin {
  id: string;
  name: string;
  role: Role;
  kind: 'person' | 'key';
  created_at: string;
  expires_at: string | null;
}

/** An admin just made; `secret` for an admin key, this once. */
export interface NewAdmin {
  admin: Admin;
  secret: string | null;
}

export interface Health {
  version: string;
  started_at: string;
  gateway?: string | null;
  gateway_tls?: string | null;
}

export interface Imported {
  imported: Key[];
  known: Key[];
  refused: { line: number; detail: string }[];
}

/** Opens the socket of events, once. */
export interface StreamToken {
  token: string;
  expires_at?: string | null;
}

/** A token just minted: the only answer that holds its text. */
export interface NewToken {
  id: string;
  token: string;
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
