//! The short-lived tokens that clients come with.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use http::{HeaderMap, HeaderName};
use keymoat_core::format::{Kind, Spelling};
use keymoat_core::token::{self, MintRules, Uses, own};
use keymoat_core::{Action, Key, Scopes, UnixMillis};
use keymoat_store::{Denial, MintDenial, MintOrder, Minted, Minting, StoreError, TokenState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::Desk;
use super::admins::text_of;
use super::answer::{Json, MadeWithSecret, Tagged};
use super::body::{Body, NoBody};
use super::moment::Moment;
use super::page::{Limit, Page, cut};
use super::problem::{Code, Problem};
use super::query::Query;
use crate::access::Caller;
use crate::random::new_secret;

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

/// A token to be minted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTokenBody {
    /// The id of the key that it is minted from; it ends with this key.
    key_id: String,
    /// How many sessions or requests it may begin. One where nothing is said.
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    uses: Option<u32>,
    /// How long it begins sessions. A minute where nothing is said.
    #[schema(minimum = 1, maximum = 72_000)]
    start_within_secs: Option<u32>,
    /// How long it lives, and its sessions with it. Half an hour where nothing is said.
    #[schema(minimum = 1, maximum = 72_000)]
    live_for_secs: Option<u32>,
    /// The routes that it may use, of those that its key may use.
    #[schema(max_items = 64)]
    routes: Option<Vec<String>>,
    /// Pages of which origins may use it.
    #[schema(max_items = 64)]
    origins: Option<Vec<String>>,
    /// `any`, or `live` for WebSockets only.
    calls: Option<CallsWord>,
    /// What its sessions may ask for: `{"gemini": {"setup": {…}, "field_mask": "model"}}` or `{"openai": {"session": {…}}}`.
    #[schema(value_type = Option<Object>)]
    constraints: Option<Map<String, Value>>,
    /// What one session may take.
    limits: Option<TokenLimitsBody>,
}

/// What a token may be used for.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Calls)]
pub(super) enum CallsWord {
    /// Everything that its routes take.
    Any,
    /// WebSockets only.
    Live,
}

/// What one session may take.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenLimits)]
pub(super) struct TokenLimitsBody {
    /// Its length.
    #[schema(minimum = 1)]
    duration_secs: Option<u32>,
    /// Payload bytes in both directions together.
    #[schema(minimum = 1, maximum = 281_474_976_710_655_i64)]
    bytes: Option<u64>,
    /// Messages in both directions together.
    #[schema(minimum = 1, maximum = 281_474_976_710_655_i64)]
    messages: Option<u64>,
}

/// A token that was minted.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenMade {
    /// The token itself, this once.
    token: String,
    /// The same as Google's and OpenAI's SDKs want it.
    spellings: Spellings,
    /// What is known of it.
    #[serde(flatten)]
    about: TokenShown,
}

/// A token in the spellings that SDKs look for.
#[derive(Serialize, ToSchema)]
pub(super) struct Spellings {
    /// `auth_tokens/kmt_…`
    gemini: String,
    /// `ek_kmt_…`
    openai: String,
}

/// Mints a token from a key; it is in the answer. A repetition under one idempotency key gives the same token while it lives.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = NewTokenBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Does it once, however often it is asked for.", min_length = 1, max_length = 255)),
    responses((status = 201, description = "Minted.", body = TokenMade)))]
