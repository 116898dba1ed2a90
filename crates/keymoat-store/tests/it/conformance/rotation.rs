//! A key's life: rotated, changed, taken over from elsewhere, and what is counted of a day.

use keymoat_core::{KeyLimits, Pace, RotateAfter, Scopes, Secret, UnixMillis};
use keymoat_store::{
    Import, ImportMode, Imported, KeyChange, NewKey, OVERLAP_MILLIS_MAX, Rotated, Rotation, Store, StoreError,
    WhileRotating,
};

use super::Scenario;
use crate::{NOW, named, secret};

const HOUR: i64 = 3_600_000;

fn with_overlap(overlap_millis: i64) -> Rotation {
    Rotation { overlap_millis, while_rotating: WhileRotating::Refuse, unless_younger_than_millis: None }
}

/// Which of these secrets work at a moment, as decisions see it.
fn live<'a>(store: &Store, secrets: &[&'a str], now: UnixMillis) -> Vec<&'a str> {
    let snapshot = store.snapshot().unwrap();
    let is_live = |tag: &str| {
        let held = snapshot.keys.get(&snapshot.pepper.digest(secret(tag).expose()))?;
        held.key.secret(&held.secret_id).filter(|secret| secret.is_live(now))
    };
    secrets.iter().copied().filter(|tag| is_live(tag).is_some()).collect()
}

#[test]
fn a_new_secret_works_at_once_and_the_old_one_until_the_overlap_has_passed() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let made = store.create_key(named("a"), &secret("one"), NOW).unwrap();
    let later = NOW.plus_millis(HOUR);
    let rotated = store.rotate_key("a", &secret("two"), with_overlap(HOUR), later).unwrap();
    let Rotated::Done(key) = rotated else { panic!("{rotated:?}") };
    assert_eq!((&key.id, key.secrets.len(), key.created_at), (&made.id, 2, NOW));
    assert_eq!(key.secrets[0].id, made.secrets[0].id);
    assert_eq!(key.ending_secret(later).unwrap().ends_at, Some(later.plus_millis(HOUR)));
    assert_eq!(key.newest_secret().unwrap().created_at, later);
    let of = |now| live(&store, &["one", "two"], now);
    assert_eq!(of(later.plus_millis(HOUR - 1)), ["one", "two"]);
    assert_eq!(of(later.plus_millis(HOUR)), ["two"]);
    assert_eq!(store.key("a").unwrap(), key);
    assert_eq!(store.keys().unwrap(), [key]);
}

#[test]
fn a_rotation_that_is_repeated_within_the_overlap_changes_nothing() {
    let Scenario { store, dir: _dir } = Scenario::new();
    store.create_key(named("a"), &secret("one"), NOW).unwrap();
    store.rotate_key("a", &secret("two"), with_overlap(HOUR), NOW).unwrap();
    let before = store.key("a").unwrap();
    let again = store.rotate_key("a", &secret("three"), with_overlap(HOUR), NOW.plus_millis(HOUR - 1)).unwrap_err();
    let StoreError::AlreadyRotated { at, until, .. } = &again else { panic!("{again}") };
    assert_eq!((*at, *until), (NOW, NOW.plus_millis(HOUR)));
    assert_eq!(store.key("a").unwrap(), before);
    assert_eq!(live(&store, &["one", "two", "three"], NOW), ["one", "two"]);
    store.rotate_key("a", &secret("three"), with_overlap(HOUR), NOW.plus_millis(HOUR)).unwrap();
}

#[test]
fn a_third_secret_ends_the_oldest_only_where_that_is_asked_for() {
    let Scenario { store, dir: _dir } = Scenario::new();
    store.create_key(named("a"), &secret("one"), NOW).unwrap();
    store.rotate_key("a", &secret("two"), with_overlap(HOUR), NOW).unwrap();
    let third = Rotation { while_rotating: WhileRotating::EndOldest, ..with_overlap(HOUR) };
    store.rotate_key("a", &secret("three"), third, NOW).unwrap();
    assert_eq!(live(&store, &["one", "two", "three"], NOW), ["two", "three"]);
}

