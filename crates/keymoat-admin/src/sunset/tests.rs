//! What is counted, forecast and enforced, on a store with events in it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::sync::Arc;

use keymoat_core::carrier::Carriers;
use keymoat_core::event::Event;
use keymoat_core::record::{InUrl, Outcome, Protocol};
use keymoat_core::route::Paths;
use keymoat_core::{Action, Actor, Carrier, Dialect, Key, QueryPolicy, Record, Route, Secret, UnixMillis};
use keymoat_store::events::{Durability, Entry, EventStore};
use keymoat_store::{NewKey, Store};

use super::*;

const HOUR: i64 = 60 * 60 * 1000;
const NOW: UnixMillis = UnixMillis(1_000 * HOUR + 30 * 60 * 1000);

struct Stand {
    _dir: tempfile::TempDir,
    store: Store,
    events: EventStore,
    keys: Vec<Arc<Key>>,
}

impl Stand {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let events = EventStore::open(dir.path(), Durability::Process).unwrap();
        let make = |name: &str| {
            let new = NewKey::named(name);
            store.create_key(new, &Secret::from(name), UnixMillis(1)).unwrap()
        };
        let keys = vec![Arc::new(make("camera")), Arc::new(make("phone"))];
        Self { _dir: dir, store, events, keys }
    }

    fn happened(&self, hours_ago: i64, key: usize, what: InUrl, outcome: Outcome) {
        let at = UnixMillis(NOW.0 - hours_ago * HOUR);
        let mut record = Record::begin(at, Ipv4Addr::new(10, 0, 0, 7).into(), Protocol::Http1);
        record.route = Some("old".into());
        record.key_id = Some(Arc::clone(&self.keys[key].id));
        record.in_url = what;
        record.let_in_by_url = matches!(what, InUrl::Key | InUrl::Stale);
        let in_url = Carrier::Query("api_key".into());
        let header = Carrier::Header(http::HeaderName::from_static("x-api-key"));
        record.carrier = Some(if what == InUrl::Key { in_url } else { header });
        record.outcome = outcome;
        let event = Event::Decision(record.into());
        self.events.append(&[Entry { at, event: &event, body: &event.to_string() }]).unwrap();
    }
}

fn routes() -> Vec<Route> {
    let route = |name: &str, query| {
        let carriers = Carriers::parse(["header:x-api-key", "subprotocol", "query:api_key"]).unwrap();
        Route { query, ..Route::new(name, "api", Dialect::Generic, Paths::Patterns(Vec::new()), carriers) }
    };
    vec![route("old", QueryPolicy::Warn), route("new", QueryPolicy::Tokens)]
}

fn mixed() -> Stand {
    let stand = Stand::new();
    for (hours_ago, key, what) in [
        (0, 0, InUrl::Key),
        (1, 0, InUrl::Key),
        (2, 1, InUrl::Stale),
        (2, 1, InUrl::Copy),
        (3, 1, InUrl::Nothing),
        (40, 1, InUrl::Key),
    ] {
        stand.happened(hours_ago, key, what, Outcome::Allowed);
    }
    stand
}

#[test]
fn the_plan_counts_what_was_let_in_by_leniency_and_nothing_else() {
    let stand = mixed();
    let routes = routes();
    let known = Known { routes: &routes, keys: &stand.keys, now: NOW };
    let since = |hours| UnixMillis(NOW.0 - hours * HOUR);
    let day = plan(&stand.events, &known, &[], since(24)).unwrap();
    assert_eq!((day.refused_requests, day.refused_keys, day.refused_live_keys), (3, 2, 2));
    assert_eq!(day.since, moment(UnixMillis(NOW.0 - 24 * HOUR - 30 * 60 * 1000)), "hours are counted whole");
    let [old, new] = &day.routes[..] else { panic!("two routes") };
    assert!(!old.is_enforced && new.is_enforced && new.keys.is_empty());
    assert_eq!((&*old.keys[0].key_name, old.keys[0].requests), ("camera", 2));
    assert_eq!((&*old.keys[1].carrier, old.keys[1].requests), ("header:x-api-key", 1), "a stale key beside a header");
    assert_eq!(old.toml, "[route.old]\nquery = \"tokens\"\n");
    assert_eq!(plan(&stand.events, &known, &[], since(48)).unwrap().refused_requests, 4);
    assert_eq!(plan(&stand.events, &known, &["new".into()], since(48)).unwrap().refused_requests, 0);
    let gone = [Arc::new(Key { revoked_at: Some(NOW), ..Key::clone(&stand.keys[0]) }), stand.keys[1].clone()];
    let known = Known { keys: &gone, ..known };
    assert_eq!(plan(&stand.events, &known, &[], since(24)).unwrap().refused_live_keys, 1);
}