pub(super) async fn create(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(asked): Body<NewTokenBody>,
) -> Result<MadeWithSecret<TokenMade>, Problem> {
    let now = desk.house.now();
    let key = parent(&desk, &asked.key_id).await?;
    let rules = MintRules::default();
    let mut parts = own::read(asked.as_own().to_string().as_bytes(), now, &rules)
        .map_err(|error| Problem::with(Code::FieldInvalid, error.to_string()))?;
    parts.idempotency_key = idempotency_key(&headers)?;
    if let Some(Scopes::Only(words)) = &parts.scopes
        && let Some(route) = words.iter().find(|route| !key.scopes.allow(route))
    {
        let detail = format!("the key may not use `{route}`, and so no token of it may");
        return Err(Problem::with(Code::FieldInvalid, detail).field("routes"));
    }
    let secret = new_secret(Kind::Token).map_err(|_| Problem::of(Code::Unavailable))?;
    let token = parts.minted_from(Arc::clone(&key.id), Scopes::All);
    let order = MintOrder { token, secret, live_tokens_max: rules.live_tokens_max, now };
    let minting = desk.store(move |store| store.mint_token(order)).await?;
    let Minted { token, secret } = match minting {
        Minting::Made(minted) => minted,
        Minting::Denied(denial) => return Err(denied(denial)),
    };
    desk.tell(&caller, Action::TokenMinted, &token.id, Some(format!("of {}", token.key_id)));
    let state = TokenState { uses_left: uses(token.uses), denial: None, token };
    let about = TokenShown::of(&state, &desk, now);
    let spelled = |spelling| text_of(&token::spelled(&secret, spelling));
    let body = TokenMade {
        token: text_of(&secret),
        spellings: Spellings { gemini: spelled(Spelling::AuthTokens), openai: spelled(Spelling::Ek) },
        about,
    };
    Ok(MadeWithSecret { location: format!("{PATH}/{}", state.token.id), id: state.token.id.to_string(), body })
}

impl NewTokenBody {
    /// The same as clients ask a gateway for it, whose reader knows what belongs into each field.
    fn as_own(&self) -> Value {
        let secs = |secs: u32| Value::from(format!("{secs}s"));
        let texts = |texts: &Vec<String>| Value::from(texts.clone());
        let limits = self.limits.as_ref().map(|limits| {
            let fields = [
                ("duration", limits.duration_secs.map(secs)),
                ("bytes", limits.bytes.map(Value::from)),
                ("messages", limits.messages.map(Value::from)),
            ];
            Value::from(Map::from_iter(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))))
        });
        let fields = [
            ("uses", self.uses.map(Value::from)),
            ("start_within", self.start_within_secs.map(secs)),
            ("live_for", self.live_for_secs.map(secs)),
            ("routes", self.routes.as_ref().map(texts)),
            ("origins", self.origins.as_ref().map(texts)),
            (
                "calls",
                self.calls.map(|calls| Value::from(if matches!(calls, CallsWord::Any) { "any" } else { "live" })),
            ),
            ("constraints", self.constraints.clone().map(Value::from)),
            ("limits", limits),
        ];
        Value::from(Map::from_iter(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))))
    }
}

/// The key of the store or of the configuration, if it lives.
async fn parent(desk: &Desk, id: &str) -> Result<Key, Problem> {
    let unknown = || Problem::with(Code::NotFound, "no key has this id").field("key_id");
    if desk.house.configured.load().keys.iter().any(|known| **known == *id) {
        let snapshot = desk.house.snapshots.load();
        return snapshot.key_by_id(id).map(|key| Key::clone(key)).ok_or_else(unknown);
    }
    let id = id.to_owned();
    let found = desk.blocking(move |store| store.key(&id).map(|key| (*key.id == *id).then_some(key))).await?;
    match found {
        Ok(Some(key)) => Ok(key),
        Ok(None) | Err(StoreError::KeyUnknown) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    let Some(value) = headers.get(HeaderName::from_static("idempotency-key")) else { return Ok(None) };
    let key = value.to_str().ok().and_then(own::idempotency_key);
    key.map(Some).ok_or_else(|| {
        Problem::with(Code::FieldInvalid, "an idempotency key has 1 to 255 visible ASCII characters")
            .field("Idempotency-Key")
    })
}

fn denied(denial: MintDenial) -> Problem {
    match denial {
        MintDenial::Senseless => {
            Problem::with(Code::FieldInvalid, "such a token could not be used: its routes or times mean nothing")
        }
        MintDenial::KeyRevoked => Problem::with(Code::Conflict, "the key is revoked or has expired").field("key_id"),
        MintDenial::TooManyLive { live_tokens_max } => Problem::with(
            Code::Conflict,
            format!("the key has {live_tokens_max} tokens that may still begin sessions: let some end, or revoke them"),
        ),
        MintDenial::Conflict => Problem::of(Code::IdempotencyMismatch),
    }
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
