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
  prefix: string;
  created_at: string;
  ends_at?: string | null;
  last_used_at?: string | null;
  requests_24h?: number;
}

export interface Limits {
  requests_per_second?: number | null;
  requests_per_day?: number | null;
  sessions?: number | null;
  bytes?: number | null;
  session_secs?: number | null;
  models?: string[] | null;
}

export interface Key {
  id: string;
  name: string;
  prefix: string;
  owner?: string | null;
  scopes: string[];
  created_at: string;
  expires_at?: string | null;
  rotate_after?: string | null;
  revoked_at?: string | null;
  last_used_at?: string | null;
  last_carrier?: string | null;
  source: 'store' | 'file';
  secrets: KeySecret[];
  limits?: Limits | null;
}

/** A key just made or rotated: the only answer that ever holds its text. */
export interface NewKey {
  key: Key;
  secret: string;
}

export interface Token {
  id: string;
  key_id: string;
  key_name?: string;
  created_at: string;
  uses: number;
  uses_left: number | null;
  start_by: string;
  live_until: string;
  origins?: string[];
  model?: string | null;
  setup?: unknown;
  revoked_at?: string | null;
}

export interface Session {
  id: string;
  route: string;
  upstream: string;
  key_id?: string | null;
  key_name?: string | null;
  token_id?: string | null;
  client: string;
  origin?: string | null;
  user_agent?: string | null;
  model?: string | null;
  protocol: string;
  carrier?: string | null;
  opened_at: string;
  bytes_in: number;
  bytes_out: number;
  messages_in: number;
  messages_out: number;
  asked_setup?: unknown;
  effective_setup?: unknown;
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
  carriers: string[];
  query: QueryPolicy;
  sunset?: string | null;
  origins: string[];
  override?: RouteOverride | null;
}

export interface Upstream {
  name: string;
  url: string;
  dialect: string;
  inject: string;
  secret: { source: string; set_at?: string | null };
  certificate?: { days_left: number; issuer?: string; not_after: string } | null;
}

export interface UpstreamTest {
  ok: boolean;
  detail: string;
  status?: number | null;
  duration_millis?: number | null;
  certificate?: { days_left: number } | null;
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
  refused?: { line: number; detail: string }[];
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
