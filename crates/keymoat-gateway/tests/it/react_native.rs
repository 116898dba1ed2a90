//! React Native's `WebSocket`, by handshakes as its two platforms write them: headers from the third argument, protocols
//! joined in either way, and the gateway's own origin for want of a page.

use std::io::Write;
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keymoat_core::carrier::Carriers;
use keymoat_core::route::{Dialect, Paths, QueryPolicy, Route};
use keymoat_core::{Origin, Origins};
use keymoat_gateway::settings::Limits;

use crate::scripted::headers;
use crate::stand::{ALL_CARRIERS, close_of, frame, gemini, generic, read_frame, read_head, upstream};
use crate::tokens::{SETUP, TokenStand, is_set_up};

const LIVE: &str = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent";
const REALTIME: &str = "/v1/realtime?model=gpt-realtime";
const SELECTED: &str = "sec-websocket-protocol";

/// One platform's way to write `new WebSocket(url, protocols, { headers })`.
type Platform = fn(url: &Url, protocols: &[&str], headers: &[(&str, &str)]) -> String;

const PLATFORMS: [(&str, Platform); 3] = [("Android", android), ("iOS", ios), ("older iOS", older_ios)];

/// `scheme://authority` + `target`.
struct Url {
    scheme: &'static str,
    authority: &'static str,
    target: String,
}

fn lines(headers: &[(&str, &str)]) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// OkHttp: the app's headers first, `origin` as the URL spells its port unless the app names one, entries joined by `,`,
/// compression offered, an authority without the default port.
fn android(url: &Url, protocols: &[&str], headers: &[(&str, &str)]) -> String {
    let Url { scheme, authority, target } = url;
    let mut own = String::new();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("origin")) {
        own.push_str(&format!("origin: {}://{authority}\r\n", scheme.replace("ws", "http")));
    }
    if !protocols.is_empty() {
        own.push_str(&format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(",")));
    }
    let host = authority.trim_end_matches(":443");
    format!(
        "GET {target} HTTP/1.1\r\n{}{own}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\
         User-Agent: okhttp/4.12.0\r\n\r\n",
        lines(headers)
    )
}

/// SocketRocket: `Origin` without a default port, entries joined by `, `, the app's headers last.
fn ios(url: &Url, protocols: &[&str], headers: &[(&str, &str)]) -> String {
    let Url { scheme, authority, target } = url;
    let has_origin = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("origin"));
    let origin = format!("Origin: {}://{}\r\n", scheme.replace("ws", "http"), authority.trim_end_matches(":443"));
    let offer = format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(", "));
    format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}{}{}\r\n",
        if has_origin { "" } else { &origin },
        if protocols.is_empty() { "" } else { &offer },
        lines(headers)
    )
}

/// The same, and for an empty list of protocols a header without a value.
fn older_ios(url: &Url, protocols: &[&str], headers: &[(&str, &str)]) -> String {
    let mut all = headers.to_vec();
    if protocols.is_empty() {
        all.insert(0, ("Sec-WebSocket-Protocol", ""));
    }
    ios(url, protocols, &all)
}

/// The usual routes, and below `/listed` (and as `/demo/ws`) such that name the pages that may use them.
fn stand() -> TokenStand {
    TokenStand::with(Limits::default(), |settings| {
        let behind = format!("127.0.0.1:{}", settings.upstreams[0].origin.port);
        settings.upstreams.push(upstream("openai", behind.parse().expect("an address"), "authorization"));
        let carriers = Carriers::parse(ALL_CARRIERS).expect("known carriers");
        let openai = |name, prefix: &str| {
            let paths = Paths::Dialect { prefix: prefix.into() };
            Route::new(name, "openai", Dialect::OpenAi, paths, carriers.clone())
        };
        let app = Origin::parse("https://app.example").expect("an origin");
        let listed = |route| Route { origins: Origins::List(vec![app.clone()]), ..route };
        settings.routes.extend([
            openai("openai", ""),
            listed(openai("openai-listed", "/listed")),
            listed(gemini("gemini-listed", "/listed", QueryPolicy::Tokens)),
            listed(generic("demo-listed", "demo", &["/demo/ws"], QueryPolicy::Tokens)),
        ]);
    })
}

fn open(stand: &TokenStand, request: &str) -> (String, TcpStream) {
    let mut stream = stand.stand.connect();
    stream.write_all(request.as_bytes()).expect("sent");
    (read_head(&mut stream), stream)
}

/// Talks a little, as the API behind `target` does.
fn talk(what: &str, target: &str, stream: &mut TcpStream) {
    if target.contains("/v1/realtime") {
        let (_, payload) = read_frame(stream);
        assert!(String::from_utf8_lossy(&payload).contains("session.created"), "{what}");
    } else if target.contains("google") {
        stream.write_all(&frame(1, SETUP)).expect("sent");
        let answer = read_frame(stream);
        assert!(is_set_up(&answer), "{what}: {answer:?}");
    } else {
        stream.write_all(&frame(1, b"hello")).expect("sent");
        assert_eq!(read_frame(stream), (1, b"hello".to_vec()), "{what}");
    }
}

/// Targets on routes without and with a list of origins.
fn targets() -> [String; 5] {
    [
        LIVE.to_owned(),
        format!("/listed{LIVE}"),
        REALTIME.to_owned(),
        format!("/listed{REALTIME}"),
        "/demo/ws".to_owned(),
    ]
}

