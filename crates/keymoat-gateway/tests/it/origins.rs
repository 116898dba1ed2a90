//! Pages of other origins, over HTTP (CORS) and WebSockets; and paths that need no credential.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use keymoat_core::Code;
use keymoat_core::record::Outcome;
use keymoat_core::route::{LoneSubprotocol, Pattern, QueryPolicy, Route};
use keymoat_core::{Origin, Origins};
use keymoat_gateway::settings::{Inject, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::scripted::{Scripted, Then, header, headers};
use crate::stand::{
    REAL_KEY, Stand, close_of, frame, gemini, generic, read_all, read_frame, read_head, upstream, wait_until,
};

const APP: &str = "Origin: https://app.example\r\n";
const EVIL: &str = "Origin: https://evil.example\r\n";

/// `/listed/*` and a Gemini route below `/g` name their pages; `/demo/*` does not.
fn with_a_list() -> Stand {
    Stand::with(Limits::default(), |settings| {
        let app = Origin::parse("https://app.example").expect("an origin");
        let origins = Origins::List(vec![Origin::parse("http://localhost:5173").expect("an origin"), app]);
        let mut listed = generic("listed", "demo", &["/listed/*", "/demo/ws"], QueryPolicy::Tokens);
        listed.origins = origins.clone();
        settings.routes.push(listed);
        settings.routes.push(Route { origins, ..gemini("gemini-listed", "/g", QueryPolicy::Tokens) });
    })
}

fn key(stand: &Stand) -> String {
    format!("X-API-Key: {}\r\n", stand.key)
}

fn preflight(stand: &Stand, path: &str, origin: &str) -> String {
    stand.exchange(&format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: keymoat.test\r\nConnection: close\r\n{origin}\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,x-canary\r\n\r\n"
    ))
}

fn allowed(answer: &str) -> Vec<String> {
    headers(answer, "access-control-allow-origin")
}

