//! `keymoat serve`: starting, the first run, revocation, and the end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keymoat_gateway::tls::client;
use rustix::process::Signal;

use crate::harness::{Folder, Keymoat, PATIENCE, request, told};

/// Opens an event stream of `count` events and reads its first one.
fn event_stream(keymoat: &Keymoat, key: &str, count: u32) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(keymoat.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let head = format!(
        "GET /demo/sse?count={count} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("data:") {
        line.clear();
        assert!(reader.read_line(&mut line).expect("it answers") > 0, "no event");
    }
    reader
}

fn rest_of(mut stream: BufReader<TcpStream>) -> String {
    let mut rest = Vec::new();
    // A stream that is cut off may end with a reset; what arrived before counts.
    let _ = stream.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}

/// Asks until the answer starts with `status`.
fn until_answered(keymoat: &Keymoat, key: &str, status: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = request(keymoat.address(), "GET", "/api/events", &[("X-API-Key", key)]);
        if answer.starts_with(&format!("HTTP/1.1 {status}")) {
            return;
        }
        assert!(Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_first_run_serves_every_built_in_route_and_shows_no_key() {
    let mut keymoat = Keymoat::first_run();
    let key = keymoat.demo_key();
    for field in ["gateway", "gateway_tls", "ca_file", "demo_key_file"] {
        assert!(keymoat.ready[field].is_string(), "{field}");
    }
    assert!(keymoat.ready["admin"].is_string() && keymoat.ready["pid"].is_u64());
    for (target, header) in
        [("/api/events", "X-API-Key"), ("/v1beta/models", "x-goog-api-key"), ("/demo/echo", "api-key")]
    {
        let answer = request(keymoat.address(), "GET", target, &[(header, &key)]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        assert!(!answer.contains(&key), "{target} shows the key");
    }
    let echo = request(keymoat.address(), "GET", "/demo/echo?x=1", &[("X-API-Key", &key), ("X-Goog-Api-Key", &key)]);
    assert!(echo.contains("\"credential\":\"valid\"") && echo.contains("\"query\":\"x=1\""), "{echo}");
    assert!(!echo.contains("goog"), "both copies are stripped: {echo}");
    let refused = request(keymoat.address(), "GET", &format!("/api/events?api_key={key}"), &[]);
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.contains("credential_in_query"), "{refused}");

    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    let output = keymoat.output();
    assert!(!output.contains(&key) && !output.contains("emulator-"), "a secret was written");
    let records: Vec<serde_json::Value> = output
        .lines()
        .filter(|line| line.contains("\"event\":\"request\""))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(records.len(), 5, "one record a request: {output}");
    assert_eq!(records[0]["carrier"], "header:x-api-key");
    assert_eq!((&records[4]["code"], &records[4]["outcome"]), (&"credential_in_query".into(), &"refused".into()));
}

#[test]
fn the_store_is_private_and_the_demo_key_outlives_a_restart() {
    let mut keymoat = Keymoat::first_run();
    let key = keymoat.demo_key();
    let mode = |path: &str| {
        std::fs::metadata(keymoat.folder.path().join(path)).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!((mode(".keymoat"), mode(".keymoat/demo.key"), mode(".keymoat/keymoat.db")), (0o700, 0o600, 0o600));
    keymoat.signal(Signal::INT);
    assert!(keymoat.wait().success());
    let again = Keymoat::in_folder(Arc::clone(&keymoat.folder), &[], &[]);
    assert_eq!(again.demo_key(), key);
    until_answered(&again, &key, "200");
}

#[test]
fn what_is_printed_for_people_works_and_holds_no_secret() {
    let folder = Folder::new();
    let mut child = folder
        .command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "human"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut text = String::new();
    while !text.contains("Ctrl-C ends it.") {
        assert!(reader.read_line(&mut text).expect("it tells") > 0, "{text}");
    }
    let curls: Vec<&str> =
        text.lines().map(str::trim).filter(|line| line.starts_with("curl -H") || line.starts_with("curl \"")).collect();
    let answers: Vec<String> = curls
        .iter()
        .map(|line| {
            let output =
                std::process::Command::new("sh").args(["-c", &format!("{line} -s")]).output().expect("a shell");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .collect();
    child.kill().expect("ours");
    let output = child.wait_with_output().expect("ours");
    let key = std::fs::read_to_string(folder.path().join(".keymoat/demo.key")).expect("the demo key");
    assert_eq!(answers.len(), 2, "{text}");
    assert!(answers[0].contains("event_id"), "{}", answers[0]);
    assert!(answers[1].contains("credential_in_query"), "{}", answers[1]);
    assert!(!text.contains(key.trim()) && !String::from_utf8_lossy(&output.stderr).contains(key.trim()));
}

#[test]
fn a_revoked_key_is_refused_and_its_sessions_end() {
    let keymoat = Keymoat::first_run();
    let (code, stdout, stderr) = told(&keymoat.folder.run(&["key", "create", "visitor"]));
    assert_eq!(code, Some(0), "{stderr}");
    let key = stdout.trim();
    until_answered(&keymoat, key, "200");
    let stream = event_stream(&keymoat, key, 100_000);
    let (code, _, stderr) = told(&keymoat.folder.run(&["key", "revoke", "visitor"]));
    assert_eq!(code, Some(0), "{stderr}");
    until_answered(&keymoat, key, "401");
    rest_of(stream);
    keymoat.wait_for_line("the key is revoked");
    until_answered(&keymoat, &keymoat.demo_key(), "200");
    assert!(!keymoat.output().contains(key));
}

#[test]
fn nobody_is_let_in_while_the_store_cannot_be_read() {
    let keymoat = Keymoat::first_run();
    let until_ready = |status: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !request(keymoat.address(), "GET", "/keymoat/readyz", &[]).starts_with(&format!("HTTP/1.1 {status} ")) {
            assert!(Instant::now() < deadline, "never {status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until_ready("200");
    let (file, moved) = (".keymoat/keymoat.db", ".keymoat/moved.db");
    let at = |name: &str| keymoat.folder.path().join(name);
    std::fs::rename(at(file), at(moved)).expect("moved");
    until_ready("503");
    until_answered(&keymoat, &keymoat.demo_key(), "503");
    std::fs::rename(at(moved), at(file)).expect("moved back");
    until_ready("200");
    until_answered(&keymoat, &keymoat.demo_key(), "200");
}

#[test]
fn h100_a_signal_lets_what_runs_come_to_its_end() {
    let mut keymoat = Keymoat::first_run();
    let stream = event_stream(&keymoat, &keymoat.demo_key(), 6);
    keymoat.signal(Signal::TERM);
    keymoat.wait_for_line("draining");
    let rest = rest_of(stream);
    assert_eq!(rest.matches("data:").count(), 5, "{rest}");
    assert!(keymoat.wait().success());
    keymoat.wait_for_line("\"message\":\"ended\"");
}

#[test]
fn h100_a_second_signal_ends_at_once() {
    let mut keymoat = Keymoat::first_run();
    let stream = event_stream(&keymoat, &keymoat.demo_key(), 100_000);
    keymoat.signal(Signal::TERM);
    keymoat.wait_for_line("draining");
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    rest_of(stream);
}

#[test]
fn the_drain_is_as_long_as_the_configuration_says() {
    let folder = Folder::new();
    let mut keymoat = Keymoat::in_folder(folder.into(), &[], &[("KEYMOAT__LIMITS__DRAIN", "100ms")]);
    let stream = event_stream(&keymoat, &keymoat.demo_key(), 100_000);
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    rest_of(stream);
}

#[test]
fn a_configuration_is_served_with_a_key_from_the_store() {
    let emulator = Keymoat::first_run();
    // Any HTTP service is an upstream; another Keymoat is one that checks the key it gets.
    let folder = Folder::new();
    folder.write("upstream.key", &emulator.demo_key());
    let text = format!(
        "[tls]\nmode = \"disabled\"\n[upstream.events]\nurl = \"http://{}\"\nsecret = \"${{file:upstream.key}}\"\n\
         inject = \"header:X-API-Key\"\n[route.events]\nupstream = \"events\"\npaths = [\"/api/*\"]\n",
        emulator.address()
    );
    folder.write("keymoat.toml", &text);
    let (_, stdout, _) = told(&folder.run(&["key", "create", "client", "--scope", "events"]));
    let keymoat = Keymoat::in_folder(folder.into(), &[], &[]);
    assert!(keymoat.ready["gateway_tls"].is_null() && keymoat.ready["demo_key_file"].is_null());
    let answer =
        request(keymoat.address(), "GET", "/api/events", &[("Authorization", &format!("Bearer {}", stdout.trim()))]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let unknown = request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", stdout.trim())]);
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
}

#[test]
fn an_upstream_that_is_down_is_told_and_survived() {
    // A port that was free a moment ago, with nobody behind it.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let text = format!(
        "[upstream.x]\nurl = \"http://{nobody}\"\n[route.x]\nupstream = \"x\"\npaths = [\"/*\"]\n[log]\nlevel = \"trace\"\n"
    );
    let keymoat = Keymoat::configured(&text);
    let (_, stdout, _) = told(&keymoat.folder.run(&["key", "create", "client"]));
    until_answered(&keymoat, stdout.trim(), "503");
    let record = keymoat.wait_for_line("\"status\":503");
    assert!(record.contains("\"outcome\":\"failed\""), "{record}");
    assert!(!keymoat.output().contains(stdout.trim()), "even at trace no key is written");
}

#[test]
fn the_tls_port_presents_a_certificate_of_the_authority_that_is_told() {
    let keymoat = Keymoat::first_run();
    let ca_file = std::path::PathBuf::from(keymoat.ready["ca_file"].as_str().expect("a file"));
    let config = client::config(Some(&ca_file), client::Alpn::Http1).expect("it is an authority");
    for name in ["127.0.0.1", "localhost"] {
        let session = rustls::ClientConnection::new(Arc::clone(&config), name.try_into().expect("a name"));
        let socket = TcpStream::connect(keymoat.address_tls()).expect("it listens");
        let mut stream = rustls::StreamOwned::new(session.expect("a session"), socket);
        let head = format!("GET /keymoat/livez HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the certificate is trusted");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("it answers");
        assert_eq!(answer, "HTTP/1.1 200 OK\r\n");
    }
}

#[test]
fn a_preset_takes_its_secret_from_standard_input() {
    let folder: Arc<Folder> = Folder::new().into();
    let secret = folder.write("secret", "canary-of-the-provider\n");
    let mut command =
        folder.command(&["serve", "--json", "--listen", "127.0.0.1:0", "--preset", "gemini", "--secret-file", "-"]);
    command.stdin(std::fs::File::open(secret).expect("it is there"));
    let mut keymoat = Keymoat::spawn(folder, command);
    let answer = request(keymoat.address(), "GET", "/v1beta/models", &[]);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    keymoat.signal(Signal::TERM);
    assert!(keymoat.wait().success());
    assert!(!keymoat.output().contains("canary"));
}

#[test]
fn a_taken_port_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, stdout, stderr) = told(&Folder::new().run(&["serve", "--json", "--listen", &address]));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains(&format!("{address} is taken")) && stderr.contains("--listen 127.0.0.1:0"), "{stderr}");
}

#[test]
fn plain_text_beyond_loopback_is_refused() {
    let (code, _, stderr) = told(&Folder::new().run(&["serve", "--listen", "0.0.0.0:0"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--listen") && stderr.contains("beyond loopback"), "{stderr}");
}
