//! Live sessions: WebSockets and event streams of this process.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use keymoat_core::{Action, Code as RefusalCode, Refusal};
use keymoat_gateway::session::LiveSession;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Desk;
use super::answer::Json;
use super::body::Body;
use super::moment::Moment;
use super::page::{Limit, Page, cut};
use super::problem::{Code, Problem};
use super::query::Query;
use crate::access::Caller;

/// What is told to whoever is ended may be this long.
const REASON_BYTES_MAX: usize = 80;

/// A live session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionShown {
    /// Such as `ses_01J…`.
    id: String,
    /// The route that it came by.
    route: String,
    /// The upstream that the route leads to.
    upstream: String,
    /// The key that it was opened with, or that minted its token.
    key_id: Option<String>,
    /// That key's name.
    key_name: Option<String>,
    /// Which of the key's secrets that was.
    secret_id: Option<String>,
    /// The token that it was opened with.
    token_id: Option<String>,
    /// The address of its client.
    client: String,
    /// What is spoken with its client.
    protocol: String,
    /// Where its credential sat.
    carrier: Option<String>,
    /// The origin of the page that opened it; null where none was named.
    origin: Option<String>,
    /// What its client calls itself; told only of one that came by a URL.
    user_agent: Option<String>,
    /// The model that it asked for, where that is looked at.
    model: Option<String>,
    /// When it was opened.
    opened_at: Moment,
    /// Payload bytes from its client so far.
    bytes_in: u64,
    /// Payload bytes to its client so far.
    bytes_out: u64,
    /// It was asked to end, and is about to.
    is_ending: bool,
}

impl SessionShown {
    fn of(session: &LiveSession, desk: &Desk) -> Self {
        let info = &session.info;
        let snapshot = desk.house.snapshots.load();
        let key = info.key_id.as_ref().and_then(|id| snapshot.key_by_id(id));
        Self {
            id: info.id.to_string(),
            route: info.route.to_string(),
            upstream: info.upstream.to_string(),
            key_id: info.key_id.as_ref().map(ToString::to_string),
            key_name: key.map(|key| key.name.to_string()),
            secret_id: info.secret_id.as_ref().map(ToString::to_string),
            token_id: info.token_id.as_ref().map(ToString::to_string),
            client: info.client.to_string(),
            protocol: info.protocol.word().to_owned(),
            carrier: info.carrier.as_ref().map(ToString::to_string),
            origin: info.origin.as_deref().map(super::masked),
            user_agent: info.user_agent.as_deref().map(super::masked),
            model: session.model.as_ref().map(ToString::to_string),
            opened_at: Moment(info.opened_at),
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            is_ending: session.is_ending,
        }
    }
}

/// A live session, and how it is configured.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionWhole)]
pub(super) struct SessionWhole {
    /// The session.
    #[serde(flatten)]
    session: SessionShown,
    /// What its client asked for; null where that is not looked at, or it has not asked yet.
    #[schema(value_type = Option<Object>)]
    setup_asked: Option<Value>,
    /// What went upstream in its place, by the lock of its token or key.
    #[schema(value_type = Option<Object>)]
    setup_effective: Option<Value>,
}

/// A setup for people: whatever looks like a credential is masked, and what is no JSON then is not shown.
fn readable(setup: Option<&String>) -> Option<Value> {
    let masked = super::masked(setup?);
    Some(serde_json::from_str(&masked).unwrap_or_else(|_| serde_json::json!({ "masked": true })))
}

/// Shows a live session with its setup, cut short and without credentials.
#[utoipa::path(get, path = "/api/v1/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The session.", body = SessionWhole)))]
pub(super) async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Json<SessionWhole>, Problem> {
    let found = desk.house.running.sessions().list().into_iter().find(|session| *session.info.id == *id);
    let session = found.ok_or_else(no_session)?;
    let setup = session.setup.as_deref();
    Ok(Json(SessionWhole {
        session: SessionShown::of(&session, &desk),
        setup_asked: readable(setup.and_then(|setup| setup.asked.as_ref())),
        setup_effective: readable(setup.and_then(|setup| setup.effective.as_ref())),
    }))
}

fn no_session() -> Problem {
    Problem::with(Code::NotFound, "no live session of this process has this id")
}

/// Which sessions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only those of the key with this id.
    key: Option<String>,
    /// Only those of the token with this id.
    token_id: Option<String>,
    /// Only those of this route.
    route: Option<String>,
    /// How many items.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
    /// Where to go on: `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// Lists live sessions, the newest first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(Asked), responses((status = 200, description = "A page.", body = Page<SessionShown>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Page<SessionShown>>, Problem> {
    let same = |asked: &Option<String>, found: Option<&Arc<str>>| match asked {
        None => true,
        Some(asked) => found.is_some_and(|found| **found == **asked),
    };
    let is_meant = |session: &LiveSession| {
        let info = &session.info;
        same(&asked.key, info.key_id.as_ref())
            && same(&asked.token_id, info.token_id.as_ref())
            && same(&asked.route, Some(&info.route))
    };
    let place = |session: &LiveSession| format!("{:020} {}", session.info.opened_at.0, session.info.id);
    let mut meant: Vec<_> = desk.house.running.sessions().list().into_iter().filter(is_meant).collect();
    meant.sort_by_cached_key(|session| std::cmp::Reverse(place(session)));
    let page = cut(meant, place, asked.cursor.as_deref(), asked.limit)?;
    let items = page.items.iter().map(|session| SessionShown::of(session, &desk)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// How a session ends.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EndBody {
    /// What its client is told: up to 80 bytes of one line.
    #[schema(max_length = 80)]
    reason: Option<String>,
}

/// Ends a live session: a WebSocket is closed with 4003, or the code of its dialect. It ends within a moment.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/end", tag = "sessions", request_body = EndBody, params(("id" = String, Path, description = "The id.")),
    responses((status = 204, description = "It was asked to end.")))]
pub(super) async fn end(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(EndBody { reason }): Body<EndBody>,
) -> Result<Response, Problem> {
    let reason = reason.filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control)) {
        return Err(Problem::with(Code::FieldInvalid, "this must be one line of up to 80 bytes").field("reason"));
    }
    let text = reason.map_or_else(|| "ended by an operator".to_owned(), |reason| super::masked(&reason));
    let sessions = desk.house.running.sessions();
    if !sessions.end(&id, &Refusal::new(RefusalCode::Forbidden, text.clone())) {
        return Err(no_session());
    }
    desk.tell(&caller, Action::SessionEnded, &id, Some(text));
    Ok(StatusCode::NO_CONTENT.into_response())
}