#[test]
fn a_preflight_of_a_listed_page_is_answered_without_a_credential() {
    let stand = with_a_list();
    let answer = preflight(&stand, "/listed/x", APP);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(allowed(&answer), ["https://app.example"]);
    let methods = header(&answer, "access-control-allow-methods").expect("methods");
    assert!(["GET", "POST", "PUT", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    let names = header(&answer, "access-control-allow-headers").expect("headers");
    for name in ["authorization", "x-api-key", "x-goog-api-key", "content-type"] {
        assert!(names.split(", ").any(|listed| listed == name), "{name} in {names}");
    }
    assert_eq!(header(&answer, "access-control-max-age").as_deref(), Some("600"));
    assert!(headers(&answer, "vary").iter().any(|vary| vary == "Origin"), "{answer}");
    assert!(!answer.contains("x-canary") && !answer.contains("allow-credentials"), "{answer}");
    let record = &stand.records(1)[0];
    assert_eq!((record.outcome, record.status, &record.carrier), (Outcome::Allowed, Some(204), &None));
    assert!(stand.recorder.requests().is_empty(), "the upstream is not asked");
}

#[test]
fn a_preflight_of_another_page_is_refused_and_not_reflected() {
    let stand = with_a_list();
    for origin in [EVIL, "Origin: null\r\n", "Origin: https://app.example.evil.example\r\n", "Origin: *\r\n"] {
        let answer = preflight(&stand, "/listed/x", origin);
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("application/problem+json"), "{answer}");
        assert!(!answer.contains("access-control-") && !answer.contains("evil"), "{answer}");
        assert!(headers(&answer, "vary").iter().any(|vary| vary == "Origin"), "{answer}");
    }
    // An OPTIONS that is no preflight needs a credential like everything else.
    let plain = format!("OPTIONS /listed/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{APP}\r\n");
    assert!(stand.exchange(&plain).starts_with("HTTP/1.1 401 "));
    // And where no list is, there is nothing to answer from.
    assert!(preflight(&stand, "/demo/echo", APP).starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_listed_page_may_read_answers_and_refusals() {
    let stand = Stand::with(Limits::default(), |settings| {
        let mut demo = generic("listed", "demo", &["/demo/*"], QueryPolicy::Tokens);
        demo.origins = Origins::List(vec![Origin::parse("https://app.example").expect("an origin")]);
        settings.routes = vec![demo];
    });
    let echo = |headers: &str| stand.fetch("/demo/echo", headers);
    for (answer, status) in [(echo(&format!("{APP}{}", key(&stand))), "200"), (echo(APP), "401")] {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(allowed(&answer), ["https://app.example"]);
        assert!(headers(&answer, "vary").iter().any(|vary| vary == "Origin"), "{answer}");
    }
    // Not a page of another origin: no CORS, but caches are told.
    for own in ["", "Origin: http://keymoat.test\r\n", "Origin: https://keymoat.test\r\n"] {
        let answer = echo(&format!("{own}{}", key(&stand)));
        assert!(answer.starts_with("HTTP/1.1 200 ") && allowed(&answer).is_empty(), "{answer}");
        assert_eq!(headers(&answer, "vary"), ["Origin"]);
    }
    assert!(echo("Origin: http://keymoat.test\r\n").starts_with("HTTP/1.1 401 "), "the own origin proves nothing");
    stand.recorder.clear();
    for credential in [key(&stand), String::new(), String::from("X-API-Key: wrong\r\n")] {
        let answer = echo(&format!("{EVIL}{credential}"));
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("\"forbidden\""), "{answer}");
        assert!(allowed(&answer).is_empty() && !answer.contains("evil"), "{answer}");
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn an_upstream_s_own_cors_headers_are_replaced_on_a_route_with_a_list_only() {
    let scripted = Scripted::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n\
         Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: GET\r\nConnection: close\r\n\r\n",
    );
    let stand = Stand::with(Limits::default(), |settings| {
        settings.upstreams.push(upstream("x", scripted.address, "x-api-key"));
        let mut listed = generic("listed", "x", &["/listed"], QueryPolicy::Tokens);
        listed.origins = Origins::List(vec![Origin::parse("https://app.example").expect("an origin")]);
        settings.routes.extend([listed, generic("open", "x", &["/open"], QueryPolicy::Tokens)]);
    });
    let answer = stand.fetch("/listed", &format!("{APP}{}", key(&stand)));
    assert_eq!(allowed(&answer), ["https://app.example"]);
    assert_eq!(headers(&answer, "vary"), ["Accept", "Origin"]);
    assert!(!answer.contains("allow-credentials") && !answer.contains("allow-methods"), "{answer}");
    let answer = stand.fetch("/listed", &key(&stand));
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("access-control-"), "{answer}");
    let answer = stand.fetch("/open", &format!("{EVIL}{}", key(&stand)));
    assert_eq!(allowed(&answer), ["*"]);
    assert!(answer.contains("access-control-allow-credentials: true"), "{answer}");
}

#[test]
fn a_websocket_of_a_foreign_page_is_closed_before_its_credential_is_looked_at() {
    let stand = with_a_list();
    let subprotocols = format!("Sec-WebSocket-Protocol: keymoat.v1, api-key.{}\r\n", stand.key);
    let mut reasons = Vec::new();
    for origin in [EVIL, "Origin: null\r\n", "Origin: https://app.example\r\nOrigin: https://app.example\r\n"] {
        for credential in [subprotocols.as_str(), "Sec-WebSocket-Protocol: keymoat.v1, api-key.wrong\r\n", ""] {
            let (head, mut stream) = stand.open_websocket("/demo/ws", &format!("{origin}{credential}"));
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            assert!(!head.contains("api-key"), "{head}");
            let (code, reason) = close_of(&read_frame(&mut stream));
            assert_eq!(code, 4003);
            reasons.push(reason);
        }
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 1, "right, wrong and missing look the same: {reasons:?}");
    let (_, mut stream) = stand.open_websocket(
        "/g/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        &format!("{EVIL}X-Goog-Api-Key: {}\r\n", stand.key),
    );
    assert_eq!(close_of(&read_frame(&mut stream)).0, 1008);
    for record in stand.records(10) {
        assert_eq!((record.outcome, record.code, record.key_id), (Outcome::Refused, Some(Code::Forbidden), None));
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn a_websocket_of_a_listed_page_the_own_one_or_none_opens() {
    let stand = with_a_list();
    for origin in [APP, "Origin: http://localhost:5173\r\n", "Origin: http://keymoat.test\r\n", ""] {
        let (head, mut stream) = stand.open_websocket("/demo/ws", &format!("{origin}{}", key(&stand)));
        assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("access-control"), "{head}");
        stream.write_all(&frame(1, b"hello")).expect("sent");
        assert_eq!(read_frame(&mut stream), (1, b"hello".to_vec()), "{origin}");
        let (_, mut stream) = stand.open_websocket("/demo/ws", origin);
        assert_eq!(close_of(&read_frame(&mut stream)).0, 4001, "an origin is no credential");
    }
    // Without a list every page may come with a credential.
    let (_, mut stream) = stand.open_websocket("/ws/events", &format!("{EVIL}{}", key(&stand)));
    assert_eq!(read_frame(&mut stream).0, 1);
}

/// `/pub/*` leads to a scripted upstream; `/pub/health` and what is below `/pub/docs` are public.
fn with_public_paths(scripted: &Scripted, inject: Inject) -> Stand {
    Stand::with(Limits::default(), |settings| {
        settings
            .upstreams
            .push(keymoat_gateway::settings::Upstream { inject, ..upstream("x", scripted.address, "x-upstream-key") });
        let public = ["/pub/health", "/pub/docs/*"].map(|text| Pattern::parse(text).expect("a pattern"));
        settings.routes.push(Route {
            public: public.to_vec(),
            lone_subprotocol: LoneSubprotocol::Refuse,
            ..generic("pub", "x", &["/pub/*"], QueryPolicy::Tokens)
        });
    })
}

fn answering_ok() -> Scripted {
    Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::KeepAlive
    })
}

#[test]
fn a_public_path_needs_no_credential_takes_none_on_and_gets_no_key() {
    let scripted = answering_ok();
    let stand = with_public_paths(&scripted, Inject::Header(http::HeaderName::from_static("x-upstream-key")));
    let presented = [
        String::new(),
        key(&stand),
        String::from("X-API-Key: wrong\r\nAuthorization: Bearer other\r\n"),
        String::from("X-Upstream-Key: guess\r\nX-Upstream-Key: again\r\n"),
    ];
    for (path, headers) in ["/pub/health", "/pub/docs", "/pub/docs/a", "/pub//health?api_key=x&a=1"]
        .iter()
        .flat_map(|path| presented.iter().map(move |headers| (path, headers)))
    {
        let answer = stand.fetch(path, headers);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path} {headers}: {answer}");
    }
    let heads = scripted.heads();
    assert_eq!(heads.len(), 16);
    for head in &heads {
        for absent in [REAL_KEY, &stand.key, "wrong", "other", "guess", "again", "api_key"] {
            assert!(!head.to_lowercase().contains(&absent.to_lowercase()), "{absent} in {head}");
        }
    }
    for record in stand.records(16) {
        assert_eq!((record.outcome, &record.carrier, &record.key_id), (Outcome::Allowed, &None, &None));
    }
}

