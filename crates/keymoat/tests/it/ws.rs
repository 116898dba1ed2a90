//! `keymoat ws` against the real gateway and the emulators behind it.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;

use crate::harness::{Folder, Keymoat, told};

type Told = (Option<i32>, String, String);

/// Talks, with these lines on standard input; nothing that comes out holds the key.
fn talk(keymoat: &Keymoat, arguments: &[&str], input: &str) -> Told {
    let key = keymoat.demo_key();
    let file = keymoat.ready["demo_key_file"].as_str().expect("a first run has one");
    let all = [&["ws", "--secret-file", file, "--wait", "1"], arguments].concat();
    let told = spoken(&keymoat.folder, &all, input);
    assert!(!format!("{told:?}").contains(&key[..20]), "{told:?}");
    told
}

fn spoken(folder: &Folder, arguments: &[&str], input: &str) -> Told {
    let mut command = folder.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("it starts");
    // Whoever is refused does not read.
    let _ = running.stdin.take().expect("a pipe").write_all(input.as_bytes());
    told(&running.wait_with_output().expect("it ends"))
}

fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

const ECHO: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
const SETUP: &str = "{\"setup\":{\"model\":\"models/gemini-2.0-flash-exp\"}}\n";

#[test]
fn every_carrier_reaches_the_api_and_answers_are_printed() {
    let keymoat = Keymoat::first_run();
    let url = format!("ws://{}{ECHO}", keymoat.address());
    for carrier in ["bearer", "token", "subprotocol", "header:x-goog-api-key"] {
        let (code, stdout, stderr) = talk(&keymoat, &[&url, "--carrier", carrier], SETUP);
        assert_eq!(code, Some(0), "{carrier}: {stderr}");
        assert!(stdout.contains("setupComplete"), "{carrier}: {stdout}");
        assert!(stderr.starts_with("open: 101, ") && stderr.ends_with("close: closed here\n"), "{carrier}: {stderr}");
        assert_eq!(stderr.contains("selected subprotocol: keymoat.v1"), carrier == "subprotocol", "{stderr}");
    }
    let (code, stdout, _) = talk(&keymoat, &[&url, "--json", "--binary"], SETUP);
    let events = events(&stdout);
    assert_eq!(code, Some(0), "{stdout}");
    assert_eq!(events[0], serde_json::json!({"event": "open", "status": 101, "subprotocol": null}));
    assert!(events[1]["data"].as_str().is_some_and(|data| data.contains("setupComplete")), "{stdout}");
    assert_eq!(events.last().expect("an end")["event"], "close");
    let output = keymoat.output();
    assert!(!output.contains("key="), "nothing came in a URL: {output}");
}

#[test]
fn tls_with_an_own_authority() {
    let keymoat = Keymoat::first_run();
    let ca = keymoat.ready["ca_file"].as_str().expect("it has one").to_owned();
    let url = format!("wss://{}{ECHO}", keymoat.address_tls());
    let (code, stdout, stderr) = talk(&keymoat, &[&url, "--ca", &ca], SETUP);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("setupComplete"), "{stdout}");
    let (code, stdout, stderr) = talk(&keymoat, &[&url], SETUP);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("--ca"), "{stderr}");
}

#[test]
fn a_refusal_is_told_with_code_reason_and_a_hint() {
    let keymoat = Keymoat::first_run();
    let url = format!("ws://{}{ECHO}", keymoat.address());
    let (code, stdout, stderr) = spoken(&keymoat.folder, &["ws", &url], SETUP);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("close: 1007 credential_missing: ") && stderr.contains("hint: "), "{stderr}");
    assert!(stderr.ends_with("keymoat: closed with 1007\n"), "{stderr}");
    let (code, stdout, _) = spoken(&keymoat.folder, &["ws", &url, "--json"], SETUP);
    assert_eq!(code, Some(1));
    assert_eq!(events(&stdout).last().expect("an end")["code"], 1007);
    let other = format!("ws://{}/no/such/route", keymoat.address());
    let (code, stdout, stderr) = talk(&keymoat, &[&other, "--json"], "");
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("route_unknown"), "{stdout}");
}

