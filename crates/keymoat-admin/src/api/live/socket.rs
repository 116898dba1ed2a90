//! The WebSocket of events: envelopes with numbers, pings, subscriptions, and resumption behind a number.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::feed::{Feed, Item};
use super::topics::{Asked, Topics};
use super::{HEARTBEAT, data_of, streams_place};
use crate::access::Caller;
use crate::access::guard::Refused;
use crate::api::Desk;
use crate::api::problem::{Code, Problem};

/// The protocol that is selected where it is offered.
pub(crate) const MARKER: &str = "keymoat.v1";

/// A client that says nothing for so long is left.
const IDLE: Duration = Duration::from_secs(300);

/// Whoever comes back says where it was as soon as it can: so long events wait for that, or the first of them would come before
/// those that were missed, and then again.
const RESUME: Duration = Duration::from_secs(1);

/// A message of a client may be this large.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// How long one message may take to be sent.
const SEND: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Opens the socket of events. Credentials: a header, or an entry of `Sec-WebSocket-Protocol` (`api-key.…`, `keymoat.token.…`)
/// beside `keymoat.v1`.
///
/// Whoever is not let in gets the handshake and then 4001 or 4003, because a browser can read nothing else.
#[utoipa::path(get, path = "/ws/events", tag = "live",
    responses((status = 101, description = "The WebSocket.")))]
pub(in crate::api) async fn open(State(desk): State<Arc<Desk>>, mut request: Request) -> Response {
    let Some(accept) = handshake(request.headers()) else { return Problem::of(Code::UpgradeRequired).into_response() };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Problem::of(Code::UpgradeRequired).into_response();
    };
    let caller = request.extensions_mut().remove::<Caller>();
    let refused = request.extensions_mut().remove::<Refused>();
    let has_marker = offers_marker(request.headers());
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let (code, reason) = match (caller, refused) {
            (Some(caller), None) => serve(&desk, &caller, &mut socket).await,
            (_, refused) => (refused.map_or(4001, |refused| refused.close_code), "credential_invalid: not let in"),
        };
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let _ = timeout(SEND, socket.close(Some(frame))).await;
        // The client's own close, or a little patience.
        let _ = timeout(Duration::from_secs(2), async { while let Some(Ok(_)) = socket.next().await {} }).await;
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if has_marker {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(MARKER));
    }
    response
}

/// The answer to a handshake of RFC 6455, if it is one.
fn handshake(headers: &HeaderMap) -> Option<HeaderValue> {
    let says = |name, word: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    let is_one = says(UPGRADE, "websocket") && says(CONNECTION, "upgrade") && says(SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_one && key.len() == 24)?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()
}

fn offers_marker(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|one| one.trim() == MARKER))
}

/// Tells events until one side ends it; gives the close code and why.
async fn serve(desk: &Desk, caller: &Caller, socket: &mut Socket) -> (u16, &'static str) {
    let Ok(_place) = streams_place(desk) else { return (1013, "unavailable: too many readers") };
    let Some(mut feed) = Feed::start(desk.house.events.clone(), None).await else {
        return (1013, "unavailable: the events cannot be read");
    };
    let mut topics = Topics::default();
    let (mut beat, mut idle) = (Instant::now() + HEARTBEAT, Instant::now() + IDLE);
    let (mut may_resume, resume_by) = (true, Instant::now() + RESUME);
    let hello =
        json!({"type": "system_status", "data": {"health": "healthy", "lastSeq": feed.last}, "lastSeq": feed.last});
    if send(socket, &hello).await.is_err() {
        return (1001, "");
    }
    loop {
        tokio::select! {
            message = socket.next() => {
                idle = Instant::now() + IDLE;
                let text = match message {
                    Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
                    Some(Ok(Message::Binary(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return (1000, ""),
                };
                let (answer, asked) = topics.take(&text);
                if let Asked::Resume(after) = asked {
                    feed.resume(after);
                    may_resume = false;
                }
                if let Some(answer) = answer && send(socket, &answer).await.is_err() {
                    return (1001, "");
                }
            }
            () = sleep_until(resume_by), if may_resume => may_resume = false,
            item = feed.next(), if !may_resume => {
                let message = match item {
                    None => return (1001, "draining: the server ends"),
                    Some(Item::Event(event)) if !topics.want(&event.word) => continue,
                    Some(Item::Event(event)) => json!({"type": "event", "seq": event.seq, "data": data_of(&event)}),
                    Some(Item::Gap { after, next }) => json!({"type": "gap", "data": {"after": after, "next": next}}),
                };
                if send(socket, &message).await.is_err() {
                    return (1001, "");
                }
            }
            () = sleep_until(beat) => {
                beat = Instant::now() + HEARTBEAT;
                if !desk.may_still(caller).await {
                    return (4001, "credential_revoked: you may read no longer");
                }
                if send(socket, &json!({"type": "ping", "lastSeq": feed.last})).await.is_err() {
                    return (1001, "");
                }
            }
            () = sleep_until(idle) => return (1000, "idle"),
        }
    }
}

async fn send(socket: &mut Socket, message: &Value) -> Result<(), ()> {
    match timeout(SEND, socket.send(Message::text(message.to_string()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
