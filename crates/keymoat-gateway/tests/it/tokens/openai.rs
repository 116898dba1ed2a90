//! Client secrets: minted as OpenAI's SDKs do, and locked to the session that they were minted for.

use std::io::Write;
use std::net::TcpStream;

use keymoat_core::carrier::Carriers;
use keymoat_core::route::{Dialect, Paths, QueryPolicy, Route};
use keymoat_gateway::settings::Limits;
use serde_json::{Value, json};

use super::{TokenStand, json_of};
use crate::stand::{ALL_CARRIERS, close_of, frame, read_frame, upstream};

/// A stand with a route of OpenAI's.
fn stand() -> TokenStand {
    TokenStand::with(Limits::default(), |settings| {
        let behind = settings.upstreams[0].origin.port;
        let address = format!("127.0.0.1:{behind}").parse().expect("an address");
        settings.upstreams.push(upstream("openai", address, "authorization"));
        let carriers = Carriers::parse(ALL_CARRIERS).expect("known carriers");
        let paths = Paths::Dialect { prefix: String::new() };
        let route = Route::new("openai", "openai", Dialect::OpenAi, paths, carriers);
        settings.routes.push(Route { query: QueryPolicy::Tokens, ..route });
    })
}

fn minted(stand: &TokenStand, path: &str, body: &Value) -> Value {
    let headers = format!("Authorization: Bearer {}\r\n", stand.stand.key);
    let answer = stand.ask("POST", path, &headers, &body.to_string());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("cache-control: private, no-store"), "{answer}");
    json_of(&answer)
}

fn open(stand: &TokenStand, path: &str, secret: &str) -> TcpStream {
    let headers = format!("Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{secret}\r\n");
    let (head, stream) = stand.stand.open_websocket(path, &headers);
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains(secret), "{head}");
    stream
}

fn event(stream: &mut TcpStream) -> Value {
    let (opcode, payload) = read_frame(stream);
    assert_eq!(opcode, 1, "a text message, not {:?}", String::from_utf8_lossy(&payload));
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

fn session() -> Value {
    json!({"session": {"type": "realtime", "model": "gpt-realtime", "instructions": "Talk like a pirate."}})
}

#[test]
fn a_live_session_shows_what_its_updates_leave_in_effect() {
    let stand = stand();
    let minted = minted(&stand, "/v1/realtime/client_secrets", &session());
    let mut stream = open(&stand, "/v1/realtime", minted["value"].as_str().expect("a value"));
    until(&mut stream, "session.updated");
    let setup = || {
        let running = stand.stand.running.as_ref().expect("running");
        running.sessions().list()[0].setup.clone().expect("it is looked at")
    };
    let before = setup();
    assert_eq!(before.asked, None);
    assert!(before.effective.as_ref().is_some_and(|text| text.contains("pirate")), "{before:?}");
    let update = json!({"type": "session.update",
        "session": {"type": "realtime", "instructions": "Talk plainly.", "max_output_tokens": 7}});
    stream.write_all(&frame(1, update.to_string().as_bytes())).expect("sent");
    until(&mut stream, "session.updated");
    let after = setup();
    assert!(after.asked.as_ref().is_some_and(|text| text.contains("plainly")), "{after:?}");
    let effective = after.effective.as_ref().expect("in effect");
    assert!(effective.contains("pirate") && !effective.contains("plainly"), "{effective}");
    assert!(effective.contains(r#""max_output_tokens":7"#), "{effective}");
}

#[test]
fn a_client_secret_opens_its_own_session_and_no_other() {
    let stand = stand();
    let minted = minted(&stand, "/v1/realtime/client_secrets", &session());
    let secret = minted["value"].as_str().expect("a value").to_owned();
    assert!(secret.starts_with("ek_kmt_") && minted["expires_at"].is_i64(), "{minted}");
    assert_eq!(minted["session"]["instructions"], "Talk like a pirate.");
    for path in ["/v1/realtime", "/v1/realtime?model=gpt-realtime"] {
        let mut stream = open(&stand, path, &secret);
        let updated = until(&mut stream, "session.updated");
        assert_eq!(updated["session"]["instructions"], "Talk like a pirate.");
        let change = json!({"type": "session.update", "session": {"type": "realtime", "instructions": "Obey me."}});
        stream.write_all(&frame(1, change.to_string().as_bytes())).expect("sent");
        let updated = until(&mut stream, "session.updated");
        assert_eq!(updated["session"]["instructions"], "Talk like a pirate.");
    }
    for request in stand.stand.recorder.requests() {
        assert_eq!(request.query.as_deref(), Some("model=gpt-realtime"));
    }
    for path in [
        "/v1/realtime?model=gpt-other",
        "/v1/realtime?call_id=rtc_1",
        "/v1/realtime?intent=transcription",
        "/v1/realtime?%69ntent=transcription",
        "/v1/responses",
    ] {
        let mut stream = open(&stand, path, &secret);
        assert_eq!(event(&mut stream)["error"]["code"], "forbidden", "{path}");
        assert_eq!(close_of(&read_frame(&mut stream)).0, 3000);
    }
    for twice in ["model=gpt-realtime&%6dodel=gpt-other", "Model=gpt-other"] {
        let headers = format!("Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{secret}\r\n");
        let (head, _) = stand.stand.open_websocket(&format!("/v1/realtime?{twice}"), &headers);
        assert!(head.starts_with("HTTP/1.1 400 "), "{twice}: {head}");
    }
    let rest = stand.stand.fetch("/v1/models", &format!("Authorization: Bearer {secret}\r\n"));
    assert!(rest.starts_with("HTTP/1.1 403 "), "{rest}");
    assert!(stand.stand.recorder.places_of(secret.strip_prefix("ek_").expect("its spelling")).is_empty());
}

#[test]
fn nothing_that_a_lock_does_not_know_passes_it() {
    let stand = stand();
    let minted = minted(&stand, "/v1/realtime/sessions", &session()["session"]);
    let secret = minted["client_secret"]["value"].as_str().expect("a value").to_owned();
    for event in [
        json!({"type": "session.update", "session": {"type": "realtime", "model": "gpt-other"}}),
        json!({"type": "session.reset"}),
        json!({"type": "response.create", "event_id": "keymoat_lock"}),
        json!(["session.update"]),
    ] {
        let mut stream = open(&stand, "/v1/realtime", &secret);
        until(&mut stream, "session.updated");
        stream.write_all(&frame(1, event.to_string().as_bytes())).expect("sent");
        let closed = loop {
            let answer = read_frame(&mut stream);
            if answer.0 == 8 {
                break close_of(&answer);
            }
        };
        assert!(closed.1.starts_with("forbidden") || closed.1.starts_with("request_invalid"), "{event}: {closed:?}");
    }
}

#[test]
fn a_client_secret_without_a_session_locks_nothing() {
    let stand = stand();
    let minted = minted(&stand, "/v1/realtime/client_secrets", &json!({"expires_after": {"seconds": 60}}));
    let secret = minted["value"].as_str().expect("a value").to_owned();
    let mut stream = open(&stand, "/v1/realtime?model=gpt-realtime", &secret);
    assert_eq!(event(&mut stream)["type"], "session.created");
    let change = json!({"type": "session.update", "session": {"type": "realtime", "instructions": "Mine."}});
    stream.write_all(&frame(1, change.to_string().as_bytes())).expect("sent");
    assert_eq!(until(&mut stream, "session.updated")["session"]["instructions"], "Mine.");
}
