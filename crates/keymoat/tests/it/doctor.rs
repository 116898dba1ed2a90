//! `keymoat doctor` against the binary: it finds what proxies do, what is written, and what is left open.

mod front;
mod fronts;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Emulated, Folder, Keymoat, told};
use crate::risks::nginx::Nginx;

struct Stand {
    keymoat: Keymoat,
    _emulated: Emulated,
}

impl Stand {
    fn start() -> Self {
        Self::configured("[tls]\nmode = \"disabled\"\n")
    }

    /// As the book has it behind a proxy.
    fn behind_proxy() -> Self {
        Self::configured(fronts::block("toml"))
    }

    /// With these sections in its configuration, and a route.
    fn configured(sections: &str) -> Self {
        let emulated = Emulated::start();
        let folder = Folder::new();
        folder.write("upstream.key", &emulated.key());
        let text = format!(
            "{sections}\n[upstream.api]\nurl = \"{}\"\nsecret = \"${{file:upstream.key}}\"\n\
             inject = \"header:X-API-Key\"\n[route.old]\nupstream = \"api\"\npaths = [\"/demo/*\"]\nquery = \"warn\"\n",
            emulated.url()
        );
        folder.write("keymoat.toml", &text);
        Self { keymoat: Keymoat::in_folder(folder.into(), &[], &[]), _emulated: emulated }
    }

    /// Exit code and checks.
    fn doctor(&self, further: &[&str]) -> (Option<i32>, Value) {
        self.told(&self.command(further).output().expect("the binary runs"))
    }

    fn command(&self, further: &[&str]) -> Command {
        let gateway = format!("http://{}", self.keymoat.address());
        self.keymoat.folder.command(&[&["doctor", "--json", "--gateway", &gateway], further].concat())
    }

    #[expect(clippy::unused_self, reason = "it reads as what this stand was told")]
    fn told(&self, output: &std::process::Output) -> (Option<i32>, Value) {
        let (code, stdout, stderr) = told(output);
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        (code, report["checks"].clone())
    }
}

/// How one check ended.
fn outcome<'a>(checks: &'a Value, id: &str) -> &'a str {
    let found = checks.as_array().expect("a list").iter().find(|check| check["id"] == id);
    found.and_then(|check| check["outcome"].as_str()).unwrap_or("absent")
}

#[test]
fn a_sound_installation_is_well_but_for_what_it_lets_in() {
    let stand = Stand::start();
    let through = format!("http://{}", stand.keymoat.address());
    let (code, checks) = stand.doctor(&["--through", &through]);
    for id in ["D102", "D103", "D104", "D106", "D108", "D109", "D110", "D111", "D112", "D113", "D116"] {
        assert_eq!(outcome(&checks, id), "ok", "{checks:#}");
    }
    assert_eq!((outcome(&checks, "D101"), outcome(&checks, "D107"), code), ("skipped", "warn", Some(1)), "{checks:#}");
    let (code, only) = stand.doctor(&["--only", "d103", "--only", "D106"]);
    assert_eq!((only.as_array().map(Vec::len), code), (Some(2), Some(0)), "{only:#}");
    let (code, ..) = told(&stand.keymoat.folder.run(&["doctor", "--only", "D999"]));
    assert_eq!(code, Some(2));
}

#[test]
fn a_proxy_that_strips_subprotocols_and_one_that_holds_events_back_are_found() {
    let stand = Stand::start();
    let behind = format!("http://{}", stand.keymoat.address());
    let good = Nginx::before(&behind, "proxy_buffering off;");
    let stripping = Nginx::before(&behind, "proxy_buffering off; proxy_set_header Sec-WebSocket-Protocol \"\";");
    let hiding = Nginx::before(&behind, "proxy_buffering off; proxy_hide_header Sec-WebSocket-Protocol;");
    let buffering = Nginx::before(
        &behind,
        "proxy_buffering on; gzip on; gzip_proxied any; gzip_min_length 0; gzip_types text/event-stream;",
    );
    for (proxy, subprotocols, events) in
        [(&good, "ok", "ok"), (&stripping, "fail", "ok"), (&hiding, "fail", "ok"), (&buffering, "ok", "fail")]
    {
        let through = format!("http://{}", proxy.address);
        let (_, checks) = stand.doctor(&["--through", &through, "--only", "D109", "--only", "D110"]);
        assert_eq!((outcome(&checks, "D109"), outcome(&checks, "D110")), (subprotocols, events), "{checks:#}");
    }
}

#[test]
fn the_canary_is_found_in_the_log_of_a_proxy_and_nowhere_of_keymoat() {
    let stand = Stand::start();
    let front = Nginx::before(&format!("http://{}", stand.keymoat.address()), "");
    let log = front.folder().join("access.log").display().to_string();
    let through = format!("http://{}", front.address);
    let (_, checks) = stand.doctor(&["--through", &through, "--log", &log, "--only", "D112"]);
    assert_eq!(outcome(&checks, "D112"), "warn", "the URL's alone: {checks:#}");
    let seen = checks[0]["seen"].as_str().expect("a text");
    assert!(seen.contains("the key of a URL stands in") && !seen.contains("header"), "{seen}");
    // A log of Keymoat's own that has one would be found.
    let (_, checks) = stand.doctor(&["--only", "D112"]);
    assert_eq!(outcome(&checks, "D112"), "ok", "{checks:#}");
    assert!(!checks.to_string().contains("km_") && !stand.keymoat.output().contains("km_"));
}

