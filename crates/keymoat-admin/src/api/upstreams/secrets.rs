//! The sealed secrets of upstreams: what there is of them, and how another one is set.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use keymoat_core::{Action, Secret};
use keymoat_store::{SealedSecret, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::find;
use crate::access::Caller;
use crate::api::Desk;
use crate::api::answer::Json;
use crate::api::body::{Body, NoBody};
use crate::api::moment::Moment;
use crate::api::page::{Page, Part, turned};
use crate::api::problem::{Code, Problem};
use crate::api::query::Query;

/// One version of a sealed secret, without the secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UpstreamSecretVersion)]
pub(in crate::api) struct VersionShown {
    /// The upstream.
    upstream: String,
    /// Counts up from 1.
    version: u32,
    /// When it was sealed.
    created_at: Moment,
    /// Since when nobody can open it; null for the one in use.
    retired_at: Option<Moment>,
}

/// Lists all versions of all sealed secrets, by upstream, also of upstreams that the configuration does not have.
#[utoipa::path(get, path = "/api/v1/upstream-secrets", tag = "upstreams", params(Part),
    responses((status = 200, description = "A page.", body = Page<VersionShown>)))]
pub(in crate::api) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<VersionShown>>, Problem> {
    let mut all = desk.store(|store| store.sealed_secrets()).await?;
    let place = |secret: &SealedSecret| format!("{} {:010}", turned(&secret.upstream), u32::MAX - secret.version);
    all.sort_by_cached_key(|secret| std::cmp::Reverse(place(secret)));
    let page = part.of(all, place)?;
    let items = page.items.into_iter().map(|secret| VersionShown {
        upstream: secret.upstream.to_string(),
        version: secret.version,
        created_at: Moment(secret.created_at),
        retired_at: secret.retired_at.map(Moment),
    });
    Ok(Json(Page { items: items.collect(), next_cursor: page.next_cursor }))
}

/// The real API key of an upstream.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SecretBody {
    /// The secret: it is sealed, and shown nowhere.
    #[schema(format = Password, min_length = 1, max_length = 16_384)]
    secret: String,
    /// What has to be there before; whatever it is where nothing is said.
    expects: Option<Expected>,
    /// Also for an upstream that the configuration does not have yet, or whose secret it still names itself.
    #[serde(default)]
    ahead: bool,
}

/// What has to be there before.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExpectedSecret)]
pub(in crate::api) enum Expected {
    /// No sealed secret.
    None,
    /// A sealed secret, which is replaced.
    Sealed,
}

/// What was sealed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SecretSealed {
    /// The upstream.
    upstream: String,
    /// Counts up from 1.
    version: u32,
    /// When it was sealed.
    set_at: Moment,
}

/// Seals the secret of an upstream, in place of the one that it has. New sessions use it within a moment.
#[utoipa::path(put, path = "/api/v1/upstreams/{name}/secret", tag = "upstreams", request_body = SecretBody,
    params(("name" = String, Path, description = "The name.")),
    responses((status = 200, description = "Sealed.", body = SecretSealed)))]
pub(in crate::api) async fn seal(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(SecretBody { secret, expects, ahead }): Body<SecretBody>,
) -> Result<Json<SecretSealed>, Problem> {
    let secret = Secret::from(secret);
    if !ahead {
        demand_own(&desk, &name)?;
    }
    let now = desk.house.now();
    // Whether there is one, and what is done about it, are one step.
    let _changing = desk.changing.lock().await;
    let upstream = name.clone();
    let sealed = desk.store(move |store| match expects {
        Some(Expected::None) => store.seal_secret(&upstream, &secret, now),
        Some(Expected::Sealed) => store.rotate_secret(&upstream, &secret, now),
        None => match store.rotate_secret(&upstream, &secret, now) {
            Err(StoreError::SecretUnknown) => store.seal_secret(&upstream, &secret, now),
            sealed => sealed,
        },
    });
    let sealed = sealed.await?;
    desk.tell(&caller, Action::UpstreamSecretSealed, &name, Some(format!("version {}", sealed.version)));
    Ok(Json(SecretSealed { upstream: name, version: sealed.version, set_at: Moment(sealed.created_at) }))
}

/// Removes the sealed secret of an upstream, also of one that the configuration does not have any more.
#[utoipa::path(delete, path = "/api/v1/upstreams/{name}/secret", tag = "upstreams", params(("name" = String, Path, description = "The name.")),
    responses((status = 204, description = "Removed.")))]
pub(in crate::api) async fn unseal(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let now = desk.house.now();
    let upstream = name.clone();
    let removed = desk.store(move |store| store.remove_secret(&upstream, now)).await?;
    desk.tell(&caller, Action::UpstreamSecretRemoved, &name, Some(format!("version {}", removed.version)));
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An upstream that takes its secret from the store.
fn demand_own(desk: &Desk, name: &str) -> Result<(), Problem> {
    let view = find(desk, name)?;
    let configured = desk.house.configured.load();
    let known = configured.upstreams.get(&*view.name);
    if let Some(reference) = known.and_then(|known| known.secret.as_ref()) {
        let detail = format!(
            "the configuration names its secret ({reference}): change it there, or take `secret` out of [upstream.{name}]"
        );
        return Err(Problem::with(Code::Conflict, detail));
    }
    if known.is_none() {
        return Err(Problem::with(Code::Conflict, "this upstream is built in: write an [upstream.NAME] of your own"));
    }
    Ok(())
}
