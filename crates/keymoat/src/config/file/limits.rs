//! `[limits]`: limits and deadlines.

use schemars::JsonSchema;
use serde::Deserialize;

use super::At;
use super::kinds::{Duration, Size};

/// Limits and deadlines. Durations are seconds or texts (`"250ms"`, `"30s"`, `"5m"`, `"2h"`) up to 7 days, sizes are bytes
/// or texts (`"64KiB"`, `"16MiB"`) up to `"1GiB"`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Bounds connections at once; one more is answered 503.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) connections_max: Option<At<i64>>,
    /// Bounds WebSockets and event streams at once.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(crate) sessions_max: Option<At<i64>>,
    /// Bounds connections of one address at once, an IPv6 network of 64 bits counting as one; one more is answered 429. Trusted
    /// proxies have no bound. Where nothing is said there is none.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) connections_per_address_max: Option<At<i64>>,
    /// Bounds how many wrong credentials of one address a minute are answered 401; further ones get 429, and good ones
    /// are let in all the same. `0` is no bound.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) failed_credentials_per_minute: Option<At<i64>>,
    /// Bounds what this process may hold, from 64MiB and beyond 1GiB; at 92 % connections are not kept, at 95 % new work is answered 503. Where
    /// nothing is said there is no bound.
    #[schemars(with = "Option<Size>")]
    pub(crate) memory_bytes_max: Option<At<Quantity>>,
    /// Bounds the headers of a request together, from 1KiB to 1MiB.
    #[schemars(with = "Option<Size>")]
    pub(crate) head_bytes_max: Option<At<Quantity>>,
    /// Bounds how many headers a request may have.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) head_fields_max: Option<At<i64>>,
    /// Bounds a request's URL, from 256 to 60000 bytes.
    #[schemars(with = "Option<Size>")]
    pub(crate) url_bytes_max: Option<At<Quantity>>,
    /// Bounds requests at once in one HTTP/2 connection.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) http2_streams_max: Option<At<i64>>,
    /// Bounds how much of one HTTP/2 request's body may be on its way, from 16KiB.
    #[schemars(with = "Option<Size>")]
    pub(crate) http2_stream_window: Option<At<Quantity>>,
    /// Bounds the same for all requests of one HTTP/2 connection together, from 16KiB.
    #[schemars(with = "Option<Size>")]
    pub(crate) http2_connection_window: Option<At<Quantity>>,
    /// Bounds how long a TLS handshake may take.
    #[schemars(with = "Option<Duration>")]
    pub(crate) tls_handshake: Option<At<Quantity>>,
    /// Bounds how long the head of a request may take from its first byte; over HTTP/2, how long the first one of a connection.
    #[schemars(with = "Option<Duration>")]
    pub(crate) head: Option<At<Quantity>>,
    /// Bounds how long a connection may wait for its next request.
    #[schemars(with = "Option<Duration>")]
    pub(crate) keep_alive: Option<At<Quantity>>,
    /// Bounds how long connecting to an upstream may take, TLS included.
    #[schemars(with = "Option<Duration>")]
    pub(crate) connect: Option<At<Quantity>>,
    /// Bounds how long an upstream may take to answer.
    #[schemars(with = "Option<Duration>")]
    pub(crate) response_head: Option<At<Quantity>>,
    /// Bounds the silence inside a body.
    #[schemars(with = "Option<Duration>")]
    pub(crate) body_idle: Option<At<Quantity>>,
    /// Bounds a frame of a WebSocket.
    #[schemars(with = "Option<Size>")]
    pub(crate) frame_bytes_max: Option<At<Quantity>>,
    /// Bounds a message of a WebSocket, over all its frames.
    #[schemars(with = "Option<Size>")]
    pub(crate) message_bytes_max: Option<At<Quantity>>,
    /// Bounds a client's message in a session that a token locks, up to `"16MiB"`: such a message is looked at whole.
    #[schemars(with = "Option<Size>")]
    pub(crate) watched_bytes_max: Option<At<Quantity>>,
    /// Bounds how long a client may take to send the message that its session is decided by.
    #[schemars(with = "Option<Duration>")]
    pub(crate) first_message: Option<At<Quantity>>,
    /// Bounds how long a WebSocket may be silent in both directions, pings not counted.
    #[schemars(with = "Option<Duration>")]
    pub(crate) websocket_idle: Option<At<Quantity>>,
    /// Says how often a WebSocket client is pinged.
    #[schemars(with = "Option<Duration>")]
    pub(crate) ping_every: Option<At<Quantity>>,
    /// Bounds how long one write may be stalled by a peer that does not read; over HTTP/2, how long 16 KiB of an answer may wait for it.
    #[schemars(with = "Option<Duration>")]
    pub(crate) write_stall: Option<At<Quantity>>,
    /// Bounds how long the answer to a close frame is waited for.
    #[schemars(with = "Option<Duration>")]
    pub(crate) close_wait: Option<At<Quantity>>,
    /// Says how long everything goes on as ever after the end was asked for, but for `/keymoat/readyz`, which answers 503: long enough for a load balancer to notice. Without it the shutdown begins at once.
    #[schemars(with = "Option<Duration>")]
    pub(crate) drain_after: Option<At<Quantity>>,
    /// Bounds how long live sessions may go on after the shutdown began.
    #[schemars(with = "Option<Duration>")]
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
