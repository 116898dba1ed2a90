//! Tokens are minted, for somebody who looks after clients.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use http::{HeaderMap, HeaderName};
use keymoat_core::format::{Kind, Spelling};
use keymoat_core::token::{self, MintRules, NewToken, Uses, own};
use keymoat_core::{Action, Key, Refusal, Scopes};
use keymoat_store::{MintDenial, MintOrder, Minted, Minting, StoreError, TokenState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::limits::TokenLimitsBody;
use super::{PATH, TokenShown, uses};
use crate::access::Caller;
use crate::api::Desk;
use crate::api::admins::text_of;
use crate::api::answer::MadeWithSecret;
use crate::api::body::Body;
use crate::api::moment::Moment;
use crate::api::problem::{Code, Problem};
use crate::events::NotKept;
use crate::random::new_secret;

/// A token to be minted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct NewTokenBody {
    /// The id of the key that it is minted from; it ends with this key.
    key_id: String,
    /// How many sessions or requests it may begin. One where nothing is said.
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    uses: Option<u32>,
    /// Whether it may begin any number of them, in place of `uses`.
    #[serde(default)]
    unlimited_uses: bool,
    /// How long it begins sessions. A minute where nothing is said.
    #[schema(minimum = 1, maximum = 72_000)]
    start_within_secs: Option<u32>,
    /// Until when, in place of how long.
    start_by: Option<Moment>,
    /// How long it lives, and its sessions with it. Half an hour where nothing is said.
    #[schema(minimum = 1, maximum = 72_000)]
    live_for_secs: Option<u32>,
    /// Until when, in place of how long.
    live_until: Option<Moment>,
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
    /// What it may take: one session, and all together. None of it is wider than what its key may.
    limits: Option<TokenLimitsBody>,
}

/// What a token may be used for.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Calls)]
pub(in crate::api) enum CallsWord {
    /// Everything that its routes take.
    Any,
    /// WebSockets only.
    Live,
}

/// A token that was minted.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct TokenMade {
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
pub(in crate::api) struct Spellings {
    /// `auth_tokens/kmt_…`
    gemini: String,
    /// `ek_kmt_…`
    openai: String,
}

/// Mints a token from a key; it is in the answer. A repetition under one idempotency key gives the same token while it lives.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = NewTokenBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Does it once, however often it is asked for.", min_length = 1, max_length = 255)),
    responses((status = 201, description = "Minted.", body = TokenMade)))]
pub(in crate::api) async fn create(
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
    if asked.unlimited_uses {
        if asked.uses.is_some() {
            let detail = "write `uses` or `unlimited_uses`, not both";
            return Err(Problem::with(Code::FieldInvalid, detail).field("unlimited_uses"));
        }
        parts.uses = Uses::Unlimited;
    }
    let wider = |refusal: Refusal| Problem::with(Code::FieldInvalid, refusal.detail.into_owned()).field("limits");
    parts.limits.check_within(&key.limits).map_err(wider)?;
    let Minted { token, secret } = minted(&desk, &caller, parts.minted_from(Arc::clone(&key.id), Scopes::All)).await?;
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

/// Mints, and tells of it; where every event is required, nobody is given the token before that is kept.
async fn minted(desk: &Desk, caller: &Caller, token: NewToken) -> Result<Minted, Problem> {
    let now = desk.house.now();
    let is_repeatable = token.idempotency_key.is_some();
    let secret = new_secret(Kind::Token).map_err(|_| Problem::of(Code::Unavailable))?;
    let order = MintOrder { token, secret, live_tokens_max: MintRules::default().live_tokens_max, now };
    let minted = match desk.store(move |store| store.mint_token(order)).await? {
        Minting::Made(minted) => minted,
        Minting::Denied(denial) => return Err(denied(denial)),
    };
    let id = Arc::clone(&minted.token.id);
    let detail = format!("of {}", minted.token.key_id);
    let Err(NotKept) = desk.tell_durably(caller, Action::TokenMinted, &id, detail).await else { return Ok(minted) };
    // Nobody has it. That of an order which may be repeated waits for the repetition.
    if !is_repeatable {
        let _ = desk.store(move |store| store.revoke_token(&id, now)).await;
    }
    Err(Problem::with(Code::Unavailable, "what happens here cannot be written down: ask again in a moment"))
}

impl NewTokenBody {
    /// The same as clients ask a gateway for it, whose reader knows what belongs into each field.
    fn as_own(&self) -> Value {
        let secs = |secs: u32| Value::from(format!("{secs}s"));
        let texts = |texts: &Vec<String>| Value::from(texts.clone());
        let moment = |moment: Moment| Value::from(moment.text());
        let fields = [
            ("uses", self.uses.map(Value::from)),
            ("start_within", self.start_within_secs.map(secs)),
            ("start_by", self.start_by.map(moment)),
            ("live_for", self.live_for_secs.map(secs)),
            ("live_until", self.live_until.map(moment)),
            ("routes", self.routes.as_ref().map(texts)),
            ("origins", self.origins.as_ref().map(texts)),
            (
                "calls",
                self.calls.map(|calls| Value::from(if matches!(calls, CallsWord::Any) { "any" } else { "live" })),
            ),
            ("constraints", self.constraints.clone().map(Value::from)),
            ("limits", self.limits.as_ref().map(TokenLimitsBody::as_own)),
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
