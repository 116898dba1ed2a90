//! The way off keys in URLs, and what is overridden in routes.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use keymoat_core::{Action, Actor, Key, OverrideFields, RouteOverride, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Desk;
use super::answer::{Json, Tagged, allow_match};
use super::body::{Body, NoBody};
use super::moment::Moment;
use super::problem::{Code, Problem};
use super::query::Query;
use super::routes::{OverrideShown, QueryWord, RouteShown, shown};
use crate::access::Caller;
use crate::sunset::{self, EnforceError, Known, Plan, Status, When};

/// The dry run looks at so much where nothing is said.
const DAY_MILLIS: i64 = 86_400_000;

/// So many clients that still come by URL are told of, the busiest first.
const CLIENTS_MAX: usize = 100;

/// The longest dry run, in hours: 35 days.
const HOURS_MAX: u32 = 840;

/// All keys, those of the configuration too.
fn keys(desk: &Desk) -> Vec<Arc<Key>> {
    desk.house.snapshots.load().each_key().cloned().collect()
}

/// Shows who still sends keys in URLs, and how far each route is.
#[utoipa::path(get, path = "/api/v1/sunset", tag = "sunset", responses((status = 200, description = "How far it is.", body = Object)))]
pub(super) async fn status(State(desk): State<Arc<Desk>>) -> Result<Json<Status>, Problem> {
    let (keys, routes, now) = (keys(&desk), desk.house.running.routes(), desk.house.now());
    let events = Arc::clone(desk.house.events.store());
    let status = desk.store(move |store| {
        let overrides = store.route_overrides()?;
        let overridden: Vec<&str> = overrides.iter().map(|over| &*over.route).collect();
        sunset::busiest(&events, &Known { routes: &routes, keys: &keys, now }, &overridden, CLIENTS_MAX)
    });
    Ok(Json(status.await?))
}

/// Which dry run.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskedPlan {
    /// Only this route.
    route: Option<String>,
    /// How far it looks back; a day where nothing is said.
    #[param(minimum = 1, maximum = 840)]
    hours: Option<u32>,
}

/// Says what enforcing now would have refused.
#[utoipa::path(get, path = "/api/v1/sunset/plan", tag = "sunset", params(AskedPlan), responses((status = 200, description = "The dry run.", body = Object)))]
pub(super) async fn plan(State(desk): State<Arc<Desk>>, Query(asked): Query<AskedPlan>) -> Result<Json<Plan>, Problem> {
    let hours = asked.hours.unwrap_or(24);
    if !(1..=HOURS_MAX).contains(&hours) {
        return Err(Problem::with(Code::FieldInvalid, "this must be 1 to 840 hours").field("hours"));
    }
    let (keys, routes, now) = (keys(&desk), desk.house.running.routes(), desk.house.now());
    let only: Vec<String> = asked.route.into_iter().collect();
    let since = UnixMillis(now.0.saturating_sub(i64::from(hours) * DAY_MILLIS / 24));
    let events = Arc::clone(desk.house.events.store());
    let plan = desk.store(move |_| sunset::plan(&events, &Known { routes: &routes, keys: &keys, now }, &only, since));
    Ok(Json(plan.await?))
}

/// What is to be enforced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnforceBody {
    /// The routes; all that take keys in URLs where nothing is said.
    #[serde(default)]
    #[schema(max_items = 500)]
    routes: Vec<String>,
    /// From when on; at once where nothing is said.
    at: Option<Moment>,
    /// Takes back what was enforced by an override.
    #[serde(default)]
    undo: bool,
}

/// What was changed.
#[derive(Serialize, ToSchema)]
pub(super) struct Enforced {
    /// The routes whose override was made, changed or removed.
    changed: Vec<EnforcedRoute>,
}

/// A route that was changed.
#[derive(Serialize, ToSchema)]
pub(super) struct EnforcedRoute {
    /// The route.
    route: String,
    /// What was done, in words.
    detail: String,
    /// The override that holds from here on; null where there is none.
    r#override: Option<OverrideShown>,
}

/// Ends keys in URLs, at once or from a moment on, or takes that back. Sessions go on.
#[utoipa::path(post, path = "/api/v1/sunset/enforce", tag = "sunset", request_body = EnforceBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Does it once, however often it is asked for.", min_length = 1, max_length = 255)),
    responses((status = 200, description = "What was changed.", body = Enforced)))]
