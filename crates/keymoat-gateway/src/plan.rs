//! The routes and upstreams in force: replaced as a whole on reload, held by a request for its whole road.

use std::collections::HashMap;
use std::sync::Arc;

use keymoat_core::network::Network;
use keymoat_core::{Route, RouteOverride, route_override};

use crate::settings::{Limits, Upstream};
use crate::upstream::{Target, TargetError};

/// What the configuration says, made ready. A request that began under one plan ends under it.
pub(crate) struct Plan {
    /// The routes in force.
    pub(crate) routes: Vec<Route>,
    /// The same as the configuration has them.
    configured: Vec<Route>,
    overrides: Vec<RouteOverride>,
    pub(crate) limits: Limits,
    pub(crate) trusted_proxies: Vec<Network>,
    targets: HashMap<Arc<str>, Arc<Target>>,
}

/// Routes and upstreams that do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An upstream's settings cannot work.
    #[error(transparent)]
    Upstream(#[from] TargetError),
    /// A route leads nowhere.
    #[error("route `{route}` leads to upstream `{upstream}`, which is not configured")]
    UnknownUpstream {
        /// The route.
        route: Arc<str>,
        /// The upstream that it names.
        upstream: Arc<str>,
    },
}

impl Plan {
    /// Makes a plan. An upstream that is the same as in `before` stays the same one, with its warm connections.
    pub(crate) fn new(
        routes: Vec<Route>,
        upstreams: Vec<Upstream>,
        limits: Limits,
        before: Option<&Self>,
    ) -> Result<Self, PlanError> {
        let mut targets = HashMap::new();
        for upstream in upstreams {
            let kept = before.and_then(|plan| plan.target(&upstream.name)).filter(|target| target.is_for(&upstream));
            let target = match kept {
                Some(target) => target.clone(),
                None => Arc::new(Target::new(upstream)?),
            };
            targets.insert(target.name().clone(), target);
        }
        if let Some(route) = routes.iter().find(|route| !targets.contains_key(&route.upstream)) {
            let (route, upstream) = (route.name.clone(), route.upstream.clone());
            return Err(PlanError::UnknownUpstream { route, upstream });
        }
        let overrides = before.map_or_else(Vec::new, |plan| plan.overrides.clone());
        let in_force = route_override::in_force(&routes, &overrides);
        Ok(Self { routes: in_force, configured: routes, overrides, limits, trusted_proxies: Vec::new(), targets })
    }

    /// The same plan under other overrides; `None` when these are the ones that it has.
    pub(crate) fn overridden(&self, overrides: Vec<RouteOverride>) -> Option<Self> {
        if self.overrides == overrides {
            return None;
        }
        Some(Self {
            routes: route_override::in_force(&self.configured, &overrides),
            configured: self.configured.clone(),
            overrides,
            limits: self.limits,
            trusted_proxies: self.trusted_proxies.clone(),
            targets: self.targets.clone(),
        })
    }

    /// The same plan, with proxies whose word is taken for the client's address.
    pub(crate) fn trusting(self, trusted_proxies: Vec<Network>) -> Self {
        Self { trusted_proxies, ..self }
    }

    /// All upstreams, in no order.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.targets.values()
    }

    /// The upstream of that name.
    pub(crate) fn target(&self, upstream: &str) -> Option<&Arc<Target>> {
        self.targets.get(upstream)
    }
}

#[cfg(test)]
mod tests {
    use keymoat_core::Secret;

    use super::*;
    use crate::settings::{Inject, Origin};

    fn upstream(secret: &str) -> Upstream {
        let origin = Origin { tls: false, host: "localhost".into(), port: 80 };
        let inject = Inject::Query("key".into());
        Upstream { secret: Some(Secret::from(secret)), inject, ..Upstream::new("api", origin) }
    }

    fn target(plan: &Plan) -> &Arc<Target> {
        plan.target("api").expect("it was planned")
    }

    #[test]
    fn an_upstream_that_nothing_is_sent_to_is_another_one_when_it_is_in_order_again() {
        let withheld = Upstream { secret: None, withheld: Some("its secret does not open".into()), ..upstream("") };
        let first = Plan::new(vec![], vec![withheld], Limits::default(), None).expect("fits");
        let in_order = Upstream { secret: None, ..upstream("") };
        let second = Plan::new(vec![], vec![in_order], Limits::default(), Some(&first)).expect("fits");
        assert!(target(&first).withheld().is_some() && target(&second).withheld().is_none());
    }

    #[test]
    fn an_override_holds_over_a_reload_and_its_end_brings_back_what_the_file_says() {
        use keymoat_core::carrier::Carriers;
        use keymoat_core::route::Paths;
        use keymoat_core::{Dialect, OverrideFields, QueryPolicy, UnixMillis};
        let planned = |query, before: Option<&Plan>| {
            let paths = Paths::Dialect { prefix: String::new() };
            let route = Route { query, ..Route::new("api", "api", Dialect::Generic, paths, Carriers::default()) };
            Plan::new(vec![route], vec![upstream("one")], Limits::default(), before).expect("fits")
        };
        let fields = OverrideFields { query: Some(QueryPolicy::Refuse), ..OverrideFields::default() };
        let (route, made_by) = ("api".into(), "command".into());
        let over = RouteOverride { route, fields, made_at: UnixMillis(1), made_by, note: None };
        let first = planned(QueryPolicy::Warn, None);
        let overridden = first.overridden(vec![over.clone()]).expect("it is another one");
        assert_eq!(overridden.routes[0].query, QueryPolicy::Refuse);
        assert!(Arc::ptr_eq(target(&first), target(&overridden)), "sessions and connections go on");
        assert!(overridden.overridden(vec![over]).is_none());
        let reloaded = planned(QueryPolicy::Allow, Some(&overridden));
        assert_eq!(reloaded.routes[0].query, QueryPolicy::Refuse);
        assert_eq!(reloaded.overridden(Vec::new()).expect("another one").routes[0].query, QueryPolicy::Allow);
    }

    #[test]
    fn an_unchanged_upstream_keeps_its_connections_and_a_new_secret_does_not() {
        let plan = |secret, before| Plan::new(vec![], vec![upstream(secret)], Limits::default(), before).expect("fits");
        let first = plan("one", None);
        let same = plan("one", Some(&first));
        assert!(Arc::ptr_eq(target(&first), target(&same)));
        let rotated = plan("two", Some(&same));
        assert!(!Arc::ptr_eq(target(&same), target(&rotated)));
    }
}
