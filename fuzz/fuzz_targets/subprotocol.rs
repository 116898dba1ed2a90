//! Any offer is refused or read; what is selected was offered and is no credential, but for the lone one that the route
//! echoes, and what is offered upstream was offered by the client and is no credential for Keymoat.
//!
//! The first byte chooses the route; then what the upstream selects, and the header's lines.
#![no_main]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use base64::prelude::*;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use keymoat_core::carrier::Carriers;
use keymoat_core::record::Protocol;
use keymoat_core::route::{LoneSubprotocol, Paths};
use keymoat_core::subprotocol::MARKER;
use keymoat_core::{
    Ask, Dialect, Head, Offer, Pepper, QueryPolicy, Record, Route, Secret, Snapshot, Transport, UnixMillis, credential,
    format, openai,
};
use libfuzzer_sys::fuzz_target;

/// What an entry for Keymoat starts with, and whether a lone one may be echoed. The last one's clients never read it.
const OURS: [(&str, bool); 4] = [
    ("api-key.", true),
    ("keymoat.token.", true),
    ("openai-insecure-api-key.", true),
    ("base64url.bearer.authorization.k8s.io.", false),
];

/// What an entry with somebody else's credential starts with.
const FOREIGN: [&str; 7] = [
    "xai-client-secret.",
    "ai-gateway-auth.",
    "cf-aig-authorization.",
    "bearer.",
    "token.",
    "base64url.bearer.",
    "v1.token.websocket.jupyter.org.",
];

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let master = Secret::from("a master key of thirty-two bytes");
    Snapshot::new(Arc::new(Pepper::derive(&master)), HashMap::new())
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let upstream = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let lines: Vec<HeaderValue> = lines.take(20).filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let Some(mut head) = head(&lines) else { return };
    let entries: Vec<&str> = lines.iter().flat_map(|line| line.to_str().expect("read").split(',')).collect();
    let entries: Vec<&str> = entries.into_iter().map(|entry| entry.trim_matches([' ', '\t'])).collect();
    check_list(&entries);

    // A refusal may be answered before the credential was taken.
    let offered: Vec<&str> = entries.iter().copied().chain([&*upstream]).collect();
    check(offer(&head), &entries, &offered);
    assert!(offer(&head).expose_lone_credential().is_none());

    let route = route(choice);
    let mut record = Record::begin(UnixMillis(0), Ipv4Addr::LOCALHOST.into(), Protocol::WebSocket);
    let taken = credential::take(&mut head, &route, &SNAPSHOT, &mut record);
    let after = offer(&head);
    check(after, &entries, &offered);
    assert!(after.labels().all(|label| !format::is_in(label.as_bytes())));
    assert!(route.dialect != Dialect::Gemini || after.labels().next().is_none());
    assert!(route.dialect != Dialect::OpenAi || after.labels().all(|label| label == openai::LABEL));
    check_lone(after, &entries, &route);
    if taken.is_ok_and(|presented| presented.carrier() == &keymoat_core::Carrier::Subprotocol) {
        assert!(after.select(None).is_some() != after.expose_lone_credential().is_some());
    }
});

/// The list is one of distinct tokens (RFC 6455 section 4.1), or it would have been refused.
fn check_list(entries: &[&str]) {
    let separator = |c: char| !c.is_ascii_graphic() || "\"(),/:;<=>?@[\\]{}".contains(c);
    for (index, entry) in entries.iter().enumerate() {
        assert!(!entry.is_empty() && !entry.contains(separator));
        assert!(!entries.iter().skip(index + 1).any(|other| other == entry));
    }
}

fn check(offer: &Offer, entries: &[&str], upstream: &[&str]) {
    assert_eq!(offer.is_empty(), entries.is_empty());
    let labels: Vec<&str> = offer.labels().collect();
    let mut order = entries.iter();
    assert!(labels.iter().all(|label| order.any(|entry| entry == label)), "the client's order");
    assert!(labels.iter().all(|label| *label != MARKER && OURS.iter().all(|(ours, _)| !label.starts_with(ours))));
    let first = offer.select(None);
    assert!(first.as_deref() == Some(MARKER) || !entries.contains(&MARKER));
    for upstream in upstream {
        let selected = offer.select(Some(upstream));
        let Some(selected) = selected.as_deref() else {
            assert!(first.is_none());
            continue;
        };
        assert!(entries.contains(&selected) && !is_private(selected));
        assert!(selected == *upstream || Some(selected) == first.as_deref());
        // A long entry may hold a credential in a disguise that is not looked through here.
        let harmless = upstream.len() < 16 && !is_private(upstream);
        assert!(selected == *upstream || !harmless || !labels.contains(upstream));
    }
}

/// Whether an entry holds a credential, ours, somebody else's, or one that is not marked as such.
fn is_private(entry: &str) -> bool {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(entry).unwrap_or_default();
    OURS.iter().any(|(ours, _)| entry.starts_with(ours))
        || FOREIGN.iter().any(|foreign| entry.starts_with(foreign))
        || format::is_in(entry.as_bytes())
        || format::is_in(&decoded)
        || format::is_in(&percent_encoding::percent_decode_str(entry).collect::<Vec<u8>>())
}

/// The one exemption: the only entry, of a form that browsers send, with something in it, on a route that says so.
fn check_lone(offer: &Offer, entries: &[&str], route: &Route) {
    let Some(lone) = offer.expose_lone_credential() else { return };
    // Compared with what was sent and forgotten.
    let lone = lone.expose();
    assert!(route.lone_subprotocol == LoneSubprotocol::Echo && route.carriers.subprotocol);
    assert_eq!(entries.iter().map(|entry| entry.as_bytes()).collect::<Vec<_>>(), [lone]);
    let value = OURS.iter().filter(|(_, echoed)| *echoed).find_map(|(ours, _)| lone.strip_prefix(ours.as_bytes()));
    assert!(value.is_some_and(|value| !value.is_empty() && value != b"undefined" && value != b"null"));
    assert!(offer.select(None).is_none() && offer.labels().next().is_none());
}

fn offer(head: &Head) -> &Offer {
    match &head.ask {
        Ask::WebSocket(opening) => &opening.offer,
        Ask::Http => panic!("the handshake was complete"),
    }
}

fn head(lines: &[HeaderValue]) -> Option<Head> {
    let mut request = http::Request::builder()
        .uri("/ws")
        .header("host", "gw.example")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .expect("well formed");
    for line in lines {
        request.headers_mut().append(SEC_WEBSOCKET_PROTOCOL, line.clone());
    }
    Head::read(request.into_parts().0, Transport::Http1, None).ok()
}

fn route(choice: u8) -> Route {
    let list: &[&str] = if choice & 4 == 0 { &["header:x-api-key", "subprotocol"] } else { &["header:x-api-key"] };
    let dialect = Dialect::ALL[usize::from(choice >> 3) % Dialect::ALL.len()];
    let carriers = Carriers::parse(list.iter().copied()).expect("well formed");
    Route {
        query: QueryPolicy::Tokens,
        lone_subprotocol: if choice & 1 == 0 { LoneSubprotocol::Refuse } else { LoneSubprotocol::Echo },
        ..Route::new("fuzz", "fuzz", dialect, Paths::Dialect { prefix: String::new() }, carriers)
    }
}
