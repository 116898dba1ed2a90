//! OpenAI's dialect from end to end: what reaches the upstream, what comes back, and how a no looks.

use std::io::Write;
use std::net::TcpStream;

use keymoat_core::carrier::Carriers;
use keymoat_core::route::{Dialect, Paths, QueryPolicy, Route};
use keymoat_core::{Code, Scopes};
use keymoat_gateway::settings::Limits;
use serde_json::{Value, json};

use crate::stand::{ALL_CARRIERS, REAL_KEY, Stand, close_of, frame, read_frame, upstream};

const REALTIME: &str = "/v1/realtime?model=gpt-realtime";

/// A gateway whose own paths are OpenAI's, and below `/gw` once more.
fn stand() -> Stand {
    Stand::with(Limits::default(), |settings| {
        let behind = settings.upstreams[0].origin.port;
        let address = format!("127.0.0.1:{behind}").parse().expect("an address");
        settings.upstreams.push(upstream("openai", address, "authorization"));
        let carriers = Carriers::parse(ALL_CARRIERS).expect("known carriers");
        for (name, prefix) in [("openai", ""), ("openai-below", "/gw")] {
            let paths = Paths::Dialect { prefix: prefix.into() };
            let route = Route::new(name, "openai", Dialect::OpenAi, paths, carriers.clone());
            settings.routes.push(Route { query: QueryPolicy::Tokens, ..route });
        }
    })
}

fn event(stream: &mut TcpStream) -> Value {
    let (opcode, payload) = read_frame(stream);
    assert_eq!(opcode, 1, "a text message, not {payload:?}");
    serde_json::from_slice(&payload).expect("JSON")
}

fn until(stream: &mut TcpStream, kind: &str) -> Value {
    loop {
        let event = event(stream);
        if event["type"] == kind {
            return event;
        }
    }
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {answer}"))
}

#[test]
fn realtime_talks_by_header_and_by_subprotocol_and_only_the_real_key_goes_up() {
    let stand = stand();
    let key = stand.key.clone();
    let remarks = "openai-organization.org_client, openai-project.proj_client, openai-beta.realtime-v1";
    for (path, headers, selected) in [
        (REALTIME, format!("Authorization: Bearer {key}\r\nOpenAI-Beta: realtime=v1\r\n"), false),
        (
            REALTIME,
            format!(
                "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{key}, {remarks}\r\nOrigin: https://a.b\r\n"
            ),
            true,
        ),
        (
            "/gw/v1/realtime?model=gpt-realtime-mini",
            format!("api-key: {key}\r\nOpenAI-Organization: org_client\r\n"),
            false,
        ),
    ] {
        let (head, mut stream) = stand.open_websocket(path, &headers);
        assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains(&key), "{head}");
        assert_eq!(head.to_ascii_lowercase().contains("sec-websocket-protocol: realtime\r\n"), selected, "{head}");
        assert_eq!(event(&mut stream)["type"], "session.created");
        let response = json!({"type": "response.create", "response": {"output_modalities": ["text"]}}).to_string();
        stream.write_all(&frame(1, response.as_bytes())).expect("sent");
        let done = until(&mut stream, "response.done");
        assert_eq!(done["response"]["status"], "completed");
    }
    let requests = stand.recorder.requests();
    assert_eq!(requests.len(), 3);
    for (request, query) in requests.iter().zip(["gpt-realtime", "gpt-realtime", "gpt-realtime-mini"]) {
        assert_eq!(
            (request.path.as_str(), request.query.as_deref()),
            ("/v1/realtime", Some(&*format!("model={query}")))
        );
        assert_eq!(request.header("authorization"), Some(&*format!("Bearer {REAL_KEY}")));
        assert_eq!(request.credentials.len(), 1, "{:?}", request.credentials);
        for name in ["openai-organization", "openai-project", "openai-beta", "origin", "api-key"] {
            assert_eq!(request.header(name), None, "{name}");
        }
        assert!(request.places_of("org_client").is_empty() && request.places_of("proj_client").is_empty());
    }
    assert_eq!(requests[1].header("sec-websocket-protocol"), Some("realtime"));
    assert!(stand.recorder.places_of(&key).is_empty());
}

