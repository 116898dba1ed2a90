//! Security events as they happen, in the protocol of the home-security backend: a list, an event stream, a WebSocket.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

mod feed;
pub(super) mod socket;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use keymoat_store::events::{Filter, Kept};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use self::feed::{Feed, Item};
use super::Desk;
use super::answer::HasSecret;
use super::answer::Json;
use super::body::NoBody;
use super::moment::Moment;
use super::page::Limit;
use super::problem::{Code, Problem};
use super::query::Query;
use crate::access::Caller;

/// How often a reader hears something, and is looked at whether it still may read.
const HEARTBEAT: Duration = Duration::from_secs(25);

/// How long a client is to wait before it comes again.
const RETRY_MILLIS: u32 = 2_000;

/// An event as readers get it: the event's own fields, with its number as `id`.
fn data_of(event: &Kept) -> Value {
    let mut data: Value = serde_json::from_str(&event.json()).unwrap_or_else(|_| json!({}));
    if let Value::Object(fields) = &mut data {
        fields.insert("id".to_owned(), event.seq.into());
        fields.insert("type".to_owned(), (*event.word).into());
        fields.insert("severity".to_owned(), event.severity.word().into());
    }
    data
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// How many.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Lists the newest events, for readers that know the backend's list. `/api/v1/events` filters and pages.
#[utoipa::path(get, path = "/api/events", tag = "live", params(Asked), responses((status = 200, description = "A list, the newest first.", body = Vec<Object>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<Value>>, Problem> {
    let store = Arc::clone(desk.house.events.store());
    let page = desk.store(move |_| store.events(&Filter::default(), None, asked.limit.number())).await?;
    Ok(Json(page.items.iter().map(data_of).collect()))
}

/// Streams events as they happen (`text/event-stream`): `id` is the number of each; `Last-Event-ID` goes on behind one.
///
/// A comment comes every 25 seconds. `event: gap` says that some are not told.
#[utoipa::path(get, path = "/api/events/stream", tag = "live",
    params(("Last-Event-ID" = Option<u64>, Header, description = "The number of the last event that you have.")),
    responses((status = 200, description = "An endless stream of such events.", body = StreamedEvent, content_type = "text/event-stream")))]
pub(super) async fn stream(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = streams_place(&desk)?;
    let after = headers.get(HeaderName::from_static("last-event-id")).and_then(|value| value.to_str().ok());
    let after = after.map(str::trim).filter(|text| !text.is_empty()).map(|text| {
        let number = text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| Problem::with(Code::FieldInvalid, "this must be a number").field("Last-Event-ID"))
    });
    let feed = Feed::start(desk.house.events.clone(), after.transpose()?).await;
    let feed = feed.ok_or_else(|| Problem::of(Code::Unavailable))?;
    let reader = Reader { feed, desk, caller, beat: Instant::now() + HEARTBEAT, is_new: true, _place: place };
    let body = Body::from_stream(stream::unfold(reader, |mut reader| async {
        let text = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), reader))
    }));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy in front is asked not to wait for more.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// The fields of one event of the stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what is written as text")]
struct StreamedEvent {
    /// The number of the event; none of a gap.
    #[schema(pattern = "^[0-9]+$")]
    id: Option<String>,
    /// Its type, or `gap`.
    event: String,
    /// The event in JSON, or `{"after":3,"next":6}`.
    data: String,
}

/// One reader of the stream.
struct Reader {
    feed: Feed,
    desk: Arc<Desk>,
    caller: Caller,
    beat: Instant,
    is_new: bool,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Reader {
    /// The next piece of text; nothing when the reader may read no longer.
    async fn next(&mut self) -> Option<String> {
        if std::mem::take(&mut self.is_new) {
            return Some(format!("retry: {RETRY_MILLIS}\n\n"));
        }
        match timeout_at(self.beat, self.feed.next()).await {
            Ok(Some(Item::Event(event))) => {
                Some(format!("id: {}\nevent: {}\ndata: {}\n\n", event.seq, event.word, data_of(&event)))
            }
            Ok(Some(Item::Gap { after, next })) => {
                Some(format!("event: gap\ndata: {}\n\n", json!({"after": after, "next": next})))
            }
            Ok(None) => None,
            Err(_) => {
                self.beat = Instant::now() + HEARTBEAT;
                self.desk.may_still(&self.caller).await.then(|| format!(": {}\n\n", self.feed.last))
            }
        }
    }
}

/// A place for a reader.
///
/// # Errors
/// There are too many.
pub(super) fn streams_place(desk: &Desk) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    Arc::clone(&desk.streams).try_acquire_owned().map_err(|_| Problem::of(Code::Unavailable))
}

/// A token that opens one stream.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamToken {
    /// The token, for a header, or for `keymoat.token.…` in `Sec-WebSocket-Protocol`.
    token: String,
    /// When it is over, used or not.
    expires_at: Moment,
    /// How many streams it opens: one. Clients that know it do not keep it for the next.
    #[schema(minimum = 1, maximum = 1)]
    uses: u8,
}

/// Gives a token that opens one event stream or socket within a minute, for pages, which cannot set headers.
#[utoipa::path(post, path = "/api/v1/stream-tokens", tag = "live", responses((status = 201, description = "The token, this once.", body = StreamToken)))]
pub(super) async fn token(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    _: NoBody,
) -> Result<Response, Problem> {
    let now = desk.house.now();
    let (token, expires_at) = desk.stream_tokens.give(&caller, now).map_err(|_| Problem::of(Code::Unavailable))?;
    let body = StreamToken { token: super::admins::text_of(&token), expires_at: Moment(expires_at), uses: 1 };
    let mut response = (http::StatusCode::CREATED, Json(body)).into_response();
    response.extensions_mut().insert(HasSecret("stream-token".to_owned()));
    Ok(response)
}
