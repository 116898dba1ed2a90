//! What OpenAI's SDKs send, and what of it is left for the upstream.

use keymoat_core::QueryPolicy;

use crate::scenario::{IMPORTED, KEY, OTHER, Outcome, Scenario, TOKEN};

const REALTIME: &str = "/v1/realtime?model=gpt-realtime";

fn browser(protocols: &str) -> Outcome {
    Scenario::websocket(REALTIME).openai().header("sec-websocket-protocol", protocols).run()
}

#[test]
fn every_carrier_of_the_sdks_is_read_and_emptied() {
    let keys = [KEY, IMPORTED];
    for key in keys {
        for (name, value) in [("authorization", format!("Bearer {key}")), ("api-key", key.to_owned())] {
            let outcome = Scenario::websocket(REALTIME).openai().header(name, value).run();
            assert!(["known", "imported"].contains(&&*outcome.word()), "{name}: {}", outcome.detail());
            assert!(!outcome.head.headers.contains_key(name));
            assert_eq!(outcome.head.query.as_str(), "model=gpt-realtime");
        }
    }
    for token in [TOKEN.to_owned(), format!("ek_{TOKEN}")] {
        let outcome = browser(&format!("realtime, openai-insecure-api-key.{token}"));
        assert_eq!(outcome.word(), "token");
        assert_eq!(outcome.carrier(), "subprotocol");
    }
}

#[test]
fn the_label_alone_is_selected_and_goes_upstream() {
    let remarks = "openai-organization.org_1, openai-project.proj_1, openai-beta.realtime-v1, openai-agents-sdk.0.20.0";
    for protocols in [
        format!("realtime, openai-insecure-api-key.{KEY}, {remarks}"),
        format!("{remarks}, openai-insecure-api-key.{KEY}, app, realtime"),
    ] {
        let outcome = browser(&protocols);
        assert_eq!(outcome.word(), "known");
        assert_eq!(outcome.offer().labels().collect::<Vec<_>>(), ["realtime"], "{protocols}");
        assert_eq!(outcome.offer().select(Some("realtime")).as_deref(), Some("realtime"));
    }
    let lone = browser(&format!("{remarks}, openai-insecure-api-key.{KEY}"));
    assert_eq!(lone.word(), "credential_invalid");
    assert_eq!(lone.offer().select(None), None, "a remark is never selected");
}

#[test]
fn the_client_chooses_neither_who_is_billed_nor_a_beta_that_is_gone() {
    let outcome = Scenario::http("/v1/responses")
        .openai()
        .header("authorization", format!("Bearer {KEY}"))
        .header("openai-organization", "org_1")
        .header("OpenAI-Project", "proj_1")
        .header("openai-beta", "realtime=v1, assistants=v2")
        .header("openai-safety-identifier", "user_1")
        .header("cookie", "a=b")
        .header("x-goog-api-key", "")
        .run();
    assert_eq!(outcome.word(), "known");
    let left: Vec<_> = outcome.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert!(left.contains(&("openai-beta", b"assistants=v2")), "{left:?}");
    assert!(left.contains(&("openai-safety-identifier", b"user_1")), "{left:?}");
    for name in ["openai-organization", "openai-project", "cookie", "authorization", "x-goog-api-key"] {
        assert!(!outcome.head.headers.contains_key(name), "{name}");
    }
}

#[test]
fn a_key_in_the_url_is_refused_and_a_browser_is_told_of_openai_s_own_subprotocols() {
    let target = format!("{REALTIME}&api_key={KEY}");
    let outcome = Scenario::websocket(&target).openai().query(QueryPolicy::Tokens).run();
    assert_eq!(outcome.word(), "credential_in_query");
    assert!(outcome.detail().ends_with("send it as `Authorization: Bearer …`"), "{}", outcome.detail());
    let outcome = Scenario::websocket(REALTIME).openai().header("origin", "https://app.example").run();
    assert_eq!(outcome.word(), "credential_missing");
    assert!(outcome.detail().contains("`realtime` and `openai-insecure-api-key.…`"), "{}", outcome.detail());
}

#[test]
fn two_different_keys_are_refused() {
    let outcome = Scenario::websocket(REALTIME)
        .openai()
        .header("authorization", format!("Bearer {KEY}"))
        .header("sec-websocket-protocol", format!("realtime, openai-insecure-api-key.{OTHER}"))
        .run();
    assert_eq!(outcome.word(), "credential_ambiguous");
    assert_eq!(outcome.offer().select(None).as_deref(), Some("realtime"));
}
