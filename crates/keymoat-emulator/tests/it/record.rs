//! The record, in the process and over HTTP.

use serde_json::json;

use crate::support::{Bench, KEY, WITH_KEY, live, text_setup};

#[tokio::test]
async fn shows_what_was_sent_over_http_when_switched_on() {
    let bench = Bench::with(|options| options.record_endpoint = true).await;
    bench.call("POST", "/demo/echo?a=%20b", &[("x-api-key", KEY)], "the body").await;
    let shown = bench.call("GET", "/emulator/record", &[], "").await.json();
    let recorded = &shown["requests"][0];
    assert_eq!(recorded["query"], "a=%20b");
    assert_eq!(recorded["body"], "the body");
    assert_eq!(recorded["credentials"], json!([{"place": "header:x-api-key", "value": KEY}]));
    assert_eq!(bench.call("DELETE", "/emulator/record", &[], "").await.status, 204);
    assert!(bench.running.recorder().requests().is_empty());
}

#[tokio::test]
async fn is_not_there_unless_switched_on() {
    assert_eq!(Bench::start().await.call("GET", "/emulator/record", &[], "").await.status, 404);
}

#[tokio::test]
async fn keeps_messages_and_both_sides_of_a_close() {
    let bench = Bench::start().await;
    let client = bench.live(text_setup(json!({}))).await;
    client.leave().await;
    let recorded = bench.last();
    assert!(recorded.messages[0].text.contains("models/gemini-2.5-flash") && !recorded.messages[0].binary);
    assert_eq!(recorded.client_close.map(|close| close.code), Some(1005));
    bench.refused(&live("v1beta", "BidiGenerateContent"), &[("x-goog-api-key", "wrong")]).await;
    let recorded = bench.last();
    assert_eq!(recorded.close.as_ref().map(|close| close.code), Some(1007));
    assert_eq!(recorded.places_of("wrong"), ["header:x-goog-api-key"]);
}

#[tokio::test]
async fn keeps_the_body_of_a_refused_call() {
    let bench = Bench::start().await;
    bench.call("POST", "/v1beta/models/gemini-x:generateContent", &[], &format!("{{\"k\":\"{KEY}\"}}")).await;
    assert_eq!(bench.last().status, Some(403));
    assert_eq!(bench.running.recorder().places_of(KEY), ["body"]);
}

#[tokio::test]
async fn every_copy_of_a_header_is_kept() {
    let bench = Bench::start().await;
    bench.call("GET", "/demo/echo", &[WITH_KEY[0], ("x-goog-api-key", "second")], "").await;
    let values: Vec<_> = bench.last().credentials.into_iter().map(|found| found.value).collect();
    assert_eq!(values, [KEY, "second"]);
}
