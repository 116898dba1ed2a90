//! Takes out of a head what belongs to one connection, and what could pass for another header.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use super::{Transport, invalid};
use crate::carrier::KNOWN_HEADERS;
use crate::refusal::Refusal;

/// Headers that `Connection` may not remove: they are meant for the far end (RFC 9110 section 7.6.1), and a client
/// that could remove them could hide a credential, a body, a page or an address from the stages below.
const ESSENTIAL: [&str; 8] =
    ["cache-control", "content-encoding", "content-length", "content-type", "cookie", "forwarded", "origin", "referer"];

/// Removes hop-by-hop headers, whatever `Connection` names, the handshake's headers, `Host`, `Expect`, and names with
/// an underscore; joins the cookie lines of HTTP/2 (RFC 9113 section 8.2.3).
///
/// # Errors
/// `request_invalid` for a name that becomes a credential's header once `_` is read as `-`, as CGI servers do.
pub(super) fn clean(headers: &mut HeaderMap, transport: Transport) -> Result<(), Refusal> {
    let te_trailers = transport != Transport::Http1 && headers.get(TE).is_some_and(|te| te == "trailers");
    for name in named_by_connection(headers) {
        remove(headers, &name);
    }
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        if name.as_str().contains('_') {
            let hyphened = name.as_str().replace('_', "-");
            if KNOWN_HEADERS.contains(&hyphened.as_str()) {
                return Err(invalid("a credential's header is written with `_`: write it with `-`"));
            }
            remove(headers, &name);
        } else if is_of_connection(&name) {
            remove(headers, &name);
        }
    }
    if te_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    join_cookies(headers);
    Ok(())
}

/// Whether the head announces a body that is not empty.
pub(super) fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|entry| HeaderName::from_bytes(entry.trim_ascii()).ok())
        .filter(|name| !is_essential(name.as_str()))
        .collect()
}

fn is_essential(name: &str) -> bool {
    ESSENTIAL.contains(&name) || KNOWN_HEADERS.contains(&name) || name.starts_with("x-forwarded-")
}

fn is_of_connection(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HOST, EXPECT].contains(name)
        || matches!(name.as_str(), "keep-alive" | "http2-settings")
        || name.as_str().starts_with("proxy-")
        || name.as_str().starts_with("sec-websocket-")
}

fn remove(headers: &mut HeaderMap, name: &HeaderName) {
    if let Entry::Occupied(entry) = headers.entry(name) {
        let _ = entry.remove_entry_mult();
    }
}

fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    if lines.len() < 2 {
        return;
    }
    let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    match HeaderValue::from_bytes(&joined) {
        Ok(value) => headers.insert(COOKIE, value),
        Err(_) => headers.remove(COOKIE),
    };
}
