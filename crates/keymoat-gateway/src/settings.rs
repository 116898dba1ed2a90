//! What the gateway is told to do: already parsed, already checked. The binary's configuration builds these values.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use keymoat_core::network::Network;
use keymoat_core::{Route, Secret, gate};

use crate::throttle::Patience;

/// Everything a gateway needs to start.
#[derive(Debug)]
pub struct Settings {
    /// Where it listens. At least one.
    pub listeners: Vec<Listener>,
    /// How many threads serve; each has its own runtime, its own listening sockets and its own upstream connections.
    pub threads: usize,
    /// The routes, closest match wins.
    pub routes: Vec<Route>,
    /// The upstreams that the routes name.
    pub upstreams: Vec<Upstream>,
    /// Limits and deadlines.
    pub limits: Limits,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<Network>,
}

/// One listening address.
#[derive(Debug)]
pub struct Listener {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// The certificate chain and key, or `None` for plain text.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// An API behind the gateway.
#[derive(Debug)]
pub struct Upstream {
    /// The name that routes use.
    pub name: Arc<str>,
    /// Scheme, host and port.
    pub origin: Origin,
    /// What stands before every path sent there: empty, or `/v2` without a slash at the end.
    pub path_prefix: String,
    /// The real API key, or `None` for an API that takes none.
    pub secret: Option<Secret>,
    /// The one place where the secret is put on.
    pub inject: Inject,
    /// A PEM file of further authorities to trust, for a private upstream; the machine's own are always trusted.
    pub ca_file: Option<PathBuf>,
    /// Which HTTP version is spoken to it.
    pub http: UpstreamHttp,
    /// Whether its name may resolve to an address that is not public: loopback, private, link-local and the like.
    pub allow_private: bool,
    /// Why nothing is sent to it, for the operator: it has a secret that is not at hand, and must not be asked without.
    /// Requests are answered 503 then, and other upstreams are served. `None` is an upstream in order.
    pub withheld: Option<Arc<str>>,
}

impl Upstream {
    /// An upstream without a secret, which would go into `Authorization`. Addresses that are not public are taken
    /// where the host is an address itself or `localhost`, because whoever wrote that meant it.
    #[must_use]
    pub fn new(name: &str, origin: Origin) -> Self {
        let allow_private = origin.host == "localhost" || origin.host.parse::<IpAddr>().is_ok();
        Self {
            name: name.into(),
            origin,
            path_prefix: String::new(),
            secret: None,
            inject: Inject::Header(http::header::AUTHORIZATION),
            ca_file: None,
            http: UpstreamHttp::default(),
            allow_private,
            withheld: None,
        }
    }
}

/// Scheme, host and port of an upstream (RFC 6454 section 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether it is spoken to over TLS, always verified.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Where the real key is put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inject {
    /// `NAME: SECRET`, or `Authorization: Bearer SECRET` when the name is `authorization`.
    Header(HeaderName),
    /// `?NAME=SECRET`, for an API that takes nothing else.
    Query(String),
}

/// Which HTTP version is spoken to an upstream. WebSockets always use HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamHttp {
    /// Over TLS what ALPN selects; HTTP/1.1 in plain text.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; in plain text with prior knowledge (RFC 9113 section 3.3).
    Http2,
}

/// Limits and deadlines, with the defaults that `Limits::default()` gives.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, over all threads; one more is answered 503, whatever it asks for.
    pub connections_max: usize,
    /// Sessions at once, over all threads: WebSockets and event streams. HTTP/2 carries many in one connection.
    pub sessions_max: usize,
    /// Connections of one address at once, over all threads; `None` for no such bound. A trusted proxy has none.
    pub connections_per_address_max: Option<usize>,
    /// How often credentials from one address may be wrong; `None` for no such bound.
    pub failed_credentials: Option<Patience>,
    /// The memory that this process may hold, in bytes; near it connections are not kept, then new work is refused.
    /// `None` looks at nothing.
    pub memory_bytes_max: Option<u64>,
    /// The header block of a request, in bytes.
    pub head_bytes_max: usize,
    /// How many header fields a request may have.
    pub head_fields_max: usize,
    /// The URL of a request, in bytes.
    pub url_bytes_max: usize,
    /// Requests at once in one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// How much of one HTTP/2 request's body may be on its way, in bytes.
    pub http2_stream_window: u32,
    /// The same for all requests of one HTTP/2 connection together.
    pub http2_connection_window: u32,
    /// How long a TLS handshake may take.
    pub tls_handshake: Duration,
    /// How long the head of a request may take from its first byte; over HTTP/2, how long the first one of a connection.
    pub head: Duration,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long a connection to an upstream may take, TLS included.
    pub connect: Duration,
    /// How long an upstream may take to answer with a head, from the last part of the request's body on.
    pub response_head: Duration,
    /// The longest silence inside a request's or response's body.
    pub body_idle: Duration,
    /// A WebSocket frame may be this large, in bytes of payload.
    pub frame_bytes_max: u64,
    /// A WebSocket message may be this large, in bytes of payload, over all its frames.
    pub message_bytes_max: u64,
    /// A client's message that is looked at whole may be this large, in bytes of payload.
    pub watched_bytes_max: u64,
    /// How long a client may take to send the message that its session is decided by.
    pub first_message: Duration,
    /// That message may be this large, in bytes of payload.
    pub first_message_bytes_max: u64,
    /// How long a WebSocket may be silent in both directions, pings not counted.
    pub websocket_idle: Duration,
    /// How often a WebSocket client is pinged.
    pub ping_every: Duration,
    /// How long one write may be stalled by a peer that does not read. Over HTTP/2, how long 16 KiB of an answer may wait
    /// for their client to take them.
    pub write_stall: Duration,
    /// How long to wait for the peer's answer to a close frame.
    pub close_wait: Duration,
    /// How long everything goes on as ever, but for readiness, when the end was asked for; zero for the shutdown at once.
    pub drain_after: Duration,
    /// How long live sessions may go on after the shutdown began.
    pub drain: Duration,
}

impl Limits {
    /// How large a head may be, in the words of the stage that reads it.
    pub(crate) const fn of_heads(&self) -> gate::Limits {
        gate::Limits {
            head_bytes_max: self.head_bytes_max,
            url_bytes_max: self.url_bytes_max,
            fields_max: self.head_fields_max,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            sessions_max: 20_000,
            connections_per_address_max: None,
            failed_credentials: Some(Patience { failures_per_minute: 60 }),
            memory_bytes_max: None,
            head_bytes_max: 16 << 10,
            head_fields_max: 100,
            url_bytes_max: 8 << 10,
            http2_streams_max: 100,
            http2_stream_window: 64 << 10,
            http2_connection_window: 1 << 20,
            tls_handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connect: Duration::from_secs(10),
            response_head: Duration::from_secs(300),
            body_idle: Duration::from_secs(300),
            frame_bytes_max: 16 << 20,
            message_bytes_max: 16 << 20,
            watched_bytes_max: 1 << 20,
            first_message: Duration::from_secs(10),
            first_message_bytes_max: 256 << 10,
            websocket_idle: Duration::from_secs(300),
            ping_every: Duration::from_secs(20),
            write_stall: Duration::from_secs(30),
            close_wait: Duration::from_secs(2),
            drain_after: Duration::ZERO,
            drain: Duration::from_secs(600),
        }
    }
}
