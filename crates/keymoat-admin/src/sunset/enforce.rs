//! The end of keys in URLs: an override in the store, at once or at a date, which can be taken back.

use std::sync::Arc;

use keymoat_core::{Act, Action, Actor, OverrideFields, QueryPolicy, Route, RouteOverride, UnixMillis};
use keymoat_store::{Store, StoreError};

use super::moment;

/// When keys in URLs end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// From this moment on.
    At(UnixMillis),
}

/// What was done to one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The route.
    pub route: Arc<str>,
    /// The override that holds afterwards, if there is one.
    pub over: Option<RouteOverride>,
    /// What to tell of it.
    pub act: Act,
}

/// Why nothing was enforced.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// There is no such route. What was asked for is not shown: it may be anything.
    #[error("no route has this name: the routes are {known}")]
    RouteUnknown {
        /// The names of those that there are.
        known: String,
    },
    /// The day is over.
    #[error("the day lies in the past: leave it out to refuse keys in URLs at once")]
    DayPassed,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ends keys in the URLs of these routes, of all that take them where `only` is empty; `routes` are those in force.
///
/// A route that refuses them already is left as it is and gives no change. Other fields that are overridden stay so.
///
/// # Errors
/// A route that does not exist, a day that has passed, and whatever the store refuses. What was changed before stays.
pub fn enforce(
    store: &Store,
    routes: &[Route],
    only: &[String],
    when: When,
    (actor, now): (&Actor, UnixMillis),
) -> Result<Vec<Change>, EnforceError> {
    if matches!(when, When::At(day) if day <= now) {
        return Err(EnforceError::DayPassed);
    }
    let overrides = store.route_overrides()?;
    let mut changes = Vec::new();
    for route in asked(routes, only)?.into_iter().filter(|route| route.query_at(now).takes_keys()) {
        let mut fields = overridden(&overrides, &route.name).map_or_else(OverrideFields::default, |it| it.fields);
        match when {
            When::Now => fields.query = Some(QueryPolicy::Tokens),
            When::At(day) => fields.sunset = Some(day),
        }
        let over = RouteOverride {
            route: Arc::clone(&route.name),
            fields,
            made_at: now,
            made_by: who(actor),
            note: Some("the end of keys in URLs".into()),
        };
        store.override_route(&over)?;
        let detail = match when {
            When::Now => "keys in URLs are refused from now on".to_owned(),
            When::At(day) => format!("keys in URLs are refused from {} on", moment(day)),
        };
        let act = act(Action::SunsetEnforced, route, actor, now, detail);
        changes.push(Change { route: Arc::clone(&route.name), over: Some(over), act });
    }
    Ok(changes)
}

/// Takes back what was overridden in the query policy and the sunset of these routes, of all where `only` is empty.
/// What their file says holds again; other fields that are overridden stay so.
///
/// # Errors
/// A route that does not exist, and whatever the store refuses.
pub fn undo(
    store: &Store,
    routes: &[Route],
    only: &[String],
    (actor, now): (&Actor, UnixMillis),
) -> Result<Vec<Change>, EnforceError> {
    let overrides = store.route_overrides()?;
    let mut changes = Vec::new();
    for route in asked(routes, only)? {
        let Some(before) = overridden(&overrides, &route.name) else { continue };
        if before.fields.query.is_none() && before.fields.sunset.is_none() {
            continue;
        }
        let fields = OverrideFields { query: None, sunset: None, ..before.fields.clone() };
        let over = if fields.is_empty() {
            store.remove_override(&route.name)?;
            None
        } else {
            let over = RouteOverride { fields, made_at: now, made_by: who(actor), ..before };
            store.override_route(&over)?;
            Some(over)
        };
        let act = act(Action::RouteOverrideRemoved, route, actor, now, "the file decides about URLs again".to_owned());
        changes.push(Change { route: Arc::clone(&route.name), over, act });
    }
    Ok(changes)
}

fn asked<'a>(routes: &'a [Route], only: &[String]) -> Result<Vec<&'a Route>, EnforceError> {
    if only.iter().any(|name| !routes.iter().any(|route| *route.name == **name)) {
        let known: Vec<&str> = routes.iter().map(|route| &*route.name).collect();
        return Err(EnforceError::RouteUnknown { known: known.join(", ") });
    }
    Ok(routes.iter().filter(|route| only.is_empty() || only.iter().any(|name| **name == *route.name)).collect())
}

fn overridden(overrides: &[RouteOverride], route: &str) -> Option<RouteOverride> {
    overrides.iter().find(|over| &*over.route == route).cloned()
}

fn who(actor: &Actor) -> Arc<str> {
    match actor {
        Actor::Keymoat => "keymoat".into(),
        Actor::Command => "command".into(),
        Actor::Admin(id) => Arc::clone(id),
    }
}

fn act(action: Action, route: &Route, actor: &Actor, now: UnixMillis, detail: String) -> Act {
    Act { at: now, actor: actor.clone(), action, target: Some(Arc::clone(&route.name)), detail: Some(detail) }
}
