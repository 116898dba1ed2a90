//! Ephemeral tokens from minting to use.

use keymoat_emulator::Credentials;
use serde_json::{Value, json};

use crate::support::{Bench, Client, WITH_KEY, live, text_setup};

async fn provider() -> Bench {
    Bench::with(|options| options.credentials = Credentials::Provider).await
}

async fn mint(bench: &Bench, body: Value) -> String {
    let answer = bench.call("POST", "/v1alpha/auth_tokens", &WITH_KEY, &body.to_string()).await.json();
    assert_eq!(answer.as_object().unwrap().len(), 1, "only the name is told: {answer}");
    answer["name"].as_str().unwrap().to_owned()
}

async fn open(bench: &Bench, token: &str, setup: Value) -> Client {
    let target = live("v1alpha", "BidiGenerateContentConstrained");
    let authorization = format!("Token {token}");
    let mut client = bench.websocket(&target, &[("authorization", authorization.as_str())]).await.unwrap();
    client.send(json!({ "setup": setup })).await;
    client
}

#[tokio::test]
async fn a_token_connects_by_header_in_strict_and_by_query_as_the_provider() {
    let bench = Bench::start().await;
    let token = mint(&bench, json!({})).await;
    assert!(open(&bench, &token, text_setup(json!({}))).await.receive().await.get("setupComplete").is_some());
    let bench = provider().await;
    let token = mint(&bench, json!({})).await;
    let target = format!("{}?access_token={token}", live("v1alpha", "BidiGenerateContentConstrained"));
    let mut client = bench.websocket(&target, &[]).await.unwrap();
    client.send(json!({"setup": text_setup(json!({}))})).await;
    assert!(client.receive().await.get("setupComplete").is_some());
}

#[tokio::test]
async fn a_locked_setup_replaces_what_the_client_asks_for() {
    let bench = provider().await;
    let locked = text_setup(json!({"systemInstruction": {"parts": [{"text": "locked"}]}}));
    let token = mint(&bench, json!({"bidiGenerateContentSetup": locked})).await;
    let asked = json!({"model": "models/gemini-other", "systemInstruction": {"parts": [{"text": "mine"}]}});
    let mut client = open(&bench, &token, asked).await;
    client.receive().await;
    let (text, _) = client.say("show setup").await;
    assert!(text.contains("locked") && !text.contains("mine") && !text.contains("gemini-other"), "{text}");
}

#[tokio::test]
async fn one_use_is_one_session_and_a_resumption_is_free() {
    let bench = provider().await;
    let token = mint(&bench, json!({"uses": 1})).await;
    let mut client = open(&bench, &token, text_setup(json!({"sessionResumption": {}}))).await;
    client.receive().await;
    client.say("hi").await;
    let update = client.receive().await;
    let handle = update["sessionResumptionUpdate"]["newHandle"].as_str().unwrap().to_owned();
    client.leave().await;
    let mut second = open(&bench, &token, text_setup(json!({}))).await;
    assert_eq!(second.closed().await.0, 1007);
    let mut resumed = open(&bench, &token, text_setup(json!({"sessionResumption": {"handle": handle}}))).await;
    assert!(resumed.receive().await.get("setupComplete").is_some());
}

#[tokio::test]
async fn minting_takes_an_empty_body_and_refuses_a_narrow_mask() {
    let bench = Bench::start().await;
    assert_eq!(bench.call("POST", "/v1beta/auth_tokens", &WITH_KEY, "").await.status, 200);
    let narrow = json!({"bidiGenerateContentSetup": text_setup(json!({})), "fieldMask": "model"});
    let refused = bench.call("POST", "/v1beta/auth_tokens", &WITH_KEY, &narrow.to_string()).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"]["status"].clone()), (400, json!("INVALID_ARGUMENT")));
}
