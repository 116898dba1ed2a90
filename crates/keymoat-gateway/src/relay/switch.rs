//! The change of a client's connection from HTTP to a WebSocket: our answer, and the raw stream taken back from hyper.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use keymoat_core::gate::GateError;
use keymoat_core::head::Opening;

use super::websocket::End;
use crate::body::ToClient;
use crate::connection::GatedClient;
use crate::gated::{GateSignal, Passed};
use crate::stream::ClientStream;
use crate::upstream::accept_value;

/// How long hyper may take to write our answer and hand the stream over.
const HAND_OVER: Duration = Duration::from_secs(10);

/// A connection that can become a WebSocket's.
pub(crate) struct Switch {
    taken: OnUpgrade,
    gate: Option<(GateSignal, Passed)>,
}

/// The client's side of a WebSocket, by the HTTP version that it was opened with.
pub(crate) enum ClientEnd {
    /// The raw stream (RFC 6455).
    Http1(End<ClientStream>),
    /// A stream of an HTTP/2 connection (RFC 8441).
    Http2(End<TokioIo<hyper::upgrade::Upgraded>>),
}

impl Switch {
    /// Over HTTP/1.1; the gate is told what becomes of the connection.
    pub(crate) const fn http1(taken: OnUpgrade, signal: GateSignal, passed: Passed) -> Self {
        Self { taken, gate: Some((signal, passed)) }
    }

    /// Over HTTP/2.
    pub(crate) const fn http2(taken: OnUpgrade) -> Self {
        Self { taken, gate: None }
    }

    /// Whether the gate, too, took the request for an upgrade. Otherwise it has gone on to the next head, and the
    /// connection cannot become a WebSocket's.
    pub(crate) fn is_possible(&self) -> bool {
        self.gate.as_ref().is_none_or(|(_, passed)| *passed == Passed::Upgrade)
    }

    /// Why the body of the request broke, if the gate broke it.
    pub(crate) fn body_error(&self) -> Option<GateError> {
        self.gate.as_ref().and_then(|(signal, _)| signal.body_error())
    }

    /// Our answer to the opening: 101 over HTTP/1.1 (RFC 6455 section 4.2.2), 200 over HTTP/2 (RFC 8441 section 5).
    pub(crate) fn answer(&self, opening: &Opening, selected: Option<HeaderValue>) -> Response<ToClient> {
        let mut response = Response::new(ToClient::empty());
        let headers = response.headers_mut();
        if let Some(selected) = selected {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, selected);
        }
        let Some(key) = &opening.key else { return response };
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let accept = HeaderValue::try_from(accept_value(key)).expect("base64 is ASCII");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
    }

    /// The stream, once our answer is on its way; `None` when the client was gone by then.
    pub(crate) async fn take(self) -> Option<ClientEnd> {
        if let Some((signal, _)) = &self.gate {
            signal.tunnel();
        }
        let upgraded = match tokio::time::timeout(HAND_OVER, self.taken).await {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(_)) | Err(_) => return None,
        };
        match upgraded.downcast::<TokioIo<GatedClient>>() {
            Ok(parts) => {
                let (stream, withheld) = parts.io.into_inner().into_parts();
                let already_read = concat(&parts.read_buf, &withheld);
                Some(ClientEnd::Http1(End { stream: stream.into_inner(), already_read }))
            }
            Err(upgraded) => Some(ClientEnd::Http2(End { stream: TokioIo::new(upgraded), already_read: Bytes::new() })),
        }
    }
}

/// hyper's buffer may pin a larger block, so what is in it is copied and the buffer dropped.
fn concat(first: &[u8], second: &[u8]) -> Bytes {
    let mut all = BytesMut::with_capacity(first.len() + second.len());
    all.extend_from_slice(first);
    all.extend_from_slice(second);
    all.freeze()
}