#[test]
fn the_credential_may_come_on_standard_input_and_messages_are_printed_until_it_is_quiet() {
    let keymoat = Keymoat::first_run();
    let url = format!("ws://{}/ws/events", keymoat.address());
    let arguments = ["ws", &url, "--secret-file", "-", "--json", "--origin", "http://localhost", "--wait", "0"];
    let (code, stdout, stderr) = spoken(&keymoat.folder, &arguments, &keymoat.demo_key());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert_eq!(events(&stdout)[0]["event"], "open");
    assert!(!stdout.contains(&keymoat.demo_key()));
}

#[test]
fn a_credential_in_the_url_or_as_an_argument_is_refused_and_not_repeated() {
    const CANARY: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";
    let folder: Arc<Folder> = Folder::new().into();
    for url in [
        format!("wss://h.example/ws?api_key={CANARY}"),
        format!("wss://{CANARY}@h.example/ws"),
        format!("ws://h.example/{CANARY}"),
    ] {
        let (code, stdout, stderr) = spoken(&folder, &["ws", &url], "");
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert!(!stderr.contains(CANARY), "{stderr}");
    }
    let (code, _, stderr) = spoken(&folder, &["ws", "wss://h.example/", CANARY], "");
    assert!(code == Some(2) && stderr.contains("--secret-file") && !stderr.contains(CANARY), "{stderr}");
    let (code, _, stderr) = spoken(&folder, &["ws", &format!("wss://h.example/?api_key={CANARY}")], "");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("`api_key`") && stderr.contains("--secret-file"), "{stderr}");
}

/// Listens, refuses one opening over HTTP with the credential in its answer, and gives the port.
fn echoing(answer: impl FnOnce(&str) -> String + Send + 'static) -> u16 {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
            head.push(byte[0]);
        }
        stream.write_all(answer(&String::from_utf8_lossy(&head)).as_bytes()).expect("it reads");
    });
    port
}

#[test]
fn what_a_server_repeats_of_the_credential_is_masked() {
    const CANARY: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";
    let folder = Folder::new();
    let file = folder.write("key", CANARY);
    let file = file.to_str().expect("text");
    for json in [&[][..], &["--json"]] {
        let port = echoing(|head| {
            let body = format!("you sent {head}");
            format!("HTTP/1.1 401 No\r\nX-Sent: {CANARY}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        });
        let url = format!("ws://127.0.0.1:{port}/");
        let (code, stdout, stderr) = spoken(&folder, &[&["ws", &url, "--secret-file", file], json].concat(), "");
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("refused with 401"), "{stderr}");
        assert!(format!("{stdout}{stderr}").contains("[redacted]"), "it was repeated: {stdout}{stderr}");
        assert!(!format!("{stdout}{stderr}").contains(CANARY), "{stdout}{stderr}");
    }
    // A server that selects the entry with the credential.
    let port = echoing(|head| {
        let line = |name: &str| {
            let found = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).expect("it is sent");
            found.split_once(": ").expect("a header").1.to_owned()
        };
        let accept = accept_key(&line("sec-websocket-key"));
        let offered = line("sec-websocket-protocol");
        let credential = offered.rsplit(", ").next().expect("an entry");
        format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
             Sec-WebSocket-Protocol: {credential}\r\n\r\n"
        )
    });
    let url = format!("ws://127.0.0.1:{port}/");
    let arguments = ["ws", &url, "--secret-file", file, "--carrier", "subprotocol"];
    let (code, stdout, stderr) = spoken(&folder, &arguments, "");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("selected subprotocol: api-key.[redacted]"), "{stderr}");
    assert!(!format!("{stdout}{stderr}").contains(CANARY), "{stdout}{stderr}");
}

fn accept_key(key: &str) -> String {
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes())
}
