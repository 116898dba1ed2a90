//! OpenAI's surface: who is let in, what is said to the others, and what comes back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keymoat_emulator::Credentials;
use serde_json::{Value, json};

use crate::support::{Bench, Client, KEY};

const REALTIME: &str = "/v1/realtime?model=gpt-realtime";

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

async fn open(bench: &Bench) -> Client {
    let mut client = bench.websocket(REALTIME, &[("authorization", &bearer(KEY))]).await.unwrap();
    assert_eq!(client.receive().await["type"], "session.created");
    client
}

/// Reads until an event of this type; all events, that one last.
async fn until(client: &mut Client, kind: &str) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let event = client.receive().await;
        assert!(event["event_id"].is_string(), "{event}");
        let found = event["type"] == kind;
        events.push(event);
        if found {
            return events;
        }
    }
}

fn deltas(events: &[Value], kind: &str) -> String {
    events.iter().filter(|event| event["type"] == kind).map(|event| event["delta"].as_str().unwrap()).collect()
}

fn hello() -> Value {
    let content = json!([{"type": "input_text", "text": "hello"}]);
    json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
}

/// The `error` event that a refusal begins with, and the close behind it.
async fn refused(bench: &Bench, target: &str, headers: &[(&str, &str)]) -> (String, u16, String) {
    let mut client = bench.websocket(target, headers).await.unwrap();
    let event = client.receive().await;
    assert_eq!((&event["type"], &event["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
    let (code, reason) = client.closed().await;
    (event["error"]["code"].as_str().unwrap().to_owned(), code, reason)
}

#[tokio::test]
async fn a_key_in_the_header_or_the_subprotocol_opens_a_session_that_talks() {
    let bench = Bench::start().await;
    let key = bearer(KEY);
    let in_protocol = format!("realtime, openai-insecure-api-key.{KEY}");
    for (headers, selected) in [
        ([("authorization", key.as_str())], None),
        ([("sec-websocket-protocol", in_protocol.as_str())], Some("realtime")),
    ] {
        let mut client = bench.websocket(REALTIME, &headers).await.unwrap();
        assert_eq!(client.selected.as_deref(), selected);
        let created = client.receive().await;
        assert_eq!(created["session"]["model"], "gpt-realtime");
        client
            .send(json!({"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}))
            .await;
        assert_eq!(until(&mut client, "session.updated").await[0]["session"]["output_modalities"], json!(["text"]));
        client.send(hello()).await;
        client.send(json!({"type": "response.create"})).await;
        let events = until(&mut client, "response.done").await;
        assert_eq!(deltas(&events, "response.output_text.delta"), "Turn 1: you said \"hello\", that is 1 words.");
        client.leave().await;
    }
}

#[tokio::test]
async fn speech_goes_in_and_comes_out() {
    let bench = Bench::start().await;
    let mut client = open(&bench).await;
    let loud: Vec<u8> =
        (0..4800_i16).flat_map(|n| (if n % 60 < 30 { 9000_i16 } else { -9000 }).to_le_bytes()).collect();
    for pcm in [loud, vec![0; 9600]] {
        client.send(json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(pcm)})).await;
    }
    let events = until(&mut client, "response.done").await;
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds[..3],
        ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed"]
    );
    let said = deltas(&events, "response.output_audio_transcript.delta");
    assert_eq!(said, "Turn 1: I heard 400 ms of audio at 24000 Hz.");
    let sound = events.iter().find(|event| event["type"] == "response.output_audio.delta").unwrap();
    assert_eq!(STANDARD.decode(sound["delta"].as_str().unwrap()).unwrap().len(), 9600);
}

#[tokio::test]
async fn a_mistake_is_an_error_event_and_the_session_goes_on() {
    let bench = Bench::start().await;
    let mut client = open(&bench).await;
    for (event, code, param) in [
        (
            json!({"type": "session.update", "event_id": "e1", "session": {"type": "realtime", "voice": "x"}}),
            "unknown_parameter",
            json!("session.voice"),
        ),
        (json!({"type": "nonsense", "event_id": "e1"}), "invalid_value", json!("type")),
        (json!({"event_id": "e1"}), "missing_required_parameter", json!("type")),
    ] {
        client.send(event).await;
        let error = client.receive().await;
        assert_eq!(error["type"], "error");
        assert_eq!((&error["error"]["code"], &error["error"]["param"]), (&json!(code), &param));
        assert_eq!(error["error"]["event_id"], "e1");
    }
    client.send(json!({"type": "response.create"})).await;
    until(&mut client, "response.done").await;
}

#[tokio::test]
async fn bad_credentials_are_refused_with_an_event_and_then_3000() {
    let bench = Bench::start().await;
    let (good, bad) = (bearer(KEY), bearer("sk-wrong"));
    let both = format!("realtime, openai-insecure-api-key.{KEY}");
    let cases: [(&str, &[(&str, &str)]); 6] = [
        (REALTIME, &[]),
        (REALTIME, &[("authorization", &bad)]),
        (REALTIME, &[("api-key", KEY)]),
        (REALTIME, &[("authorization", &bad), ("sec-websocket-protocol", &both)]),
        ("/v1/realtime?model=gpt-realtime&api_key=x", &[("authorization", &good)]),
        ("/v1/realtime?model=gpt-realtime&user=AIza%2Dmade-up-for-tests", &[("authorization", &good)]),
    ];
    for (target, headers) in cases {
        let refused = refused(&bench, target, headers).await;
        let reason = "invalid_request_error.invalid_api_key".to_owned();
        assert_eq!(refused, ("invalid_api_key".to_owned(), 3000, reason), "{target}");
    }
    let lenient = Bench::with(|options| options.credentials = Credentials::Provider).await;
    let mut client = lenient.websocket(cases[4].0, cases[4].1).await.unwrap();
    assert_eq!(client.receive().await["type"], "session.created");
}

#[tokio::test]
async fn the_beta_and_a_missing_model_are_refused_with_4000() {
    let bench = Bench::start().await;
    let key = bearer(KEY);
    for (target, more, code) in [
        (REALTIME, ("openai-beta", "realtime=v1"), "beta_api_shape_disabled"),
        (REALTIME, ("sec-websocket-protocol", "realtime, openai-beta.realtime-v1"), "beta_api_shape_disabled"),
        ("/v1/realtime", ("accept", "*/*"), "missing_model"),
        ("/v1/realtime?model=gpt-5", ("accept", "*/*"), "model_not_found"),
    ] {
        let refused = refused(&bench, target, &[("authorization", &key), more]).await;
        assert_eq!(refused, (code.to_owned(), 4000, format!("invalid_request_error.{code}")));
    }
}

#[tokio::test]
async fn a_client_secret_opens_sessions_as_it_was_minted_and_locks_nothing() {
    let bench = Bench::start().await;
    let key = bearer(KEY);
    let body = json!({"session": {"type": "realtime", "model": "gpt-realtime-mini", "instructions": "be brief"}});
    let minted = bench.call("POST", "/v1/realtime/client_secrets", &[("authorization", &key)], &body.to_string()).await;
    let minted = minted.json();
    let secret = minted["value"].as_str().unwrap();
    assert!(secret.starts_with("ek_") && minted["expires_at"].is_i64());
    let protocols = format!("realtime, openai-insecure-api-key.{secret}");
    for _ in 0..2 {
        let mut client = bench.websocket("/v1/realtime", &[("sec-websocket-protocol", &protocols)]).await.unwrap();
        let created = client.receive().await;
        assert_eq!(
            (&created["session"]["model"], &created["session"]["instructions"]),
            (&json!("gpt-realtime-mini"), &json!("be brief"))
        );
        client
            .send(json!({"type": "session.update", "session": {"type": "realtime", "instructions": "be long"}}))
            .await;
        assert_eq!(client.receive().await["session"]["instructions"], "be long");
        client.leave().await;
    }
    let refused = bench.call("GET", "/v1/models", &[("authorization", &bearer(secret))], "").await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn rest_answers_whole_and_as_events() {
    let bench = Bench::start().await;
    let key = bearer(KEY);
    let with_key = [("authorization", key.as_str())];
    let models = bench.call("GET", "/v1/models", &with_key, "").await.json();
    assert_eq!(models["data"][0]["object"], "model");
    let expected = "Turn 1: you said \"hello\", that is 1 words.";

    let mut body = json!({"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]});
    let whole = bench.call("POST", "/v1/chat/completions", &with_key, &body.to_string()).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], expected);
    body["stream"] = true.into();
    let events = bench.call("POST", "/v1/chat/completions", &with_key, &body.to_string()).await;
    assert!(events.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let chunks =
        events.text.split("\n\n").filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok());
    let said: String =
        chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect();
    assert_eq!(said, expected);
    assert!(events.text.ends_with("data: [DONE]\n\n"));

    let mut body = json!({"model": "gpt-5", "input": "hello"});
    let whole = bench.call("POST", "/v1/responses", &with_key, &body.to_string()).await.json();
    assert_eq!(whole["output"][0]["content"][0]["text"], expected);
    body["stream"] = true.into();
    let events = bench.call("POST", "/v1/responses", &with_key, &body.to_string()).await.text;
    assert!(
        events.starts_with("event: response.created\n") && events.contains("event: response.completed\n"),
        "{events}"
    );
}

#[tokio::test]
async fn rest_refuses_in_openai_s_words() {
    let bench = Bench::start().await;
    let (good, bad) = (bearer(KEY), bearer("sk-wrong"));
    let good = [("authorization", good.as_str())];
    let bad = [("authorization", bad.as_str())];
    let none: &[(&str, &str)] = &[];
    let cases = [
        ("GET", "/v1/models", &bad[..], "", 401, json!("invalid_api_key")),
        ("POST", "/v1/responses", none, "{}", 401, json!("invalid_api_key")),
        ("GET", "/v1/models?api_key=x", &good, "", 401, json!("invalid_api_key")),
        ("POST", "/v1/responses", &good, "{\"input\":\"x\"}", 400, json!("missing_required_parameter")),
        ("GET", "/v1/models/none", &good, "", 404, json!("model_not_found")),
        ("GET", "/v1/responses", &good, "", 405, Value::Null),
    ];
    for (method, target, headers, body, status, code) in cases {
        let answer = bench.call(method, target, headers, body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (status, &code), "{target}");
    }
    // Google's own path stays Google's.
    assert_eq!(bench.call("GET", "/v1/models", &[("x-goog-api-key", KEY)], "").await.status, 200);
}
