//! Keys: made, found, revoked, kept, and nowhere to be read.

use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use keymoat_core::{Scopes, UnixMillis};
use keymoat_store::{NewKey, Store, StoreError};

use crate::{NOW, Scenario, files, named, secret};

#[test]
fn a_reopened_store_keeps_its_keys_and_recognises_their_secrets() {
    let scenario = Scenario::new();
    let scopes = Scopes::from_words(["voice", "mint"]);
    let expires_at = Some(UnixMillis(NOW.0 + 5));
    let new = NewKey { scopes: scopes.clone(), expires_at, ..NewKey::named("backend") };
    let made = scenario.store.create_key(new, &secret("backend"), NOW).unwrap();
    let path = scenario.path();
    let Scenario { dir, store } = scenario;
    drop(store);

    let store = Store::open(&path).unwrap();
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

#[test]
fn no_file_holds_the_secret_in_any_spelling() {
    let scenario = Scenario::new();
    let secret = secret("canary");
    let made = scenario.store.create_key(named("a"), &secret, NOW).unwrap();
    let path = scenario.path();
    // The test looks for the bytes that must not be there.
    let raw = secret.expose();
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut needles = vec![raw.to_vec(), raw[3..46].to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    // A base64 text depends on where in a group of three the secret starts; what is left out here is its first bytes.
    needles.extend((0..3).map(|skipped| base64(&raw[skipped..raw.len() - (raw.len() - skipped) % 3])));
    let search = |when: &str| {
        let mut control = 0;
        for (name, content) in files(&path) {
            control += content.windows(made.id.len()).filter(|window| *window == made.id.as_bytes()).count();
            for needle in &needles {
                let found = content.windows(needle.len()).any(|window| window == needle);
                assert!(!found, "{when}: `{name}` holds the secret");
            }
        }
        assert!(control > 0, "{when}: the search must find what is there");
    };
    search("while open");
    assert!(files(&path).iter().any(|(name, _)| name.ends_with("-wal")), "the WAL was searched");
    drop(scenario.store);
    search("after the close");
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        text.extend([18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize]));
    }
    text
}

#[test]
fn the_folder_and_every_file_in_it_are_their_owners_alone() {
    let scenario = Scenario::new();
    scenario.store.create_key(named("a"), &secret("a"), NOW).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scenario.path()), 0o700);
    let names: Vec<String> = files(&scenario.path()).into_iter().map(|(name, _)| name).collect();
    for expected in ["keymoat.db", "keymoat.db-wal", "keymoat.db-shm", "master.key"] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
    for name in names {
        assert_eq!(mode(&scenario.path().join(&name)), 0o600, "{name}");
    }
}
