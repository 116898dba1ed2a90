//! What is found in the files of a store: no secret, and nothing that others could read; and files of older versions.

use std::os::unix::fs::PermissionsExt;

use keymoat_core::Key;
use keymoat_store::{Import, ImportMode, Rotation, Store, WhileRotating};

use crate::{NOW, Scenario, files, forget_the_life_of_keys, named, secret};

const HOUR: i64 = 3_600_000;

fn with_overlap(overlap_millis: i64) -> Rotation {
    Rotation { overlap_millis, while_rotating: WhileRotating::Refuse, unless_younger_than_millis: None }
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
fn an_imported_or_rotated_secret_is_in_no_file() {
    let scenario = Scenario::new();
    let (imported, rotated) = (secret("canaryimport"), secret("canaryrotate"));
    let import = Import { new: named("a"), secret: &imported };
    scenario.store.import_keys(vec![import], ImportMode::Commit, NOW).unwrap();
    scenario.store.rotate_key("a", &rotated, with_overlap(HOUR), NOW).unwrap();
    for (name, content) in files(&scenario.path()) {
        for needle in [b"canaryimport".as_slice(), b"canaryrotate"] {
            assert!(!content.windows(needle.len()).any(|window| window == needle), "`{name}` holds a secret");
        }
    }
}

#[test]
fn a_store_from_before_rotations_keeps_its_keys() {
    let scenario = Scenario::new();
    let made = scenario.store.create_key(named("a"), &secret("one"), NOW).unwrap();
    let path = scenario.path();
    let Scenario { dir: _dir, store } = scenario;
    drop(store);
    let file = rusqlite::Connection::open(path.join("keymoat.db")).unwrap();
    forget_the_life_of_keys(&file);
    file.pragma_update(None, "user_version", 3).unwrap();
    drop(file);
    let store = Store::open(&path).unwrap();
    let key = store.key("a").unwrap();
    assert!(key.secrets.len() == 1 && key.secrets[0].id.starts_with("sec_") && key.secrets[0].id.len() == 16);
    assert_eq!(Key { secrets: made.secrets.clone(), ..key }, made);
    let snapshot = store.snapshot().unwrap();
    let held = &snapshot.keys[&snapshot.pepper.digest(secret("one").expose())];
    assert!(held.key.secret(&held.secret_id).unwrap().is_live(NOW));
    store.rotate_key("a", &secret("two"), with_overlap(HOUR), NOW).unwrap();
}
