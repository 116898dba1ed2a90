//! Keys are changed, rotated and revoked.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use keymoat_core::format::Kind;
use keymoat_core::{Action, RotateAfter};
use keymoat_store::{KeyChange, Rotated, Rotation, WhileRotating};
use serde::Deserialize;
use utoipa::ToSchema;

use super::limits::LimitsBody;
use super::shown::KeyShown;
use super::{KeyMade, both_rotations, find_own, made_with, rotate_age, scopes_of};
use crate::access::Caller;
use crate::api::Desk;
use crate::api::admins::text_of;
use crate::api::answer::{Tagged, allow_match, demand_match};
use crate::api::body::{Body, NoBody};
use crate::api::moment::{Moment, present};
use crate::api::problem::{Code, Problem};
use crate::random::new_secret;

/// The old secret goes on for so long where nothing is said: a day.
const OVERLAP_SECS: u32 = 86_400;

/// What is to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct KeyChangeBody {
    /// Another name.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Another owner; null for nobody in particular.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    owner: Option<Option<String>>,
    /// Other scopes, in place of all there are.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Option<Vec<String>>,
    /// Another expiry; null for never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Moment>)]
    expires_at: Option<Option<Moment>>,
    /// How old its secret may become before somebody is reminded, in seconds; null for never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 316_224_000)]
    rotate_after_secs: Option<Option<u32>>,
    /// From when on somebody is reminded, in place of an age; null for never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Moment>)]
    rotate_at: Option<Option<Moment>>,
    /// Other limits, in place of all there are; null for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<LimitsBody>)]
    limits: Option<Option<LimitsBody>>,
}

/// Changes a key. Live sessions go on under the limits that they began with.
#[utoipa::path(patch, path = "/api/v1/keys/{id}", tag = "keys", request_body = KeyChangeBody,
    params(("id" = String, Path, description = "The id."), ("If-Match" = String, Header, description = "The `ETag` of what you looked at.")),
    responses((status = 200, description = "The key as it is now.", body = KeyShown)))]
pub(in crate::api) async fn change(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(asked): Body<KeyChangeBody>,
) -> Result<Tagged<KeyShown>, Problem> {
    let now = desk.house.now();
    let key = find_own(&desk, &id).await?;
    demand_match(&headers, &KeyShown::of(&key, now))?;
    let KeyChangeBody { name, owner, scopes, expires_at, rotate_after_secs, rotate_at, limits } = asked;
    let mut words = Vec::new();
    words.extend(name.as_ref().map(|_| "name"));
    words.extend(owner.as_ref().map(|_| "owner"));
    words.extend(scopes.as_ref().map(|_| "scopes"));
    words.extend(expires_at.map(|_| "expiry"));
    words.extend(rotate_after_secs.map(|_| "rotation").or(rotate_at.map(|_| "rotation")));
    words.extend(limits.as_ref().map(|_| "limits"));
    let rotation = match (rotate_after_secs, rotate_at) {
        (None, None) => None,
        (Some(None), None) | (None, Some(None)) => Some(None),
        (Some(Some(secs)), None) => Some(Some(rotate_age(secs)?)),
        (None, Some(Some(at))) => Some(Some(RotateAfter::Moment(at.0))),
        (Some(_), Some(_)) => return Err(both_rotations()),
    };
    let limits = match limits {
        None => None,
        Some(limits) => Some(limits.unwrap_or_default().limits()?),
    };
    let change = KeyChange {
        name,
        owner,
        scopes: scopes.map(|words| scopes_of(&words)).transpose()?,
        expires_at: expires_at.map(|at| at.map(|at| at.0)),
        rotate_after: rotation,
        limits,
        only_if: Some(key),
    };
    let words = change.words();
    let key = desk.store(move |store| store.change_key(&id, &change, now)).await?;
    desk.tell(&caller, Action::KeyChanged, &key.id, Some(format!("`{}`: {words}", key.name)));
    Ok(Tagged(KeyShown::of(&key, now)))
}

/// How a key gets another secret.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct RotateBody {
    /// For how long the secret in use goes on working; 0 ends it at once. A day where nothing is said.
    #[schema(minimum = 0, maximum = 31_622_400, default = 86_400)]
    overlap_secs: Option<u32>,
    /// What happens while two secrets work already: the oldest ends at once, or, as where nothing is said, it is refused.
    end_oldest: bool,
    /// Nothing is done if the newest secret is younger than so many seconds.
    unless_younger_than_secs: Option<u32>,
}

