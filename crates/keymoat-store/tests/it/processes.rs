//! Two processes on one store: this test binary starts itself as the second one.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use keymoat_store::{Feed, Store};

use crate::{NOW, Scenario, named, secret};

/// Where the second process finds the store; absent in an ordinary test run.
const FOLDER: &str = "KEYMOAT_TEST_SECOND_PROCESS";

#[test]
fn a_revocation_by_another_process_reaches_the_feed() {
    let scenario = Scenario::new();
    scenario.store.create_key(named("a"), &secret("a"), NOW).unwrap();
    let path = scenario.path();
    let (into, snapshots) = mpsc::channel();
    let every = Duration::from_millis(5);
    let feed = Feed::start(Arc::new(scenario.store), every, move |snapshot| into.send(snapshot).unwrap()).unwrap();
    assert!(snapshots.try_recv().unwrap().snapshot.keys.values().all(|held| held.key.revoked_at.is_none()));

    let second = second_process("processes::as_second_process_revokes", &path).output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stdout));
    let seen = snapshots.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(seen.snapshot.keys.values().all(|held| held.key.revoked_at == Some(NOW)) && seen.snapshot.keys.len() == 1);
    feed.stop();
}

#[test]
fn many_processes_can_open_a_new_store_at_once_and_agree_on_its_master_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let start = || second_process("processes::as_second_process_creates", &path).spawn().unwrap();
    let mut others: Vec<_> = (0..6).map(|_| start()).collect();
    assert!(others.iter_mut().all(|other| other.wait().unwrap().success()));
    let store = Store::open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.keys.len(), 6);
    for key in store.keys().unwrap() {
        let digest = snapshot.pepper.digest(secret(&key.name).expose());
        assert_eq!(snapshot.keys[&digest].key.id, key.id, "every process used the same pepper");
    }
}

#[test]
fn as_second_process_revokes() {
    let Some(path) = std::env::var_os(FOLDER) else { return };
    let store = Store::open(Path::new(&path)).unwrap();
    store.revoke_key("a", NOW).unwrap();
}

#[test]
fn as_second_process_creates() {
    let Some(path) = std::env::var_os(FOLDER) else { return };
    let store = Store::open(Path::new(&path)).unwrap();
    let name = std::process::id().to_string();
    store.create_key(named(&name), &secret(&name), NOW).unwrap();
}

fn second_process(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact"]).env(FOLDER, path).stdout(std::process::Stdio::piped());
    command
}
