//! `Idempotency-Key`: what is asked for twice under one key is done once.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use keymoat_core::Actor;
use keymoat_core::token::own::idempotency_key;
use keymoat_store::{Order, OrderAnswer};

use super::answer::HasSecret;
use super::problem::{Code, Problem};
use super::{Desk, body, tokens};
use crate::access::Caller;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Tells that an answer is that of before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer beyond this is not kept; its repetition says what was made.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Does a `POST` with an idempotency key once, and answers its repetitions with what was answered first. An answer with a
/// secret is not kept: its repetition is told the id of what was made.
pub(crate) async fn once(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let is_meant = *request.method() == Method::POST
        && request.headers().contains_key(IDEMPOTENCY_KEY)
        && request.uri().path() != tokens::PATH;
    let Some(caller) = request.extensions().get::<Caller>().filter(|_| is_meant) else {
        return next.run(request).await;
    };
    let asker = match caller.actor() {
        Actor::Admin(id) => id.to_string(),
        Actor::Command | Actor::Keymoat => "command".to_owned(),
    };
    take(&desk, &asker, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn take(desk: &Arc<Desk>, asker: &str, request: Request, next: Next) -> Result<Response, Problem> {
    let mut keys = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let key = keys.next().and_then(|key| key.to_str().ok()).and_then(idempotency_key).filter(|_| keys.next().is_none());
    let key = key.ok_or_else(|| {
        Problem::with(Code::FieldInvalid, "an idempotency key has 1 to 255 visible ASCII characters")
            .field("Idempotency-Key")
    })?;
    let (parts, body) = request.into_parts();
    let bytes = body::read(body).await?;
    let order = format!("{asker}\0{key}").into_bytes();
    let content = [parts.uri.path().as_bytes(), b"\0", &bytes].concat();
    let now = desk.house.now();
    let begun = {
        let order = order.clone();
        desk.store(move |store| store.begin_order(&order, &content, now)).await?
    };
    match begun {
        Order::New => {}
        Order::Running => return Err(Problem::of(Code::IdempotencyRunning)),
        Order::Other => return Err(Problem::of(Code::IdempotencyMismatch)),
        Order::Done(OrderAnswer { text, is_whole: false, .. }) => {
            return Err(Problem::of(Code::IdempotencyReplay).created(text));
        }
        Order::Done(OrderAnswer { status, text, is_whole: true }) => return Ok(again(status, text)),
    }
    let response = next.run(Request::from_parts(parts, axum::body::Body::from(bytes))).await;
    let (response, answer) = kept(response).await;
    desk.store(move |store| store.end_order(&order, answer)).await?;
    Ok(response)
}

fn again(status: u16, text: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = (status, [(CONTENT_TYPE, "application/json")], text).into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// What of an answer is kept; nothing of one that says that nothing was done.
async fn kept(response: Response) -> (Response, Option<OrderAnswer>) {
    let status = response.status();
    if !status.is_success() {
        return (response, None);
    }
    if let Some(HasSecret(id)) = response.extensions().get::<HasSecret>() {
        let answer = OrderAnswer { status: status.as_u16(), text: id.clone(), is_whole: false };
        return (response, Some(answer));
    }
    let (parts, body) = response.into_parts();
    let bytes = body::read(body).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let is_whole = text.len() <= ANSWER_BYTES_MAX;
    let answer = OrderAnswer { status: status.as_u16(), text: if is_whole { text } else { String::new() }, is_whole };
    (Response::from_parts(parts, axum::body::Body::from(bytes)), Some(answer))
}
