//! The way off keys in URLs, against the binary: overrides hold in a running gateway, and days end what they say.

mod fleet;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::harness::{Emulated, Folder, Keymoat, PATIENCE, open_websocket, request, status, told};

/// A gateway with a route that warns of keys in URLs, one that allows them, and one that refuses them.
pub(crate) struct Stand {
    pub(crate) keymoat: Keymoat,
    _emulated: Emulated,
}

impl Stand {
    pub(crate) fn start(further: &str) -> Self {
        let emulated = Emulated::start();
        let folder = Folder::new();
        folder.write("upstream.key", &emulated.key());
        let text = format!(
            "[tls]\nmode = \"disabled\"\n[upstream.api]\nurl = \"{}\"\nsecret = \"${{file:upstream.key}}\"\n\
             inject = \"header:X-API-Key\"\n[route.strict]\nupstream = \"api\"\npaths = [\"/ws/*\"]\n\
             [route.lenient]\nupstream = \"api\"\npaths = [\"/api/*\"]\nquery = \"allow\"\n\
             [route.old]\nupstream = \"api\"\npaths = [\"/demo/*\"]\nquery = \"warn\"\n{further}",
            emulated.url()
        );
        folder.write("keymoat.toml", &text);
        Self { keymoat: Keymoat::in_folder(folder.into(), &[], &[]), _emulated: emulated }
    }

    pub(crate) fn key(&self, name: &str) -> String {
        let (code, stdout, stderr) = self.run(&["key", "create", name]);
        assert_eq!(code, Some(0), "{stderr}");
        stdout.trim().to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        told(&self.keymoat.folder.run(arguments))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let (code, stdout, stderr) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        serde_json::from_str(&stdout).expect("JSON")
    }

    pub(crate) fn get(&self, target: &str, headers: &[(&str, &str)]) -> String {
        request(self.keymoat.address(), "GET", target, headers)
    }

    pub(crate) fn by_url(&self, path: &str, key: &str) -> u16 {
        status(&self.get(&format!("{path}?api_key={key}"), &[]))
    }

    pub(crate) fn until(&self, path: &str, key: &str, expected: u16) {
        let deadline = Instant::now() + PATIENCE;
        while self.by_url(path, key) != expected {
            assert!(Instant::now() < deadline, "it does not come about:\n{}", self.keymoat.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn echoes(socket: &mut TcpStream, text: &str) -> bool {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("short"), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    socket.write_all(&frame).expect("it is open");
    let mut answer = vec![0; 2 + text.len()];
    socket.read_exact(&mut answer).is_ok() && answer.ends_with(text.as_bytes())
}

#[test]
fn an_override_holds_in_a_running_gateway_within_a_second_and_no_session_ends() {
    let stand = Stand::start("");
    let key = stand.key("camera");
    stand.until("/demo/echo", &key, 200);
    let (head, mut socket) = open_websocket(stand.keymoat.address(), &format!("/demo/ws?api_key={key}"), &[]);
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("deprecation: @"), "{head}");
    let (code, stdout, stderr) = stand.run(&["sunset", "enforce", "--route", "old", "--yes"]);
    let enforced = Instant::now();
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("[route.old]\nquery = \"tokens\"\n"), "the lines that make it permanent: {stdout}");
    stand.until("/demo/echo", &key, 401);
    assert!(enforced.elapsed() < Duration::from_secs(1), "{:?}", enforced.elapsed());
    assert!(echoes(&mut socket, "still here"));
    assert_eq!(stand.by_url("/api/events", &key), 200, "the other route takes keys as before");
    assert_eq!(status(&stand.get("/demo/echo", &[("X-API-Key", &key)])), 200);

    let (_, shown, _) = stand.run(&["config", "show"]);
    let line = shown.lines().find(|line| line.starts_with("query = \"tokens\"") && line.contains("override"));
    assert!(line.is_some_and(|line| line.contains("by command") && line.contains("keymoat.toml:")), "{shown}");
    let (code, _, warned) = stand.run(&["check"]);
    assert!(code == Some(0) && warned.contains("overrides route `old`") && warned.contains("--undo"), "{warned}");
    // What is shown is a configuration itself, under which the override does nothing.
    stand.keymoat.folder.write("permanent.toml", &shown);
    let (code, _, warned) = stand.run(&["check", "permanent.toml"]);
    assert!(code == Some(0) && warned.contains("is void"), "{warned}");

    // The override stays over a reload of a file that says otherwise.
    stand.keymoat.signal(rustix::process::Signal::HUP);
    stand.keymoat.wait_for_line("read anew and is in force");
    assert_eq!(stand.by_url("/demo/echo", &key), 401);
    let (code, stdout, stderr) = stand.run(&["sunset", "enforce", "--undo", "--route", "old"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    stand.until("/demo/echo", &key, 200);
    assert!(echoes(&mut socket, "still here"));
}

#[test]
fn a_day_ends_keys_in_urls_by_itself_and_is_told_of_once() {
    let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs() + 4;
    let day = keymoat_core::UnixMillis(i64::try_from(soon * 1000).expect("a time"));
    let mut text = String::new();
    day.write_with_millis(&mut text);
    let stand = Stand::start(&format!("sunset = {text}\n"));
    let key = stand.key("camera");
    stand.until("/demo/echo", &key, 200);
    assert!(stand.get(&format!("/demo/echo?api_key={key}"), &[]).contains("sunset: "));
    // Nobody does anything.
    stand.until("/demo/echo", &key, 401);
    stand.keymoat.wait_for_line("have come to their end");
    let refused = stand.get(&format!("/demo/echo?api_key={key}"), &[]);
    assert!(refused.contains("sunset: ") && refused.contains("credential_in_query"), "{refused}");
    let status = stand.json(&["sunset", "status"]);
    let old = status["routes"].as_array().expect("a list").iter().find(|route| route["route"] == "old");
    assert_eq!(old.expect("it is listed")["query"], "tokens");
    assert_eq!(stand.keymoat.output().matches("have come to their end").count(), 1);
}

#[test]
fn an_override_to_a_day_is_told_to_clients_until_it_comes() {
    let stand = Stand::start("");
    let key = stand.key("camera");
    stand.until("/demo/echo", &key, 200);
    let enforced = stand.json(&["sunset", "enforce", "--route", "old", "--at", "2099-03-01"]);
    assert_eq!(enforced["routes"][0]["toml"], "[route.old]\nsunset = 2099-03-01T00:00:00.000Z\n");
    let told = || stand.get(&format!("/demo/echo?api_key={key}"), &[]);
    let deadline = Instant::now() + PATIENCE;
    while !told().contains("sunset: Sun, 01 Mar 2099 00:00:00 GMT") {
        assert!(Instant::now() < deadline, "{}", told());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(status(&told()), 200);
    for (arguments, why) in [
        (&["sunset", "enforce", "--at", "1999-03-01"][..], "lies in the past"),
        (&["sunset", "enforce", "--route", "km_canary"], "the routes are lenient, old, strict"),
        (&["sunset", "plan", "--route", "km_canary"], "the routes are lenient, old, strict"),
    ] {
        let (code, stdout, stderr) = stand.run(arguments);
        assert_eq!(code, Some(1), "{stdout}{stderr}");
        assert!(stderr.contains(why) && !stderr.contains("km_canary"), "{stderr}");
    }
}
