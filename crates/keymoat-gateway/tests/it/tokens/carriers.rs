//! Where a token may sit, how it may be spelled, and by which paths it may come.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keymoat_core::Code;

use super::{SETUP, TokenStand, is_set_up};
use crate::stand::{REAL_KEY, close_of, frame, read_frame};

/// Query and header lines for a spelling of a token.
type Carrier = fn(&str) -> (String, String);

/// Every way in which SDKs, browsers and people hand over a token.
const CARRIERS: [(&str, Carrier); 10] = [
    ("Authorization: Token", |token| (String::new(), format!("Authorization: Token {token}\r\n"))),
    ("Authorization: Bearer", |token| (String::new(), format!("Authorization: Bearer {token}\r\n"))),
    ("x-goog-api-key", |token| (String::new(), format!("x-goog-api-key: {token}\r\n"))),
    ("X-API-Key", |token| (String::new(), format!("X-API-Key: {token}\r\n"))),
    ("as google-genai for Python sends it", |token| {
        (String::new(), format!("x-goog-api-key: {token}\r\nAuthorization: Token {token}\r\n"))
    }),
    ("?access_token=", |token| (format!("?access_token={token}"), String::new())),
    ("?key=", |token| (format!("?key={token}"), String::new())),
    ("?key= escaped", |token| (format!("?key={}", token.replace('/', "%2F")), String::new())),
    ("keymoat.token.", |token| {
        let entry = URL_SAFE_NO_PAD.encode(token);
        (String::new(), format!("Sec-WebSocket-Protocol: keymoat.v1, keymoat.token.{entry}\r\n"))
    }),
    ("?key=undefined beside a header", |token| ("?key=undefined".to_owned(), format!("x-goog-api-key: {token}\r\n"))),
];

/// Subprotocol entries that hold a token as it is, which no slash can be in.
const RAW_ENTRIES: [&str; 2] = ["api-key.", "openai-insecure-api-key."];

/// What is called: its path, what the client sends first, and what is in the answer.
struct Road {
    path: String,
    first: &'static [u8],
    answer: &'static str,
}

/// Gemini Live by every method and version, OpenAI Realtime, and a WebSocket of no dialect.
fn roads() -> Vec<Road> {
    let versions = ["v1", "v1beta", "v1alpha"].into_iter();
    let live = versions.flat_map(|version| {
        ["BidiGenerateContent", "BidiGenerateContentConstrained"].map(|method| Road {
            path: format!("/ws/google.ai.generativelanguage.{version}.GenerativeService.{method}"),
            first: SETUP,
            answer: "\"setupComplete\"",
        })
    });
    let realtime =
        Road { path: "/v1/realtime?model=gpt-realtime".to_owned(), first: b"{}", answer: "\"session.created\"" };
    let generic = Road { path: "/demo/ws".to_owned(), first: b"hello", answer: "hello" };
    live.chain([realtime, generic]).collect()
}

#[test]
fn every_carrier_spelling_method_and_version_opens_a_session() {
    let stand = super::openai::stand();
    let token = stand.minted(|_| {}).text;
    let spellings = [token.clone(), format!("auth_tokens/{token}"), format!("ek_{token}")];
    let mut sessions = 0;
    let mut open = |what: &str, road: &Road, query: &str, headers: &str| {
        let path = &road.path;
        let query = if path.contains('?') { query.replace('?', "&") } else { query.to_owned() };
        let (head, mut stream) = stand.stand.open_websocket(&format!("{path}{query}"), headers);
        assert!(head.starts_with("HTTP/1.1 101 "), "{what} {path}: {head}");
        assert!(!head.contains(&token), "{what}: the token is echoed");
        stream.write_all(&frame(1, road.first)).expect("sent");
        let (opcode, answer) = read_frame(&mut stream);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(opcode != 8 && answer.contains(road.answer), "{what} {path}: {answer}");
        sessions += 1;
    };
    for road in &roads() {
        for spelling in &spellings {
            for (name, carrier) in CARRIERS {
                let (query, headers) = carrier(spelling);
                open(&format!("{name} {spelling:.8}"), road, &query, &headers);
            }
            for entry in RAW_ENTRIES.into_iter().filter(|_| !spelling.contains('/')) {
                let headers = format!("Sec-WebSocket-Protocol: keymoat.v1, {entry}{spelling}\r\n");
                open(&format!("{entry}{spelling:.8}"), road, "", &headers);
            }
        }
    }
    let seen = stand.stand.recorder.requests();
    assert_eq!(seen.len(), sessions);
    for request in &seen {
        let own = if request.path == "/v1/realtime" { "model=gpt-realtime" } else { "" };
        assert_eq!(request.query.as_deref().unwrap_or_default(), own, "{}", request.path);
        let keys = ["x-goog-api-key", "authorization", "x-api-key"].map(|name| request.header(name));
        let bearer = format!("Bearer {REAL_KEY}");
        assert_eq!(keys.into_iter().flatten().filter(|key| *key == REAL_KEY || *key == bearer).count(), 1);
        let live = request.path.ends_with("GenerativeService.BidiGenerateContent");
        assert!(live || matches!(request.path.as_str(), "/v1/realtime" | "/demo/ws"), "{}", request.path);
    }
    assert!(stand.stand.recorder.places_of(&token).is_empty());
}

