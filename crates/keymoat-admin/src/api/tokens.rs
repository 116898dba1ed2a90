//! The short-lived tokens that clients come with.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

pub(super) mod create;
mod limits;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use keymoat_core::token::Uses;
use keymoat_core::{Action, UnixMillis};
use keymoat_store::{Denial, TokenState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use self::limits::TokenLimitsBody;
use super::Desk;
use super::answer::{Json, Tagged};
use super::body::NoBody;
use super::moment::Moment;
use super::page::{Limit, Page, cut};
use super::problem::Problem;
use super::query::Query;
use crate::access::Caller;

/// Where tokens are minted; a repetition under an idempotency key gives the same token there.
pub(super) const PATH: &str = "/api/v1/tokens";

/// Whether a token works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenStateWord {
    /// It begins sessions.
    Live,
    /// It begins none any more, and those that it has begun may go on.
    Closed,
    /// Its time is over.
    Expired,
    /// It, or its key, is revoked.
    Revoked,
}

/// A token, without the token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenShown {
    /// Such as `tok_7f3k…`.
    id: String,
    /// The key that it was minted from.
    key_id: String,
    /// That key's name, if it is known.
    key_name: Option<String>,
    /// The routes that it may use; `*` for every route of its key.
    routes: Vec<String>,
    /// `any`, or `live` for WebSockets only.
    calls: &'static str,
    /// Whether it works.
    state: TokenStateWord,
    /// How many sessions or requests it may begin; null for any number.
    uses: Option<u32>,
    /// How many are left; null where they are not counted.
    uses_left: Option<u32>,
    /// When it was minted.
    created_at: Moment,
    /// Until when it begins sessions.
    start_by: Moment,
    /// Until when it and its sessions live.
    live_until: Moment,
    /// Since when it is revoked.
    revoked_at: Option<Moment>,
    /// Pages of which origins may use it; empty for those of the route.
    origins: Vec<String>,
    /// What its sessions may ask for.
    constraints: Value,
    /// What it may take beside what its key may; null where it has no limits of its own.
    limits: Option<TokenLimitsBody>,
    /// How many payload bytes all its sessions have carried, some seconds ago; null where they are not counted.
    bytes_used: Option<u64>,
}

impl TokenShown {
    fn of(state: &TokenState, desk: &Desk, now: UnixMillis) -> Self {
        let token = &state.token;
        let key = desk.house.snapshots.load().key_by_id(&token.key_id).map(|key| key.name.to_string());
        Self {
            id: token.id.to_string(),
            key_id: token.key_id.to_string(),
            key_name: key,
            routes: token.scopes.words().iter().map(ToString::to_string).collect(),
            calls: token.calls.word(),
            state: word(state, now),
            uses: uses(token.uses),
            uses_left: state.uses_left,
            created_at: Moment(token.created_at),
            start_by: Moment(token.start_by),
            live_until: Moment(token.live_until),
            revoked_at: token.revoked_at.map(Moment),
            origins: token.origins.iter().map(|origin| origin.as_str().to_owned()).collect(),
            constraints: serde_json::from_str(&token.constraint.to_json()).unwrap_or_default(),
            limits: TokenLimitsBody::of(&token.limits),
            bytes_used: token.limits.total_bytes_max.map(|_| token.bytes_used),
        }
    }
}

const fn uses(uses: Uses) -> Option<u32> {
    match uses {
        Uses::Unlimited => None,
        Uses::AtMost(uses) => Some(uses),
    }
}

fn word(state: &TokenState, now: UnixMillis) -> TokenStateWord {
    match state.denial {
        _ if state.token.live_until <= now && state.token.revoked_at.is_none() => TokenStateWord::Expired,
        Some(Denial::Revoked | Denial::KeyRevoked) => TokenStateWord::Revoked,
        Some(Denial::Expired | Denial::KeyExpired) => TokenStateWord::Expired,
        Some(_) => TokenStateWord::Closed,
        None => TokenStateWord::Live,
    }
}

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only those of the key with this id.
    key: Option<String>,
    /// Only those in this state.
    state: Option<TokenStateWord>,
    /// How many items.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
    /// Where to go on: `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// Lists the tokens that are remembered, the newest first: a token is forgotten some hours after its end.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", params(Asked), responses((status = 200, description = "A page.", body = Page<TokenShown>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Page<TokenShown>>, Problem> {
    let now = desk.house.now();
    let key = asked.key;
    let tokens = desk.store(move |store| store.tokens(key.as_deref(), now)).await?;
    let place = |state: &&TokenState| format!("{:020} {}", state.token.created_at.0, state.token.id);
    let is_meant = |state: &&TokenState| asked.state.is_none_or(|asked| word(state, now) == asked);
    let mut meant: Vec<_> = tokens.iter().filter(is_meant).collect();
    meant.sort_by_cached_key(|state| std::cmp::Reverse(place(state)));
    let page = cut(meant, place, asked.cursor.as_deref(), asked.limit)?;
    let items = page.items.into_iter().map(|state| TokenShown::of(state, &desk, now)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Shows a token.
#[utoipa::path(get, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The token; `ETag` is its state.", body = TokenShown)))]
pub(super) async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Tagged<TokenShown>, Problem> {
    let now = desk.house.now();
    let state = desk.store(move |store| store.token(&id, now)).await?;
    Ok(Tagged(TokenShown::of(&state, &desk, now)))
}

/// Revokes a token for good; its live sessions end within a second.
#[utoipa::path(post, path = "/api/v1/tokens/{id}/revoke", tag = "tokens", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The token as it is now.", body = TokenShown)))]
pub(super) async fn revoke(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: NoBody,
) -> Result<Tagged<TokenShown>, Problem> {
    let now = desk.house.now();
    let state = desk.store(move |store| store.revoke_token(&id, now)).await?;
    if state.token.revoked_at == Some(now) {
        desk.tell(&caller, Action::TokenRevoked, &state.token.id, Some(format!("of {}", state.token.key_id)));
    }
    Ok(Tagged(TokenShown::of(&state, &desk, now)))
}