#[test]
fn the_status_says_who_and_from_where_and_what_to_change() {
    let stand = mixed();
    let routes = routes();
    let known = Known { routes: &routes, keys: &stand.keys, now: NOW };
    let status = status(&stand.events, &known, &["old"]).unwrap();
    assert_eq!((status.keys_live, status.keys_by_url), (2, 2));
    assert_eq!((status.routes[0].requests, status.routes[0].keys, status.routes[0].is_overridden), (4, 2, true));
    let camera = status.items.iter().find(|item| item.key_name == "camera").unwrap();
    assert_eq!((camera.client.as_deref(), &*camera.carrier, camera.requests), (Some("10.0.0.7"), "query:api_key", 2));
    assert!(camera.fix.contains("`x-api-key: $KEY`") && camera.fix.contains("api-key.$KEY"), "{}", camera.fix);
    let carriers: Vec<_> = status.seen.iter().map(|seen| (&*seen.key_name, &*seen.carrier, seen.allowed)).collect();
    assert!(carriers.contains(&("phone", "header:x-api-key", 3)), "{carriers:?}");
}

#[test]
fn enforcing_overrides_the_routes_that_take_keys_and_can_be_taken_back() {
    let stand = Stand::new();
    let routes = routes();
    let by = (&Actor::Command, NOW);
    let done = enforce(&stand.store, &routes, &[], When::At(UnixMillis(NOW.0 + 1)), by).unwrap();
    assert_eq!(done.iter().map(|change| &*change.route).collect::<Vec<_>>(), ["old"], "the other one refuses already");
    assert_eq!(done[0].act.action, Action::SunsetEnforced);
    let in_force = keymoat_core::route_override::in_force(&routes, &stand.store.route_overrides().unwrap());
    assert!(in_force[0].query_at(NOW).takes_keys() && !in_force[0].query_at(UnixMillis(NOW.0 + 1)).takes_keys());
    let done = enforce(&stand.store, &in_force, &["old".into()], When::Now, by).unwrap();
    let fields = &done[0].over.as_ref().unwrap().fields;
    assert_eq!((fields.query, fields.sunset), (Some(QueryPolicy::Tokens), Some(UnixMillis(NOW.0 + 1))));
    let in_force = keymoat_core::route_override::in_force(&routes, &stand.store.route_overrides().unwrap());
    assert!(enforce(&stand.store, &in_force, &[], When::Now, by).unwrap().is_empty(), "nothing is left to enforce");
    let back = undo(&stand.store, &routes, &[], by).unwrap();
    assert_eq!((back.len(), back[0].act.action), (1, Action::RouteOverrideRemoved));
    assert!(
        stand.store.route_overrides().unwrap().is_empty() && undo(&stand.store, &routes, &[], by).unwrap().is_empty()
    );
}

#[test]
fn a_route_that_is_none_and_a_day_that_is_over_are_refused() {
    let stand = Stand::new();
    let (routes, by) = (routes(), (&Actor::Command, NOW));
    let unknown = enforce(&stand.store, &routes, &["km_canary".into()], When::Now, by).unwrap_err();
    assert_eq!(unknown.to_string(), "no route has this name: the routes are old, new");
    assert!(matches!(enforce(&stand.store, &routes, &[], When::At(NOW), by), Err(EnforceError::DayPassed)));
    assert!(undo(&stand.store, &routes, &["other".into()], by).is_err());
    assert!(stand.store.route_overrides().unwrap().is_empty());
}
