//! What is selected, by the pinned cases: never a credential, but for the lone one on a route that echoes it.

use keymoat_core::QueryPolicy;

use crate::scenario::{KEY, OTHER, Outcome, Scenario};

fn offering(protocols: &str) -> Scenario {
    Scenario::websocket("/ws/events").header("sec-websocket-protocol", protocols)
}

fn echoed(outcome: &Outcome) -> Option<String> {
    let secret = outcome.offer().expose_lone_credential()?;
    Some(String::from_utf8(secret.expose().to_vec()).expect("a token is ASCII"))
}

#[test]
fn pinned_a_lone_valid_key_is_echoed_where_the_route_says_so() {
    let outcome = offering(&format!("api-key.{KEY}")).echo().run();
    assert_eq!(outcome.word(), "known");
    assert_eq!(outcome.offer().select(None), None);
    assert_eq!(echoed(&outcome), Some(format!("api-key.{KEY}")));
    assert_eq!(outcome.offer().labels().count(), 0);
}

#[test]
fn pinned_beside_another_entry_that_one_is_selected_and_the_marker_first() {
    for (protocols, selected) in [
        (format!("other, api-key.{KEY}"), "other"),
        (format!("other, api-key.{KEY}, keymoat.v1"), "keymoat.v1"),
        (format!("openai-insecure-api-key.{KEY}, realtime, openai-beta.realtime-v1"), "realtime"),
        (format!("xai-client-secret.x, bearer.y, api-key.{KEY}, app"), "app"),
    ] {
        let outcome = offering(&protocols).echo().run();
        assert_eq!(outcome.word(), "known");
        assert_eq!(outcome.offer().select(None).as_deref(), Some(selected), "{protocols}");
        assert_eq!(echoed(&outcome), None);
    }
}

#[test]
fn pinned_nothing_offered_selects_nothing() {
    let outcome = Scenario::websocket("/ws/events").header("x-api-key", KEY).echo().run();
    assert_eq!(outcome.word(), "known");
    assert!(outcome.offer().is_empty());
    assert_eq!(outcome.offer().select(Some("app")), None);
    assert_eq!(echoed(&outcome), None);
}

#[test]
fn pinned_a_wrong_lone_key_is_echoed_so_that_the_close_code_arrives() {
    let outcome = offering(&format!("api-key.{OTHER}")).echo().run();
    assert_eq!(outcome.word(), "credential_invalid");
    assert_eq!(echoed(&outcome), Some(format!("api-key.{OTHER}")));
}

#[test]
fn pinned_junk_is_never_echoed() {
    for protocols in ["api-key.", "api-key.undefined", "keymoat.token.", "keymoat.token.!!", "xai-client-secret.x"] {
        let outcome = offering(protocols).echo().run();
        assert!(outcome.word().starts_with("credential_"), "{protocols}");
        assert_eq!(outcome.offer().select(None), None, "{protocols}");
        assert_eq!(echoed(&outcome), None, "{protocols}");
    }
}

#[test]
fn the_upstreams_choice_goes_first_if_it_was_offered_to_it() {
    let outcome = offering(&format!("keymoat.v1, api-key.{KEY}, graphql-ws, chat")).run();
    let offer = outcome.offer();
    assert_eq!(offer.labels().collect::<Vec<_>>(), ["graphql-ws", "chat"]);
    assert_eq!(offer.select(Some("chat")).as_deref(), Some("chat"));
    for never in ["unasked", "keymoat.v1", &format!("api-key.{KEY}"), ""] {
        assert_eq!(offer.select(Some(never)).as_deref(), Some("keymoat.v1"));
    }
}

#[test]
fn before_the_credential_is_taken_nothing_of_it_is_given_out() {
    let mut scenario = offering(&format!("api-key.{KEY}")).echo();
    let head = scenario.head();
    let shown = format!("{head:?}");
    assert!(!shown.contains("TestVector"), "{shown}");
    let outcome_head = Outcome {
        result: Err(keymoat_core::Refusal::new(keymoat_core::Code::Draining, "")),
        head,
        record: offering("a").run().record,
    };
    assert_eq!(outcome_head.offer().select(None), None);
    assert_eq!(echoed(&outcome_head), None);
}

#[test]
fn a_stray_key_as_an_entry_of_its_own_is_neither_selected_nor_forwarded() {
    let outcome = offering(&format!("{KEY}, app")).query(QueryPolicy::Warn).run();
    assert_eq!(outcome.word(), "credential_missing");
    assert_eq!(outcome.offer().select(None).as_deref(), Some("app"));
    assert_eq!(outcome.offer().labels().collect::<Vec<_>>(), ["app"]);
    let alone = offering(KEY).echo().run();
    assert_eq!((alone.offer().select(None), echoed(&alone)), (None, None));
}

#[test]
fn a_gemini_upstream_is_offered_nothing() {
    let outcome = offering(&format!("keymoat.v1, api-key.{KEY}, app")).gemini().run();
    assert_eq!(outcome.word(), "known");
    assert_eq!(outcome.offer().labels().count(), 0);
    assert_eq!(outcome.offer().select(None).as_deref(), Some("keymoat.v1"));
}
