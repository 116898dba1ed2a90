//! The keys that clients come with.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use keymoat_core::format::Kind;
use keymoat_core::{Action, Key, Scopes, UnixMillis};
use keymoat_store::NewKey;
use serde::{Deserialize, Serialize};
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

/// A key has at most so many scopes.
const SCOPES_MAX: usize = 64;

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyState {
    /// It works.
    Live,
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyShown {
    /// Such as `key_7f3k…`.
    id: String,
    /// The name.
    name: String,
    /// The routes that it may use, `mint` to make tokens, or `*` for everything.
    scopes: Vec<String>,
    /// Whether it works.
    state: KeyState,
    /// When it was made.
    created_at: Moment,
    /// From when on it is refused; null for never.
    expires_at: Option<Moment>,
    /// Since when it is revoked.
    revoked_at: Option<Moment>,
}

impl KeyShown {
    fn of(key: &Key, now: UnixMillis) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            scopes: key.scopes.words().iter().map(ToString::to_string).collect(),
            state: state(key, now),
            created_at: Moment(key.created_at),
            expires_at: key.expires_at.map(Moment),
            revoked_at: key.revoked_at.map(Moment),
        }
    }
}

fn state(key: &Key, now: UnixMillis) -> KeyState {
    match key {
        Key { revoked_at: Some(_), .. } => KeyState::Revoked,
        Key { expires_at: Some(expires_at), .. } if *expires_at <= now => KeyState::Expired,
        _ => KeyState::Live,
    }
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKeyBody {
    /// The name, unique among the keys that are not revoked.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The routes that it may use, `mint` to make tokens, or `*` alone for everything, which is also what is meant when
    /// it is left out.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Option<Vec<String>>,
    /// From when on it is refused; null for never.
    expires_at: Option<Moment>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyMade {
    /// The key.
    key: KeyShown,
    /// The credential itself, this once.
    secret: String,
}

/// Which keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only those in this state.
    state: Option<KeyState>,
    /// Only those with this text in their name or id, in whatever case.
    text: Option<String>,
    /// How many items.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
    /// Where to go on: `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists the keys of the store, the newest first.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(Asked), responses((status = 200, description = "A page.", body = Page<KeyShown>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Page<KeyShown>>, Problem> {
    let now = desk.house.now();
    let keys = desk.store(|store| store.keys()).await?;
    let text = asked.text.map(|text| text.to_lowercase());
    let is_meant = |key: &&Key| {
        asked.state.is_none_or(|asked| state(key, now) == asked)
            && text.as_ref().is_none_or(|text| key.name.to_lowercase().contains(text) || key.id.contains(text))
    };
    let place = |key: &&Key| format!("{:020} {}", key.created_at.0, key.id);
    let mut meant: Vec<&Key> = keys.iter().filter(is_meant).collect();
    meant.sort_by_cached_key(|key| std::cmp::Reverse(place(key)));
    let page = cut(meant, place, asked.cursor.as_deref(), asked.limit)?;
    let items = page.items.into_iter().map(|key| KeyShown::of(key, now)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Makes a key; its secret is in the answer, this once.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = NewKeyBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Does it once, however often it is asked for.", min_length = 1, max_length = 255)),
    responses((status = 201, description = "Made.", body = KeyMade)))]
pub(super) async fn create(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<NewKeyBody>,
) -> Result<MadeWithSecret<KeyMade>, Problem> {
    let NewKeyBody { name, scopes, expires_at } = asked;
    let scopes = scopes.map_or(Ok(Scopes::All), |words| scopes_of(&words))?;
    let secret = new_secret(Kind::Key).map_err(|_| Problem::of(Code::Unavailable))?;
    let now = desk.house.now();
    let new = NewKey { scopes, expires_at: expires_at.map(|at| at.0), ..NewKey::named(&name) };
    let made = desk.store(move |store| Ok((store.create_key(new, &secret, now)?, text_of(&secret))));
    let (key, secret) = made.await?;
    desk.tell(&caller, Action::KeyCreated, &key.id, Some(format!("`{}`", key.name)));
    let location = format!("/api/v1/keys/{}", key.id);
    Ok(MadeWithSecret { location, id: key.id.to_string(), body: KeyMade { key: KeyShown::of(&key, now), secret } })
}

/// The scopes that a list of words means; the store says what is wrong with one.
fn scopes_of(words: &[String]) -> Result<Scopes, Problem> {
    if words.len() > SCOPES_MAX {
        return Err(Problem::with(Code::FieldInvalid, "64 at most").field("scopes"));
    }
    if words.len() > 1 && words.iter().any(|word| word == "*") {
        return Err(Problem::with(Code::FieldInvalid, "`*` stands alone").field("scopes"));
    }
    Ok(Scopes::from_words(words.iter().map(String::as_str)))
}

/// Shows a key.
#[utoipa::path(get, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The key; `ETag` is its state.", body = KeyShown)))]
pub(super) async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Tagged<KeyShown>, Problem> {
    let now = desk.house.now();
    let key = desk.store(move |store| store.key(&id)).await?;
    Ok(Tagged(KeyShown::of(&key, now)))
}

/// Revokes a key for good; its live sessions end within a second.
#[utoipa::path(post, path = "/api/v1/keys/{id}/revoke", tag = "keys", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The key as it is now.", body = KeyShown)))]
pub(super) async fn revoke(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: NoBody,
) -> Result<Tagged<KeyShown>, Problem> {
    let now = desk.house.now();
    let key = desk.store(move |store| store.revoke_key(&id, now)).await?;
    desk.tell(&caller, Action::KeyRevoked, &key.id, Some(format!("`{}`", key.name)));
    Ok(Tagged(KeyShown::of(&key, now)))
}
