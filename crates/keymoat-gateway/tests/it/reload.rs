//! New routes, upstreams and limits while requests and sessions go on.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keymoat_core::route::QueryPolicy;
use keymoat_gateway::settings::{Limits, Listener, Settings};

use crate::stand::{REAL_KEY, Stand, frame, generic, read_frame, upstream};

/// What the stand was started with, but for one route to `upstream_name` and one upstream at the emulator.
fn settings(stand: &Stand, route: &str, header: &'static str) -> Settings {
    Settings {
        listeners: vec![Listener { address: "127.0.0.1:0".parse().expect("an address"), tls: None }],
        threads: 2,
        routes: vec![generic(route, "demo", &["/demo/*"], QueryPolicy::Tokens)],
        upstreams: vec![upstream("demo", stand.behind, header)],
        limits: Limits::default(),
        trusted_proxies: Vec::new(),
    }
}

/// The same for `/demo/*`, with these limits.
pub(crate) fn settings_with(stand: &Stand, limits: Limits) -> Settings {
    Settings { limits, ..settings(stand, "demo", "x-api-key") }
}

#[test]
fn a_reload_changes_routes_and_upstreams_and_drops_nobody() {
    let stand = Stand::start();
    let key = format!("X-API-Key: {}\r\n", stand.key);
    let (_, mut session) = stand.open_websocket("/demo/ws", &key);
    session.write_all(&frame(1, b"before")).expect("sent");
    assert_eq!(read_frame(&mut session), (1, b"before".to_vec()));
    assert!(stand.fetch("/api/events", &key).starts_with("HTTP/1.1 200 "));

    let running = stand.running.as_ref().expect("running");
    assert_eq!(running.reload(settings(&stand, "renamed", "x-other")).expect("it fits"), Vec::<String>::new());

    session.write_all(&frame(1, b"after")).expect("sent");
    assert_eq!(read_frame(&mut session), (1, b"after".to_vec()));
    assert!(stand.fetch("/api/events", &key).starts_with("HTTP/1.1 404 "), "the route is gone");
    stand.recorder.clear();
    assert!(stand.fetch("/demo/echo", &key).starts_with("HTTP/1.1 200 "));
    assert_eq!(stand.recorder.requests()[0].header("x-other"), Some(REAL_KEY), "the key goes to its new place");
    assert_eq!(stand.recorder.requests()[0].header("x-api-key"), None);
}

#[test]
fn a_plan_that_does_not_fit_changes_nothing_and_a_new_address_waits_for_a_restart() {
    let stand = Stand::start();
    let key = format!("X-API-Key: {}\r\n", stand.key);
    let running = stand.running.as_ref().expect("running");

    let mut nowhere = settings(&stand, "demo", "x-api-key");
    nowhere.upstreams.clear();
    let error = running.reload(nowhere).expect_err("the route leads nowhere");
    assert_eq!(error.to_string(), "route `demo` leads to upstream `demo`, which is not configured");
    assert!(stand.fetch("/api/events", &key).starts_with("HTTP/1.1 200 "), "the old plan holds");

    let mut elsewhere = settings(&stand, "demo", "x-api-key");
    elsewhere.listeners[0].address = "127.0.0.1:1".parse().expect("an address");
    let notes = running.reload(elsewhere).expect("it fits");
    assert_eq!(notes, ["the listening addresses stay as they are until a restart"]);
}

#[test]
fn h97_a_hundred_reloads_under_load_drop_no_session_and_no_request() {
    let stand = Stand::start();
    let key = format!("X-API-Key: {}\r\n", stand.key);
    let (_, mut session) = stand.open_websocket("/demo/ws", &key);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            for _ in 0..60 {
                let answer = stand.fetch("/demo/echo", &key);
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                let (head, _) = stand.open_websocket("/demo/ws", &key);
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            }
        });
        for round in 0..100 {
            let header = if round % 2 == 0 { "x-api-key" } else { "x-other" };
            let running = stand.running.as_ref().expect("running");
            running.reload(settings(&stand, "demo", header)).expect("it fits");
            session.write_all(&frame(1, b"tick")).expect("sent");
            assert_eq!(read_frame(&mut session), (1, b"tick".to_vec()));
        }
        load.join().expect("every request was answered");
    });
}

#[test]
fn it_is_ready_for_as_long_as_what_it_depends_on_is() {
    let stand = Stand::start();
    let ready = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&ready);
    stand.running.as_ref().expect("running").ready_while(move || asked.load(Ordering::Relaxed));
    assert!(stand.fetch("/keymoat/readyz", "").starts_with("HTTP/1.1 200 "));
    ready.store(false, Ordering::Relaxed);
    let answer = stand.fetch("/keymoat/readyz", "");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert!(stand.fetch("/keymoat/livez", "").starts_with("HTTP/1.1 200 "), "it lives nevertheless");
}