#[test]
fn every_version_of_live_music_opens_with_a_token() {
    let stand = TokenStand::start();
    let token = stand.minted(|_| {}).text;
    for version in ["v1", "v1beta", "v1alpha"] {
        let path = format!("/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateMusic");
        let (_, mut stream) = stand.stand.open_websocket(&format!("{path}?key=auth_tokens/{token}"), "");
        stream.write_all(&frame(1, br#"{"setup":{"model":"models/lyria-realtime-exp"}}"#)).expect("sent");
        assert!(is_set_up(&read_frame(&mut stream)), "{version}");
    }
}

#[test]
fn near_misses_are_told_apart_from_nothing_and_dial_nobody() {
    let stand = TokenStand::start();
    let token = stand.minted(|_| {}).text;
    let mistyped = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { '1' } else { '0' });
    let unknown = stand_in();
    for (presented, hint) in [
        (format!("authTokens/{token}"), "auth_tokens/"),
        (format!("auth_tokens/auth_tokens/{token}"), ""),
        (format!("EK_{token}"), ""),
        (mistyped, ""),
        (token[..token.len() - 5].to_owned(), ""),
        (unknown, ""),
    ] {
        let (head, mut stream) =
            stand.stand.open_websocket(super::LIVE, &format!("Authorization: Token {presented}\r\n"));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream.write_all(&frame(1, SETUP)).expect("sent");
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 1007, "{presented:.16}: {reason}");
        assert!(reason.starts_with("credential_invalid: ") && reason.contains(hint), "{reason}");
        assert!(!reason.contains(&presented), "{reason}");
    }
    assert!(stand.stand.recorder.requests().is_empty());
}

/// A token that is well formed and unknown.
fn stand_in() -> String {
    let secret = keymoat_core::format::generate(keymoat_core::format::Kind::Token, &mut |bytes| bytes.fill(7));
    // Nobody's: any test may write it down.
    String::from_utf8(secret.expose().to_vec()).expect("base62")
}

#[test]
fn two_different_tokens_are_ambiguous_and_one_twice_is_one() {
    let stand = TokenStand::start();
    let (one, other) = (stand.minted(|_| {}).text, stand.minted(|_| {}).text);
    let headers = format!("x-goog-api-key: {one}\r\nAuthorization: Token {other}\r\n");
    let (_, mut stream) = stand.stand.open_websocket(super::LIVE, &headers);
    stream.write_all(&frame(1, SETUP)).expect("sent");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1007);
    assert!(reason.starts_with("credential_ambiguous"), "{reason}");
    assert_eq!(stand.stand.records(1)[0].code, Some(Code::CredentialAmbiguous));
}

#[test]
fn a_token_works_over_http_and_sse_and_generic_websockets() {
    let stand = TokenStand::start();
    let held = stand.minted(|_| {});
    let headers = format!("Authorization: Bearer {}\r\n", held.text);
    assert!(stand.stand.fetch("/demo/echo", &headers).starts_with("HTTP/1.1 200 "));
    assert!(stand.stand.fetch(&format!("/demo/sse?access_token={}", held.text), "").starts_with("HTTP/1.1 200 "));
    let entry = format!("Sec-WebSocket-Protocol: keymoat.v1, api-key.{}\r\n", held.text);
    let (_, mut stream) = stand.stand.open_websocket("/demo/ws", &entry);
    stream.write_all(&frame(1, b"hello")).expect("sent");
    assert_eq!(read_frame(&mut stream), (1, b"hello".to_vec()));
    drop(stream);
    for record in stand.stand.records(3) {
        assert_eq!(record.token_id, Some(held.token.id.clone()));
        assert_eq!(record.key_id, Some(stand.key_id.clone()));
    }
    assert!(stand.stand.recorder.places_of(&held.text).is_empty());
}

#[tokio::test]
async fn a_token_opens_live_over_http_2() {
    let stand = TokenStand::start();
    let token = stand.minted(|_| {}).text;
    let tcp = tokio::net::TcpStream::connect(stand.stand.address).await.expect("it listens");
    let io = hyper_util::rt::TokioIo::new(tcp);
    let builder = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    let (mut sender, connection) =
        builder.handshake::<_, http_body_util::Empty<bytes::Bytes>>(io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = |method, path: &str| {
        let request = http::Request::builder().method(method).uri(format!("http://keymoat.test{path}"));
        let request = request.header("authorization", format!("Token auth_tokens/{token}"));
        request.header("sec-websocket-version", "13").body(http_body_util::Empty::new()).expect("well formed")
    };
    // Nobody may open a WebSocket before the server's settings have come.
    let ready = sender.send_request(request(http::Method::GET, "/keymoat/livez")).await.expect("an answer");
    assert_eq!(ready.status(), 200);
    let mut opening = request(http::Method::CONNECT, super::LIVE);
    opening.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let mut answer = sender.send_request(opening).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let upgraded = hyper::upgrade::on(&mut answer).await.expect("a stream");
    let mut stream = hyper_util::rt::TokioIo::new(upgraded);
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(&frame(1, SETUP)).await.expect("sent");
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.expect("a frame");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).await.expect("a payload");
    assert!(is_set_up(&(head[0] & 0x0F, payload)));
}