#[test]
fn a_timer_may_ask_for_a_rotation_again_and_again() {
    let Scenario { store, dir: _dir } = Scenario::new();
    store.create_key(named("a"), &secret("one"), NOW).unwrap();
    let monthly = Rotation { unless_younger_than_millis: Some(HOUR), ..with_overlap(0) };
    let early = store.rotate_key("a", &secret("two"), monthly, NOW.plus_millis(HOUR - 1)).unwrap();
    assert!(matches!(&early, Rotated::NotDue(key) if key.secrets.len() == 1), "{early:?}");
    let due = store.rotate_key("a", &secret("two"), monthly, NOW.plus_millis(HOUR)).unwrap();
    assert!(matches!(due, Rotated::Done(_)));
    assert_eq!(live(&store, &["one", "two"], NOW.plus_millis(HOUR)), ["two"], "no overlap ends the old one at once");
}

#[test]
fn an_old_secret_can_be_ended_before_its_time_and_the_last_one_cannot() {
    let Scenario { store, dir: _dir } = Scenario::new();
    store.create_key(named("a"), &secret("one"), NOW).unwrap();
    assert!(matches!(store.end_old_secret("a", NOW), Err(StoreError::NotRotating { .. })));
    store.rotate_key("a", &secret("two"), with_overlap(HOUR), NOW).unwrap();
    let key = store.end_old_secret("a", NOW.plus_millis(1)).unwrap();
    assert_eq!(key.secrets[0].ends_at, Some(NOW.plus_millis(1)));
    assert_eq!(live(&store, &["one", "two"], NOW.plus_millis(1)), ["two"]);
    assert!(matches!(store.end_old_secret("a", NOW.plus_millis(2)), Err(StoreError::NotRotating { .. })));
}

#[test]
fn a_key_that_is_over_is_not_rotated() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let expires_at = Some(NOW.plus_millis(1));
    store.create_key(NewKey { expires_at, ..named("short") }, &secret("one"), NOW).unwrap();
    let late = store.rotate_key("short", &secret("two"), with_overlap(0), NOW.plus_millis(1)).unwrap_err();
    assert!(matches!(late, StoreError::KeyExpired { .. }));
    store.revoke_key("short", NOW).unwrap();
    let revoked = store.rotate_key("short", &secret("two"), with_overlap(0), NOW).unwrap_err();
    assert!(matches!(revoked, StoreError::KeyRevoked { .. }));
    assert!(matches!(store.rotate_key("none", &secret("two"), with_overlap(0), NOW), Err(StoreError::KeyUnknown)));
    for overlap in [-1, OVERLAP_MILLIS_MAX + 1] {
        let refused = store.rotate_key("short", &secret("two"), with_overlap(overlap), NOW).unwrap_err();
        assert!(matches!(refused, StoreError::OverlapInvalid));
    }
}

#[test]
fn a_secret_of_another_key_or_an_earlier_one_is_not_taken_again() {
    let Scenario { store, dir: _dir } = Scenario::new();
    store.create_key(named("a"), &secret("one"), NOW).unwrap();
    store.create_key(named("b"), &secret("other"), NOW).unwrap();
    for taken in ["one", "other"] {
        let refused = store.rotate_key("a", &secret(taken), with_overlap(0), NOW).unwrap_err();
        assert!(matches!(refused, StoreError::SecretTaken), "{refused}");
    }
    assert_eq!(live(&store, &["one"], NOW.plus_millis(9)), ["one"], "nothing has ended");
}

#[test]
fn ended_secrets_are_remembered_and_in_the_end_forgotten() {
    let Scenario { store, dir: _dir } = Scenario::new();
    store.create_key(named("a"), &secret("first"), NOW).unwrap();
    for turn in 1..=20 {
        store.rotate_key("a", &secret(&format!("turn{turn}")), with_overlap(0), NOW.plus_millis(turn)).unwrap();
    }
    let key = store.key("a").unwrap();
    assert_eq!(key.secrets.len(), 8 + 1);
    let snapshot = store.snapshot().unwrap();
    let knows = |tag: &str| snapshot.keys.contains_key(&snapshot.pepper.digest(secret(tag).expose()));
    assert!(knows("turn20") && knows("turn12") && !knows("turn11") && !knows("first"));
}

