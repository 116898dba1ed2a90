//! Opens a WebSocket to an upstream and believes nothing but a valid 101.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::connect::{Purpose, dial};
use super::pool::error_chain;
use super::{Failure, Link};
use crate::body::ToUpstream;
use crate::stream::UpstreamStream;

/// What the accept value is computed with (RFC 6455 section 1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An upstream's WebSocket, open.
pub(crate) struct Opened {
    /// The raw stream, taken back from hyper.
    pub(crate) stream: UpstreamStream,
    /// What had arrived behind the 101.
    pub(crate) already_read: Bytes,
    /// The subprotocol that the upstream selected, one of those offered.
    pub(crate) selected: Option<String>,
}

/// A fresh `Sec-WebSocket-Key`: 16 random bytes in base64.
pub(crate) fn fresh_key() -> String {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).expect("the system gives random bytes");
    STANDARD.encode(nonce)
}

/// The `Sec-WebSocket-Accept` that answers `key` (RFC 6455 section 4.2.2).
pub(crate) fn accept_value(key: &str) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(ACCEPT_GUID);
    STANDARD.encode(context.finish())
}

/// Dials the upstream, sends `opening` (made with `key` and offering `labels`) and waits for the 101.
pub(crate) async fn open_websocket(
    link: &Link,
    opening: Request<ToUpstream>,
    key: &str,
    labels: &[String],
) -> Result<Opened, Failure> {
    let limit = link.limits.connect;
    let (stream, _) = dial(&link.target, Purpose::WebSocket, &link.limits).await?;
    match tokio::time::timeout(limit, shake_hands(link, stream, opening, key, labels)).await {
        Ok(opened) => opened,
        Err(_) => Err(Failure::Slow(link.target.name().clone(), limit)),
    }
}

async fn shake_hands(
    link: &Link,
    stream: UpstreamStream,
    opening: Request<ToUpstream>,
    key: &str,
    labels: &[String],
) -> Result<Opened, Failure> {
    let name = link.target.name();
    let broke = |error: hyper::Error| Failure::Protocol(name.clone(), error_chain(&error));
    let (mut sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let connection = tokio::task::spawn_local(connection.with_upgrades());
    let response = sender.send_request(opening).await.map_err(broke)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        connection.abort();
        return Err(Failure::NotOpened(name.clone(), response.status().as_u16()));
    }
    let selected = check_switch(response.headers(), key, labels)
        .map_err(|what| Failure::Protocol(name.clone(), format!("its 101 {what}")))?;
    let upgraded = hyper::upgrade::on(response).await.map_err(broke)?;
    let parts = upgraded
        .downcast::<TokioIo<UpstreamStream>>()
        .map_err(|_| Failure::Protocol(name.clone(), "the stream came back as another type".into()))?;
    // Copied, because even when nothing is in it, it pins the buffer of 8 KiB that hyper read into.
    let already_read = Bytes::copy_from_slice(&parts.read_buf);
    Ok(Opened { stream: parts.io.into_inner(), already_read, selected })
}

/// Checks a 101 as a client must (RFC 6455 section 4.1) and gives the selected subprotocol.
fn check_switch(headers: &HeaderMap, key: &str, labels: &[String]) -> Result<Option<String>, &'static str> {
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value.to_str().ok()),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err("repeats a header"),
        }
    };
    if !only(header::UPGRADE)?.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("does not upgrade to websocket");
    }
    let connection = only(header::CONNECTION)?.unwrap_or_default();
    if !connection.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade")) {
        return Err("has no `Connection: upgrade`");
    }
    if only(header::SEC_WEBSOCKET_ACCEPT)? != Some(accept_value(key).as_str()) {
        return Err("does not answer our key");
    }
    if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err("selects an extension that was not offered");
    }
    match only(header::SEC_WEBSOCKET_PROTOCOL)? {
        None => Ok(None),
        Some(selected) if labels.iter().any(|label| label == selected) => Ok(Some(selected.to_owned())),
        Some(_) => Err("selects a subprotocol that was not offered"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn switch(changes: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        for (name, value) in changes {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_rfc_s_own_example_is_a_valid_switch() {
        assert_eq!(check_switch(&switch(&[]), KEY, &[]), Ok(None));
    }

    #[test]
    fn the_selection_must_have_been_offered() {
        let labels = ["realtime".to_owned()];
        let selects = |label| switch(&[(header::SEC_WEBSOCKET_PROTOCOL, label)]);
        assert_eq!(check_switch(&selects("realtime"), KEY, &labels), Ok(Some("realtime".into())));
        assert!(check_switch(&selects("other"), KEY, &labels).is_err());
        assert!(check_switch(&selects("realtime"), KEY, &[]).is_err());
    }

    #[test]
    fn anything_else_is_no_switch() {
        let bad = [
            (header::UPGRADE, "h2c"),
            (header::CONNECTION, "close"),
            (header::SEC_WEBSOCKET_ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            (header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"),
        ];
        for change in bad {
            assert!(check_switch(&switch(std::slice::from_ref(&change)), KEY, &[]).is_err(), "{change:?}");
        }
        let mut twice = switch(&[]);
        twice.append(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(check_switch(&twice, KEY, &[]).is_err());
    }
}
