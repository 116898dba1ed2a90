//! Where every event is required, no token is given to anybody before that of its minting is kept.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::Administered;
use crate::harness::{Folder, Keymoat, PATIENCE, post, status, told};

const REQUIRED: &str = "[events]\ndelivery = \"required\"\n";

/// Holds the events' database, so that nothing can be written there.
struct Locked(rusqlite::Connection);

impl Locked {
    fn of(folder: &Path) -> Self {
        let connection = rusqlite::Connection::open(folder.join(".keymoat/events.db")).expect("opened");
        // The server may be at it.
        connection.busy_timeout(PATIENCE).expect("a time");
        connection.execute_batch("BEGIN IMMEDIATE").expect("locked");
        Self(connection)
    }

    fn end(self) {
        self.0.execute_batch("ROLLBACK").expect("unlocked");
    }
}

/// The states of all tokens of the store.
fn states(folder: &Folder) -> Vec<String> {
    let (code, stdout, stderr) = told(&folder.run(&["token", "list", "--json"]));
    assert_eq!(code, Some(0), "{stderr}");
    let list: Value = serde_json::from_str(&stdout).expect("JSON");
    list.as_array()
        .expect("a list")
        .iter()
        .map(|token| token["state"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON")
}

#[test]
fn minting_waits_for_its_event_and_without_it_nobody_gets_a_token() {
    let folder = Arc::new(Folder::new());
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[("KEYMOAT__EVENTS__DELIVERY", "required")]);
    let key = keymoat.demo_key();
    let own = |body: &str| post(keymoat.address(), "/keymoat/v1/tokens", ("X-API-Key", &key), body);
    let minted = own("{}");
    assert_eq!(status(&minted), 200, "{minted}");
    let id = body(&minted)["id"].as_str().expect("an id").to_owned();
    let (_, tail, _) = told(&folder.run(&["audit", "tail", "--json", "-n", "100"]));
    let events: Vec<Value> = tail.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let begun = events.iter().find(|event| event["type"] == "request.begun").expect("it is kept");
    assert_eq!((&begun["token_id"], &begun["token_minted"]), (&json!(id), &json!(true)));

    let locked = Locked::of(folder.path());
    for (path, body) in [
        ("/keymoat/v1/tokens", "{}"),
        ("/v1beta/auth_tokens", "{\"uses\":1}"),
        ("/v1/realtime/client_secrets", "{\"session\":{\"type\":\"realtime\",\"model\":\"gpt-realtime\"}}"),
    ] {
        let answer = post(keymoat.address(), path, ("X-API-Key", &key), body);
        assert_eq!(status(&answer), 503, "{path}: {answer}");
        assert!(answer.contains("cannot be written down") && !answer.contains("kmt_"), "{path}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("retry-after: 1"), "{answer}");
    }
    let order = r#"{"idempotency_key":"order-1"}"#;
    assert_eq!(status(&own(order)), 503);
    locked.end();
    assert_eq!(states(&folder), ["live", "revoked", "revoked", "revoked", "live"], "an order may be repeated");
    let deadline = Instant::now() + PATIENCE;
    while status(&own("{}")) != 200 {
        assert!(Instant::now() < deadline, "it does not go on");
        std::thread::sleep(Duration::from_millis(50));
    }
    let repeated = own(order);
    assert_eq!(status(&repeated), 200, "{repeated}");
    assert_eq!(states(&folder).len(), 6, "the repetition gets the token of the order");
}

#[test]
fn an_admin_s_minting_waits_for_its_event_too() {
    let folder = Arc::new(Folder::new());
    folder.write("keymoat.toml", &format!("{REQUIRED}[tls]\nmode = \"disabled\"\n[upstream.a]\nurl = \"http://127.0.0.1:9\"\n[route.a]\nupstream = \"a\"\npaths = [\"/a\"]\n"));
    let administered = Administered::in_folder(Arc::clone(&folder));
    let key = administered.ask("POST", "/api/v1/keys", Some(json!({"name": "a"}))).json()["key"]["id"].clone();
    let mint = || administered.ask("POST", "/api/v1/tokens", Some(json!({"key_id": key})));
    let minted = mint();
    assert_eq!(minted.status, 201, "{minted:?}");
    // Kept before the answer came.
    assert!(administered.has_told("token.minted"));
    administered.keymoat.wait_for_line("token.minted");
    let locked = Locked::of(folder.path());
    let refused = mint();
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"), "{refused:?}");
    assert!(refused.text.contains("cannot be written down") && !refused.text.contains("kmt_"), "{refused:?}");
    let (code, stdout, stderr) = told(&folder.run(&["token", "create", "--key", "a"]));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("cannot be written down"), "{stderr}");
    locked.end();
    assert_eq!(states(&folder), ["live", "revoked", "revoked"]);
}

#[test]
fn a_command_without_a_server_gives_no_token_away_either() {
    let folder = Folder::new();
    folder.write("keymoat.toml", REQUIRED);
    let (code, _, stderr) = told(&folder.run(&["key", "create", "a"]));
    assert_eq!(code, Some(0), "{stderr}");
    let locked = Locked::of(folder.path());
    let (code, stdout, stderr) = told(&folder.run(&["token", "create", "--key", "a"]));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("no token is minted"), "{stderr}");
    locked.end();
    assert_eq!(states(&folder), ["revoked"]);
    let (code, stdout, stderr) = told(&folder.run(&["token", "create", "--key", "a"]));
    assert!(code == Some(0) && stdout.starts_with("kmt_"), "{stderr}");
}