#[test]
fn what_only_resembles_a_public_path_is_not_public() {
    let scripted = answering_ok();
    let stand = with_public_paths(&scripted, Inject::Query(String::from("upstream_key")));
    for path in ["/pub/health/", "/pub/healthy", "/pub/docsx", "/pub/Health", "/pub/x", "/pub/docs%2f..%2fx"] {
        let answer = stand.fetch(path, "");
        assert!(answer.starts_with("HTTP/1.1 401 ") || answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    // A credential in the path cannot be taken out.
    assert!(stand.fetch(&format!("/pub/docs/{}", stand.key), "").starts_with("HTTP/1.1 400 "));
    assert!(scripted.heads().is_empty());
    assert!(stand.fetch("/pub/health?upstream_key=guess", "").starts_with("HTTP/1.1 200 "));
    assert!(scripted.heads()[0].starts_with("GET /pub/health HTTP/1.1\r\n"), "{}", scripted.heads()[0]);
    // Elsewhere the key is put on as ever.
    assert!(stand.fetch("/pub/x", &key(&stand)).starts_with("HTTP/1.1 200 "));
    assert!(scripted.heads()[1].starts_with(&format!("GET /pub/x?upstream_key={}", REAL_KEY.replace('-', "%2D"))));
}

/// A connection that has served a request, so that it is not turned away.
fn with_a_connection(stand: &Stand) -> std::net::TcpStream {
    let mut stream = stand.connect();
    stream.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
    std::io::Read::read_exact(&mut stream, &mut [0; 6]).expect("`alive`");
    stream
}

fn ask(mut stream: std::net::TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("sent");
    read_all(&mut stream)
}

#[test]
fn an_overload_may_be_read_by_listed_pages_and_by_no_others() {
    let stand = with_a_list();
    let before: Vec<_> = (0..6).map(|_| with_a_connection(&stand)).collect();
    let mut before = before.into_iter();
    let limits = Limits { memory_bytes_max: Some(1), ..Limits::default() };
    let mut settings = crate::reload::settings_with(&stand, limits);
    settings.routes[0].origins = Origins::List(vec![Origin::parse("https://app.example").expect("an origin")]);
    stand.running.as_ref().expect("running").reload(settings).expect("it fits");
    wait_until(|| {
        let mut stream = stand.connect();
        let _ = stream.write_all(b"GET /keymoat/readyz HTTP/1.1\r\nHost: a\r\n\r\n");
        read_head(&mut stream).starts_with("HTTP/1.1 503 ")
    });
    let mut ask = |method: &str, path: &str, headers: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        ask(before.next().expect("there are enough"), &request)
    };
    let listed = ask("GET", "/demo/echo", APP);
    assert!(listed.starts_with("HTTP/1.1 503 ") && listed.contains("\"unavailable\""), "{listed}");
    assert_eq!(allowed(&listed), ["https://app.example"]);
    assert_eq!(header(&listed, "access-control-expose-headers").as_deref(), Some("*"), "Retry-After can be read");
    // The preflight before it has to be answered for that.
    let preflight = ask("OPTIONS", "/demo/echo", &format!("{APP}Access-Control-Request-Method: POST\r\n"));
    assert!(preflight.starts_with("HTTP/1.1 204 "), "{preflight}");
    assert_eq!(allowed(&preflight), ["https://app.example"]);
    for (path, origin) in [("/demo/echo", EVIL), ("/demo/echo", ""), ("/nowhere", APP)] {
        let other = ask("GET", path, origin);
        assert!(other.starts_with("HTTP/1.1 503 ") && allowed(&other).is_empty(), "{path} {origin}: {other}");
    }
}

#[test]
fn an_unknown_path_belongs_to_no_route_and_so_no_page_may_read_the_answer() {
    let stand = with_a_list();
    for answer in [stand.fetch("/nowhere", APP), preflight(&stand, "/nowhere", APP)] {
        assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("access-control-"), "{answer}");
    }
}

