//! In the place of the home-security backend, with its environment as it is: old clients go on, new ones come the safe way.

use std::sync::Arc;

use crate::harness::{Emulated, Folder, Keymoat, open_websocket, request, status};

const OLD: &str = "an-old-key-of-a-camera";

/// A gateway that knows nothing but variables.
fn start(emulated: &Emulated, further: &[(&str, &str)]) -> Keymoat {
    let folder: Arc<Folder> = Folder::new().into();
    folder.write("real", &emulated.key());
    let keys = format!("[\"{OLD}\", \"k2\"]");
    let variables = [
        ("API_KEYS", keys.as_str()),
        ("TLS_MODE", "disabled"),
        ("KEYMOAT__UPSTREAM__EVENTS__PRESET", "events"),
        ("KEYMOAT__UPSTREAM__EVENTS__URL", emulated.url()),
        ("KEYMOAT__UPSTREAM__EVENTS__SECRET", "${file:real}"),
        ("KEYMOAT__ROUTE__EVENTS__UPSTREAM", "events"),
    ];
    Keymoat::in_folder(folder, &[], &[&variables[..], further].concat())
}

#[test]
fn old_clients_go_on_unchanged_and_new_ones_come_the_safe_way() {
    let emulated = Emulated::start();
    let mut keymoat = start(&emulated, &[]);
    let get = |target: &str, headers: &[(&str, &str)]| request(keymoat.address(), "GET", target, headers);
    let open = |target: &str, headers: &[(&str, &str)]| open_websocket(keymoat.address(), target, headers).0;
    let alone = format!("api-key.{OLD}");
    let beside = format!("keymoat.v1, api-key.{OLD}");
    let in_url = |path: &str| format!("{path}?api_key={OLD}");

    assert_eq!(status(&get("/api/events", &[("X-API-Key", OLD)])), 200);
    assert_eq!(status(&get("/api/events", &[("X-API-Key", "k2")])), 200);
    let answer = get(&in_url("/api/events"), &[]);
    assert!(status(&answer) == 200 && answer.contains("deprecation: @"), "{answer}");
    assert!(open(&in_url("/ws/events"), &[]).starts_with("HTTP/1.1 101 "));
    let head = open("/ws/events", &[("Sec-WebSocket-Protocol", &alone)]);
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(&format!("sec-websocket-protocol: {alone}")), "{head}");

    let head = open("/ws/events", &[("Sec-WebSocket-Protocol", &beside)]);
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-protocol: keymoat.v1"), "{head}");
    assert!(open("/ws/events", &[("X-API-Key", OLD)]).starts_with("HTTP/1.1 101 "));

    assert_eq!(status(&get("/api/events", &[])), 401);
    assert_eq!(status(&get("/api/events", &[("X-API-Key", "an-unknown-key-of-nobody")])), 401);
    // The emulator has no health page; what counts is that nobody asks for a key.
    assert_eq!(status(&get("/health", &[])), 404);

    keymoat.signal(rustix::process::Signal::TERM);
    assert!(keymoat.wait().success());
    let output = keymoat.output();
    assert!(output.contains("keys in URLs still work on `events`, because API_KEYS is set"), "{output}");
    assert!(output.contains("2 of the 2 keys in API_KEYS"), "{output}");
    assert!(!output.contains(OLD) && !output.contains(&emulated.key()), "a key was written");
    let (_, stdout, _) = crate::harness::told(&keymoat.folder.run(&["key", "list", "--json"]));
    assert_eq!(stdout.trim(), "[]", "none of the keys was stored");
}

#[test]
fn keys_in_urls_end_with_the_backends_own_switch_and_pages_are_those_it_lists() {
    let emulated = Emulated::start();
    let further = [("API_KEY_QUERY_PARAM_ENABLED", "false"), ("CORS_ORIGINS", "[\"http://localhost:5173\"]")];
    let keymoat = start(&emulated, &further);
    let get = |target: &str, headers: &[(&str, &str)]| request(keymoat.address(), "GET", target, headers);
    let answer = get(&format!("/api/events?api_key={OLD}"), &[]);
    assert!(status(&answer) == 401 && answer.contains("credential_in_query"), "{answer}");
    let answer = get("/api/events", &[("X-API-Key", OLD), ("Origin", "http://localhost:5173")]);
    assert!(answer.contains("access-control-allow-origin: http://localhost:5173"), "{answer}");
    assert_eq!(status(&get("/api/events", &[("X-API-Key", OLD), ("Origin", "https://evil.example")])), 403);
}
