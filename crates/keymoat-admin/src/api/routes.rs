//! The routes in force.

use std::sync::Arc;

use axum::extract::{Path, State};
use keymoat_core::origin::Origins;
use keymoat_core::route::{LoneSubprotocol, Paths};
use keymoat_core::{QueryPolicy, Route, RouteOverride, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Desk;
use super::answer::{Json, Tagged};
use super::moment::Moment;
use super::page::{Page, Part, turned};
use super::problem::{Code, Problem};
use super::query::Query;

/// What a route does with a credential in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = QueryPolicy)]
pub(super) enum QueryWord {
    /// Nothing is accepted.
    Refuse,
    /// Short-lived tokens only.
    Tokens,
    /// Long-lived keys work, are counted, and are answered with `Deprecation`.
    Warn,
    /// Long-lived keys work.
    Allow,
}

impl From<QueryPolicy> for QueryWord {
    fn from(policy: QueryPolicy) -> Self {
        match policy {
            QueryPolicy::Refuse => Self::Refuse,
            QueryPolicy::Tokens => Self::Tokens,
            QueryPolicy::Warn => Self::Warn,
            QueryPolicy::Allow => Self::Allow,
        }
    }
}

/// A route.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Route)]
pub(super) struct RouteShown {
    /// The NAME of `[route.NAME]`.
    name: String,
    /// The upstream that it leads to.
    upstream: String,
    /// What its clients speak.
    dialect: &'static str,
    /// The paths that it takes; empty for the dialect's own.
    paths: Vec<String>,
    /// What stands before the dialect's own paths.
    prefix: Option<String>,
    /// Where credentials may sit, such as `header:x-api-key`. All of them are stripped.
    carriers: Vec<String>,
    /// What it does with a credential in the query, overridden or by the configuration.
    query: QueryWord,
    /// What it does with one now: from the sunset on, long-lived keys are not taken.
    query_now: QueryWord,
    /// When keys in URLs end.
    sunset: Option<Moment>,
    /// Whether a lone credential in `Sec-WebSocket-Protocol` is echoed.
    echoes_lone_subprotocol: bool,
    /// The origins whose pages may use it; null where none is checked.
    origins: Option<Vec<String>>,
    /// Paths that need no credential.
    public: Vec<String>,
    /// What the store overrides; null where the configuration alone holds.
    r#override: Option<OverrideShown>,
}

/// What the store overrides in a route.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RouteOverride)]
pub(super) struct OverrideShown {
    /// What is done with a credential in the query; null where the configuration decides.
    query: Option<QueryWord>,
    /// When keys in URLs end; null where the configuration decides.
    sunset: Option<Moment>,
    /// When it was made.
    at: Moment,
    /// Who made it: `command`, or an admin by id.
    by: String,
    /// Why.
    note: Option<String>,
    /// The lines that make it permanent in the configuration.
    toml: String,
}

impl OverrideShown {
    /// An override.
    pub(super) fn of(over: &RouteOverride) -> Self {
        Self {
            query: over.fields.query.map(Into::into),
            sunset: over.fields.sunset.map(Moment),
            at: Moment(over.made_at),
            by: over.made_by.to_string(),
            note: over.note.as_ref().map(ToString::to_string),
            toml: over.toml(|at| Moment(at).text()),
        }
    }
}

impl From<QueryWord> for QueryPolicy {
    fn from(word: QueryWord) -> Self {
        match word {
            QueryWord::Refuse => Self::Refuse,
            QueryWord::Tokens => Self::Tokens,
            QueryWord::Warn => Self::Warn,
            QueryWord::Allow => Self::Allow,
        }
    }
}

impl RouteShown {
    fn of(route: &Route, overrides: &[RouteOverride], now: UnixMillis) -> Self {
        let headers = route.carriers.headers.iter().map(|name| format!("header:{name}"));
        let subprotocol = route.carriers.subprotocol.then(|| "subprotocol".to_owned());
        let query = route.carriers.query.iter().map(|name| format!("query:{name}"));
        let (paths, prefix) = match &route.paths {
            Paths::Dialect { prefix } => (Vec::new(), Some(prefix.clone())),
            Paths::Patterns(patterns) => (patterns.iter().map(ToString::to_string).collect(), None),
        };
        Self {
            name: route.name.to_string(),
            upstream: route.upstream.to_string(),
            dialect: route.dialect.word(),
            paths,
            prefix: prefix.filter(|prefix| !prefix.is_empty()),
            carriers: headers.chain(subprotocol).chain(query).collect(),
            query: route.query.into(),
            query_now: route.query_at(now).into(),
            sunset: route.sunset.map(Moment),
            echoes_lone_subprotocol: route.lone_subprotocol == LoneSubprotocol::Echo,
            origins: match &route.origins {
                Origins::Unchecked => None,
                Origins::List(list) => Some(list.iter().map(|origin| origin.as_str().to_owned()).collect()),
            },
            public: route.public.iter().map(ToString::to_string).collect(),
            r#override: overrides.iter().find(|over| over.route == route.name).map(OverrideShown::of),
        }
    }
}

/// Lists the routes in force by name.
#[utoipa::path(get, path = "/api/v1/routes", tag = "routes", params(Part), responses((status = 200, description = "A page.", body = Page<RouteShown>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<RouteShown>>, Problem> {
    let mut routes = desk.house.running.routes();
    routes.sort_by(|one, other| one.name.cmp(&other.name));
    let page = part.of(routes, |route: &Route| turned(&route.name))?;
    let (overrides, now) = (desk.store(|store| store.route_overrides()).await?, desk.house.now());
    let items = page.items.iter().map(|route| RouteShown::of(route, &overrides, now)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Shows a route.
#[utoipa::path(get, path = "/api/v1/routes/{name}", tag = "routes", params(("name" = String, Path, description = "The name.")),
    responses((status = 200, description = "The route; `ETag` is its state.", body = RouteShown)))]
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
) -> Result<Tagged<RouteShown>, Problem> {
    Ok(Tagged(shown(&desk, &name).await?))
}

/// The route with this name.
pub(super) async fn shown(desk: &Desk, name: &str) -> Result<RouteShown, Problem> {
    let routes = desk.house.running.routes();
    let route = routes.iter().find(|route| *route.name == *name);
    let route = route.ok_or_else(|| Problem::with(Code::NotFound, "no route has this name"))?;
    let overrides = desk.store(|store| store.route_overrides()).await?;
    Ok(RouteShown::of(route, &overrides, desk.house.now()))
}
