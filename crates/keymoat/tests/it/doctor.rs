//! `keymoat doctor` against the binary: it finds what proxies do, what is written, and what is left open.

use serde_json::Value;

use crate::harness::{Emulated, Folder, Keymoat, told};
use crate::risks::nginx::Nginx;

struct Stand {
    keymoat: Keymoat,
    _emulated: Emulated,
}

impl Stand {
    fn start() -> Self {
        let emulated = Emulated::start();
        let folder = Folder::new();
        folder.write("upstream.key", &emulated.key());
        let text = format!(
            "[tls]\nmode = \"disabled\"\n[upstream.api]\nurl = \"{}\"\nsecret = \"${{file:upstream.key}}\"\n\
             inject = \"header:X-API-Key\"\n[route.old]\nupstream = \"api\"\npaths = [\"/demo/*\"]\nquery = \"warn\"\n",
            emulated.url()
        );
        folder.write("keymoat.toml", &text);
        Self { keymoat: Keymoat::in_folder(folder.into(), &[], &[]), _emulated: emulated }
    }

    /// Exit code and checks.
    fn doctor(&self, further: &[&str]) -> (Option<i32>, Value) {
        let gateway = format!("http://{}", self.keymoat.address());
        let arguments = [&["doctor", "--json", "--gateway", &gateway], further].concat();
        let (code, stdout, stderr) = told(&self.keymoat.folder.run(&arguments));
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
    for id in ["D102", "D103", "D104", "D106", "D108", "D109", "D110", "D111", "D112", "D113", "D114"] {
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
