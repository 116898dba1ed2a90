//! Opens connections: resolve, check, TCP, TLS, within one deadline.
//!
//! A name is resolved once per connection. What was checked is what is connected to: nothing below asks for the name again,
//! so that no second answer can lead elsewhere.

use std::io;
use std::net::SocketAddr;

use keymoat_core::address;
use tokio::net::{TcpStream, lookup_host};

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
    let stream = reach(target).await?;
    secure(target, purpose, stream).await
}

/// Resolves, checks and connects, without TLS.
pub(super) async fn reach(target: &Target) -> Result<TcpStream, Failure> {
    let (name, origin) = (&target.upstream.name, &target.upstream.origin);
    let unreachable = |error: io::Error| Failure::Connect(name.clone(), error.to_string());
    let found = lookup_host((origin.host.as_str(), origin.port)).await.map_err(unreachable)?;
    let addresses = if target.upstream.allow_private {
        found.collect()
    } else {
        fitting(&origin.host, found).map_err(|cause| Failure::Inside(name.clone(), cause))?
    };
    let stream = connect_to_one(addresses).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(stream)
}

/// Shakes hands where the upstream is spoken to over TLS.
pub(super) async fn secure(
    target: &Target,
    purpose: Purpose,
    stream: TcpStream,
) -> Result<(UpstreamStream, Spoken), Failure> {
    let Some(tls) = &target.tls else {
        let prior_knowledge = purpose == Purpose::Http && target.upstream.http == UpstreamHttp::Http2;
        let spoken = if prior_knowledge { Spoken::Http2 } else { Spoken::Http1 };
        return Ok((MaybeTls::Plain(stream), spoken));
    };
    let connector = if purpose == Purpose::WebSocket { &tls.http1 } else { &tls.http };
    let stream = connector
        .connect(tls.name.clone(), stream)
        .await
        .map_err(|error| Failure::Tls(target.name().clone(), error.to_string()))?;
    let spoken = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Spoken::Http2 } else { Spoken::Http1 };
    Ok((MaybeTls::Tls(Box::new(stream)), spoken))
}

/// Those of the addresses of a name that it may lead to: public ones, and private ones for a name of no public zone.
///
/// # Errors
/// There are none, but others: what they are, for the operator.
fn fitting(host: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, String> {
    let private_name = address::is_private_name(host);
    let mut fitting = Vec::new();
    let mut refused = None;
    for candidate in found {
        match address::inside(candidate.ip()) {
            None => fitting.push(candidate),
            Some("private") if private_name => fitting.push(candidate),
            Some(kind) => refused = Some(format!("{} is {kind}", candidate.ip())),
        }
    }
    match refused {
        Some(refused) if fitting.is_empty() => Err(refused),
        _ => Ok(fitting),
    }
}

/// Connects to the first address that answers.
async fn connect_to_one(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(addresses: &[&str]) -> Result<Vec<String>, String> {
        let found = addresses.iter().map(|text| text.parse::<SocketAddr>().expect("an address"));
        fitting("api.example.com", found).map(|public| public.iter().map(SocketAddr::to_string).collect())
    }

    #[test]
    fn g91_every_address_of_a_name_is_checked() {
        assert_eq!(
            chosen(&["8.8.8.8:443", "[2606:4700::1]:443"]),
            Ok(vec!["8.8.8.8:443".into(), "[2606:4700::1]:443".into()])
        );
        // An answer that mixes both leads to the public one only.
        assert_eq!(chosen(&["127.0.0.1:443", "8.8.8.8:443", "[::1]:443"]), Ok(vec!["8.8.8.8:443".into()]));
        let private = ["10.0.0.7:443".parse().expect("an address")];
        assert!(fitting("events.internal", private.into_iter()).is_ok(), "such a name cannot lead anywhere else");
        let metadata = ["169.254.169.254:80".parse().expect("an address")];
        assert!(fitting("metadata.google.internal", metadata.into_iter()).is_err());
        assert_eq!(chosen(&["169.254.169.254:80"]), Err("169.254.169.254 is link-local".into()));
        assert!(chosen(&["[::ffff:10.0.0.1]:80", "10.0.0.1:80"]).is_err());
        assert_eq!(chosen(&[]), Ok(vec![]));
    }
}