pub(super) async fn enforce(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<EnforceBody>,
) -> Result<Json<Enforced>, Problem> {
    let (routes, now, actor) = (desk.house.running.routes(), desk.house.now(), caller.actor());
    let _changing = desk.changing.lock().await;
    let done = desk.blocking(move |store| {
        let who = (&actor, now);
        let changes = match (asked.undo, asked.at) {
            (true, _) => sunset::undo(store, &routes, &asked.routes, who),
            (false, None) => sunset::enforce(store, &routes, &asked.routes, When::Now, who),
            (false, Some(at)) => sunset::enforce(store, &routes, &asked.routes, When::At(at.0), who),
        }?;
        Ok((changes, store.route_overrides()?))
    });
    let (changes, overrides) = done.await?.map_err(|error: EnforceError| match error {
        EnforceError::RouteUnknown { .. } => Problem::with(Code::NotFound, error.to_string()).field("routes"),
        EnforceError::DayPassed => Problem::with(Code::FieldInvalid, error.to_string()).field("at"),
        EnforceError::Store(error) => error.into(),
    })?;
    desk.house.running.override_routes(overrides);
    let mut changed = Vec::new();
    for change in changes {
        changed.push(EnforcedRoute {
            route: change.route.to_string(),
            detail: change.act.detail.clone().unwrap_or_default(),
            r#override: change.over.as_ref().map(OverrideShown::of),
        });
        (desk.house.acts)(change.act);
    }
    Ok(Json(Enforced { changed }))
}

/// What is to be overridden; what is left out is the configuration's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OverrideBody {
    /// What is done with a credential in the query.
    query: Option<QueryWord>,
    /// When keys in URLs end.
    sunset: Option<Moment>,
    /// Why.
    #[schema(max_length = 200)]
    note: Option<String>,
}

/// Overrides a route's policy, in place of any override before. It is in force at once; sessions go on.
#[utoipa::path(put, path = "/api/v1/routes/{name}/override", tag = "routes", request_body = OverrideBody,
    params(("name" = String, Path, description = "The name."), ("If-Match" = Option<String>, Header, description = "The `ETag` of the route that you looked at.")),
    responses((status = 200, description = "The route as it is now.", body = RouteShown)))]
pub(super) async fn set(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(asked): Body<OverrideBody>,
) -> Result<Tagged<RouteShown>, Problem> {
    let _changing = desk.changing.lock().await;
    allow_match(&headers, &shown(&desk, &name).await?)?;
    if asked.note.as_ref().is_some_and(|note| note.len() > 200 || note.chars().any(char::is_control)) {
        return Err(Problem::with(Code::FieldInvalid, "this must be one line of up to 200 bytes").field("note"));
    }
    let over = RouteOverride {
        route: name.as_str().into(),
        fields: OverrideFields {
            query: asked.query.map(Into::into),
            carriers: None,
            sunset: asked.sunset.map(|at| at.0),
        },
        made_at: desk.house.now(),
        made_by: match caller.actor() {
            Actor::Admin(id) => id,
            Actor::Command | Actor::Keymoat => "command".into(),
        },
        note: asked.note.map(|note| super::masked(&note).into()),
    };
    let words =
        format!("query: {:?}, sunset: {}", asked.query, asked.sunset.map_or_else(|| "-".to_owned(), Moment::text));
    take_over(&desk, move |store| store.override_route(&over)).await?;
    desk.tell(&caller, Action::RouteOverridden, &name, Some(words));
    Ok(Tagged(shown(&desk, &name).await?))
}

/// Removes the override of a route: its configuration holds again.
#[utoipa::path(delete, path = "/api/v1/routes/{name}/override", tag = "routes", params(("name" = String, Path, description = "The name.")),
    responses((status = 204, description = "Removed.")))]
pub(super) async fn unset(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let _changing = desk.changing.lock().await;
    let route = name.clone();
    take_over(&desk, move |store| store.remove_override(&route).map(drop)).await?;
    desk.tell(&caller, Action::RouteOverrideRemoved, &name, None);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Changes the overrides in the store, and has the gateway follow at once.
async fn take_over(
    desk: &Desk,
    change: impl FnOnce(&keymoat_store::Store) -> Result<(), keymoat_store::StoreError> + Send + 'static,
) -> Result<(), Problem> {
    let overrides = desk.store(move |store| {
        change(store)?;
        store.route_overrides()
    });
    desk.house.running.override_routes(overrides.await?);
    Ok(())
}