#[test]
fn a_refused_websocket_gets_an_error_event_and_then_3000() {
    let stand = stand();
    stand.know("a-key-for-elsewhere-0123456789", &Stand::a_key("elsewhere", Scopes::from_words(["nowhere"])));
    let wrong = "sk-proj-wrong-credential-0123456789";
    for (path, headers, code) in [
        (REALTIME.to_owned(), String::new(), Code::CredentialMissing),
        (REALTIME.to_owned(), format!("Authorization: Bearer {wrong}\r\n"), Code::CredentialInvalid),
        (
            REALTIME.to_owned(),
            format!("Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{wrong}\r\n"),
            Code::CredentialInvalid,
        ),
        (format!("{REALTIME}&api_key={}", stand.key), String::new(), Code::CredentialInQuery),
        (REALTIME.to_owned(), "api-key: a-key-for-elsewhere-0123456789\r\n".to_owned(), Code::Forbidden),
        ("/v1/chat/completions".to_owned(), format!("api-key: {}\r\n", stand.key), Code::RouteUnknown),
    ] {
        let before = stand.records(0).len();
        let (head, mut stream) = stand.open_websocket(&path, &headers);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let (opcode, payload) = read_frame(&mut stream);
        assert_eq!(opcode, 1);
        let told = String::from_utf8(payload).expect("UTF-8");
        let event: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!((&event["type"], &event["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
        assert_eq!(event["error"]["code"], code.word());
        let message = event["error"]["message"].as_str().expect("a text");
        assert!(message.starts_with(&format!("{code}: ")), "{message}");
        let (close, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(close, 3000);
        assert!(reason.starts_with(&format!("{code}: ")), "{reason}");
        for canary in [wrong, stand.key.as_str(), "elsewhere-0123", REAL_KEY] {
            assert!(!head.contains(canary) && !told.contains(canary) && !reason.contains(canary), "{code}");
        }
        drop(stream);
        let records = stand.records(before + 1);
        let record = records.last().expect("one came");
        assert_eq!((record.code, record.close_code), (Some(code), Some(3000)));
        // The event's id finds the record.
        assert_eq!(event["event_id"], record.id.to_string());
    }
    assert!(stand.recorder.requests().is_empty(), "nothing was dialled");
}

#[test]
fn rest_and_event_streams_pass_with_the_real_key_alone() {
    let stand = stand();
    let key = stand.key.clone();
    let post = |path: &str, content: &Value| {
        let content = content.to_string();
        stand.exchange(&format!(
            "POST {path} HTTP/1.1\r\nHost: keymoat.test\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
             OpenAI-Project: proj_client\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        ))
    };
    let answer = post("/v1/responses", &json!({"model": "gpt-5", "input": "hello"}));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("you said"), "{answer}");
    let answer = post(
        "/gw/v1/chat/completions",
        &json!({
            "model": "gpt-5", "stream": true, "messages": [{"role": "user", "content": "hello"}],
        }),
    );
    assert!(answer.contains("text/event-stream") && answer.contains("data: [DONE]"), "{answer}");
    let requests = stand.recorder.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.header("authorization"), Some(&*format!("Bearer {REAL_KEY}")));
        assert_eq!(request.header("openai-project"), None);
        assert_eq!(request.places_of(REAL_KEY), ["header:authorization"]);
    }
    assert!(stand.recorder.places_of(&key).is_empty());
}

#[test]
fn a_refusal_over_http_is_read_by_openai_s_sdks() {
    let stand = stand();
    let answer = stand.fetch("/v1/responses/resp_1", "Authorization: Bearer sk-wrong-0123456789abcdef\r\n");
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("application/problem+json"), "{answer}");
    let document = body(&answer);
    assert_eq!(
        (&document["code"], &document["error"]["code"]),
        (&json!("credential_invalid"), &json!("credential_invalid"))
    );
    assert_eq!(document["error"]["type"], "invalid_request_error");
    assert_eq!(document["error"]["param"], Value::Null);
    assert!(
        document["error"]["message"].as_str().is_some_and(|text| text.starts_with("credential_invalid: ")),
        "{answer}"
    );
    assert!(!answer.contains("sk-wrong"), "{answer}");
}

#[test]
fn nothing_is_asked_for_that_hands_out_openai_s_own_credentials() {
    let stand = stand();
    let key = format!("Authorization: Bearer {}\r\n", stand.key);
    for path in ["/v1/realtime/client_secrets", "/v1/realtime/sessions", "/v1/organization/admin_api_keys"] {
        let answer = stand.fetch(path, &key);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(body(&answer)["error"]["message"].as_str().is_some_and(|text| text.contains("past this gateway")));
    }
    assert!(stand.recorder.requests().is_empty());
}