/// A connection to the gateway of which nothing is read while `held` is locked.
async fn held_back(stand: &Stand, held: &Arc<Mutex<()>>) -> DuplexStream {
    let stream = TcpStream::connect(stand.address).await.expect("it listens");
    let (near, far) = tokio::io::duplex(64 << 10);
    let ((mut from_gateway, mut to_gateway), (mut from_client, mut to_client)) =
        (stream.into_split(), tokio::io::split(far));
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_gateway).await });
    let held = held.clone();
    tokio::spawn(async move {
        let mut part = [0; 4096];
        while let Ok(read @ 1..) = from_gateway.read(&mut part).await {
            let _turn = held.lock().await;
            if to_client.write_all(&part[..read]).await.is_err() {
                return;
            }
        }
    });
    near
}

#[tokio::test]
async fn a_drain_may_be_read_by_listed_pages_and_by_no_others() {
    let stand = with_a_list();
    let held = Arc::new(Mutex::new(()));
    let (sender, connection) = h2::client::handshake(held_back(&stand, &held).await).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    let ask = |origin: &str| {
        let request = http::Request::get("http://a.example/listed/x").header("origin", origin);
        sender.clone().send_request(request.body(()).expect("well formed"), true).expect("sent").0
    };
    assert_eq!(ask("https://app.example").await.expect("an answer").status(), 401);
    // These are sent before the client has read of the end.
    let turn = held.lock().await;
    stand.running.as_ref().expect("running").drain();
    let (listed, foreign) = (ask("https://app.example"), ask("https://evil.example"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while stand.records.lock().expect("no panic").len() < 3 {
        assert!(Instant::now() < deadline, "both are answered");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(turn);
    let (listed, foreign) = (listed.await.expect("an answer"), foreign.await.expect("an answer"));
    assert_eq!((listed.status(), foreign.status()), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(listed.headers()["access-control-allow-origin"], "https://app.example");
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    assert!(stand.records(3)[1..].iter().all(|record| record.code == Some(Code::Draining)));
}
