//! Sealed secrets in a store's files: found nowhere, bound to their rows, and opened with the right master key only.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use keymoat_core::Secret;
use keymoat_store::{MasterKey, SecretState, Store, StoreError, Unopenable, Watch};
use rusqlite::Connection;

use crate::{NOW, Scenario, files, forget_the_life_of_keys, named, secret};

/// What an upstream's secret is, in the words of a test.
fn opened(store: &Store, upstream: &str) -> Option<(u32, String)> {
    let (version, secret) = store.open_secret(upstream).unwrap()?;
    // The test sealed it itself.
    let text = secret.expose();
    Some((version, String::from_utf8(text.to_vec()).unwrap()))
}

#[test]
fn a_row_that_was_moved_changed_or_brought_from_elsewhere_does_not_open_and_the_others_do() {
    let Scenario { dir, store } = Scenario::new();
    for (upstream, text) in [("a", "canary-a"), ("b", "canary-b"), ("c", "canary-c"), ("d", "canary-d")] {
        store.seal_secret(upstream, &Secret::from(text), NOW).unwrap();
    }
    let database = Connection::open(dir.path().join("store/keymoat.db")).unwrap();
    let both = "UPDATE upstream_secret SET (wrapped_dek, sealed) =
                (SELECT wrapped_dek, sealed FROM upstream_secret WHERE upstream = 'b') WHERE upstream = 'a';
                UPDATE upstream_secret SET kek_id = zeroblob(16) WHERE upstream = 'c';
                UPDATE upstream_secret SET version = 2 WHERE upstream = 'd';";
    database.execute_batch(both).unwrap();

    let why = |upstream: &str| match store.open_secret(upstream) {
        Err(error @ StoreError::SecretUnopenable { why, .. }) => {
            assert!(error.to_string().contains(&format!("`{upstream}`")), "{error}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
            why
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(why("a"), Unopenable::Damaged);
    assert_eq!(why("c"), Unopenable::OtherMasterKey);
    assert_eq!(why("d"), Unopenable::Damaged);
    assert_eq!(opened(&store, "b"), Some((1, "canary-b".into())));

    // One that does not open keeps neither the others nor revocations from being seen.
    store.create_key(named("key"), &secret("key"), NOW).unwrap();
    let change = store.changed_since(&mut Watch::default()).unwrap().unwrap();
    assert_eq!(change.snapshot.keys.len(), 1);
    let opened: Vec<&str> = change
        .secrets
        .iter()
        .filter(|change| matches!(change.becomes, SecretState::Opened { .. }))
        .map(|change| &*change.upstream)
        .collect();
    assert_eq!((change.secrets.len(), opened), (4, vec!["b"]));
    assert!(!format!("{change:?}").contains("canary"));

    // Entering it again is the way out.
    store.rotate_secret("a", &Secret::from("new"), NOW).unwrap();
    assert_eq!(self::opened(&store, "a"), Some((2, "new".into())));
}

#[test]
fn no_file_of_the_store_holds_a_secret_and_a_retired_one_leaves_nothing_to_open() {
    const CANARY: &str = "canary-AIzaSyD3adB33f-of-the-provider";
    let Scenario { dir, store } = Scenario::new();
    store.seal_secret("gemini", &Secret::from(CANARY), NOW).unwrap();
    let sealed: Vec<u8> = Connection::open(dir.path().join("store/keymoat.db"))
        .unwrap()
        .query_row("SELECT sealed FROM upstream_secret", [], |row| row.get(0))
        .unwrap();
    let holds = |needle: &[u8]| -> Vec<String> {
        let holding = files(&dir.path().join("store")).into_iter();
        holding
            .filter(|(_, content)| content.windows(needle.len()).any(|window| window == needle))
            .map(|(name, _)| name)
            .collect()
    };
    assert!(!holds(&sealed).is_empty(), "the search finds what is there");
    for form in forms(CANARY) {
        assert_eq!(holds(&form), [""; 0], "{}", String::from_utf8_lossy(&form));
    }
    store.rotate_secret("gemini", &Secret::from("another"), NOW).unwrap();
    store.remove_secret("gemini", NOW).unwrap();
    drop(store);
    assert_eq!(holds(&sealed), [""; 0], "also the ciphertext is gone");
}

/// A text as it is, in both cases of hexadecimal, and in base64.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let upper = hex.to_uppercase();
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, text);
    vec![text.as_bytes().to_vec(), hex.into_bytes(), upper.into_bytes(), base64.into_bytes()]
}

/// A master key from somewhere else than the store's folder.
fn given(text: &str) -> MasterKey {
    MasterKey::Given { text: Secret::from(text), place: "environment variable X".to_owned() }
}

#[test]
fn a_store_takes_its_master_key_from_elsewhere_and_then_keeps_none() {
    let dir = tempfile::tempdir().unwrap();
    let (store_dir, file) = (dir.path().join("store"), dir.path().join("key"));
    let digits = "5f".repeat(32);
    let absent = Store::open_with(&store_dir, &MasterKey::File(file.clone())).unwrap_err();
    assert!(
        matches!(&absent, StoreError::MasterKeyAbsent { .. }) && absent.to_string().contains("openssl"),
        "{absent}"
    );
    assert!(!file.exists(), "a key that was named is never made");

    let store = Store::open_with(&store_dir, &given(&digits)).unwrap();
    store.seal_secret("gemini", &Secret::from("one"), NOW).unwrap();
    drop(store);
    assert!(!store_dir.join("master.key").exists());

    keymoat_store::private_file::create(&file, digits.as_bytes(), keymoat_store::private_file::Readers::Owner).unwrap();
    let credential = MasterKey::Credential(file.clone());
    for master_key in [MasterKey::File(file), credential] {
        assert_eq!(opened(&Store::open_with(&store_dir, &master_key).unwrap(), "gemini"), Some((1, "one".into())));
    }
    let wrong = Store::open_with(&store_dir, &given(&"60".repeat(32))).unwrap_err();
    assert!(matches!(wrong, StoreError::MasterKeyWrong { .. }), "{wrong}");
    assert!(wrong.to_string().starts_with("environment variable X is not the master key"), "{wrong}");
    assert!(matches!(Store::open(&store_dir), Err(StoreError::MasterKeyMissing { .. })));
    assert!(!store_dir.join("master.key").exists(), "no other one was made");
}

#[test]
fn a_backup_is_a_store_once_it_has_the_same_master_key() {
    let Scenario { dir, store } = Scenario::new();
    let key = store.create_key(named("client"), &secret("client"), NOW).unwrap();
    store.seal_secret("gemini", &Secret::from("one"), NOW).unwrap();
    let (backup, master) = (dir.path().join("backup"), dir.path().join("store/master.key"));
    let held = Connection::open(dir.path().join("store/keymoat.db")).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.back_up(&backup, NOW).unwrap();
    held.execute_batch("ROLLBACK").unwrap();
    store.rotate_secret("gemini", &Secret::from("two"), NOW).unwrap();

    assert_eq!(files(&backup).iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["keymoat.db"], "no master key");
    assert_eq!((mode(&backup), mode(&backup.join("keymoat.db"))), (0o700, 0o600));
    let exists = store.back_up(&backup, NOW).unwrap_err();
    assert!(matches!(exists, StoreError::BackupExists { .. }), "{exists}");

    let lost = Store::open(&backup).unwrap_err();
    assert!(matches!(lost, StoreError::MasterKeyMissing { .. }));
    let text = lost.to_string();
    assert!(text.contains("make all keys anew") && text.contains("enter the upstreams' secrets again"), "{text}");
    assert!(matches!(Store::open_with(&backup, &given(&"60".repeat(32))), Err(StoreError::MasterKeyWrong { .. })));

    fs::copy(master, backup.join("master.key")).unwrap();
    let restored = Store::open(&backup).unwrap();
    assert_eq!(opened(&restored, "gemini"), Some((1, "one".into())), "as of the moment of the backup");
    let digest = restored.pepper().digest(secret("client").expose());
    assert_eq!(restored.snapshot().unwrap().keys[&digest].key, Arc::new(key));
    assert_eq!(opened(&store, "gemini"), Some((2, "two".into())));
}

#[test]
fn a_backup_that_fails_leaves_nothing_that_could_be_taken_for_one() {
    let scenario = Scenario::new();
    let nowhere = scenario.dir.path().join("no/such/folder");
    assert!(scenario.store.back_up(&nowhere, NOW).is_err());
    // SQLite takes no name that is not UTF-8, which is found when the folder has been made.
    let odd = scenario.dir.path().join(std::ffi::OsStr::from_bytes(b"back\xffup"));
    assert!(scenario.store.back_up(&odd, NOW).is_err());
    assert!(!odd.exists());
    let target = scenario.dir.path().join("backup");
    fs::rename(scenario.path().join("keymoat.db"), scenario.dir.path().join("moved")).unwrap();
    assert!(matches!(scenario.store.back_up(&target, NOW), Err(StoreError::Replaced { .. })));
    assert!(!target.exists());
}

#[test]
fn a_store_of_the_version_before_is_brought_up_to_date_with_its_keys() {
    let Scenario { dir, store } = Scenario::new();
    store.create_key(named("client"), &secret("client"), NOW).unwrap();
    drop(store);
    let path = dir.path().join("store");
    let database = Connection::open(path.join("keymoat.db")).unwrap();
    for table in ["token_order", "token_handle", "token_session", "token_terms", "token", "upstream_secret"] {
        database.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    forget_the_life_of_keys(&database);
    database.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(database);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.keys().unwrap().len(), 1);
    store.seal_secret("gemini", &Secret::from("one"), NOW).unwrap();
    assert_eq!(opened(&store, "gemini"), Some((1, "one".into())));
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
