//! The keys that clients come with: those of the store, which can be changed, and those of the configuration.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

pub(super) mod change;
pub(super) mod import;
mod limits;
mod shown;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use keymoat_core::format::Kind;
use keymoat_core::{Action, Key, RotateAfter, Scopes, UnixMillis};
use keymoat_store::{KeyQuery, NewKey, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::limits::LimitsBody;
use self::shown::{KeyListed, KeyShown, KeyState};
use super::Desk;
use super::admins::text_of;
use super::answer::{Json, MadeWithSecret, Tagged};
use super::body::Body;
use super::moment::Moment;
use super::page::{Limit, Page, cut, no_cursor, open};
use super::problem::{Code, Problem};
use super::query::Query;
use crate::access::Caller;
use crate::random::new_secret;

/// A key has at most so many scopes.
const SCOPES_MAX: usize = 64;

/// A time to rotate lies at most so far away: ten years.
const ROTATE_SECS_MAX: u32 = 10 * 366 * 86_400;

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKeyBody {
    /// The name, unique among the keys that are not revoked.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Who answers for it: a person, a team, an address.
    #[schema(min_length = 1, max_length = 100)]
    owner: Option<String>,
    /// The routes that it may use, `mint` to make tokens, or `*` alone for everything, which is also what is meant when
    /// it is left out.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Option<Vec<String>>,
    /// From when on it is refused; null for never.
    expires_at: Option<Moment>,
    /// How old its secret may become before somebody is reminded to rotate it, in seconds.
    #[schema(minimum = 1, maximum = 316_224_000)]
    rotate_after_secs: Option<u32>,
    /// From when on somebody is reminded, in place of an age.
    rotate_at: Option<Moment>,
    /// How much may be done with it.
    limits: Option<LimitsBody>,
}

/// A key that was made or rotated.
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
    /// Only those with this text in their name, their id or what is said of their owner, in whatever case.
    text: Option<String>,
    /// How many items.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
    /// Where to go on: `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// Lists all keys, the newest first.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(Asked), responses((status = 200, description = "A page.", body = Page<KeyListed>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Page<KeyListed>>, Problem> {
    let now = desk.house.now();
    let query = KeyQuery {
        state: asked.state.map(|state| (state.into(), now)),
        text: asked.text,
        after: asked.cursor.as_deref().map(place_of).transpose()?,
        // One more says whether there is a further page.
        limit: asked.limit.number() + 1,
    };
    // The few of the configuration are not in the store.
    let mut keys: Vec<Key> = configured(&desk).into_iter().filter(|key| query.means(key)).collect();
    let events = Arc::clone(desk.house.events.store());
    let found = desk.store(move |store| {
        keys.extend(store.key_page(&query)?);
        keys.sort_by_cached_key(|key| std::cmp::Reverse(place(key)));
        let page = cut(keys, place, asked.cursor.as_deref(), asked.limit);
        let ids = page.iter().flat_map(|page| page.items.iter().map(|key| Arc::clone(&key.id))).collect::<Vec<_>>();
        Ok((page, events.last_use(&ids)?))
    });
    let (page, used) = found.await?;
    let page = page?;
    let items = page.items.iter().map(|key| KeyListed::of(key, used.get(&key.id), now)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Where a key stands in the list: a text that orders like it.
fn place(key: &Key) -> String {
    format!("{:020} {}", key.created_at.0, key.id)
}

/// The moment and the id that a cursor of the list stands for.
fn place_of(cursor: &str) -> Result<(UnixMillis, String), Problem> {
    let place = open(cursor)?;
    let parts = place.split_once(' ').and_then(|(at, id)| Some((UnixMillis(at.parse().ok()?), id.to_owned())));
    parts.ok_or_else(no_cursor)
}

/// The keys of the configuration.
pub(super) fn configured(desk: &Desk) -> Vec<Key> {
    let ids = &desk.house.configured.load().keys;
    let snapshot = desk.house.snapshots.load();
    ids.iter().filter_map(|id| snapshot.key_by_id(id)).map(|key| Key::clone(key)).collect()
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
    let NewKeyBody { name, owner, scopes, expires_at, rotate_after_secs, rotate_at, limits } = asked;
    let scopes = scopes.map_or(Ok(Scopes::All), |words| scopes_of(&words))?;
    let rotate_after = rotate_after(rotate_after_secs, rotate_at)?;
    let limits = limits.map(LimitsBody::limits).transpose()?.unwrap_or_default();
    let secret = new_secret(Kind::Key).map_err(|_| Problem::of(Code::Unavailable))?;
    let now = desk.house.now();
    let new = NewKey { name, owner, scopes, expires_at: expires_at.map(|at| at.0), rotate_after, limits };
    let made = desk.store(move |store| Ok((store.create_key(new, &secret, now)?, text_of(&secret))));
    let (key, secret) = made.await?;
    desk.tell(&caller, Action::KeyCreated, &key.id, Some(format!("`{}`", key.name)));
    Ok(made_with(&key, secret, now))
}

/// The answer to whoever made or rotated a key.
fn made_with(key: &Key, secret: String, now: UnixMillis) -> MadeWithSecret<KeyMade> {
    let location = format!("/api/v1/keys/{}", key.id);
    MadeWithSecret { location, id: key.id.to_string(), body: KeyMade { key: KeyShown::of(key, now), secret } }
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

/// When somebody is reminded to rotate: at an age or at a moment, not both.
fn rotate_after(secs: Option<u32>, at: Option<Moment>) -> Result<Option<RotateAfter>, Problem> {
    match (secs, at) {
        (None, None) => Ok(None),
        (Some(secs), None) => rotate_age(secs).map(Some),
        (None, Some(at)) => Ok(Some(RotateAfter::Moment(at.0))),
        (Some(_), Some(_)) => Err(both_rotations()),
    }
}

fn both_rotations() -> Problem {
    Problem::with(Code::FieldInvalid, "write `rotate_after_secs` or `rotate_at`, not both").field("rotate_at")
}

fn rotate_age(secs: u32) -> Result<RotateAfter, Problem> {
    if !(1..=ROTATE_SECS_MAX).contains(&secs) {
        let detail = "this must be 1 to 316224000 seconds, which is ten years";
        return Err(Problem::with(Code::FieldInvalid, detail).field("rotate_after_secs"));
    }
    Ok(RotateAfter::Age(i64::from(secs) * 1000))
}

/// Shows a key, by its id or its name.
#[utoipa::path(get, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The key; `ETag` is its state.", body = KeyShown)))]
pub(super) async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Tagged<KeyShown>, Problem> {
    let now = desk.house.now();
    let key = find(&desk, id).await?;
    Ok(Tagged(KeyShown::of(&key, now)))
}

/// The key of the store, or of the configuration, with this id.
async fn find(desk: &Desk, id: String) -> Result<Key, Problem> {
    if let Some(key) = configured(desk).into_iter().find(|key| *key.id == *id) {
        return Ok(key);
    }
    desk.store(move |store| store.key(&id)).await
}

/// The key of the store with this id, which can be changed.
async fn find_own(desk: &Desk, id: &str) -> Result<Key, Problem> {
    if desk.house.configured.load().keys.iter().any(|known| **known == *id) {
        let detail = "this key stands in the configuration: change it there";
        return Err(Problem::with(Code::Conflict, detail));
    }
    let id = id.to_owned();
    desk.store(move |store| match store.key(&id)? {
        key if *key.id == *id => Ok(key),
        // A name may come to mean another key: what changes something is asked by the id.
        _ => Err(StoreError::KeyUnknown),
    })
    .await
}
