//! Who stands behind a trusted proxy: `X-Forwarded-For` and `X-Forwarded-Proto`, believed from nobody else.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::HeaderMap;
use keymoat_core::network::Network;

use crate::peer::Peer;

/// More hops than this are not looked at.
const HOPS_MAX: usize = 64;

/// The peer as the request came from: the connection's own, or, when that is a trusted proxy, the one it speaks for.
///
/// The client is the right-most hop that is not a trusted proxy itself: what stands left of it, the client could have
/// written. A hop that is no address ends the search, and the proxy that passed it on is the client.
pub(crate) fn behind(peer: &Rc<Peer>, headers: &HeaderMap, trusted: &[Network]) -> Rc<Peer> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer.client) {
        return Rc::clone(peer);
    }
    let mut client = peer.client;
    for hop in hops(headers).take(HOPS_MAX) {
        let Some(address) = hop else { break };
        client = address.to_canonical();
        if !is_trusted(address) {
            break;
        }
    }
    let tls = last(headers, "x-forwarded-proto")
        .map_or(peer.tls, |proto| proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss"));
    Rc::new(Peer { client, tls, tls_name: peer.tls_name.clone(), permit: Rc::clone(&peer.permit) })
}

/// The hops of all lines, from the right; `None` for one that is no address.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    lines.into_iter().rev().flat_map(|line| {
        let hops: Vec<_> = line.to_str().unwrap_or_default().split(',').rev().map(address).collect();
        hops
    })
}

/// Reads `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:4711`.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// What the nearest proxy wrote.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::permits::Permits;

    fn seen(connection: &str, lines: &[(&'static str, &'static str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let permit = Permits::new(1).take().expect("free");
        let client = connection.parse().expect("an address");
        let peer = Rc::new(Peer { client, tls: false, tls_name: None, permit: Rc::new(permit) });
        let trusted = ["10.0.0.0/8".parse().expect("a network"), "fd00::/8".parse().expect("a network")];
        let peer = behind(&peer, &headers, &trusted);
        (peer.client.to_string(), peer.tls)
    }

    const FOR: &str = "x-forwarded-for";
    const PROTO: &str = "x-forwarded-proto";

    #[test]
    fn the_client_is_the_right_most_hop_that_is_not_trusted() {
        for (lines, client) in [
            (&[(FOR, "203.0.113.7")][..], "203.0.113.7"),
            (&[(FOR, "1.1.1.1, 203.0.113.7")], "203.0.113.7"),
            (&[(FOR, "1.1.1.1, 203.0.113.7, 10.0.0.2")], "203.0.113.7"),
            (&[(FOR, "1.1.1.1"), (FOR, "203.0.113.7 ,10.0.0.2:4711")], "203.0.113.7"),
            (&[(FOR, "[2001:db8::1]:4711, fd00::1")], "2001:db8::1"),
            (&[(FOR, "::ffff:203.0.113.7")], "203.0.113.7"),
            (&[(FOR, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            (&[(FOR, "1.1.1.1, unknown, 10.0.0.2")], "10.0.0.2"),
            (&[(FOR, "")], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(seen("10.0.0.1", lines).0, client, "{lines:?}");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        let lines = [(FOR, "1.1.1.1"), (PROTO, "https")];
        assert_eq!(seen("203.0.113.9", &lines), ("203.0.113.9".to_owned(), false));
        assert_eq!(seen("10.0.0.1", &lines), ("1.1.1.1".to_owned(), true));
    }

    #[test]
    fn the_scheme_is_what_the_nearest_proxy_wrote() {
        assert!(!seen("10.0.0.1", &[(PROTO, "https, http")]).1);
        assert!(seen("10.0.0.1", &[(PROTO, "http"), (PROTO, "https")]).1);
    }
}