/// Runs doctor while `keymoat` writes on, and hands what it writes to `take`.
fn followed(stand: &Stand, mut command: Command, mut take: impl FnMut(&mut std::process::Child, &str)) -> Value {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut given = stand.keymoat.output().len();
    while child.try_wait().expect("it is ours").is_none() {
        let output = stand.keymoat.output();
        take(&mut child, output.get(given..).unwrap_or_default());
        given = output.len();
        std::thread::sleep(Duration::from_millis(10));
    }
    stand.told(&child.wait_with_output().expect("it has ended")).1
}

#[test]
fn the_canary_is_looked_for_in_what_the_gateway_prints_by_pipe_and_by_file() {
    let stand = Stand::start();
    let (_, checks) = stand.doctor(&["--only", "D114"]);
    assert_eq!(outcome(&checks, "D114"), "skipped", "{checks:#}");
    let mut command = stand.command(&["--output", "-", "--only", "D114"]);
    command.stdin(Stdio::piped());
    let checks = followed(&stand, command, |child, text| {
        let _ = child.stdin.as_mut().expect("it is piped").write_all(text.as_bytes());
    });
    assert_eq!(outcome(&checks, "D114"), "ok", "{checks:#}");

    // A named pipe is what a shell makes of `<(…)`.
    let pipe = stand.keymoat.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("coreutils").success());
    let mut command = stand.command(&["--output", &pipe.display().to_string(), "--only", "D114"]);
    command.stdin(Stdio::null());
    let mut writer = None;
    let checks = followed(&stand, command, |_, text| {
        let writer =
            writer.get_or_insert_with(|| std::fs::File::options().read(true).write(true).open(&pipe).expect("a pipe"));
        let _ = writer.write_all(text.as_bytes());
    });
    assert_eq!(outcome(&checks, "D114"), "ok", "{checks:#}");

    // What tells of no request proves nothing, and what holds a key is found, the one of a URL too.
    let file = stand.keymoat.folder.write("printed.log", "nothing of it").display().to_string();
    let (_, checks) = stand.doctor(&["--output", &file, "--only", "D114"]);
    assert_eq!(outcome(&checks, "D114"), "warn", "{checks:#}");
    let front = Nginx::before(&format!("http://{}", stand.keymoat.address()), "");
    let log = front.folder().join("access.log").display().to_string();
    let through = format!("http://{}", front.address);
    let (_, checks) = stand.doctor(&["--through", &through, "--output", &log, "--only", "D114"]);
    assert_eq!(outcome(&checks, "D114"), "fail", "{checks:#}");
    assert!(!checks.to_string().contains("km_"), "it shows none itself");
}

#[test]
fn the_canary_is_looked_for_in_what_a_collector_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let collector = free.local_addr().expect("an address");
    drop(free);
    let stand = Stand::configured(&format!("[tls]\nmode = \"disabled\"\n[telemetry]\notlp = \"http://{collector}\"\n"));
    let seen = |further: &[&str]| {
        let (_, checks) = stand.doctor(&[further, &["--only", "D115"]].concat());
        assert!(!checks.to_string().contains("km_"));
        (outcome(&checks, "D115").to_owned(), checks[0]["seen"].as_str().expect("a text").to_owned())
    };
    let (how, what) = seen(&[]);
    assert!(how == "ok" && what.contains("2 messages that the events become"), "logs and spans: {how}: {what}");
    let (how, what) = seen(&["--collector"]);
    assert!(how == "ok" && what.contains("came in the collector's place"), "{how}: {what}");
    let _collector = TcpListener::bind(collector).expect("doctor has gone");
    let (how, what) = seen(&["--collector"]);
    assert!(how == "fail" && what.contains("stop it meanwhile"), "{how}: {what}");
    let (_, checks) = Stand::start().doctor(&["--only", "D115"]);
    assert_eq!(outcome(&checks, "D115"), "skipped", "{checks:#}");
}

#[test]
fn a_gateway_of_another_store_is_told_apart() {
    let (stand, other) = (Stand::start(), Stand::start());
    let gateway = format!("http://{}", other.keymoat.address());
    let (_, checks) =
        stand.told(&stand.keymoat.folder.run(&["doctor", "--json", "--gateway", &gateway, "--only", "D112"]));
    assert_eq!(outcome(&checks, "D112"), "warn", "{checks:#}");
    assert!(checks[0]["seen"].as_str().is_some_and(|seen| seen.contains("tell of none of the requests")), "{checks:#}");
}

#[test]
fn open_file_modes_and_a_gateway_that_is_not_there_fail() {
    use std::os::unix::fs::PermissionsExt;
    let mut stand = Stand::start();
    let database = stand.keymoat.folder.path().join(".keymoat/events.db");
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).expect("changed");
    stand.keymoat.signal(rustix::process::Signal::TERM);
    assert!(stand.keymoat.wait().success());
    let (code, checks) = stand.doctor(&["--only", "D104", "--only", "D106"]);
    assert_eq!((outcome(&checks, "D104"), outcome(&checks, "D106"), code), ("fail", "fail", Some(1)), "{checks:#}");
}
