//! Who still sends keys in URLs, and where every key was last seen.

use std::collections::{HashMap, HashSet};

use keymoat_core::{Route, UnixMillis};
use keymoat_store::StoreError;
use keymoat_store::events::{Dimension, EventStore, Kept, Span, UrlClients, UrlKeyUse, UsageQuery};
use serde::Serialize;

use super::{ById, Known, moment};

/// How far back it is looked for keys in URLs.
const DAYS_BACK: i64 = 30;
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Where the way off keys in URLs stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// How many keys are good.
    pub keys_live: usize,
    /// How many of them came by a URL within the last 30 days.
    pub keys_by_url: usize,
    /// All routes.
    pub routes: Vec<RouteStatus>,
    /// Who came with a key in the URL within the last 30 days, the busiest of each route first.
    pub items: Vec<UrlClient>,
    /// Where each key was last seen.
    pub seen: Vec<Seen>,
}

/// A route and its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// Its name.
    pub route: String,
    /// What it does with a credential in the query today, its sunset counted in.
    pub query: &'static str,
    /// When keys in its URLs end, or ended.
    pub sunset: Option<String>,
    /// Whether the store overrides what its file says.
    pub is_overridden: bool,
    /// Requests and sessions with a key in the URL, within the last 30 days.
    pub requests: u64,
    /// Keys of them.
    pub keys: usize,
}

/// A key that came by a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UrlClient {
    /// Its id.
    pub key_id: String,
    /// Its name.
    pub key_name: String,
    /// The route.
    pub route: String,
    /// Where the credential sat that was used.
    pub carrier: String,
    /// Where the last one came from, if its event is kept.
    pub client: Option<String>,
    /// What the last one called itself.
    pub user_agent: Option<String>,
    /// Requests and sessions within the last 30 days.
    pub requests: u64,
    /// The last of them.
    pub last_seen_at: String,
    /// What to change, to be pasted: `$KEY` stands for the key.
    pub fix: String,
}

/// Where a key, or its tokens, were seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The key's id.
    pub key_id: String,
    /// Its name.
    pub key_name: String,
    /// The route.
    pub route: String,
    /// The carrier.
    pub carrier: String,
    /// `key`, or `token` for tokens that were minted from it.
    pub credential: String,
    /// How often it was let in.
    pub allowed: u64,
    /// How often it was refused.
    pub refused: u64,
    /// For the first time.
    pub first_seen_at: String,
    /// For the last time.
    pub last_seen_at: String,
}

/// Looks at everything; `overridden` names the routes that the store overrides.
///
/// # Errors
/// Whatever the disk refuses.
pub fn status(events: &EventStore, known: &Known<'_>, overridden: &[&str]) -> Result<Status, StoreError> {
    let mut status = busiest(events, known, overridden, usize::MAX)?;
    // Stable: the busiest of each route stays first.
    status.items.sort_by(|one, other| one.route.cmp(&other.route));
    status.seen = seen(events, &known.by_id())?;
    Ok(status)
}

/// The same for a screen: with at most so many of the clients, the busiest of all routes first, and without where each key
/// was seen. It takes about as long however much was counted.
///
/// # Errors
/// Whatever the disk refuses.
pub fn busiest(
    events: &EventStore,
    known: &Known<'_>,
    overridden: &[&str],
    clients_max: usize,
) -> Result<Status, StoreError> {
    let names = known.by_id();
    let since = UnixMillis(known.now.0.saturating_sub(DAYS_BACK * DAY_MILLIS));
    let UrlClients { all, busiest } = events.url_clients(since, clients_max)?;
    let mut addresses = last_addresses(events, &busiest)?;
    let items = busiest.iter().map(|(used, seq)| UrlClient {
        key_id: used.key_id.to_string(),
        key_name: names.name(&used.key_id).to_owned(),
        route: used.route.to_string(),
        carrier: used.carrier.clone(),
        client: seq.and_then(|seq| addresses.remove(&seq)),
        user_agent: used.user_agent.clone(),
        requests: used.uses,
        last_seen_at: moment(used.last_at),
        fix: known.routes.iter().find(|route| route.name == used.route).map_or_else(String::new, fix),
    });
    let items = items.collect();
    let by_route = UsageQuery {
        group: vec![Dimension::Route],
        ..UsageQuery::between(since, UnixMillis(known.now.0.saturating_add(1)), Span::Day)
    };
    let by_route = events.usage(&by_route)?;
    let routes = known.routes.iter().map(|route| {
        let counted = by_route.iter().find(|usage| usage.group.iter().any(|name| **name == *route.name));
        RouteStatus {
            route: route.name.to_string(),
            query: route.query_at(known.now).word(),
            sunset: route.sunset.map(moment),
            is_overridden: overridden.contains(&&*route.name),
            requests: counted.map_or(0, |usage| usage.counts.let_in_by_url),
            keys: all.iter().filter(|(name, _)| *name == route.name).count(),
        }
    });
    let by_url: HashSet<_> = all.iter().map(|(_, key_id)| key_id).filter(|id| names.is_live(id)).collect();
    Ok(Status {
        keys_live: known.keys.iter().filter(|key| known.is_good(key)).count(),
        keys_by_url: by_url.len(),
        routes: routes.collect(),
        items,
        seen: Vec::new(),
    })
}

fn seen(events: &EventStore, names: &ById<'_>) -> Result<Vec<Seen>, StoreError> {
    let seen = events.last_seen(None)?;
    let told = seen.into_iter().map(|seen| Seen {
        key_name: names.name(&seen.key_id).to_owned(),
        key_id: seen.key_id.to_string(),
        route: seen.route.to_string(),
        carrier: seen.carrier,
        credential: seen.credential,
        allowed: seen.allowed,
        refused: seen.refused,
        first_seen_at: moment(seen.first_at),
        last_seen_at: moment(seen.last_at),
    });
    Ok(told.collect())
}

/// The addresses that the last ones came from, by the numbers of their events; those that are forgotten are left out.
fn last_addresses(
    events: &EventStore,
    busiest: &[(UrlKeyUse, Option<u64>)],
) -> Result<HashMap<u64, String>, StoreError> {
    let numbers: Vec<u64> = busiest.iter().filter_map(|(_, seq)| *seq).collect();
    let address = |event: &Kept| {
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap_or_default();
        Some((event.seq, body["client"].as_str()?.to_owned()))
    };
    Ok(events.events_of(&numbers)?.iter().filter_map(address).collect())
}

/// What a client of the route does instead.
fn fix(route: &Route) -> String {
    let carriers = &route.carriers;
    let header = carriers.headers.first().map(|name| match name.as_str() {
        "authorization" => "send the header `Authorization: Bearer $KEY`".to_owned(),
        name => format!("send the header `{name}: $KEY`"),
    });
    let socket =
        carriers.subprotocol.then(|| "in a browser `new WebSocket(url, ['keymoat.v1', 'api-key.$KEY'])`".to_owned());
    let ways: Vec<String> = header.into_iter().chain(socket).collect();
    if ways.is_empty() { "list a header in the route's `carriers`".to_owned() } else { ways.join(", ") }
}
