//! Opens connections: resolve, TCP, TLS, within one deadline.

use tokio::net::TcpStream;

use super::{Failure, Target};
use crate::settings::{Limits, UpstreamHttp};
use crate::stream::{MaybeTls, UpstreamStream};

/// What a new connection will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, in the best version that both sides know.
    Http,
    /// A WebSocket, always over HTTP/1.1.
    WebSocket,
}

/// Which protocol was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Connects to `target` within `limits.connect`, TLS handshake included.
pub(super) async fn dial(
    target: &Target,
    purpose: Purpose,
    limits: &Limits,
) -> Result<(UpstreamStream, Spoken), Failure> {
    let name = &target.upstream.name;
    match tokio::time::timeout(limits.connect, connect(target, purpose)).await {
        Ok(connected) => connected,
        Err(_) => Err(Failure::Connect(name.clone(), format!("no connection within {:?}", limits.connect))),
    }
}

async fn connect(target: &Target, purpose: Purpose) -> Result<(UpstreamStream, Spoken), Failure> {
    let (name, origin) = (&target.upstream.name, &target.upstream.origin);
    let unreachable = |error: std::io::Error| Failure::Connect(name.clone(), error.to_string());
    let stream = TcpStream::connect((origin.host.as_str(), origin.port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let Some(tls) = &target.tls else {
        let prior_knowledge = purpose == Purpose::Http && target.upstream.http == UpstreamHttp::Http2;
        let spoken = if prior_knowledge { Spoken::Http2 } else { Spoken::Http1 };
        return Ok((MaybeTls::Plain(stream), spoken));
    };
    let connector = if purpose == Purpose::WebSocket { &tls.http1 } else { &tls.http };
    let stream = connector
        .connect(tls.name.clone(), stream)
        .await
        .map_err(|error| Failure::Tls(name.clone(), error.to_string()))?;
    let spoken = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Spoken::Http2 } else { Spoken::Http1 };
    Ok((MaybeTls::Tls(Box::new(stream)), spoken))
}
