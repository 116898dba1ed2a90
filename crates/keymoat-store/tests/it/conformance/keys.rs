//! Keys: made, found, revoked, kept, and nowhere to be read.

use std::sync::Barrier;

use keymoat_core::{Scopes, UnixMillis};
use keymoat_store::{NewKey, StoreError};

use super::Scenario;
use crate::{NOW, named, secret};

#[test]
fn a_reopened_store_keeps_its_keys_and_recognises_their_secrets() {
    let scenario = Scenario::new();
    let scopes = Scopes::from_words(["voice", "mint"]);
    let expires_at = Some(UnixMillis(NOW.0 + 5));
    let new = NewKey { scopes: scopes.clone(), expires_at, ..NewKey::named("backend") };
    let made = scenario.store.create_key(new, &secret("backend"), NOW).unwrap();
    let Scenario { dir, store } = scenario;
    drop(store);

    let store = dir.open();
    assert_eq!(store.keys().unwrap(), std::slice::from_ref(&made));
    assert_eq!(made.scopes, scopes);
    assert_eq!(made.created_at, NOW);
    let snapshot = store.snapshot().unwrap();
    let digest = snapshot.pepper.digest(secret("backend").expose());
    assert_eq!(*snapshot.keys[&digest].key, made);
    assert!(!snapshot.keys.contains_key(&snapshot.pepper.digest(secret("other").expose())));
    drop(dir);
}

#[test]
fn a_key_is_found_by_id_and_by_name() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let made = store.create_key(named("a"), &secret("a"), NOW).unwrap();
    assert_eq!(store.key("a").unwrap(), made);
    assert_eq!(store.key(&made.id).unwrap(), made);
    assert!(matches!(store.key("b"), Err(StoreError::KeyUnknown)));
    assert!(matches!(store.revoke_key("b", NOW), Err(StoreError::KeyUnknown)));
}

#[test]
fn a_second_revocation_keeps_the_first_time() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let made = store.create_key(named("a"), &secret("a"), NOW).unwrap();
    let later = NOW.plus_millis(1);
    assert_eq!(store.revoke_key("a", NOW).unwrap().revoked_at, Some(NOW));
    assert_eq!(store.revoke_key("a", later).unwrap().revoked_at, Some(NOW));
    assert_eq!(store.revoke_key(&made.id, later).unwrap().revoked_at, Some(NOW));
    assert_eq!(store.key("a").unwrap().revoked_at, Some(NOW));
}

#[test]
fn a_revoked_key_stays_in_the_snapshot_so_that_its_holder_can_be_told() {
    let Scenario { store, dir: _dir } = Scenario::new();
    store.create_key(named("a"), &secret("a"), NOW).unwrap();
    store.revoke_key("a", NOW).unwrap();
    let snapshot = store.snapshot().unwrap();
    let digest = snapshot.pepper.digest(secret("a").expose());
    assert_eq!(snapshot.keys[&digest].key.revoked_at, Some(NOW));
}

#[test]
fn a_name_is_free_again_after_a_revocation_and_then_means_the_live_key() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let first = store.create_key(named("a"), &secret("first"), NOW).unwrap();
    let taken = store.create_key(named("a"), &secret("second"), NOW).unwrap_err();
    assert!(matches!(taken, StoreError::NameTaken { .. }));
    store.revoke_key("a", NOW).unwrap();
    let second = store.create_key(named("a"), &secret("second"), NOW).unwrap();
    assert_eq!(store.key("a").unwrap(), second);
    assert_ne!(first.id, second.id);
    assert_eq!(store.revoke_key("a", NOW.plus_millis(9)).unwrap().id, second.id);
    assert_eq!(store.key("a").unwrap().id, second.id, "of two revoked ones the last");
}

#[test]
fn one_secret_belongs_to_one_key_and_a_refused_key_leaves_nothing_behind() {
    let Scenario { store, dir: _dir } = Scenario::new();
    store.create_key(named("a"), &secret("a"), NOW).unwrap();
    assert!(matches!(store.create_key(named("b"), &secret("a"), NOW), Err(StoreError::SecretTaken)));
    assert_eq!(store.keys().unwrap().len(), 1);
}

#[test]
fn of_many_that_create_the_same_name_at_once_one_succeeds() {
    const RIVALS: usize = 8;
    let scenario = Scenario::new();
    let start = Barrier::new(RIVALS);
    let made = std::thread::scope(|scope| {
        let rivals: Vec<_> = (0..RIVALS)
            .map(|rival| {
                let store = scenario.again();
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    store.create_key(named("same"), &secret(&format!("rival{rival}")), NOW)
                })
            })
            .collect();
        rivals.into_iter().map(|rival| rival.join().unwrap()).filter(Result::is_ok).count()
    });
    assert_eq!(made, 1);
    assert_eq!(scenario.store.keys().unwrap().len(), 1);
}
