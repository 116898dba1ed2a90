//! Canaries: plants secrets in every input, drives every outcome, and searches everything that comes out.
//!
//! What later work adds is one line each:
//! - an input: a line in [`inputs`] (or `MALFORMED` there); `{}` in its template stands for the canary;
//! - something rude that an upstream says: a line in [`rude`];
//! - an output: a variant of [`stand::Output`], and a line that tells [`stand::Stand::came_out`] what was there;
//! - a canary: a field of [`stand::Canaries`], and, if it may be somewhere, a line in `may_be_in`, which is the whole
//!   list of exemptions;
//! - a refusal code that can be reached: a line in `drive_outcomes` and a word in `OUTCOMES`, which is compared with
//!   the records, so that this test cannot pass by not getting anywhere.
//!
//! [`search`] knows the spellings, and has tests of its own that show that it can find.

mod inputs;
mod rude;
pub(crate) mod search;
mod stand;
pub(crate) mod wire;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use inputs::{INPUTS, MALFORMED, Reach, filled};
use stand::{Output, Stand};
use wire::{exchange, exchange_http2, exchange_tls};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The routes that every input is tried on: a path, and whether it is a WebSocket.
const ROADS: [(&str, bool); 7] = [
    ("/demo/echo", false),
    ("/demo/ws", true),
    ("/api/events", false),
    ("/v1beta/models", false),
    ("//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", true),
    ("/v1/responses/x", false),
    ("/v1/realtime", true),
];

/// Every outcome and every code that this version can reach.
const OUTCOMES: [&str; 26] = [
    "allowed",
    "refused",
    "failed",
    "aborted",
    "credential_missing",
    "credential_invalid",
    "credential_ambiguous",
    "credential_in_query",
    "credential_revoked",
    "token_expired",
    "token_used_up",
    "body_too_large",
    "forbidden",
    "unavailable",
    "draining",
    "request_invalid",
    "route_unknown",
    "method_not_allowed",
    "request_timeout",
    "url_too_long",
    "expectation_failed",
    "host_misdirected",
    "websocket_version",
    "head_too_large",
    "upstream_failed",
    "upstream_timeout",
];

#[test]
fn no_canary_comes_out_with_json_lines() {
    nothing_comes_out("json");
}

#[test]
fn no_canary_comes_out_with_human_lines() {
    nothing_comes_out("human");
}

fn nothing_comes_out(log_format: &str) {
    let mut stand = Stand::start(log_format);
    drive_inputs(&stand);
    drive_malformed(&stand);
    drive_http2(&stand);
    drive_tls(&stand);
    drive_upstreams(&stand);
    drive_outcomes(&stand);
    stand.search_process();
    drive_drain(&mut stand);
    let output = stand.keymoat.output();
    let missing: Vec<_> = OUTCOMES.iter().filter(|word| !output.contains(**word)).collect();
    assert!(missing.is_empty(), "not driven: {missing:?}");
    assert!(output.contains("connection from client ended"), "the log is not as talkative as it can be");
    stand.search_all();
}