/// Gives a key another secret, which is in the answer, this once; the one in use goes on until the overlap has passed.
///
/// With `unless_younger_than_secs` it may be asked for again and again: a secret that is too young stays, and the answer is
/// 200 with the key.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", tag = "keys", request_body = RotateBody,
    params(("id" = String, Path, description = "The id."), ("If-Match" = Option<String>, Header, description = "The `ETag` of what you looked at."),
           ("Idempotency-Key" = Option<String>, Header, description = "Does it once, however often it is asked for.", min_length = 1, max_length = 255)),
    responses((status = 200, description = "The newest secret is too young: nothing was done.", body = KeyShown),
              (status = 201, description = "The key with its new secret.", body = KeyMade)))]
pub(in crate::api) async fn rotate(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(asked): Body<RotateBody>,
) -> Result<Response, Problem> {
    let now = desk.house.now();
    // Between the comparison and the change nobody else changes anything here.
    let _changing = desk.changing.lock().await;
    let key = find_own(&desk, &id).await?;
    allow_match(&headers, &KeyShown::of(&key, now))?;
    let rotation = Rotation {
        overlap_millis: i64::from(asked.overlap_secs.unwrap_or(OVERLAP_SECS)) * 1000,
        while_rotating: if asked.end_oldest { WhileRotating::EndOldest } else { WhileRotating::Refuse },
        unless_younger_than_millis: asked.unless_younger_than_secs.map(|secs| i64::from(secs) * 1000),
    };
    let secret = new_secret(Kind::Key).map_err(|_| Problem::of(Code::Unavailable))?;
    let done = desk.store(move |store| Ok((store.rotate_key(&id, &secret, rotation, now)?, text_of(&secret)))).await?;
    match done {
        (Rotated::NotDue(key), _) => Ok(Tagged(KeyShown::of(&key, now)).into_response()),
        (Rotated::Done(key), secret) => {
            let detail = format!("`{}`, the old secret ends {}", key.name, overlap(&key, now));
            desk.tell(&caller, Action::KeyRotated, &key.id, Some(detail));
            Ok(made_with(&key, secret, now).into_response())
        }
    }
}

fn overlap(key: &keymoat_core::Key, now: keymoat_core::UnixMillis) -> String {
    match key.ending_secret(now).and_then(|secret| secret.ends_at) {
        Some(at) => format!("at {}", Moment(at).text()),
        None => "at once".to_owned(),
    }
}

/// Ends the old secret of a key that is being rotated before its time; sessions that are open go on.
#[utoipa::path(post, path = "/api/v1/keys/{id}/retire", tag = "keys",
    params(("id" = String, Path, description = "The id."), ("If-Match" = Option<String>, Header, description = "The `ETag` of what you looked at.")),
    responses((status = 200, description = "The key as it is now.", body = KeyShown)))]
pub(in crate::api) async fn retire(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Tagged<KeyShown>, Problem> {
    let now = desk.house.now();
    // Between the comparison and the change nobody else changes anything here.
    let _changing = desk.changing.lock().await;
    let key = find_own(&desk, &id).await?;
    allow_match(&headers, &KeyShown::of(&key, now))?;
    let key = desk.store(move |store| store.end_old_secret(&id, now)).await?;
    desk.tell(&caller, Action::KeyChanged, &key.id, Some(format!("`{}`: the old secret was ended", key.name)));
    Ok(Tagged(KeyShown::of(&key, now)))
}

/// Revokes a key for good; its live sessions end within a second.
#[utoipa::path(post, path = "/api/v1/keys/{id}/revoke", tag = "keys", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The key as it is now.", body = KeyShown)))]
pub(in crate::api) async fn revoke(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: NoBody,
) -> Result<Tagged<KeyShown>, Problem> {
    let now = desk.house.now();
    let key = find_own(&desk, &id).await?;
    let was_live = key.revoked_at.is_none();
    let key = desk.store(move |store| store.revoke_key(&id, now)).await?;
    if was_live {
        desk.tell(&caller, Action::KeyRevoked, &key.id, Some(format!("`{}`", key.name)));
    }
    Ok(Tagged(KeyShown::of(&key, now)))
}
