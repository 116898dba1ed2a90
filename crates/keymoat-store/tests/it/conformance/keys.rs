//! Keys: made, found, revoked, kept, and nowhere to be read.

use std::sync::Barrier;

use keymoat_core::{Key, Scopes, Secret, UnixMillis, format};
use keymoat_store::{KeyQuery, KeyState, NewKey, Rotation, StoreError, WhileRotating};

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

fn asked(limit: usize) -> KeyQuery {
    KeyQuery { state: None, text: None, after: None, limit }
}

fn names(keys: &[Key]) -> Vec<&str> {
    keys.iter().map(|key| &*key.name).collect()
}

#[test]
fn pages_of_keys_join_to_all_of_them_the_newest_first() {
    let Scenario { store, dir: _dir } = Scenario::new();
    for number in 0..7 {
        // Some are of one moment, where ids decide.
        let at = NOW.plus_millis(number / 3);
        store.create_key(named(&format!("n{number}")), &secret(&format!("n{number}")), at).unwrap();
    }
    let mut all = store.keys().unwrap();
    all.sort_by(|one, other| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.key_page(&KeyQuery { after, ..asked(2) }).unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        after = Some((last.created_at, last.id.to_string()));
        seen.extend(page);
    }
    assert_eq!(seen, all, "with their secrets");
    assert_eq!(store.key_page(&asked(100)).unwrap(), all);
}

#[test]
fn a_page_of_keys_has_those_only_that_are_asked_for() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let later = NOW.plus_millis(10);
    let of = |name: &str, owner: Option<&str>, expires_at| NewKey {
        owner: owner.map(str::to_owned),
        expires_at,
        ..NewKey::named(name)
    };
    let live = store.create_key(of("Büro camera", Some("Facility_50% team"), None), &secret("a"), NOW).unwrap();
    store.create_key(of("gone", None, Some(later)), &secret("b"), NOW.plus_millis(1)).unwrap();
    store.create_key(of("camera 2", None, None), &secret("c"), NOW.plus_millis(2)).unwrap();
    store.revoke_key("camera 2", NOW.plus_millis(3)).unwrap();
    let page = |query: KeyQuery| {
        let found = store.key_page(&query).unwrap();
        let all: Vec<Key> = store.keys().unwrap().into_iter().rev().filter(|key| query.means(key)).collect();
        assert_eq!(found, all, "both ways of asking agree: {query:?}");
        names(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let state = |state, now| page(KeyQuery { state: Some((state, now)), ..asked(9) });
    assert_eq!(state(KeyState::Live, NOW), ["gone", "Büro camera"]);
    assert_eq!(state(KeyState::Live, later), ["Büro camera"]);
    assert_eq!(state(KeyState::Expired, later), ["gone"]);
    assert_eq!(state(KeyState::Revoked, later), ["camera 2"]);
    let text = |text: &str| page(KeyQuery { text: Some(text.to_owned()), ..asked(9) });
    assert_eq!(text("CAMERA"), ["camera 2", "Büro camera"]);
    assert_eq!(text("büro"), ["Büro camera"]);
    assert_eq!(
        text("facility_50% T"),
        ["Büro camera"],
        "an owner is found, and a pattern's letters stand for themselves"
    );
    assert_eq!(text(&live.id), ["Büro camera"]);
    assert_eq!(text("' OR 1=1 --"), Vec::<String>::new());
}

#[test]
fn of_a_secret_nothing_is_kept_to_be_shown_but_what_all_of_its_form_begin_with() {
    let Scenario { store, dir: _dir } = Scenario::new();
    let own = |start: u8| format::generate(format::Kind::Key, &mut |bytes| bytes.fill(start));
    let made = store.create_key(named("own"), &own(1), NOW).unwrap();
    assert_eq!(made.secrets[0].prefix.as_deref(), Some("km_"));
    assert_eq!(store.key("own").unwrap(), made);
    let foreign = store.create_key(named("foreign"), &Secret::from("sk-live-0123456789"), NOW).unwrap();
    assert_eq!(foreign.secrets[0].prefix, None, "nobody knows which part of it is public");
    let rotation =
        Rotation { overlap_millis: 0, while_rotating: WhileRotating::Refuse, unless_younger_than_millis: None };
    let rotated = store.rotate_key("foreign", &own(2), rotation, NOW).unwrap();
    assert_eq!(rotated.key().newest_secret().unwrap().prefix.as_deref(), Some("km_"));
}
