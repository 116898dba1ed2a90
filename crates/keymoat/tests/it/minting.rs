//! Tokens with the real binary: minted with a key of the file, spent, kept over a restart, and revoked from elsewhere.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keymoat_core::UnixMillis;
use keymoat_store::Store;
use rustix::process::Signal;

use crate::harness::{Emulated, Folder, Keymoat, open_websocket, post, request, status};

const LIVE: &str = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained";
const KEY: &str = "the-key-of-the-backend-1";

fn configured(emulated: &Emulated) -> Arc<Folder> {
    let folder = Folder::new();
    folder.write("gemini", &emulated.key());
    folder.write("backend_key", KEY);
    let text = format!(
        "[tls]\nmode = \"disabled\"\n[upstream.gemini]\npreset = \"gemini\"\nurl = \"{}\"\nsecret = \"${{file:gemini}}\"\n\
         [key.backend]\nsecret = \"${{file:backend_key}}\"\nscopes = [\"voice\", \"mint\"]\n\
         [route.voice]\nupstream = \"gemini\"\ntokens = {{ uses_max = 10, live_max = \"30m\" }}\n",
        emulated.url()
    );
    folder.write("keymoat.toml", &text);
    folder.into()
}

fn minted(keymoat: &Keymoat, body: &str) -> String {
    let answer = post(keymoat.address(), "/v1alpha/auth_tokens", ("x-goog-api-key", KEY), body);
    assert_eq!(status(&answer), 200, "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    body["name"].as_str().expect("a name").to_owned()
}

/// Opens Live with a token, sends a setup, and gives the first frame's opcode and text.
fn live(keymoat: &Keymoat, token: &str) -> (TcpStream, u8, String) {
    let (head, mut stream) = open_websocket(keymoat.address(), LIVE, &[("Authorization", &format!("Token {token}"))]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let setup = br#"{"setup":{"model":"models/gemini-2.5-flash-native-audio"}}"#;
    let length = u8::try_from(setup.len()).expect("short");
    stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0][..], setup].concat()).expect("sent");
    let (opcode, text) = frame(&mut stream);
    (stream, opcode, text)
}

fn frame(stream: &mut TcpStream) -> (u8, String) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    assert!(head[1] < 126, "a short one");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).expect("a payload");
    (head[0] & 0x0F, String::from_utf8_lossy(&payload).into_owned())
}

#[test]
fn a_token_minted_with_a_key_of_the_file_is_bounded_by_the_route_and_outlives_a_restart() {
    let emulated = Emulated::start();
    let folder = configured(&emulated);
    let mut keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    for body in [r#"{"uses":11}"#, r#"{"uses":0}"#, r#"{"expireTime":"2040-01-01T00:00:00Z"}"#] {
        let answer = post(keymoat.address(), "/v1beta/auth_tokens", ("x-goog-api-key", KEY), body);
        assert_eq!(status(&answer), 400, "{body}: {answer}");
    }
    let token = minted(&keymoat, r#"{"uses":2}"#);
    let (session, opcode, text) = live(&keymoat, &token);
    assert!(opcode == 2 && text.contains("setupComplete"), "{text}");
    drop(session);
    assert_eq!(status(&request(keymoat.address(), "GET", "/v1beta/models", &[("x-goog-api-key", &token)])), 403);
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    let canonical = token.strip_prefix("auth_tokens/").expect("its spelling").to_owned();
    assert!(!keymoat.output().contains(&canonical));

    let keymoat = Keymoat::in_folder(folder, &[], &[]);
    let (_session, opcode, _) = live(&keymoat, &token);
    assert_eq!(opcode, 2, "the second use");
    let (_, opcode, text) = live(&keymoat, &token);
    assert!(opcode == 8 && text.contains("token_used_up"), "{text}");
    let line = keymoat.wait_for_line("token_used_up");
    let record: serde_json::Value = serde_json::from_str(&line).expect("a record is JSON");
    assert!(record["token_id"].as_str().is_some_and(|id| id.starts_with("tok_")), "{line}");
    assert_eq!(record["key_id"], "file_backend");
}

#[test]
fn a_token_that_another_process_revokes_ends_within_2_s() {
    let emulated = Emulated::start();
    let folder = configured(&emulated);
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    let token = minted(&keymoat, "{}");
    let (mut session, opcode, _) = live(&keymoat, &token);
    assert_eq!(opcode, 2);
    let store = Store::open(&folder.path().join(".keymoat")).expect("the same store");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = UnixMillis(i64::try_from(since).expect("a time"));
    let kept = store.tokens(None, now).expect("the store answers");
    let began = Instant::now();
    store.revoke_token(&kept[0].token.id, now).expect("revoked");
    let (opcode, text) = frame(&mut session);
    assert!(opcode == 8 && text.contains("credential_revoked"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(2));
    keymoat.wait_for_line("sessions end whose token is revoked");
}
