//! `keymoat explain`: what it names, and that nothing of what is pasted comes out.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::harness::{Folder, told};

/// The credential that must come out nowhere.
const CANARY: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";

fn explained(arguments: &[&str], input: &str) -> Output {
    let folder = Folder::new();
    let mut command = folder.command(&[&["explain"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("it starts");
    // Whoever refuses its arguments does not read.
    let _ = running.stdin.take().expect("a pipe").write_all(input.as_bytes());
    running.wait_with_output().expect("it ends")
}

fn found(input: &str) -> (Value, BTreeSet<String>) {
    let (code, stdout, stderr) = told(&explained(&["--json"], input));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let told: Value = serde_json::from_str(&stdout).expect("JSON");
    let ids = told["found"].as_array().expect("a list").iter();
    let ids = ids.map(|one| one["id"].as_str().expect("a text").to_owned()).collect();
    (told, ids)
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// An app that tries three ways with an ephemeral token, and what it got.
const THREE_ATTEMPTS: &str = "\
token = client.auth_tokens.create(config={'uses': 1, 'http_options': {'api_version': 'v1alpha'}}).name
// in the app, React Native; the token is authTokens/CANARY
const base = 'wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent';
new WebSocket(`${base}?key=${encodeURIComponent(token)}`);
new WebSocket(base, [], { headers: { Authorization: `Bearer ${token}` } });
new WebSocket(base, [], { headers: { 'x-goog-api-key': token } });
Error: Method doesn't allow unregistered callers (callers without established identity).
Error: API key not valid. Please pass a valid API key.
";

#[test]
fn the_three_attempts_are_told_with_their_lines_and_what_to_send_instead() {
    let (told, ids) = found(&THREE_ATTEMPTS.replace("CANARY", CANARY));
    let expected = [
        "token-as-key",
        "plain-method",
        "bearer-at-google",
        "token-spelling",
        "unregistered-callers",
        "api-key-not-valid",
    ];
    assert_eq!(ids, set(&expected));
    let of = |id: &str| told["found"].as_array().and_then(|all| all.iter().find(|one| one["id"] == id)).expect("found");
    assert_eq!(of("token-as-key")["lines"], serde_json::json!([4, 6]));
    assert_eq!(of("bearer-at-google")["lines"], serde_json::json!([5]));
    assert_eq!(of("plain-method")["lines"], serde_json::json!([3]));
    let instead = &told["instead"][0];
    assert_eq!((&instead["id"], told["instead"].as_array().map(Vec::len)), (&"gemini-token".into(), Some(1)));
    for client in ["browser", "react_native", "python", "curl"] {
        assert!(instead[client].as_str().is_some_and(|code| code.contains("token")), "{client}");
    }
    assert!(
        instead["react_native"]
            .as_str()
            .is_some_and(|code| code.contains("Constrained") && code.contains("`Token ${token}`"))
    );
}

#[test]
fn a_backend_with_keys_in_urls_and_lone_subprotocols() {
    let text = "curl \"https://localhost:8000/api/events?api_key=$API_KEY\"\n\
                const a = new WebSocket('ws://cameras.example:8000/ws/events?api_key=your-api-key');\n\
                const b = new WebSocket('ws://localhost:8000/ws/events', ['api-key.your-api-key']);\n";
    let (told, ids) = found(text);
    assert_eq!(ids, set(&["key-in-url", "plain-text", "lone-subprotocol"]));
    assert_eq!(told["found"][0]["lines"], serde_json::json!([1, 2]));
    assert_eq!(told["instead"][0]["id"], "key");
}

#[test]
fn nothing_of_what_is_pasted_comes_out() {
    let b64 = "Wms3UXcyTHI5VG5YYjRWbThQY1lkNkhzM0pmR2ExVWU";
    let pastes = [
        THREE_ATTEMPTS.replace("CANARY", CANARY),
        format!("https://h.example/{CANARY}?api_key={CANARY}&key={CANARY}&{CANARY}={CANARY}"),
        format!("wss://{CANARY}:{CANARY}@{CANARY}.example/?access_token={CANARY}"),
        format!("Authorization: {CANARY} {CANARY}\nX-API-Key: {CANARY}\nx-{CANARY}: {CANARY}"),
        format!("new WebSocket('ws://{CANARY}.example', ['api-key.{CANARY}', '{CANARY}'])"),
        format!("Sec-WebSocket-Protocol: keymoat.token.{b64}, api-key.{CANARY}/="),
        format!("4001 credential_invalid: {CANARY}\nIncorrect API key provided: {CANARY}\nclosed 1006 {CANARY}"),
        format!("{{\"name\":\"Authorization\",\"value\":\"Basic {CANARY}\"}} km_{CANARY} api_key%3D{CANARY}"),
        format!("nothing but {CANARY}"),
    ];
    for paste in &pastes {
        for arguments in [&[][..], &["--json"]] {
            let (_, stdout, stderr) = told(&explained(arguments, paste));
            let all = format!("{stdout}{stderr}");
            for part in [CANARY, &CANARY[..10], &CANARY[22..], b64, &b64[..12]] {
                assert!(!all.to_lowercase().contains(&part.to_lowercase()), "{part} of {paste} in {all}");
            }
        }
    }
}

#[test]
fn what_fails_is_no_argument_and_is_not_repeated() {
    for argument in [format!("https://h.example/?api_key={CANARY}"), CANARY.to_owned(), format!("Bearer {CANARY}")] {
        let (code, stdout, stderr) = told(&explained(&[&argument], ""));
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert!(stderr.contains("standard input") && !stderr.contains(CANARY), "{stderr}");
    }
    let (code, _, stderr) = told(&explained(&["a", CANARY], ""));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("standard input") && !stderr.contains(CANARY), "{stderr}");
}

#[test]
fn what_is_not_known_ends_with_1_and_says_what_to_paste() {
    let (code, stdout, stderr) = told(&explained(&[], "it does not work"));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("close code"), "{stderr}");
    let (code, stdout, _) = told(&explained(&["--json"], ""));
    assert_eq!(code, Some(1));
    assert_eq!(serde_json::from_str::<Value>(&stdout).expect("JSON")["found"], serde_json::json!([]));
}

#[test]
fn a_refusal_of_keymoat_is_told_with_its_page() {
    let folder = Folder::new();
    let file =
        folder.write("failed.txt", "close 4001 credential_in_query: long-lived key in query parameter `api_key`\n");
    let (code, stdout, stderr) = told(&folder.run(&["explain", file.to_str().expect("text")]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("credential_in_query (line 1), a refusal of Keymoat\n"), "{stdout}");
    assert!(stdout.contains("A long-lived key came in the URL.") && stdout.contains("React Native"), "{stdout}");
}
