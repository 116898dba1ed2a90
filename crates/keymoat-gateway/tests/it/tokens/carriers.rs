//! Where a token may sit, how it may be spelled, and by which paths it may come.

use std::io::Write;
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keymoat_core::Code;
use keymoat_core::carrier::Carriers;
use keymoat_core::route::{Dialect, Paths, Route};
use keymoat_gateway::settings::Limits;

use super::{SETUP, TokenStand, is_set_up};
use crate::stand::{ALL_CARRIERS, REAL_KEY, close_of, frame, read_frame, upstream};

/// A parameter and header lines for a spelling of a token.
type Carrier = fn(&str) -> (String, String);

fn header(line: String) -> (String, String) {
    (String::new(), format!("{line}\r\n"))
}

fn offer(entries: String) -> (String, String) {
    header(format!("Sec-WebSocket-Protocol: {entries}"))
}

/// Every way in which SDKs, browsers and people hand over a token.
const CARRIERS: [(&str, Carrier); 17] = [
    ("Authorization: Token", |token| header(format!("Authorization: Token {token}"))),
    ("Authorization: Bearer", |token| header(format!("Authorization: Bearer {token}"))),
    ("Authorization: bearer", |token| header(format!("Authorization: bearer {token}"))),
    ("x-goog-api-key", |token| header(format!("x-goog-api-key: {token}"))),
    ("X-API-Key", |token| header(format!("X-API-Key: {token}"))),
    ("api-key", |token| header(format!("api-key: {token}"))),
    ("as google-genai for Python sends it", |token| {
        header(format!("x-goog-api-key: {token}\r\nAuthorization: Token {token}"))
    }),
    ("?access_token=", |token| (format!("access_token={token}"), String::new())),
    ("?key=", |token| (format!("key={token}"), String::new())),
    ("?key= escaped", |token| (format!("key={}", token.replace('/', "%2F")), String::new())),
    ("?token=", |token| (format!("token={token}"), String::new())),
    ("?key=undefined beside a header", |token| ("key=undefined".to_owned(), format!("x-goog-api-key: {token}\r\n"))),
    ("keymoat.token.", |token| offer(format!("keymoat.v1, keymoat.token.{}", URL_SAFE_NO_PAD.encode(token)))),
    ("keymoat.token. beside an own protocol", |token| {
        offer(format!("keymoat.token.{},chat", URL_SAFE_NO_PAD.encode(token)))
    }),
    ("base64url.bearer.authorization.k8s.io.", |token| {
        offer(format!("keymoat.v1,base64url.bearer.authorization.k8s.io.{}", URL_SAFE_NO_PAD.encode(token)))
    }),
    (RAW[0], |token| offer(format!("keymoat.v1, api-key.{token}"))),
    (RAW[1], |token| offer(format!("realtime,openai-insecure-api-key.{token},openai-agents-sdk.0.20.0"))),
];

/// Subprotocol entries that hold a token as it is, which no slash can be in.
const RAW: [&str; 2] = ["api-key.", "openai-insecure-api-key."];

/// Every path of a session, by dialect: Google's in both methods and three versions.
fn targets() -> Vec<(Dialect, String)> {
    let mut targets = vec![
        (Dialect::Generic, "/demo/ws".to_owned()),
        (Dialect::OpenAi, "/v1/realtime?model=gpt-realtime".to_owned()),
        (Dialect::OpenAi, "/below/v1/realtime?model=gpt-realtime".to_owned()),
    ];
    for version in ["v1", "v1beta", "v1alpha"] {
        for method in ["BidiGenerateContent", "BidiGenerateContentConstrained"] {
            let path = format!("/ws/google.ai.generativelanguage.{version}.GenerativeService.{method}");
            targets.extend([(Dialect::Gemini, path.clone()), (Dialect::Gemini, format!("/{path}"))]);
        }
    }
    targets
}

fn stand() -> TokenStand {
    TokenStand::with(Limits::default(), |settings| {
        let behind = format!("127.0.0.1:{}", settings.upstreams[0].origin.port);
        settings.upstreams.push(upstream("openai", behind.parse().expect("an address"), "authorization"));
        let carriers = Carriers::parse(ALL_CARRIERS).expect("known carriers");
        settings.routes.extend([("openai", ""), ("openai-below", "/below")].map(|(name, prefix)| {
            let paths = Paths::Dialect { prefix: prefix.into() };
            Route::new(name, "openai", Dialect::OpenAi, paths, carriers.clone())
        }));
    })
}

