//! OpenAI's routes of the real binary: the first run, the preset, and the emulator behind a configured gateway.
//!
//! What OpenAI's own SDKs make of it is for the suites in `tests/sdk/openai`.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Folder, Keymoat, open_websocket, request, told};

const REALTIME: &str = "/v1/realtime?model=gpt-realtime";

/// Reads one unmasked frame: opcode and payload.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut length = usize::from(head[1]);
    if length == 126 {
        let mut long = [0; 2];
        stream.read_exact(&mut long).expect("its length");
        length = u16::from_be_bytes(long).into();
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("its payload");
    (head[0] & 15, payload)
}

fn event(stream: &mut TcpStream) -> Value {
    let (opcode, payload) = frame(stream);
    assert_eq!(opcode, 1, "a text message");
    serde_json::from_slice(&payload).expect("JSON")
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON")
}

#[test]
fn the_first_run_talks_realtime_and_refuses_in_openai_s_form() {
    let mut keymoat = Keymoat::first_run();
    let key = keymoat.demo_key();
    let protocols = format!("realtime, openai-insecure-api-key.{key}");
    let (head, mut stream) = open_websocket(keymoat.address(), REALTIME, &[("Sec-WebSocket-Protocol", &protocols)]);
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-protocol: realtime\r\n"), "{head}");
    assert!(!head.contains(&key), "the key is echoed");
    assert_eq!(event(&mut stream)["type"], "session.created");
    drop(stream);

    let wrong = "km_TestVector0TestVector0TestVector0TestVector02cu8n";
    let protocols = format!("realtime, openai-insecure-api-key.{wrong}");
    let (head, mut stream) = open_websocket(keymoat.address(), REALTIME, &[("Sec-WebSocket-Protocol", &protocols)]);
    assert!(head.contains("sec-websocket-protocol: realtime\r\n") && !head.contains(wrong), "{head}");
    let error = event(&mut stream);
    assert_eq!((&error["type"], &error["error"]["code"]), (&"error".into(), &"credential_invalid".into()));
    let (opcode, close) = frame(&mut stream);
    assert_eq!((opcode, &close[..2]), (8, &3000_u16.to_be_bytes()[..]));
    assert!(close[2..].starts_with(b"credential_invalid: "), "{close:?}");
    drop(stream);

    let bearer = format!("Bearer {key}");
    let answer = request(keymoat.address(), "GET", "/v1/chat/none", &[("Authorization", &bearer)]);
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("\"Invalid URL\""), "{answer}");
    let answer = request(keymoat.address(), "GET", "/v1/realtime/client_secrets", &[("Authorization", &bearer)]);
    assert_eq!(body(&answer)["error"]["code"], "route_unknown");
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    let output = keymoat.output();
    assert!(!output.contains(&key) && !output.contains(wrong), "a key was written");
    assert!(output.contains("\"dialect\":\"openai\"") && output.contains("\"close_code\":3000"), "{output}");
}

#[test]
fn the_preset_serves_openai_s_paths_with_a_secret_from_standard_input() {
    let folder: Arc<Folder> = Folder::new().into();
    let secret = folder.write("secret", "canary-of-the-provider\n");
    let mut command =
        folder.command(&["serve", "--json", "--listen", "127.0.0.1:0", "--preset", "openai", "--secret-file", "-"]);
    command.stdin(std::fs::File::open(secret).expect("it is there"));
    let mut keymoat = Keymoat::spawn(folder, command);
    let answer = request(keymoat.address(), "GET", "/v1/models", &[]);
    let error = &body(&answer)["error"];
    assert!(answer.starts_with("HTTP/1.1 401 ") && error["code"] == "credential_missing", "{answer}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("Authorization: Bearer")), "{answer}");
    let answer = request(keymoat.address(), "GET", "/v1beta/models", &[]);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    assert!(!keymoat.output().contains("canary"));
}

#[test]
fn the_upstream_is_asked_for_its_models_and_the_answer_told() {
    let at: Arc<Folder> = Folder::new().into();
    at.write("key", "sk-made-up-for-tests");
    let arguments = ["emulate", "openai", "--json", "--listen", "127.0.0.1:0", "--secret-file", "key"];
    let emulator = Keymoat::spawn(Arc::clone(&at), at.command(&arguments));
    let url = emulator.ready["emulator"].as_str().expect("an address");
    let folder = Folder::new();
    folder.write(
        "keymoat.toml",
        &format!(
            "[upstream.openai]\npreset = \"openai\"\nurl = \"{url}\"\nsecret = \"${{file:secret}}\"\n\
             [route.openai]\nupstream = \"openai\"\n"
        ),
    );
    for (secret, code, verdict) in
        [("sk-made-up-for-tests", 0, "the upstream takes this key"), ("sk-another", 1, "does not accept this key")]
    {
        folder.write("secret", secret);
        let (exit, stdout, stderr) = told(&folder.run(&["upstream", "test", "openai"]));
        assert_eq!(exit, Some(code), "{stdout}{stderr}");
        assert!(stdout.contains("GET /v1/models was answered with"), "{stdout}");
        assert!(format!("{stdout}{stderr}").contains(verdict), "{stdout}{stderr}");
        assert!(!stdout.contains(secret) && !stderr.contains(secret), "the key is shown");
    }
}
