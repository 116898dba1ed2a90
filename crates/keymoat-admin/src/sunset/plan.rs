//! The dry run: what refusing keys in URLs would have refused.

use keymoat_core::{QueryPolicy, UnixMillis};
use keymoat_store::StoreError;
use keymoat_store::events::{EventStore, Span};
use serde::Serialize;

use super::{Known, moment};

/// What enforcing would have refused since a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// From when on was counted: counts begin with an hour.
    pub since: String,
    /// Requests and sessions of all routes.
    pub refused_requests: u64,
    /// Keys of all routes, each counted once.
    pub refused_keys: usize,
    /// Those of them that are good today.
    pub refused_live_keys: usize,
    /// Each route that was asked for.
    pub routes: Vec<RoutePlan>,
}

/// The same for one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoutePlan {
    /// Its name.
    pub route: String,
    /// What it does with credentials in URLs today.
    pub query: &'static str,
    /// When keys in its URLs end, if that is settled.
    pub sunset: Option<String>,
    /// Whether it refuses long-lived keys in URLs already.
    pub is_enforced: bool,
    /// Requests and sessions that it would have refused.
    pub refused_requests: u64,
    /// Of how many keys.
    pub refused_keys: usize,
    /// The keys, the busiest first.
    pub keys: Vec<KeyPlan>,
    /// What enforcing it for good looks like in the configuration.
    pub toml: String,
}

/// A key that would have been refused, by one carrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyPlan {
    /// Its id.
    pub key_id: String,
    /// Its name.
    pub key_name: String,
    /// Whether it is good today: one that is not is refused anyway.
    pub is_live: bool,
    /// Where the credential sat that was used. A header here means that another key stood in the URL beside it.
    pub carrier: String,
    /// Requests and sessions.
    pub requests: u64,
    /// The first of them.
    pub first_seen_at: String,
    /// The last of them.
    pub last_seen_at: String,
    /// What the last client called itself.
    pub user_agent: Option<String>,
}

/// Counts what refusing long-lived keys in URLs on these routes would have refused since the beginning of the hour of
/// `since`; all routes where `only` is empty.
///
/// # Errors
/// Whatever the disk refuses.
pub fn plan(events: &EventStore, known: &Known<'_>, only: &[String], since: UnixMillis) -> Result<Plan, StoreError> {
    let names = known.by_id();
    let used = events.url_key_use(since)?;
    let asked = known.routes.iter().filter(|route| only.is_empty() || only.iter().any(|name| **name == *route.name));
    let routes: Vec<RoutePlan> = asked
        .map(|route| {
            let used = used.iter().filter(|used| used.route == route.name);
            let keys: Vec<KeyPlan> = used
                .map(|used| KeyPlan {
                    key_id: used.key_id.to_string(),
                    key_name: names.name(&used.key_id).to_owned(),
                    is_live: names.is_live(&used.key_id),
                    carrier: used.carrier.clone(),
                    requests: used.uses,
                    first_seen_at: moment(used.first_at),
                    last_seen_at: moment(used.last_at),
                    user_agent: used.user_agent.clone(),
                })
                .collect();
            RoutePlan {
                route: route.name.to_string(),
                query: route.query.word(),
                sunset: route.sunset.map(moment),
                is_enforced: !route.query_at(known.now).takes_keys(),
                refused_requests: keys.iter().map(|key| key.requests).sum(),
                refused_keys: distinct(keys.iter()),
                keys,
                toml: format!("[route.{}]\nquery = \"{}\"\n", route.name, QueryPolicy::Tokens.word()),
            }
        })
        .collect();
    let all = || routes.iter().flat_map(|route| &route.keys);
    Ok(Plan {
        since: moment(Span::Hour.start_of(since)),
        refused_requests: routes.iter().map(|route| route.refused_requests).sum(),
        refused_keys: distinct(all()),
        refused_live_keys: distinct(all().filter(|key| key.is_live)),
        routes,
    })
}

fn distinct<'a>(keys: impl Iterator<Item = &'a KeyPlan>) -> usize {
    keys.map(|key| key.key_id.as_str()).collect::<std::collections::BTreeSet<_>>().len()
}
