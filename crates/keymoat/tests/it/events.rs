//! Events and metrics of the running binary: in the store, in a file, on standard output, by command, on the admin socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Folder, Keymoat, PATIENCE, request, told};

/// What `keymoat audit tail --json` shows, with further arguments.
fn audited(folder: &Folder, arguments: &[&str]) -> Vec<Value> {
    let (code, stdout, stderr) = told(&folder.run(&[&["audit", "tail", "--json", "-n", "1000"], arguments].concat()));
    assert_eq!(code, Some(0), "{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Looks until the store has `count` events.
fn until_kept(folder: &Folder, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let events = audited(folder, &[]);
        if events.len() >= count {
            return events;
        }
        assert!(Instant::now() < deadline, "{} of {count} events came: {events:?}", events.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What whoever may open the admin socket is answered at `/metrics`.
pub(crate) fn metrics_of(keymoat: &Keymoat) -> String {
    let mut socket = UnixStream::connect(keymoat.folder.path().join(".keymoat/admin.sock")).expect("a socket");
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("an answer");
    text
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

#[test]
fn what_happens_is_kept_numbered_and_told_everywhere_without_the_key() {
    let folder = Arc::new(Folder::new());
    let variables = [("KEYMOAT__EVENTS__FILE", "events.jsonl"), ("KEYMOAT__EVENTS__STDOUT", "true")];
    let mut keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &variables);
    let key = keymoat.demo_key();
    assert!(request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", &key)]).starts_with("HTTP/1.1 200"));
    let in_url = format!("/api/events?api_key={key}");
    let refused = request(keymoat.address(), "GET", &in_url, &[("User-Agent", "old-camera/1.0")]);
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let events = until_kept(&folder, 3);
    assert_eq!(types(&events), ["keymoat.started", "request.allowed", "request.refused"]);
    let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    assert_eq!((&events[2]["code"], &events[2]["severity"]), (&"credential_in_query".into(), &"medium".into()));
    assert_eq!(events[2]["user_agent"], "old-camera/1.0", "whoever puts a key into a URL can be found");
    assert!(events[1].get("user_agent").is_none());
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    let file = std::fs::read_to_string(folder.path().join("events.jsonl")).expect("a file");
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, audited(&folder, &[]), "the file has what the store has");
    assert_eq!(types(&lines).last(), Some(&"keymoat.stopped"));
    let on_stdout = keymoat.output().lines().filter(|line| line.starts_with("{\"seq\":")).count();
    assert_eq!(on_stdout, lines.len());
    for name in ["events.jsonl", ".keymoat/events.db"] {
        let path = folder.path().join(name);
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600, "{name}");
        let bytes = std::fs::read(&path).expect("read");
        assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()), "{name} holds the key");
    }
    let again = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    let events = until_kept(&folder, 5);
    assert_eq!(events[4]["seq"], 5, "numbers go on after a restart");
    drop(again);
}

#[test]
fn a_file_that_was_moved_away_is_written_anew() {
    let folder = Arc::new(Folder::new());
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[("KEYMOAT__EVENTS__FILE", "events.jsonl")]);
    until_kept(&folder, 1);
    let (path, moved) = (folder.path().join("events.jsonl"), folder.path().join("events.jsonl.old"));
    std::fs::rename(&path, moved).expect("moved");
    request(keymoat.address(), "GET", "/demo/echo", &[]);
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains("\"request.refused\"")) {
        assert!(Instant::now() < deadline, "no new file");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_commands_do_is_kept_and_the_tail_follows() {
    let keymoat = Keymoat::first_run();
    let folder = Arc::clone(&keymoat.folder);
    until_kept(&folder, 1);
    let mut follow = folder.command(&["audit", "tail", "--follow", "-n", "0"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped"));
    std::thread::sleep(Duration::from_millis(500));
    folder.write("secret", "a-real-key-0123456789");
    let sealed = told(&folder.run(&["upstream", "add", "backend", "--secret-file", "secret"]));
    assert_eq!(sealed.0, Some(0), "{}", sealed.2);
    let mut line = String::new();
    lines.read_line(&mut line).expect("it follows");
    follow.kill().expect("ours");
    follow.wait().expect("ours");
    assert!(line.contains("upstream.secret_sealed") && line.contains("actor=command target=backend"), "{line}");
    let acts = audited(&folder, &["--kind", "acts", "--type", "upstream.*"]);
    assert_eq!((types(&acts), &acts[0]["detail"]), (vec!["upstream.secret_sealed"], &"version 1".into()));
    assert!(audited(&folder, &["--kind", "decisions"]).is_empty());
    let (code, stdout, _) = told(&folder.run(&["audit", "tail", "--since", "1h"]));
    assert_eq!((code, stdout.lines().count()), (Some(0), 2), "{stdout}");
    let (code, _, stderr) = told(&Folder::new().run(&["audit", "tail"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there are no events"), "{stderr}");
}

#[test]
fn where_every_event_is_required_a_beginning_comes_before_an_end() {
    let folder = Arc::new(Folder::new());
    let variables = [("KEYMOAT__EVENTS__DELIVERY", "required")];
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &variables);
    let key = keymoat.demo_key();
    assert!(request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", &key)]).starts_with("HTTP/1.1 200"));
    let events = until_kept(&folder, 3);
    assert_eq!(types(&events), ["keymoat.started", "request.begun", "request.allowed"]);
    assert_eq!(events[1]["id"], events[2]["id"]);
    let database = folder.path().join(".keymoat/events.db");
    let lock = rusqlite::Connection::open(database).expect("opened");
    lock.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let answer = request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", &key)]);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("cannot be written down"), "{answer}");
    lock.execute_batch("ROLLBACK").expect("unlocked");
    let deadline = Instant::now() + PATIENCE;
    while !request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", &key)]).starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "it does not go on");
    }
}

#[test]
fn metrics_are_on_the_admin_listener_for_whoever_may_look() {
    let keymoat = Keymoat::first_run();
    let key = keymoat.demo_key();
    for headers in [vec![("X-API-Key", key.as_str())], vec![]] {
        request(keymoat.address(), "GET", "/demo/echo", &headers);
    }
    let admin = keymoat.ready["admin"].as_str().expect("an admin listener").replace("http://", "");
    let answer = request(&admin, "GET", "/metrics", &[]);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let text = metrics_of(&keymoat);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("application/openmetrics-text"), "{text}");
    for sample in [
        r#"keymoat_auth_requests_total{carrier="header",route="demo",outcome="allowed"} 1"#,
        r#"keymoat_refusals_total{code="credential_missing",route="demo"} 1"#,
        r#"keymoat_events_dropped_total{sink="store"} 0"#,
        r#"keymoat_acts_total{action="keymoat.started"} 1"#,
        "keymoat_keys_rotation_due 0",
    ] {
        assert!(text.contains(sample), "{sample}\n{text}");
    }
    let expiry =
        text.lines().find_map(|line| line.strip_prefix("keymoat_certificate_expiry_seconds{listener=\"data\"} "));
    assert!(expiry.and_then(|secs| secs.parse().ok()).is_some_and(|secs: f64| secs > 86_400.0), "{expiry:?}");
    assert!(text.contains("keymoat_store_snapshot_age_seconds ") && !text.contains(&key), "{text}");
}
