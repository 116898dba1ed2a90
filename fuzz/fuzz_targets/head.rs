//! Any target and headers are refused or read, and what was read can be read in one way only, by us and by the upstream.
//!
//! The first byte says how the request came in; then a line with the target, and one per header.
#![no_main]

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName};
use http::{Method, Request, Version};
use keymoat_core::{Ask, Head, Transport, path};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode;

/// What belongs to one connection (RFC 9110 section 7.6.1) or to the handshake.
const HOP_BY_HOP: [&str; 9] =
    ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "host", "expect"];

/// What `Connection` may not remove, because the stages below rely on it.
const ESSENTIAL: [&str; 17] = [
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "origin",
    "referer",
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "xi-api-key",
    "x-hume-api-key",
    "x-gladia-key",
    "cf-aig-authorization",
    "apikey",
];

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    let Some((request, transport)) = request(choice, rest) else { return };
    let (parts, ()) = request.into_parts();
    let (uri, headers) = (parts.uri.clone(), parts.headers.clone());
    let tls_name = (choice & 8 != 0).then_some("a");
    let Ok(head) = Head::read(parts, transport, tls_name) else { return };
    check_path(&head.path);
    check_host(&head.host, tls_name);
    assert_eq!(head.query.as_str(), uri.query().unwrap_or_default());
    check_headers(&head.headers, &headers, transport);
    let asked = matches!(&head.ask, Ask::WebSocket(_));
    assert!(!asked || head.method == Method::GET);
    assert_eq!(transport == Transport::Http2WebSocket, asked && transport != Transport::Http1);
    check_again(&head);
});

fn request(choice: u8, rest: &[u8]) -> Option<(Request<()>, Transport)> {
    let transport = match choice & 3 {
        0 | 1 => Transport::Http1,
        2 => Transport::Http2,
        _ => Transport::Http2WebSocket,
    };
    let method = match (transport, choice & 4) {
        (Transport::Http2WebSocket, 0) => Method::CONNECT,
        (_, 0) => Method::GET,
        _ => Method::POST,
    };
    let version = if choice & 3 == 1 { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let mut builder = Request::builder().method(method).version(version).uri(target);
    for line in lines.take(120) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        builder = builder.header(name, value.get(1..).unwrap_or_default().trim_ascii());
    }
    Some((builder.body(()).ok()?, transport))
}

/// A canonical path is a fixed point, and decoding it again, once or twice, finds no other segments in it.
fn check_path(canonical: &str) {
    assert_eq!(path::canonical(canonical).as_deref(), Ok(canonical));
    assert!(canonical.starts_with('/') && !canonical.contains("//"));
    let stands = |byte: u8| byte.is_ascii_graphic() && !b"\\;\"<>^`{|}[]?#".contains(&byte);
    assert!(canonical.bytes().all(stands));
    let segments = canonical.split('/').count();
    let once: Vec<u8> = percent_decode(canonical.as_bytes()).collect();
    let twice: Vec<u8> = percent_decode(&once).collect();
    assert!(std::str::from_utf8(&once).is_ok_and(|text| text.chars().all(|c| !c.is_ascii_control())));
    for reading in [canonical.as_bytes(), &once, &twice] {
        assert!(!reading.contains(&b'\\') && !reading.contains(&0));
        let found: Vec<&[u8]> = reading.split(|byte| *byte == b'/').collect();
        assert_eq!(found.len(), segments);
        assert!(found.iter().all(|segment| *segment != b"." && *segment != b".."));
    }
    let shown = path::shown(canonical, None);
    assert!(shown.len() <= 512 && shown.chars().all(|c| !c.is_control()));
}

fn check_host(host: &str, tls_name: Option<&str>) {
    assert!(!host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
    assert!(!host.contains(['/', '@', ',', '?', '#', '%']));
    assert!(tls_name.is_none_or(|name| host.trim_end_matches('.').starts_with(name)));
}

fn check_headers(kept: &HeaderMap, sent: &HeaderMap, transport: Transport) {
    for name in kept.keys().map(HeaderName::as_str) {
        let trailers = name == "te" && transport != Transport::Http1 && kept.get_all(name).iter().eq(["trailers"]);
        assert!(trailers || !HOP_BY_HOP.contains(&name), "{name}");
        assert!(!name.starts_with("proxy-") && !name.starts_with("sec-websocket-") && !name.contains('_'), "{name}");
        assert!(name == "cookie" || kept.get_all(name).iter().eq(sent.get_all(name)) || trailers, "{name}");
    }
    assert!(kept.get_all("cookie").iter().count() <= 1);
    let named = sent.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    for name in named.filter_map(|entry| HeaderName::from_bytes(entry.trim_ascii()).ok()) {
        let essential = ESSENTIAL.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-");
        assert!(essential || name == "te" || !kept.contains_key(&name), "{name}");
    }
}

/// What goes on is read by a second one of us as it was by the first.
fn check_again(head: &Head) {
    let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query.as_str()) };
    let mut request = Request::builder()
        .method(&head.method)
        .uri(format!("{}{query}", head.path))
        .header(HOST, &head.host)
        .body(())
        .expect("a head that was read can be written");
    request.headers_mut().extend(head.headers.clone());
    let again = match Head::read(request.into_parts().0, Transport::Http1, None) {
        Ok(again) => again,
        // The form that goes on may be the longer one.
        Err(refusal) => return assert!([414, 431].contains(&refusal.code.status()), "{refusal}"),
    };
    assert_eq!((&again.method, &again.host, &again.path), (&head.method, &head.host, &head.path));
    assert_eq!(again.query.as_str(), head.query.as_str());
    let mut headers = head.headers.clone();
    headers.remove("te");
    assert_eq!(again.headers, headers);
    assert!(matches!(again.ask, Ask::Http));
}
