//! `keymoat key`, against a real store.

use serde_json::Value;

use crate::harness::{Folder, told};

/// Makes a key and gives its secret.
fn create(folder: &Folder, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = told(&folder.run(&[&["key", "create"], arguments].concat()));
    assert_eq!(code, Some(0), "{stderr}");
    let secret = stdout.trim_end().to_owned();
    assert!(secret.starts_with("km_") && secret.len() == 52, "standard output is the key and nothing else");
    assert!(!stderr.contains(&secret), "the key is shown once");
    secret
}

#[test]
fn a_key_is_shown_once_and_never_again() {
    let folder = Folder::new();
    let secret = create(&folder, &["backend", "--scope", "voice", "--scope", "mint", "--expires", "90d"]);
    for arguments in [
        ["key", "list"].as_slice(),
        &["key", "list", "--json"],
        &["key", "show", "backend"],
        &["key", "show", "backend", "--json"],
        &["key", "revoke", "backend"],
    ] {
        let (code, stdout, stderr) = told(&folder.run(arguments));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("backend"), "{stdout}");
        assert!(!stdout.contains(&secret) && !stderr.contains(&secret), "{arguments:?} shows the key");
    }
    for file in std::fs::read_dir(folder.path().join(".keymoat")).expect("the store").flatten() {
        let content = std::fs::read(file.path()).unwrap_or_default();
        assert!(!content.windows(secret.len()).any(|window| window == secret.as_bytes()), "{:?}", file.path());
    }
}

#[test]
fn a_key_can_be_made_listed_and_revoked_in_json() {
    let folder = Folder::new();
    let json = |arguments: &[&str]| {
        let (code, stdout, stderr) = told(&folder.run(arguments));
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str::<Value>(&stdout).expect("JSON")
    };
    let made = json(&["key", "create", "a", "--scope", "events", "--json"]);
    assert!(made["key"].as_str().is_some_and(|key| key.starts_with("km_")));
    assert_eq!(made["scopes"], serde_json::json!(["events"]));
    let id = made["id"].as_str().expect("an id");
    let listed = json(&["key", "list", "--json"]);
    assert_eq!((&listed[0]["id"], &listed[0]["state"], listed[0].get("key")), (&made["id"], &"live".into(), None));
    assert_eq!(json(&["key", "revoke", id, "--json"])["state"], "revoked");
    assert_eq!(json(&["key", "show", id, "--json"])["state"], "revoked");
}

#[test]
fn what_is_refused_ends_with_one_and_says_what_to_do() {
    let folder = Folder::new();
    let refused = |arguments: &[&str], code: i32, hint: &str| {
        let (got, stdout, stderr) = told(&folder.run(arguments));
        assert_eq!((got, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("keymoat: ") && stderr.contains(hint), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("canary"), "{stderr}");
    };
    refused(&["key", "list"], 2, "keymoat key create");
    create(&folder, &["a"]);
    refused(&["key", "create", "a"], 1, "choose another name");
    refused(&["key", "create", "km_canary"], 1, "does not start with");
    refused(&["key", "revoke", "km_canary"], 1, "keymoat key list");
    refused(&["key", "create", "b", "--expires", "soon"], 2, "--expires");
    refused(&["key", "create", "b", "--expires", "2001-01-01T00:00:00Z"], 2, "has passed");
}

#[test]
fn the_store_is_the_one_that_the_configuration_or_the_flag_names() {
    let folder = Folder::new();
    folder.write("keymoat.toml", "[store]\ndir = \"kept\"\n");
    create(&folder, &["a"]);
    assert!(folder.path().join("kept/keymoat.db").exists());
    create(&folder, &["a", "--store", "other"]);
    assert!(folder.path().join("other/keymoat.db").exists());
    let (_, stdout, _) = told(&folder.run(&["key", "list"]));
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
}
