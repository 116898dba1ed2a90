//! Where the key may be, and the mistakes that people make with it.

use http::StatusCode;
use keymoat_emulator::Credentials;
use serde_json::json;

use crate::support::{Bench, KEY, WITH_KEY, live, text_setup};

const UNREGISTERED: &str = "Method doesn't allow unregistered callers (callers without established identity). \
     Please use API Key or other form of API c";
const BAD_KEY: &str = "API key not valid. Please pass a valid API key.";
const TOKEN: &str = "auth_tokens/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

async fn provider() -> Bench {
    Bench::with(|options| options.credentials = Credentials::Provider).await
}

#[tokio::test]
async fn the_header_alone_is_enough_on_plain_methods_in_both_versions() {
    let bench = Bench::start().await;
    for version in ["v1beta", "v1alpha"] {
        // The JavaScript SDK doubles the slash.
        let target = format!("/{}", live(version, "BidiGenerateContent"));
        let mut client = bench.websocket(&target, &WITH_KEY).await.unwrap();
        client.send(json!({"setup": text_setup(json!({}))})).await;
        assert!(client.receive().await.get("setupComplete").is_some());
        let recorded = bench.last();
        assert_eq!(recorded.places_of(KEY), ["header:x-goog-api-key"]);
        assert_eq!((recorded.status, recorded.path.starts_with("//ws/")), (Some(101), true));
    }
}

#[tokio::test]
async fn strict_refuses_any_credential_in_the_url_and_records_it() {
    let bench = Bench::start().await;
    for query in [
        "key=AIza-made-up-for-tests",
        "access_token=auth_tokens/x",
        "key=undefined",
        "%6Bey=x",
        "x=AIza%2Dmade-up-for-tests",
    ] {
        for method in ["BidiGenerateContent", "BidiGenerateContentConstrained", "BidiGenerateMusic"] {
            let target = format!("{}?{query}", live("v1beta", method));
            let (code, reason) = bench.refused(&target, &WITH_KEY).await;
            assert!(code == 1008 && reason.starts_with("credential in the URL"), "{query}: {code} {reason}");
        }
    }
    let places = bench.running.recorder().places_of(KEY);
    assert!(places.contains(&"query:key".to_owned()) && places.contains(&"query:x".to_owned()), "{places:?}");
}

#[tokio::test]
async fn the_providers_own_mistakes_are_refused_in_its_own_words() {
    let plain = live("v1alpha", "BidiGenerateContent");
    let bearer = format!("Bearer {TOKEN}");
    for (target, headers, expected) in [
        (plain.clone(), vec![], (1008, UNREGISTERED)),
        (format!("{plain}?key={TOKEN}"), vec![], (1007, BAD_KEY)),
        (plain.clone(), vec![("authorization", bearer.as_str())], (1008, UNREGISTERED)),
        (plain.clone(), vec![("x-goog-api-key", TOKEN)], (1007, BAD_KEY)),
        (format!("{plain}?access_token={TOKEN}"), vec![], (1008, UNREGISTERED)),
        (plain.clone(), vec![("x-goog-api-key", "wrong")], (1007, BAD_KEY)),
        (live("v1alpha", "BidiGenerateMusic"), vec![("x-goog-api-key", TOKEN)], (1007, BAD_KEY)),
    ] {
        let (code, reason) = provider().await.refused(&target, &headers).await;
        assert_eq!((code, reason.as_str()), expected, "{target} {headers:?}");
    }
}

#[tokio::test]
async fn the_constrained_method_asks_for_a_token() {
    let bench = provider().await;
    let target = live("v1alpha", "BidiGenerateContentConstrained");
    let (code, reason) = bench.refused(&target, &WITH_KEY).await;
    assert!(code == 1007 && reason.contains("access_token"), "{code} {reason}");
    let (code, reason) = bench.refused(&format!("{target}?access_token={TOKEN}"), &[]).await;
    assert!(code == 1007 && reason.contains("Invalid or expired"), "{code} {reason}");
}

#[tokio::test]
async fn provider_takes_the_key_in_the_url_but_every_copy_must_be_right() {
    let bench = provider().await;
    for method in ["BidiGenerateContent", "BidiGenerateMusic"] {
        let target = format!("{}?key={KEY}", live("v1beta", method));
        assert!(bench.websocket(&target, &[]).await.is_ok());
        assert_eq!(bench.last().places_of(KEY), ["query:key"]);
    }
    let target = format!("{}?key=wrong", live("v1beta", "BidiGenerateMusic"));
    assert_eq!(bench.refused(&target, &WITH_KEY).await, (1007, BAD_KEY.to_owned()));
}

#[tokio::test]
async fn v1_is_not_found_unless_it_is_switched_on() {
    let target = live("v1", "BidiGenerateContent");
    let refused = Bench::start().await.websocket(&target, &WITH_KEY).await;
    assert_eq!(refused.err(), Some(StatusCode::NOT_FOUND));
    let bench = Bench::with(|options| options.gemini.v1 = true).await;
    assert!(bench.websocket(&target, &WITH_KEY).await.is_ok());
}

#[tokio::test]
async fn an_unknown_method_is_not_found() {
    let refused = Bench::start().await.websocket(&live("v1beta", "BidiGenerateVideo"), &WITH_KEY).await;
    assert_eq!(refused.err(), Some(StatusCode::NOT_FOUND));
}