#[test]
fn headers_in_the_third_argument_open_every_route_from_the_gateway_s_own_origin() {
    let stand = stand();
    let token = stand.minted(|_| {}).text;
    let (bearer, other_scheme) = (format!("Bearer {token}"), format!("Token auth_tokens/{token}"));
    let headers = [("Authorization", &bearer), ("Authorization", &other_scheme), ("x-goog-api-key", &token)];
    let hosts =
        [("wss", "gw.example"), ("wss", "gw.example:443"), ("ws", "10.0.2.2:8787"), ("ws", "192.168.1.20:8787")];
    for (name, platform) in PLATFORMS {
        for target in targets() {
            for ((scheme, authority), (header, value)) in hosts.into_iter().zip(headers.into_iter().cycle()) {
                let what = format!("{name} {scheme}://{authority}{target} {header}");
                let url = Url { scheme, authority, target: target.clone() };
                let (head, mut stream) = open(&stand, &platform(&url, &[], &[(header, value)]));
                assert!(head.starts_with("HTTP/1.1 101 "), "{what}: {head}");
                // iOS fails when something is selected that was not offered, Android when it is compressed unasked.
                assert!(crate::scripted::headers(&head, SELECTED).is_empty(), "{what}: {head}");
                assert!(!head.to_lowercase().contains("sec-websocket-extensions"), "{what}: {head}");
                talk(&what, &target, &mut stream);
            }
        }
    }
    assert!(stand.stand.recorder.places_of(&token).is_empty());
    for request in stand.stand.recorder.requests() {
        let is_listed = request.header("origin");
        assert!(request.path == "/demo/ws" || is_listed.is_none(), "{}: {is_listed:?}", request.path);
    }
}

#[test]
fn both_ways_to_join_protocols_are_read() {
    let stand = stand();
    let token = stand.minted(|_| {}).text;
    let (plain, openai) = (format!("api-key.{token}"), format!("openai-insecure-api-key.ek_{token}"));
    let encoded = format!("keymoat.token.{}", URL_SAFE_NO_PAD.encode(format!("auth_tokens/{token}")));
    for (name, platform) in PLATFORMS {
        for target in targets() {
            // The agents' SDK of OpenAI offers three on React Native.
            let offers: [&[&str]; 3] = [
                &["keymoat.v1", &plain],
                &["keymoat.v1", &encoded],
                &["realtime", &openai, "openai-agents-sdk.0.20.0"],
            ];
            for offer in offers {
                let what = format!("{name} {target} {}", offer[0]);
                let url = Url { scheme: "wss", authority: "gw.example", target: target.clone() };
                let (head, mut stream) = open(&stand, &platform(&url, offer, &[]));
                assert!(head.starts_with("HTTP/1.1 101 "), "{what}: {head}");
                assert_eq!(headers(&head, SELECTED), [offer[0]], "{what}");
                talk(&what, &target, &mut stream);
            }
        }
    }
    assert!(stand.stand.recorder.places_of(&token).is_empty());
}

#[test]
fn an_origin_that_the_app_sets_counts_as_a_page_s() {
    let stand = stand();
    let token = stand.minted(|_| {}).text;
    let bearer = format!("Bearer {token}");
    for (_, platform) in PLATFORMS {
        for (origin, target, opens) in [
            ("https://app.example", "/demo/ws", true),
            ("https://evil.example", "/demo/ws", false),
            ("https://gw.example:8443", "/demo/ws", false),
            ("https://evil.example", LIVE, true),
        ] {
            let url = Url { scheme: "wss", authority: "gw.example", target: target.to_owned() };
            let headers = [("Authorization", bearer.as_str()), ("Origin", origin)];
            let (head, mut stream) = open(&stand, &platform(&url, &[], &headers));
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            if opens {
                talk(origin, target, &mut stream);
            } else {
                let (code, reason) = close_of(&read_frame(&mut stream));
                assert_eq!(code, 4003, "{reason}");
                assert!(reason.starts_with("forbidden: "), "{reason}");
            }
        }
    }
}

#[test]
fn a_token_for_listed_pages_is_good_in_an_app_and_the_own_origin_is_no_credential() {
    let stand = stand();
    let held = stand.minted(|token| token.origins = vec![Origin::parse("https://app.example").expect("an origin")]);
    let bearer = format!("Bearer {}", held.text);
    let url = |target: &str| Url { scheme: "wss", authority: "gw.example", target: target.to_owned() };
    for (name, platform) in PLATFORMS {
        let (_, mut stream) = open(&stand, &platform(&url(LIVE), &[], &[("Authorization", &bearer)]));
        talk(name, LIVE, &mut stream);
        // Why it is not let in arrives as code and reason: React Native shows both in `onclose`.
        for (target, code) in [("/demo/ws", 4001), (REALTIME, 3000), (LIVE, 1007)] {
            let (_, mut stream) = open(&stand, &platform(&url(target), &[], &[]));
            let mut answer = read_frame(&mut stream);
            if code == 3000 {
                answer = read_frame(&mut stream);
            }
            let (closed, reason) = close_of(&answer);
            assert_eq!(closed, code, "{name} {target}");
            assert!(reason.starts_with("credential_missing: "), "{name} {target}: {reason}");
        }
    }
}
