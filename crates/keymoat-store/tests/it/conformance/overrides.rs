//! Overrides of routes: kept, told to whoever watches, replaced as a whole, and removed.

use keymoat_core::{OverrideFields, QueryPolicy, RouteOverride, UnixMillis};
use keymoat_store::{StoreError, Watch};

use super::Scenario;
use crate::NOW;

fn over(route: &str, fields: OverrideFields) -> RouteOverride {
    let (made_by, note) = ("command".into(), Some("because".into()));
    RouteOverride { route: route.into(), fields, made_at: NOW, made_by, note }
}

fn all_fields() -> OverrideFields {
    OverrideFields {
        query: Some(QueryPolicy::Tokens),
        carriers: Some(vec!["header:x-api-key".into(), "query:a b".into()]),
        sunset: Some(UnixMillis(-5)),
    }
}

#[test]
fn an_override_is_kept_whole_and_replaced_as_a_whole() {
    let scenario = Scenario::new();
    let first = over("events", all_fields());
    scenario.store.override_route(&first).unwrap();
    assert_eq!(scenario.again().route_overrides().unwrap(), [first]);
    let second = over("events", OverrideFields { sunset: Some(NOW), ..OverrideFields::default() });
    scenario.store.override_route(&second).unwrap();
    assert_eq!(scenario.store.route_overrides().unwrap(), std::slice::from_ref(&second));
    assert_eq!(scenario.store.remove_override("events").unwrap(), second);
    assert!(matches!(scenario.store.remove_override("events"), Err(StoreError::OverrideUnknown)));
    assert_eq!(scenario.store.route_overrides().unwrap(), []);
}

#[test]
fn whoever_watches_is_told_of_each_change_by_anybody() {
    let scenario = Scenario::new();
    let other = scenario.again();
    let mut watch = Watch::default();
    let mut seen = || scenario.store.changed_since(&mut watch).unwrap().map(|change| change.overrides.len());
    assert_eq!(seen(), Some(0));
    other.override_route(&over("a", all_fields())).unwrap();
    assert_eq!(seen(), Some(1));
    assert_eq!(seen(), None);
    scenario.store.override_route(&over("b", all_fields())).unwrap();
    assert_eq!(seen(), Some(2));
    other.remove_override("a").unwrap();
    assert_eq!(seen(), Some(1));
}

#[test]
fn what_changes_nothing_or_names_no_carrier_is_refused() {
    let scenario = Scenario::new();
    let no_carrier = OverrideFields { carriers: Some(vec!["cookie:a".into()]), ..OverrideFields::default() };
    for fields in [OverrideFields::default(), no_carrier] {
        let refused = scenario.store.override_route(&over("a", fields));
        assert!(matches!(refused, Err(StoreError::OverrideSenseless)));
    }
    assert_eq!(scenario.store.route_overrides().unwrap(), []);
}

#[test]
fn that_a_sunset_has_come_is_noted_once_for_each_day() {
    let scenario = Scenario::new();
    let other = scenario.again();
    let day = UnixMillis(1_000);
    assert!(scenario.store.note_sunset("events", day, NOW).unwrap());
    assert!(!other.note_sunset("events", day, NOW).unwrap(), "another process");
    assert!(!scenario.again().note_sunset("events", day, NOW).unwrap(), "after a restart");
    assert!(other.note_sunset("events", UnixMillis(2_000), NOW).unwrap(), "another day");
    assert!(other.note_sunset("old", day, NOW).unwrap(), "another route");
}
