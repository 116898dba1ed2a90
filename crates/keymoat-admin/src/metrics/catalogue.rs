//! Every metric that there is: its name, what it counts, and what tells its values apart.

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// It only grows; its sample's name ends with `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts what is at most as large as each bound; its samples end with `_bucket`, `_sum` and `_count`.
    Histogram,
    /// It is 1; what it says is in its labels. Its sample's name ends with `_info`.
    Info,
}

/// What is said of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name without the suffixes of its samples.
    pub name: &'static str,
    /// How it moves.
    pub movement: Movement,
    /// What it counts, without a full stop.
    pub help: &'static str,
    /// What tells its values apart. Each label has a bounded number of values, and none is a credential or a key's id.
    pub labels: &'static [&'static str],
}

macro_rules! catalogue {
    ($($constant:ident = $name:literal $movement:ident [$($label:literal)*] $help:literal;)+) => {
        $(pub(super) const $constant: Described =
            Described { name: $name, movement: Movement::$movement, help: $help, labels: &[$($label),*] };)+

        /// All metrics, in the order of the documentation.
        pub const CATALOGUE: &[Described] = &[$($constant),+];
    };
}

catalogue! {
    AUTH_REQUESTS = "keymoat_auth_requests" Counter ["carrier" "route" "outcome"]
        "Requests and sessions by the kind of carrier that their credential came in, and how they ended";
    REFUSALS = "keymoat_refusals" Counter ["code" "route"]
        "Requests and sessions that Keymoat refused, by error code";
    REQUEST_DURATION = "keymoat_request_duration_seconds" Histogram ["route"]
        "Time from a request's head to the end of its answer, for HTTP requests";
    SESSION_DURATION = "keymoat_session_duration_seconds" Histogram ["route"]
        "Time from a WebSocket's head to its end";
    UPSTREAM_RESPONSE = "keymoat_upstream_response_seconds" Histogram ["route"]
        "Time from a request's head to the upstream's own head";
    UPSTREAM_FAILURES = "keymoat_upstream_failures" Counter ["code" "upstream"]
        "Requests and sessions that failed at the upstream or on the way to it, by error code";
    BYTES = "keymoat_relayed_bytes" Counter ["direction" "route"]
        "Bytes of bodies and payloads, from clients (in) and to them (out)";
    MESSAGES = "keymoat_websocket_messages" Counter ["direction" "route"]
        "WebSocket messages, from clients (in) and to them (out)";
    SESSIONS_ACTIVE = "keymoat_sessions_active" Gauge ["route"]
        "WebSockets and event streams that are open";
    URL_KEYS = "keymoat_url_keys_let_in" Counter ["route"]
        "Requests and sessions that were let in only because long-lived keys are taken in URLs";
    COPIES = "keymoat_credential_copies_stripped" Counter ["route"]
        "Further copies of credentials that were removed from requests";
    ECHOES = "keymoat_lone_subprotocol_echoes" Counter ["route"]
        "Credentials that were echoed as lone subprotocols, as the route demands";
    TOKEN_USES = "keymoat_token_uses" Counter ["route"]
        "Requests and sessions that came with a short-lived token and were let in";
    TOKEN_MINTS = "keymoat_tokens_minted" Counter ["route"]
        "Short-lived tokens that clients had minted";
    ACTS = "keymoat_acts" Counter ["action"]
        "What people and commands did to Keymoat through this process";
    EVENTS_LOST = "keymoat_events_dropped" Counter ["sink"]
        "Events that could not be brought to where they belong";
    EVENTS_WAITING = "keymoat_events_waiting" Gauge []
        "Events that wait to be written";
    LINES_DROPPED = "keymoat_log_lines_dropped" Counter []
        "Log lines that were dropped because standard error does not keep up";
    SNAPSHOT_AGE = "keymoat_store_snapshot_age_seconds" Gauge []
        "Age of the view of the store that decisions are made on";
    CHANGES_SEEN = "keymoat_store_changes_seen" Gauge []
        "Changes of the store that the view shows; nodes over one store that differ for longer are behind";
    CERTIFICATE_EXPIRY = "keymoat_certificate_expiry_seconds" Gauge ["listener"]
        "Time until the certificate of a TLS listener expires; negative when it has";
    ROTATIONS_DUE = "keymoat_keys_rotation_due" Gauge []
        "Keys that want another secret by now";
    START_TIME = "keymoat_start_time_seconds" Gauge []
        "When this process started, in seconds since 1970";
    BUILD = "keymoat_build" Info ["version"]
        "The version of this process";
}

impl Described {
    /// The names of its samples, as queries write them.
    pub fn samples(&self) -> impl Iterator<Item = String> {
        let suffixes: &[&str] = match self.movement {
            Movement::Counter => &["_total"],
            Movement::Gauge => &[""],
            Movement::Histogram => &["_bucket", "_sum", "_count"],
            Movement::Info => &["_info"],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", self.name))
    }

    /// The name for the registry, which adds the unit.
    pub(super) fn name_without_unit(&self) -> &'static str {
        self.name.strip_suffix("_seconds").or_else(|| self.name.strip_suffix("_bytes")).unwrap_or(self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_in_prometheus_s_form() {
        let names: HashSet<&str> = CATALOGUE.iter().map(|described| described.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        for described in CATALOGUE {
            assert!(described.name.starts_with("keymoat_") && !described.name.ends_with("_total"), "{described:?}");
            assert!(!described.help.ends_with('.'), "{described:?}");
            assert!(described.labels.iter().all(|label| !["key", "key_id", "token", "client", "path"].contains(label)));
        }
    }
}