#[test]
fn every_carrier_spelling_method_version_and_dialect_opens_a_session() {
    let stand = stand();
    let token = stand.minted(|_| {}).text;
    let spellings = [token.clone(), format!("auth_tokens/{token}"), format!("ek_{token}")];
    for (dialect, target) in targets() {
        let mut sessions = 0;
        for spelling in &spellings {
            for (name, carrier) in CARRIERS {
                if RAW.contains(&name) && spelling.contains('/') {
                    continue;
                }
                let (parameter, headers) = carrier(spelling);
                let mark = if target.contains('?') { '&' } else { '?' };
                let whole = if parameter.is_empty() { target.clone() } else { format!("{target}{mark}{parameter}") };
                let what = format!("{name} {spelling:.8} {target}");
                let (head, mut stream) = stand.stand.open_websocket(&whole, &headers);
                assert!(head.starts_with("HTTP/1.1 101 "), "{what}: {head}");
                assert!(!head.contains(&token) && !head.contains(&URL_SAFE_NO_PAD.encode(&token)), "{what}: an echo");
                talks(&what, dialect, &mut stream);
                sessions += 1;
            }
        }
        let seen = stand.stand.recorder.requests();
        assert_eq!(seen.len(), sessions, "{target}");
        for request in &seen {
            let (path, query, name, value) = match dialect {
                Dialect::Generic => ("/demo/ws", None, "x-api-key", REAL_KEY.to_owned()),
                Dialect::OpenAi => {
                    ("/v1/realtime", Some("model=gpt-realtime"), "authorization", format!("Bearer {REAL_KEY}"))
                }
                Dialect::Gemini => {
                    ("GenerativeService.BidiGenerateContent", None, "x-goog-api-key", REAL_KEY.to_owned())
                }
            };
            assert!(request.path.ends_with(path), "{}", request.path);
            assert_eq!((request.query.as_deref(), request.header(name)), (query, Some(value.as_str())), "{target}");
            assert_eq!(request.credentials.len(), 1, "{target}: {:?}", request.credentials);
        }
        assert!(stand.stand.recorder.places_of(&token).is_empty(), "{target}");
        stand.stand.recorder.clear();
    }
}

/// Talks a little, as the API of `dialect` does.
fn talks(what: &str, dialect: Dialect, stream: &mut TcpStream) {
    let first: &[u8] = match dialect {
        Dialect::Generic => b"hello",
        Dialect::OpenAi => br#"{"type":"session.update","session":{"type":"realtime"}}"#,
        Dialect::Gemini => SETUP,
    };
    stream.write_all(&frame(1, first)).expect("sent");
    let answer = read_frame(stream);
    let text = String::from_utf8_lossy(&answer.1).into_owned();
    let talks = match dialect {
        Dialect::Generic => answer == (1, first.to_vec()),
        Dialect::OpenAi => text.contains("session.created"),
        Dialect::Gemini => is_set_up(&answer),
    };
    assert!(talks, "{what}: {text}");
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
fn near_misses_are_told_what_is_wrong_and_dial_nobody() {
    let stand = stand();
    let token = stand.minted(|_| {}).text;
    let mistyped = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { '1' } else { '0' });
    let unknown = stand_in();
    for (presented, hint) in [
        (format!("authTokens/{token}"), "write `auth_tokens/`"),
        (format!("auth_tokens%2F{token}"), "encode once in a URL, never in a header"),
        (format!("auth_tokens%252F{token}"), "encode once in a URL, never in a header"),
        (format!("auth_tokens/auth_tokens/{token}"), ""),
        (format!("EK_{token}"), ""),
        (mistyped, "the checksum does not match: was it copied whole?"),
        (token[..token.len() - 5].to_owned(), "the length does not match: was it copied whole?"),
        (unknown, "the credential is not accepted"),
    ] {
        // In a URL one layer of encoding is the URL's own.
        let in_url = presented.replace('%', "%25");
        let carriers = [
            (String::new(), format!("Authorization: Token {presented}\r\n")),
            (String::new(), format!("x-goog-api-key: {presented}\r\n")),
            (format!("?key={in_url}"), String::new()),
            (format!("?access_token={in_url}"), String::new()),
        ];
        // What resembles no token at all could be a key, which is told to leave the URL.
        for (query, headers) in carriers.into_iter().filter(|(query, _)| query.is_empty() || !hint.is_empty()) {
            let (head, mut stream) = stand.stand.open_websocket(&format!("{}{query}", super::LIVE), &headers);
            assert!(head.starts_with("HTTP/1.1 101 "), "{presented}: {head}");
            stream.write_all(&frame(1, SETUP)).expect("sent");
            let (code, reason) = close_of(&read_frame(&mut stream));
            assert_eq!(code, 1007, "{query}{headers}: {reason}");
            assert!(reason.starts_with("credential_invalid: ") && reason.contains(hint), "{query}{headers}: {reason}");
            assert!(!reason.contains(&presented), "{reason}");
        }
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
