//! Faults: each is told from the others, and none is passed over.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keymoat_store::private_file::PrivateFileError;
use keymoat_store::{Store, StoreError, Watch};
use rusqlite::Connection;

use crate::{NOW, Scenario, named, secret};

#[test]
fn a_master_key_that_others_can_read_is_refused_with_the_remedy() {
    let Scenario { dir, store } = Scenario::new();
    drop(store);
    let path = dir.path().join("store");
    for file in ["master.key", "keymoat.db"] {
        fs::set_permissions(path.join(file), fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Store::open(&path).unwrap_err();
        assert!(matches!(refused, StoreError::File(PrivateFileError::Exposed { mode: 0o640, .. })), "{refused}");
        assert!(refused.to_string().ends_with(&format!("run `chmod 600 {}`", path.join(file).display())));
        fs::set_permissions(path.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(Store::open(&path).is_ok());
}

#[test]
fn a_lost_or_exchanged_master_key_is_noticed_before_any_key_is_refused_for_it() {
    let Scenario { dir, store } = Scenario::new();
    drop(store);
    let path = dir.path().join("store");
    let master = path.join("master.key");
    let kept = fs::read(&master).unwrap();

    fs::write(&master, "ab".repeat(32)).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::MasterKeyWrong { .. })));
    fs::write(&master, "too short").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::MasterKeyMalformed { .. })));
    fs::remove_file(&master).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::MasterKeyMissing { .. })));
    assert!(!master.exists(), "no other one was made");

    fs::write(&master, kept).unwrap();
    fs::set_permissions(&master, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Store::open(&path).is_ok());
}

#[test]
fn a_schema_from_the_future_is_refused_and_left_alone() {
    let Scenario { dir, store } = Scenario::new();
    store.create_key(named("a"), &secret("a"), NOW).unwrap();
    drop(store);
    let path = dir.path().join("store");
    let file = path.join("keymoat.db");
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Store::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::SchemaTooNew { found: 99, .. }), "{refused}");
    let found: i64 =
        Connection::open(&file).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(found, 99);
}

#[test]
fn an_empty_database_file_is_migrated() {
    let Scenario { dir, store } = Scenario::new();
    drop(store);
    let path = dir.path().join("store");
    fs::write(path.join("keymoat.db"), b"").unwrap();
    let store = Store::open(&path).unwrap();
    store.create_key(named("a"), &secret("a"), NOW).unwrap();
    assert_eq!(store.keys().unwrap().len(), 1);
}

#[test]
fn a_damaged_database_is_called_damaged() {
    let Scenario { dir, store } = Scenario::new();
    for tag in 0..50 {
        store.create_key(named(&format!("name {tag}")), &secret(&format!("s{tag}")), NOW).unwrap();
    }
    drop(store);
    let path = dir.path().join("store");
    let file = path.join("keymoat.db");
    let good = fs::read(&file).unwrap();

    let mut header_gone = good.clone();
    header_gone[..100].fill(b'x');
    fs::write(&file, header_gone).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Corrupt { .. })));

    let mut pages_gone = good.clone();
    pages_gone[4096..].fill(0xff);
    fs::write(&file, pages_gone).unwrap();
    let outcome = Store::open(&path).and_then(|store| store.keys());
    assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
}

#[test]
fn a_lock_that_another_holds_is_called_busy_and_reading_goes_on() {
    let scenario = Scenario::new();
    scenario.store.create_key(named("a"), &secret("a"), NOW).unwrap();
    let other = Connection::open(scenario.path().join("keymoat.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(scenario.store.revoke_key("a", NOW), Err(StoreError::Busy { .. })));
    assert_eq!(scenario.store.key("a").unwrap().revoked_at, None);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(scenario.store.revoke_key("a", NOW).is_ok());
}

#[test]
fn a_database_that_was_replaced_while_open_is_noticed() {
    let scenario = Scenario::new();
    let mut watch = Watch::default();
    assert!(scenario.store.changed_since(&mut watch).unwrap().is_some());
    let file = scenario.path().join("keymoat.db");
    fs::rename(&file, scenario.path().join("moved.db")).unwrap();
    assert!(matches!(scenario.store.changed_since(&mut watch), Err(StoreError::Replaced { .. })));
    fs::write(&file, b"").unwrap();
    assert!(matches!(scenario.store.changed_since(&mut watch), Err(StoreError::Replaced { .. })));
    assert!(matches!(scenario.store.revoke_key("a", NOW), Err(StoreError::Replaced { .. })));
}
