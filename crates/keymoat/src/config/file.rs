//! What people write in `keymoat.toml`, field by field, with the place where each value stands.
//!
//! Nothing is judged here but names and types; `mod.rs` decides what the values mean. Nothing here has `Debug`, because a
//! secret may have been written where it does not belong.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

/// A value with its place in the file.
pub(crate) type At<T> = Spanned<T>;

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    pub(crate) store: Store,
    pub(crate) admin: Admin,
    pub(crate) upstream: BTreeMap<At<String>, Upstream>,
    pub(crate) key: BTreeMap<At<String>, Key>,
    pub(crate) route: BTreeMap<At<String>, Route>,
    pub(crate) limits: Limits,
    pub(crate) log: Log,
}

/// `[listen]`: addresses.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    pub(crate) data: Option<At<String>>,
    pub(crate) data_tls: Option<At<String>>,
    pub(crate) threads: Option<At<i64>>,
    pub(crate) trusted_proxies: Option<At<Vec<At<String>>>>,
}

/// `[tls]`: certificates.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    pub(crate) mode: Option<At<String>>,
    pub(crate) cert: Option<At<String>>,
    pub(crate) key: Option<At<String>>,
    pub(crate) client_ca: Option<At<String>>,
    pub(crate) verify_client: Option<At<bool>>,
    pub(crate) min_version: Option<At<String>>,
}

/// `[store]`: where keys are kept.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    pub(crate) dir: Option<At<String>>,
    pub(crate) master_key: Option<At<String>>,
    pub(crate) url: Option<At<String>>,
}

/// `[admin]`: the admin listener.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    pub(crate) enabled: Option<At<bool>>,
}

/// `[key.NAME]`: a key that is kept in the file instead of the store.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Key {
    pub(crate) secret: Option<At<String>>,
    pub(crate) scopes: Option<Vec<At<String>>>,
}

/// `[upstream.NAME]`: one API behind.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Upstream {
    pub(crate) preset: Option<At<String>>,
    pub(crate) url: Option<At<String>>,
    pub(crate) secret: Option<At<String>>,
    pub(crate) inject: Option<At<String>>,
    pub(crate) ca: Option<At<String>>,
    pub(crate) http: Option<At<String>>,
    pub(crate) allow_private: Option<At<bool>>,
}

/// `[route.NAME]`: which requests go where, under which policy.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Route {
    pub(crate) upstream: Option<At<String>>,
    pub(crate) dialect: Option<At<String>>,
    pub(crate) paths: Option<At<Vec<At<String>>>>,
    pub(crate) prefix: Option<At<String>>,
    pub(crate) carriers: Option<Vec<At<String>>>,
    pub(crate) query: Option<At<String>>,
    pub(crate) lone_subprotocol: Option<At<String>>,
    pub(crate) public: Option<Vec<At<String>>>,
    pub(crate) origins: Option<At<Vec<At<String>>>>,
    pub(crate) tokens: Option<At<Tokens>>,
    pub(crate) sunset: Option<At<Datetime>>,
}

/// `tokens = { … }` of a route: the bounds of the tokens that are minted for it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tokens {
    pub(crate) uses_max: Option<At<i64>>,
    pub(crate) live_max: Option<At<Quantity>>,
}

/// `[limits]`: limits and deadlines; the names are those of the gateway's own `Limits`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) connections_max: Option<At<i64>>,
    pub(crate) sessions_max: Option<At<i64>>,
    pub(crate) memory_bytes_max: Option<At<Quantity>>,
    pub(crate) head_bytes_max: Option<At<Quantity>>,
    pub(crate) head_fields_max: Option<At<i64>>,
    pub(crate) url_bytes_max: Option<At<Quantity>>,
    pub(crate) http2_streams_max: Option<At<i64>>,
    pub(crate) http2_stream_window: Option<At<Quantity>>,
    pub(crate) http2_connection_window: Option<At<Quantity>>,
    pub(crate) tls_handshake: Option<At<Quantity>>,
    pub(crate) head: Option<At<Quantity>>,
    pub(crate) keep_alive: Option<At<Quantity>>,
    pub(crate) connect: Option<At<Quantity>>,
    pub(crate) response_head: Option<At<Quantity>>,
    pub(crate) body_idle: Option<At<Quantity>>,
    pub(crate) frame_bytes_max: Option<At<Quantity>>,
    pub(crate) message_bytes_max: Option<At<Quantity>>,
    pub(crate) websocket_idle: Option<At<Quantity>>,
    pub(crate) ping_every: Option<At<Quantity>>,
    pub(crate) write_stall: Option<At<Quantity>>,
    pub(crate) close_wait: Option<At<Quantity>>,
    pub(crate) drain: Option<At<Quantity>>,
}

/// A number of seconds or bytes, or a text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Quantity {
    /// `30`
    Number(i64),
    /// `"30s"`, `"16MiB"`
    Text(String),
}

/// `[log]`: what is written, and how.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) format: Option<At<String>>,
    pub(crate) level: Option<At<String>>,
}