/// What is planted at a place: a canary, with or without a good key beside it.
fn planted(stand: &Stand, reach: Reach) -> [(&'static str, String, bool); 12] {
    let canaries = &stand.canaries;
    let foreign_beside = if reach == Reach::Stripped { &canaries.foreign } else { &canaries.stray };
    let pair = |name, alone: &str, beside: &str| [(name, alone.to_owned(), false), (name, beside.to_owned(), true)];
    let [a, b] = pair("a good key", &canaries.key, &canaries.key);
    let [c, d] = pair("a revoked key", &canaries.revoked, &canaries.revoked);
    let [e, f] = pair("an unknown key", &canaries.unknown, &canaries.unknown);
    let [g, h] = pair("a token", &canaries.token, &canaries.token);
    let [i, j] = pair("a foreign key", &canaries.foreign, foreign_beside);
    let [k, l] = pair("a minted token", &canaries.minted, &canaries.minted);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

fn drive_inputs(stand: &Stand) {
    let mut reached = 0;
    for &(place, reach, target, lines) in INPUTS {
        for (road, websocket) in ROADS {
            for (what, canary, beside) in planted(stand, reach) {
                let mut head = format!("GET {} HTTP/1.1\r\n", filled(target, road, &canary));
                if !lines.iter().any(|line| line.starts_with("Host:")) {
                    head.push_str("Host: localhost\r\n");
                }
                if beside {
                    let name = match road {
                        _ if road.contains("api") || road.contains("demo") => "X-API-Key",
                        _ if road.starts_with("/v1/re") => "api-key",
                        _ => "X-Goog-Api-Key",
                    };
                    head.push_str(&format!("{name}: {}\r\n", stand.canaries.key));
                }
                if websocket {
                    head.push_str(UPGRADE);
                } else {
                    head.push_str("Connection: close\r\n");
                }
                for line in lines {
                    head.push_str(&format!("{}\r\n", filled(line, road, &canary)));
                }
                let answer = exchange(stand.keymoat.address(), format!("{head}\r\n").as_bytes(), stand.message());
                assert!(!answer.is_empty());
                stand.came_out(Output::Response, &format!("{what} as {place} on {road}, beside: {beside}"), &answer);
            }
            reached += stand.reached_upstream();
            stand.search_upstream(&format!("{place} on {road}"));
        }
    }
    assert!(reached > 500, "only {reached} requests were let through");
}

fn drive_malformed(stand: &Stand) {
    let canaries = &stand.canaries;
    let chunked = format!(
        "POST /demo/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-API-Key: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        canaries.key
    );
    for (place, template) in MALFORMED {
        for canary in [&canaries.key, &canaries.foreign] {
            let request = filled(&template.replace("{chunked}", &chunked), "", canary);
            let answer = exchange(stand.keymoat.address(), request.as_bytes(), stand.message());
            stand.came_out(Output::Response, &format!("malformed: {place}"), &answer);
        }
    }
    // Trailers that may be there are not looked at; none of them goes on.
    stand.search_upstream("malformed");
}

fn drive_http2(stand: &Stand) {
    for &(place, reach, target, lines) in INPUTS {
        for (what, canary, beside) in planted(stand, reach) {
            for (road, body) in [("/demo/echo", Some(stand.canaries.payload.as_str())), ("/demo/ws", None)] {
                let mut headers: Vec<(String, String)> = lines
                    .iter()
                    .map(|line| filled(line, road, &canary))
                    .filter_map(|line| {
                        line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.into()))
                    })
                    .collect();
                if beside {
                    headers.push(("x-api-key".to_owned(), stand.canaries.key.clone()));
                }
                let target = filled(target, road, &canary);
                let answer = exchange_http2(stand.keymoat.address(), &target, &headers, body, stand.message());
                let told = format!("{what} as {place} over HTTP/2, beside: {beside}");
                stand.came_out(Output::Response, &told, &answer.unwrap_or_default());
            }
        }
        stand.search_upstream(&format!("{place} over HTTP/2"));
    }
}

fn drive_tls(stand: &Stand) {
    let ca = stand.keymoat.ready["ca_file"].as_str().expect("an authority").to_owned();
    let key = &stand.canaries.key;
    for (name, host) in [
        ("localhost", "localhost".to_owned()),
        ("localhost", format!("{key}.example")),
        ("other.example", "localhost".to_owned()),
    ] {
        let request =
            format!("GET /demo/echo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-API-Key: {key}\r\n\r\n");
        let answer = exchange_tls(stand.keymoat.address_tls(), ca.as_ref(), name, request.as_bytes(), stand.message());
        stand.came_out(Output::Response, "TLS", &answer);
    }
    for canary in [key, &stand.canaries.unknown, &stand.canaries.foreign] {
        let name = format!("{canary}.example");
        let answer = exchange_tls(stand.keymoat.address_tls(), ca.as_ref(), &name, b"", stand.message());
        stand.came_out(Output::Response, "the TLS handshake's name", &answer);
        let answer = exchange(stand.keymoat.address_tls(), canary.as_bytes(), stand.message());
        stand.came_out(Output::Response, "plain text on the TLS port", &answer);
    }
    stand.search_upstream("TLS");
}

fn drive_upstreams(stand: &Stand) {
    let fetch = |path: &str, more: &str| {
        let head = format!("Host: localhost\r\nX-API-Key: {}\r\nAuthorization: Bearer {0}\r\n", stand.canaries.key);
        let request = format!("GET {path} HTTP/1.1\r\n{head}{more}\r\n");
        let answer = exchange(stand.keymoat.address(), request.as_bytes(), stand.message());
        stand.came_out(Output::Response, path, &answer);
    };
    for (name, _) in rude::ANSWERS {
        fetch(&format!("/rude/{name}"), "Connection: close\r\n");
    }
    for (name, _) in rude::OPENINGS {
        fetch(&format!("/rude/{}", name.replace(' ', "%20")), UPGRADE);
    }
    for path in ["/rude2/x", "/dead/x", "/no_tls/x"] {
        fetch(path, "Connection: close\r\n");
        fetch(path, UPGRADE);
    }
}

