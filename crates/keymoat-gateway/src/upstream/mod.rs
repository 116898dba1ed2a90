//! The APIs behind: dialling them, keeping connections warm, and the one place where the real key is put on.

mod connect;
mod inject;
mod pool;
pub(crate) mod probe;
mod request;
mod websocket;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use keymoat_core::Mask;
use keymoat_core::refusal::{Code, Refusal};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::settings::{Limits, Upstream, UpstreamHttp};
use crate::tls::{TlsError, client};
use crate::view::UpstreamView;

pub(crate) use pool::{Lent, Pool, error_chain};
pub(crate) use request::{for_http, for_websocket};
pub(crate) use websocket::{Opened, accept_value, fresh_key, open_websocket};

/// An upstream made ready: names checked, TLS configured. Shared by all threads.
pub(crate) struct Target {
    upstream: Upstream,
    /// What stands in `Host` and `:authority`.
    authority: HeaderValue,
    /// Finds its secret in what it answers.
    mask: Arc<Mask>,
    tls: Option<Tls>,
}

struct Tls {
    name: ServerName<'static>,
    /// Offers what the upstream's setting allows.
    http: TlsConnector,
    /// Offers HTTP/1.1 alone, for WebSockets.
    http1: TlsConnector,
}

/// An upstream's settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Neither a host name nor an address.
    #[error("upstream `{0}`: `{1}` is neither a host name nor an address")]
    Host(Arc<str>, String),
    /// Its trusted authorities cannot be read.
    #[error("upstream `{0}`: {1}")]
    Tls(Arc<str>, #[source] TlsError),
}

impl Target {
    pub(crate) fn new(upstream: Upstream) -> Result<Self, TargetError> {
        let origin = &upstream.origin;
        let bad_host = || TargetError::Host(upstream.name.clone(), origin.host.clone());
        let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
        let default_port = if origin.tls { 443 } else { 80 };
        let authority = if origin.port == default_port { host } else { format!("{host}:{}", origin.port) };
        let authority = HeaderValue::try_from(authority).map_err(|_| bad_host())?;
        let tls = if origin.tls {
            let name = ServerName::try_from(origin.host.clone()).map_err(|_| bad_host())?;
            let ca_file = upstream.ca_file.as_deref();
            let tls_error = |error| TargetError::Tls(upstream.name.clone(), error);
            let alpn = match upstream.http {
                UpstreamHttp::Auto => client::Alpn::Both,
                UpstreamHttp::Http1 => client::Alpn::Http1,
                UpstreamHttp::Http2 => client::Alpn::Http2,
            };
            let http = client::config(ca_file, alpn).map_err(tls_error)?.into();
            let http1 = client::config(ca_file, client::Alpn::Http1).map_err(tls_error)?.into();
            Some(Tls { name, http, http1 })
        } else {
            None
        };
        let mask = Arc::new(upstream.secret.as_ref().map_or(Mask::NONE, Mask::of));
        Ok(Self { upstream, authority, mask, tls })
    }

    /// Whether these are the settings it was made of. A file of authorities may have changed under its name, so an
    /// upstream that has one is always made anew.
    pub(crate) fn is_for(&self, upstream: &Upstream) -> bool {
        let Upstream { name, origin, path_prefix, secret, inject, ca_file, http, allow_private, withheld } = upstream;
        let same_secret = match (&self.upstream.secret, secret) {
            (Some(one), Some(other)) => one.matches(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let known = &self.upstream;
        same_secret
            && ca_file.is_none()
            && known.ca_file.is_none()
            && (&known.name, &known.origin, &known.path_prefix, &known.inject, &known.http)
                == (name, origin, path_prefix, inject, http)
            && (&known.allow_private, &known.withheld) == (allow_private, withheld)
    }

    /// What may be shown of it.
    pub(crate) fn view(&self) -> UpstreamView {
        let upstream = &self.upstream;
        UpstreamView {
            name: Arc::clone(&upstream.name),
            origin: upstream.origin.clone(),
            path_prefix: upstream.path_prefix.clone(),
            has_secret: upstream.secret.is_some(),
            inject: upstream.inject.clone(),
            http: upstream.http,
            withheld: upstream.withheld.clone(),
        }
    }

    pub(crate) fn mask(&self) -> &Arc<Mask> {
        &self.mask
    }

    /// Why nothing is sent to it; `None` when it is in order.
    pub(crate) fn withheld(&self) -> Option<&Arc<str>> {
        self.upstream.withheld.as_ref()
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.upstream.name
    }
}

/// One thread's link to an upstream: its settings and its warm connections.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) target: Arc<Target>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) limits: Limits,
}

/// The upstream could not be used. What the client is told, and what the operator is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection: resolution, refusal, timeout.
    #[error("cannot connect to upstream `{0}`: {1}")]
    Connect(Arc<str>, String),
    /// Its name leads inside, where it may not: all addresses are loopback, private and the like.
    #[error(
        "upstream `{0}` is not dialled: {1}, and only public addresses are taken for a name: if this is meant, set its \
         `allow_private = true`"
    )]
    Inside(Arc<str>, String),
    /// The connection is not the upstream's: certificate, name, version.
    #[error("no trusted TLS connection to upstream `{0}`: {1}")]
    Tls(Arc<str>, String),
    /// It did not answer in time.
    #[error("upstream `{0}` sent no answer within {1:?}")]
    Slow(Arc<str>, Duration),
    /// It broke the connection or the protocol.
    #[error("upstream `{0}` failed: {1}")]
    Protocol(Arc<str>, String),
    /// It answered a WebSocket opening with something other than a valid 101.
    #[error("upstream `{0}` answered {1} instead of opening the WebSocket")]
    NotOpened(Arc<str>, u16),
}

impl Failure {
    /// What the client is told: which kind of failure, not its details.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Connect(..) => {
                Refusal::new(Code::Unavailable, "the upstream cannot be reached, try again").retry_after_secs(1)
            }
            Self::Inside(..) => {
                Refusal::new(Code::UpstreamFailed, "the upstream's address is not one that may be used")
            }
            Self::Tls(..) => Refusal::new(Code::UpstreamFailed, "the upstream's certificate is not trusted"),
            Self::Slow(..) => Refusal::new(Code::UpstreamTimeout, "the upstream did not answer in time, try again"),
            Self::Protocol(..) => Refusal::new(Code::UpstreamFailed, "the upstream broke off, try again"),
            Self::NotOpened(_, status) => Refusal::new(
                Code::UpstreamFailed,
                format!("the upstream answered {status} instead of opening the WebSocket"),
            ),
        }
    }
}
