//! `[events]` and `[telemetry]`: where what happens is kept and told.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::events::{DELIVERIES, SIGNALS};
use super::At;
use super::kinds::{Duration, SecretReference};
use super::limits::Quantity;

/// What happens, one event each: how a request or session ended, what somebody did to Keymoat. Events are kept in the
/// store's folder, in `events.db`. A change waits for a restart.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Events {
    /// Chooses what comes of events that cannot be kept: with `"best_effort"` they are counted and dropped; with
    /// `"required"` nothing goes upstream before its beginning is on the disk, and what cannot be written down is answered 503.
    #[schemars(extend("enum" = DELIVERIES))]
    pub(crate) delivery: Option<At<String>>,
    /// Says how long events are kept, from `"1h"` to `"3650d"`. Counts are kept for 400 days.
    #[schemars(with = "Option<Duration>")]
    pub(crate) keep: Option<At<Quantity>>,
    /// Bounds how many events are kept; the oldest go first.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub(crate) keep_max: Option<At<i64>>,
    /// Names a file that gets a line of JSON for each event, mode 0600. One that was moved away is made anew; at 256 MiB
    /// it is moved to `NAME.1`.
    pub(crate) file: Option<At<String>>,
    /// Writes a line of JSON for each event to standard output.
    pub(crate) stdout: Option<At<bool>>,
}

/// What is told to a collector of OpenTelemetry. A change waits for a restart.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Names the collector, such as `"http://127.0.0.1:4318"`: OTLP over HTTP with protobuf, at `/v1/traces`, `/v1/metrics`
    /// and `/v1/logs` below it. Where nothing is said nobody is told.
    pub(crate) otlp: Option<At<String>>,
    /// Adds headers for the collector, each a reference to a secret, such as `{ authorization = "${file:/run/secrets/otlp}" }`.
    #[schemars(with = "BTreeMap<String, SecretReference>")]
    pub(crate) headers: BTreeMap<At<String>, At<String>>,
    /// Chooses what is told; otherwise all of it. With `"traces"` each request has a span, and the trace of a client goes on
    /// upstream in `traceparent`.
    #[schemars(extend("items" = { "enum": SIGNALS }))]
    pub(crate) signals: Option<At<Vec<At<String>>>>,
}
