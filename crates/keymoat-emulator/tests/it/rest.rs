//! Gemini over HTTP.

use std::time::Duration;

use http::StatusCode;
use keymoat_emulator::Credentials;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Bench, KEY, WITH_KEY};

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

fn contents(text: &str) -> String {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}).to_string()
}

#[tokio::test]
async fn generates_lists_and_counts_with_the_key_in_the_header() {
    let bench = Bench::start().await;
    let generated = bench.call("POST", GENERATE, &WITH_KEY, &contents("hello there")).await.json();
    let candidate = &generated["candidates"][0];
    assert_eq!(candidate["content"]["parts"][0]["text"], "Turn 1: you said \"hello there\", that is 2 words.");
    assert_eq!(candidate["finishReason"], "STOP");
    assert_eq!(generated["usageMetadata"]["promptTokenCount"], 2);
    assert_eq!(bench.last().places_of(KEY), ["header:x-goog-api-key"]);
    assert!(bench.last().body.contains("hello there"));
    let models = bench.call("GET", "/v1/models", &WITH_KEY, "").await.json();
    assert!(models["models"].as_array().unwrap().iter().any(|model| model["name"] == "models/gemini-2.5-flash"));
    let target = "/v1beta/models/gemini-2.5-flash:countTokens";
    let counted = bench.call("POST", target, &WITH_KEY, &contents("one two three")).await.json();
    assert_eq!(counted["totalTokens"], 3);
}

#[tokio::test]
async fn a_bad_key_is_400_and_none_is_403() {
    let bench = Bench::start().await;
    let bad = bench.call("POST", GENERATE, &[("x-goog-api-key", "wrong")], &contents("x")).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    let error = &bad.json()["error"];
    assert_eq!((error["status"].as_str(), error["code"].as_u64()), (Some("INVALID_ARGUMENT"), Some(400)));
    assert_eq!(error["details"][0]["reason"], "API_KEY_INVALID");
    let none = bench.call("POST", GENERATE, &[], &contents("x")).await;
    assert_eq!(none.status, StatusCode::FORBIDDEN);
    assert_eq!(none.json()["error"]["status"], "PERMISSION_DENIED");
}

#[tokio::test]
async fn a_key_in_the_url_is_refused_unless_as_lax_as_the_provider() {
    let target = format!("{GENERATE}?key={KEY}");
    let refused = Bench::start().await.call("POST", &target, &WITH_KEY, &contents("x")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.json()["error"]["details"][0]["reason"], "CREDENTIAL_IN_URL");
    assert!(!refused.text.contains(KEY));
    let bench = Bench::with(|options| options.credentials = Credentials::Provider).await;
    assert_eq!(bench.call("POST", &target, &[], &contents("x")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_method_path_or_model_is_not_found() {
    let bench = Bench::start().await;
    for (method, target) in [
        ("GET", GENERATE),
        ("POST", "/v1beta/models"),
        ("POST", "/v1beta/models/gemini-2.5-flash:dance"),
        ("POST", "/v1beta/models/palm-2:generateContent"),
        ("POST", "/v1/auth_tokens"),
        ("GET", "/v1beta/models/gemini-9"),
    ] {
        let answer = bench.call(method, target, &WITH_KEY, &contents("x")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {target}");
        assert_eq!(answer.json()["error"]["status"], "NOT_FOUND");
    }
}

#[tokio::test]
async fn refuses_unknown_fields_and_empty_contents() {
    let bench = Bench::start().await;
    let unknown = bench.call("POST", GENERATE, &WITH_KEY, r#"{"contents":[],"prompt":1}"#).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let message = unknown.json()["error"]["message"].clone();
    assert_eq!(message, "Invalid JSON payload received. Unknown name \"prompt\": Cannot find field.");
    let empty = bench.call("POST", GENERATE, &WITH_KEY, "{}").await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stream_comes_event_by_event() {
    let bench = Bench::with(|options| {
        options.gemini.speed = 1;
        options.gemini.text_pause = Duration::from_millis(50);
    })
    .await;
    let body = contents("stream this");
    let mut socket = bench.tcp().await;
    let target = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\nx-goog-api-key: {KEY}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let (mut reads, mut received, mut buffer) = (0, String::new(), [0; 64 * 1024]);
    loop {
        let read = socket.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        let text = String::from_utf8(buffer[..read].to_vec()).unwrap();
        reads += usize::from(text.contains("data: "));
        received.push_str(&text);
    }
    assert!(received.to_lowercase().contains("content-type: text/event-stream"));
    let events: Vec<Value> = received
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    assert_eq!(events.len(), 4);
    assert!(reads > 1, "the events were sent all at once");
    let text: String =
        events.iter().map(|event| event["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, "Turn 1: you said \"stream this\", that is 2 words.");
    assert!(received.contains("}\r\n\r\n"));
}

#[tokio::test]
async fn without_alt_sse_a_stream_is_one_json_list() {
    let bench = Bench::start().await;
    let target = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    let list = bench.call("POST", target, &WITH_KEY, &contents("list")).await.json();
    assert!(list.as_array().unwrap().len() > 1);
}
