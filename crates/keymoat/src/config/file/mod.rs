//! What people write in `keymoat.toml`, field by field, with the place where each value stands.
//!
//! Nothing is judged here but names and types; `config/mod.rs` decides what the values mean. Nothing here has `Debug`,
//! because a secret may have been written where it does not belong. The documentation of the fields is what the JSON Schema
//! and the book say of them.

mod at;
mod behind;
mod events;
mod kinds;
mod limits;
mod route;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use self::kinds::Duration;
use super::tls::{MODES, TLS_VERSIONS};
use super::{LOG_FORMATS, LOG_LEVELS};

pub(crate) use self::at::At;
pub(crate) use self::behind::{Key, KeyLimits, Upstream};
pub(crate) use self::events::{Events, Telemetry};
pub(crate) use self::limits::{Limits, Quantity};
pub(crate) use self::route::{Route, Tokens};

/// The form of a section's name.
const NAME: &str = "^[A-Za-z0-9_-]{1,64}$";

/// The configuration of Keymoat. Relative paths start at the folder of the file.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "keymoat.toml")]
pub(crate) struct File {
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    pub(crate) store: Store,
    pub(crate) admin: Admin,
    /// The APIs behind, each in a section `[upstream.NAME]`.
    #[schemars(extend("propertyNames" = { "pattern": NAME }))]
    pub(crate) upstream: BTreeMap<At<String>, Upstream>,
    /// Keys that are kept beside the file, each in a section `[key.NAME]`.
    #[schemars(extend("propertyNames" = { "pattern": NAME }))]
    pub(crate) key: BTreeMap<At<String>, Key>,
    /// Which requests go where, each in a section `[route.NAME]`.
    #[schemars(extend("propertyNames" = { "pattern": NAME }))]
    pub(crate) route: BTreeMap<At<String>, Route>,
    pub(crate) limits: Limits,
    pub(crate) log: Log,
    pub(crate) events: Events,
    pub(crate) telemetry: Telemetry,
    pub(crate) redact: Redact,
}

/// Addresses. A change waits for a restart.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// Serves plain text at `IP:PORT`; port 0 is a free one. Loopback only, but for `mode = "behind_proxy"` in `[tls]`.
    pub(crate) data: Option<At<String>>,
    /// Serves TLS at `IP:PORT`. Where nothing is said it is two ports further than `data`.
    pub(crate) data_tls: Option<At<String>>,
    /// Says how many threads serve. Where nothing is said it is one per processor.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) threads: Option<At<i64>>,
    /// Names networks such as `["10.0.0.0/8"]`, whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; the client
    /// is the right-most hop that is not one of them. Where nothing is said nobody is believed.
    pub(crate) trusted_proxies: Option<At<Vec<At<String>>>>,
}

/// Certificates.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// Chooses the certificate: one of Keymoat's own authority, the one in `cert`, or none; `"behind_proxy"` is for plain
    /// text where something in front serves TLS. With `"disabled"` keys travel in clear text, and so on loopback only.
    #[schemars(extend("enum" = MODES))]
    pub(crate) mode: Option<At<String>>,
    /// Names the PEM file with the certificate chain for `mode = "provided"`, the server's own certificate first.
    pub(crate) cert: Option<At<String>>,
    /// Names the PEM file with the key of that certificate.
    pub(crate) key: Option<At<String>>,
    /// Names a PEM file: TLS clients must present a certificate of one of the authorities in it.
    pub(crate) client_ca: Option<At<String>>,
    /// Asks TLS clients for certificates. Where nothing is said it is `true` with `client_ca`; `false` asks nobody.
    pub(crate) verify_client: Option<At<bool>>,
    /// Refuses clients that speak nothing as new.
    #[schemars(extend("enum" = TLS_VERSIONS))]
    pub(crate) min_version: Option<At<String>>,
}

/// Where keys, sealed secrets and the certificate authority are kept. A change waits for a restart.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// Names the folder, which is on a local disk: of the embedded store, and of what belongs to this node alone.
    pub(crate) dir: Option<At<String>>,
    /// Names the file with the master key, readable by its owner only, as a path with a `/`. Where nothing is said it is
    /// `master.key` in the folder, which is made with the store.
    #[schemars(extend("pattern" = "/"))]
    pub(crate) master_key: Option<At<String>>,
    /// Names the folder as `"sqlite:/path/to/folder"`, in the place of `dir`, or a database that many nodes share as
    /// `"postgres://USER@HOST/DATABASE"`; with a password it is `"${file:/path}"` of a file with such a text.
    pub(crate) url: Option<At<String>>,
    /// Refuses new requests and sessions when the store was not read for so long (1 s to 30 s): a revocation may have been
    /// missed.
    #[schemars(with = "Option<Duration>")]
    pub(crate) refuse_after: Option<At<Quantity>>,
    /// Closes the live sessions that can be revoked when the store was not read for so long (5 s to 10 min), and those that
    /// have a place among the sessions of their key when a database has not heard of this node for so long.
    #[schemars(with = "Option<Duration>")]
    pub(crate) close_after: Option<At<Quantity>>,
}

/// The admin listener: the API, and the socket for commands. A change waits for a restart, but for certificates.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Says whether there is one; `false` is for those who only want the file.
    pub(crate) enabled: Option<At<bool>>,
    /// Listens at `IP:PORT`; port 0 is a free one. Beyond loopback it needs TLS, and an admin before it starts.
    pub(crate) listen: Option<At<String>>,
    /// Names the PEM file with a certificate chain of its own. Where nothing is said it is that of `[tls]`, and plain text
    /// on loopback.
    pub(crate) cert: Option<At<String>>,
    /// Names the PEM file with the key of that certificate.
    pub(crate) key: Option<At<String>>,
    /// Names hosts such as `["admin.example"]` that it answers to beside `localhost` and addresses.
    pub(crate) hosts: Option<At<Vec<At<String>>>>,
}

/// What is written, and how. A change waits for a restart.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// Chooses the form of every line. Where nothing is said it is `"human"` on a terminal, else `"json"`.
    #[schemars(extend("enum" = LOG_FORMATS))]
    pub(crate) format: Option<At<String>>,
    /// Says how much Keymoat tells of its own doings; records are always written.
    #[schemars(extend("enum" = LOG_LEVELS))]
    pub(crate) level: Option<At<String>>,
}

/// What is masked in text, the gateway's own lines among it, beside what Keymoat knows, and what is left.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Redact {
    /// Names whose values are credentials, such as `["X-Badge"]`; case, `_`, `-` and `.` do not count.
    pub(crate) names: Option<At<Vec<At<String>>>>,
    /// Adds regular expressions for credentials, such as `{ badge = "BDG-([0-9]{6})" }`; the first group is masked, or all.
    pub(crate) rules: BTreeMap<At<String>, At<String>>,
    /// Leaves these values as they are, exactly as written.
    pub(crate) allow: Option<At<Vec<At<String>>>>,
    /// Names WebSocket subprotocols of 20 and more characters that are no credentials.
    pub(crate) protocols: Option<At<Vec<At<String>>>>,
}