#[test]
fn limits_and_dates_are_kept_and_changed_as_a_whole() {
    let scenario = Scenario::new();
    let limits = KeyLimits {
        requests_per_second: Some(Pace { per_second: 5, burst: 20 }),
        requests_per_day: Some(1000),
        bytes_per_day: Some(1 << 40),
        sessions: Some(3),
        session_duration_secs: Some(600),
        session_bytes: Some(1 << 30),
        models: vec!["models/a".into(), "gpt-realtime".into()],
    };
    let rotate_after = Some(RotateAfter::Age(90 * 24 * HOUR));
    let new = NewKey { rotate_after, limits: limits.clone(), ..named("a") };
    let made = scenario.store.create_key(new, &secret("one"), NOW).unwrap();
    let store = scenario.again();
    assert_eq!(store.key("a").unwrap(), made);
    assert_eq!((&made.limits, made.rotate_after), (&limits, rotate_after));

    let change = KeyChange {
        name: Some("b".into()),
        owner: Some(Some("Payments".into())),
        scopes: Some(Scopes::from_words(["voice"])),
        expires_at: Some(Some(NOW.plus_millis(HOUR))),
        rotate_after: Some(Some(RotateAfter::Moment(NOW))),
        limits: Some(KeyLimits { sessions: Some(1), ..KeyLimits::default() }),
        only_if: Some(made.clone()),
    };
    let changed = store.change_key("a", &change, NOW).unwrap();
    assert_eq!(scenario.store.key("b").unwrap(), changed);
    assert_eq!((&changed.id, changed.limits.sessions, &changed.secrets), (&made.id, Some(1), &made.secrets));
    assert!(matches!(store.change_key("b", &change, NOW), Err(StoreError::KeyChangedMeanwhile)));
    assert_eq!(store.change_key("b", &KeyChange::default(), NOW).unwrap(), changed, "nothing asked, nothing changed");
    assert_eq!(changed.owner.as_deref(), Some("Payments"));
    let never =
        KeyChange { owner: Some(None), expires_at: Some(None), rotate_after: Some(None), ..KeyChange::default() };
    let endless = store.change_key("b", &never, NOW).unwrap();
    assert_eq!((endless.owner, endless.expires_at, endless.rotate_after), (None, None, None));
}

#[test]
fn a_change_that_cannot_be_is_refused_whole() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let made = store.create_key(named("a"), &secret("one"), NOW).unwrap();
    store.create_key(named("b"), &secret("two"), NOW).unwrap();
    let none = KeyLimits { sessions: Some(0), ..KeyLimits::default() };
    for change in [
        KeyChange { name: Some("b".into()), ..KeyChange::default() },
        KeyChange { name: Some("sec_x".into()), ..KeyChange::default() },
        KeyChange { owner: Some(Some("km_0123456789abcdef".into())), ..KeyChange::default() },
        KeyChange { scopes: Some(Scopes::Only(Vec::new())), ..KeyChange::default() },
        KeyChange { expires_at: Some(Some(NOW)), ..KeyChange::default() },
        KeyChange { name: Some("c".into()), limits: Some(none), ..KeyChange::default() },
    ] {
        assert!(store.change_key("a", &change, NOW).is_err(), "{change:?}");
        assert_eq!(store.key(&made.id).unwrap(), made);
    }
    store.revoke_key("a", NOW).unwrap();
    assert!(matches!(store.change_key("a", &KeyChange::default(), NOW), Err(StoreError::KeyRevoked { .. })));
}

#[test]
fn keys_are_taken_over_once_and_a_trial_changes_nothing() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let known = store.create_key(named("known"), &secret("known"), NOW).unwrap();
    let secrets = [secret("one"), secret("known"), secret("two"), secret("one")];
    let names = ["a", "x", "known", "b"];
    let imports = |secrets: &'static [Secret]| -> Vec<Import<'_>> {
        secrets.iter().zip(names).map(|(secret, name)| Import { new: named(name), secret }).collect()
    };
    let secrets: &'static [Secret] = Vec::leak(secrets.into());
    let told = |done: Vec<Imported>| -> Vec<String> {
        let one = |imported: &Imported| match imported {
            Imported::Made(key) => format!("made {}", key.name),
            Imported::Known(key) => format!("known as {}", key.name),
            Imported::Refused(StoreError::NameTaken { .. }) => "name taken".to_owned(),
            Imported::Refused(other) => panic!("{other}"),
        };
        done.iter().map(one).collect()
    };
    let expected = ["made a", "known as known", "name taken", "known as a"];
    assert_eq!(told(store.import_keys(imports(secrets), ImportMode::DryRun, NOW).unwrap()), expected);
    assert_eq!(store.keys().unwrap(), std::slice::from_ref(&known));
    assert_eq!(told(store.import_keys(imports(secrets), ImportMode::Commit, NOW).unwrap()), expected);
    assert_eq!(store.keys().unwrap().len(), 2);
    let again = told(store.import_keys(imports(secrets), ImportMode::Commit, NOW).unwrap());
    assert_eq!(again, ["known as a", "known as known", "name taken", "known as a"]);
    assert_eq!(live(&store, &["one", "two"], NOW), ["one"]);
}