/// What the tables do not reach.
fn drive_outcomes(stand: &Stand) {
    let canaries = &stand.canaries;
    let address = stand.keymoat.address();
    let fetch = |head: String| {
        let answer = exchange(address, head.as_bytes(), stand.message());
        let told =
            String::from_utf8_lossy(&answer).replace(&format!("sec-websocket-protocol: api-key.{}", canaries.lone), "");
        stand.came_out(Output::Response, head.lines().next().unwrap_or_default(), told.as_bytes());
        answer
    };
    fetch(format!(
        "GET /demo/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: {}\r\n\r\n",
        canaries.elsewhere
    ));
    let body = format!("{{\"api_key\": \"{}\"}}", canaries.payload);
    fetch(format!(
        "POST /demo/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: {}\r\nContent-Length: {}\r\n\r\n{body}",
        canaries.key,
        body.len()
    ));
    // The one exemption: the response header of a route that echoes a lone subprotocol.
    let echoed = fetch(format!(
        "GET /ws/events HTTP/1.1\r\nHost: a\r\n{UPGRADE}Sec-WebSocket-Protocol: api-key.{}\r\n\r\n",
        canaries.lone
    ));
    assert!(String::from_utf8_lossy(&echoed).contains(&canaries.lone), "the exemption is exercised");
    let mut leaving = TcpStream::connect(address).expect("it listens");
    let head = format!("GET /demo/sse HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", canaries.key);
    leaving.write_all(head.as_bytes()).expect("sent");
    assert!(leaving.read(&mut [0; 64]).is_ok_and(|read| read > 0));
    drop(leaving);
    stand.keymoat.wait_for_line("aborted");
    drive_minting(stand, fetch);
    let live = open(stand, &canaries.live);
    assert_eq!(stand.keymoat.folder.run(&["key", "revoke", "live"]).status.code(), Some(0));
    stand.came_out(Output::Response, "a session whose key was revoked", &read_to_end(live));
    stand.keymoat.wait_for_line("the key is revoked");
}

/// Tokens that are over, and the minting of others.
fn drive_minting(stand: &Stand, fetch: impl Fn(String) -> Vec<u8>) {
    let canaries = &stand.canaries;
    let live = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained";
    for token in [&canaries.single, &canaries.single, &canaries.expired] {
        fetch(format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: {token}\r\n\r\n"));
        fetch(format!("GET {live}?access_token=auth_tokens/{token} HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n"));
    }
    let post = |path: &str, credential: &str, body: &str| {
        fetch(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {credential}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let mut minted = Vec::new();
    for path in ["/v1beta/auth_tokens", "/v1/realtime/client_secrets", "/keymoat/v1/tokens"] {
        for credential in [&canaries.key, &canaries.minted, &canaries.elsewhere, &canaries.revoked, &canaries.foreign] {
            for body in ["{}", &format!("{{\"{0}\":\"{0}\"}}", canaries.key), &"x".repeat(70_000)] {
                post(path, credential, body);
            }
        }
        // The only place where a new token may be is the answer to whoever mints it.
        let answer = String::from_utf8_lossy(&post(path, &canaries.key, "{}")).into_owned();
        let start = answer.find("kmt_").unwrap_or_else(|| panic!("nothing was minted: {answer}"));
        let token = answer.get(start..start + 53).expect("a whole token");
        minted.push(token.to_owned());
    }
    // Records are written in their order: what was said of the minting is there.
    fetch(String::from("GET /nowhere/behind/the/minting HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    stand.keymoat.wait_for_line("/nowhere/behind/the/minting");
    minted.iter().for_each(|token| stand.search_for(token));
}

fn drive_drain(stand: &mut Stand) {
    let live = open(stand, &stand.canaries.key);
    stand.keymoat.signal(Signal::TERM);
    stand.came_out(Output::Response, "a session that was drained", &read_to_end(live));
    assert!(stand.keymoat.wait().success());
}

/// Opens a WebSocket and leaves it open.
fn open(stand: &Stand, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(stand.keymoat.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    let head = format!("GET /demo/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}X-API-Key: {key}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 101");
    stream
}

fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    // A reset at the end takes nothing away from what came.
    let _ = stream.read_to_end(&mut received);
    received
}
