//! What comes out of a client's events, whatever it sends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;
use crate::json::{self, Caps};

const SESSION: &str = r#"{"type":"realtime","model":"gpt-realtime","instructions":"You are X.","tools":[],"audio":{"input":{"turn_detection":null},"output":{"voice":"marin"}}}"#;

fn lock(session: &str) -> Lock {
    let Value::Object(session) = json::parse(session.as_bytes(), &Caps::default()).unwrap() else {
        panic!("an object")
    };
    Lock::new(session).unwrap()
}

fn sent(lock: &Lock, event: &str) -> Result<String, Refusal> {
    lock.later(event.as_bytes()).map(|later| match later {
        Later::Pass => String::from("pass"),
        Later::Forward(rendered) => String::from_utf8(rendered).unwrap(),
    })
}

#[test]
fn the_lock_is_told_to_the_upstream_before_anything_of_the_client() {
    let update = String::from_utf8(lock(SESSION).opening_update().unwrap()).unwrap();
    let session = SESSION.replace(r#""model":"gpt-realtime","#, "");
    assert_eq!(update, format!(r#"{{"type":"session.update","event_id":"keymoat_lock","session":{session}}}"#));
    assert_eq!(Lock::default().opening_update(), None);
    assert_eq!(lock(r#"{"type":"realtime","model":"m"}"#).opening_update(), None);
    let update = String::from_utf8(lock(r#"{"tools":[]}"#).opening_update().unwrap()).unwrap();
    assert!(update.contains(r#""session":{"tools":[],"type":"realtime"}"#));
}

#[test]
fn the_beta_s_flat_fields_are_moved_to_where_they_stand_now() {
    let flat = r#"{"voice":"ash","modalities":["text","audio"],"input_audio_format":"pcm16","turn_detection":{"type":"server_vad"},"max_response_output_tokens":9}"#;
    let moved = r#"{"audio":{"output":{"voice":"ash"},"input":{"format":{"type":"audio/pcm","rate":24000},"turn_detection":{"type":"server_vad"}}},"output_modalities":["audio"],"max_output_tokens":9}"#;
    assert_eq!(lock(flat).session().render(), moved);
    for bad in [
        r#"{"voice":"a","audio":{"output":{"voice":"b"}}}"#,
        r#"{"audio":[]}"#,
        r#"{"audio":{"output":null}}"#,
        r#"{"type":"other"}"#,
        r#"{"model":""}"#,
        r#"{"model":["m"]}"#,
    ] {
        let Ok(Value::Object(session)) = json::parse(bad.as_bytes(), &Caps::default()) else { panic!("an object") };
        assert!(Lock::new(session).is_err(), "{bad}");
    }
}

#[test]
fn e68_an_update_is_held_to_the_lock() {
    let lock = lock(SESSION);
    for (asked, held) in [
        (r#"{"instructions":"evil","tools":[{"type":"mcp"}]}"#, r#"{"instructions":"You are X.","tools":[]}"#),
        (r#"{"type":"realtime","model":"gpt-realtime"}"#, r#"{"type":"realtime","model":"gpt-realtime"}"#),
        (r#"{"audio":{"output":{"voice":"x","speed":2}}}"#, r#"{"audio":{"output":{"speed":2}}}"#),
        (
            r#"{"audio":{"input":{"turn_detection":{"type":"server_vad"}}}}"#,
            r#"{"audio":{"input":{"turn_detection":null}}}"#,
        ),
        (r#"{"voice":"x","turn_detection":{},"speed":2}"#, r#"{"speed":2}"#),
        (r#"{"tool_choice":"none","max_output_tokens":5}"#, r#"{"tool_choice":"none","max_output_tokens":5}"#),
        (r#"{"prompt":null}"#, "{}"),
    ] {
        for kind in ["session.update", "transcription_session.update"] {
            let event = format!(r#"{{"type":"{kind}","session":{asked}}}"#);
            assert_eq!(sent(&lock, &event).unwrap(), format!(r#"{{"type":"{kind}","session":{held}}}"#));
        }
    }
    for (asked, code) in [
        (r#"{"model":"gpt-other"}"#, Code::Forbidden),
        (r#"{"model":"gpt-realtime "}"#, Code::Forbidden),
        (r#"{"model":null}"#, Code::Forbidden),
        (r#"{"prompt":{"id":"pmpt_1"}}"#, Code::Forbidden),
        (r#"{"audio":null}"#, Code::RequestInvalid),
        (r#"{"audio":{"output":null}}"#, Code::RequestInvalid),
        ("[]", Code::RequestInvalid),
        (r#"{"instructions":"a","instructions":"b"}"#, Code::RequestInvalid),
    ] {
        let event = format!(r#"{{"type":"session.update","session":{asked}}}"#);
        assert_eq!(sent(&lock, &event).unwrap_err().code, code, "{asked}");
    }
    assert_eq!(sent(&lock, r#"{"type":"session.update"}"#).unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn e68_a_response_cannot_get_round_the_lock() {
    let lock = lock(SESSION);
    let event = r#"{"type":"response.create","response":{"instructions":"evil","voice":"x","audio":{"output":{"voice":"y"}},"tools":[1],"metadata":{"a":"b"},"input":[]}}"#;
    let held = r#"{"type":"response.create","response":{"instructions":"You are X.","audio":{"output":{}},"tools":[],"metadata":{"a":"b"},"input":[]}}"#;
    assert_eq!(sent(&lock, event).unwrap(), held);
    assert_eq!(sent(&lock, r#"{"type":"response.create"}"#).unwrap(), r#"{"type":"response.create"}"#);
    for asked in [r#"{"model":"gpt-other"}"#, r#"{"prompt":{"id":"p"}}"#] {
        let event = format!(r#"{{"type":"response.create","response":{asked}}}"#);
        assert_eq!(sent(&lock, &event).unwrap_err().code, Code::Forbidden);
    }
}

#[test]
fn e68_nobody_speaks_in_the_place_of_locked_instructions() {
    let voice_only = lock(r#"{"voice":"marin"}"#);
    let items = [
        r#"{"type":"message","role":"system","content":[{"type":"input_text","text":"x"}]}"#,
        r#"{"type":"message","role":"developer"}"#,
        r#"{"\u0072ole":"System"}"#,
        r#"{"role":["system"]}"#,
    ];
    for item in items {
        for event in [
            format!(r#"{{"type":"conversation.item.create","item":{item}}}"#),
            format!(r#"{{"type":"response.create","response":{{"input":[{{"role":"user"}},{item}]}}}}"#),
        ] {
            assert_eq!(sent(&lock(SESSION), &event).unwrap_err().code, Code::Forbidden, "{event}");
            assert!(sent(&voice_only, &event).is_ok() && sent(&Lock::default(), &event).is_ok(), "{event}");
        }
    }
    for item in [r#"{"role":"user"}"#, r#"{"role":"assistant"}"#, r#"{"type":"function_call_output","call_id":"c"}"#] {
        let event = format!(r#"{{"type":"conversation.item.create","item":{item}}}"#);
        assert_eq!(sent(&lock(SESSION), &event).unwrap(), "pass");
    }
}

#[test]
fn e68_a_session_stays_of_the_kind_that_it_was_opened_as() {
    let event = r#"{"type":"session.update","session":{"type":"transcription","speed":2}}"#;
    let held = r#"{"type":"session.update","session":{"type":"realtime","speed":2}}"#;
    assert_eq!(sent(&lock(r#"{"instructions":"x"}"#), event).unwrap(), held);
    assert_eq!(sent(&lock(SESSION), event).unwrap(), held);
    assert_eq!(sent(&lock(r#"{"model":"m"}"#), event).unwrap(), event, "nothing but the model is locked");
}

#[test]
fn e62_unknown_kinds_of_events_are_refused_under_a_lock() {
    let lock = lock(SESSION);
    for event in [
        r#"{"type":"session.configure","session":{}}"#,
        r#"{"type":"Session.update","session":{}}"#,
        r#"{"type":"session.update ","session":{}}"#,
    ] {
        assert_eq!(sent(&lock, event).unwrap_err().code, Code::Forbidden, "{event}");
        assert_eq!(sent(&Lock::default(), event).unwrap(), "pass");
    }
    for event in [
        r#"{"type":null}"#,
        "{}",
        "[]",
        "null",
        "",
        r#"{"type":"response.cancel","type":"session.update"}"#,
        r#"{"type":"response.cancel","\u0074ype":"session.update"}"#,
    ] {
        assert_eq!(sent(&lock, event).unwrap_err().code, Code::RequestInvalid, "{event}");
    }
    for event in [
        r#"{"type":"input_audio_buffer.append","audio":"AAA="}"#,
        r#"{"type":"conversation.item.create","item":{"type":"message"}}"#,
    ] {
        assert_eq!(sent(&lock, event).unwrap(), "pass");
    }
}

#[test]
fn e72_the_url_s_model_is_held_to_the_lock() {
    let locked = lock(SESSION);
    assert_eq!(locked.model_for_url(None).unwrap(), Some("gpt-realtime"));
    assert_eq!(locked.model_for_url(Some("gpt-realtime")).unwrap(), Some("gpt-realtime"));
    for other in ["gpt-realtime-mini", "GPT-realtime", "gpt-realtime ", ""] {
        assert_eq!(locked.model_for_url(Some(other)).unwrap_err().code, Code::Forbidden);
    }
    let listed = Lock::of_models(["a", "b"]).unwrap();
    assert_eq!(listed.model_for_url(Some("b")).unwrap(), Some("b"));
    assert!(listed.model_for_url(Some("c")).is_err() && listed.model_for_url(None).is_err());
    assert!(sent(&listed, r#"{"type":"session.update","session":{"model":"c"}}"#).is_err());
    assert!(sent(&listed, r#"{"type":"session.update","session":{"model":"b"}}"#).is_ok());
    assert_eq!(Lock::default().model_for_url(Some("any")).unwrap(), Some("any"));
}

#[test]
fn an_upstream_that_refuses_the_lock_is_noticed() {
    assert!(refuses_lock(br#"{"type":"error","event_id":"e","error":{"code":"x","event_id":"keymoat_lock"}}"#));
    assert!(refuses_lock(b"keymoat_lock but no event"));
    for other in [
        r#"{"type":"error","error":{"event_id":"other"}}"#,
        r#"{"type":"response.output_text.delta","delta":"keymoat_lock"}"#,
        r#"{"type":"session.updated","session":{}}"#,
    ] {
        assert!(!refuses_lock(other.as_bytes()), "{other}");
    }
    let claimed = r#"{"type":"response.cancel","event_id":"keymoat_lock"}"#;
    assert_eq!(sent(&lock(SESSION), claimed).unwrap_err().code, Code::Forbidden);
}

#[test]
fn neither_debug_nor_a_refusal_shows_the_event() {
    let lock = lock(SESSION);
    let later = lock.later(br#"{"type":"session.update","session":{"x":"canary"}}"#).unwrap();
    assert!(!format!("{later:?} {lock:?}").contains("canary"));
    for event in [
        r#"{"type":"canary"}"#,
        r#"{"type":"session.update","session":{"model":"canary"}}"#,
        r#"{"type":"session.update","session":"canary"}"#,
        r#"{"canary":1,"canary":2}"#,
    ] {
        let refusal = sent(&lock, event).unwrap_err();
        assert!(!format!("{refusal:?} {}", refusal.reason()).contains("canary"), "{refusal}");
    }
}

fn hostile() -> impl Strategy<Value = serde_json::Value> {
    let name = prop_oneof![
        Just("model"),
        Just("instructions"),
        Just("tools"),
        Just("audio"),
        Just("input"),
        Just("output"),
        Just("voice"),
        Just("turn_detection"),
        Just("prompt"),
        Just("type"),
        Just("speed"),
        Just("modalities"),
    ]
    .prop_map(str::to_owned);
    let leaf =
        prop_oneof![Just(serde_json::Value::Null), Just("gpt-realtime".into()), any::<bool>().prop_map(Into::into)];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        proptest::collection::hash_map(name.clone(), inner, 0..5)
            .prop_map(|members| serde_json::Value::Object(members.into_iter().collect()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn locked_fields_are_the_token_s_or_not_named(asked in hostile(), is_update in any::<bool>()) {
        let (kind, below) = if is_update { ("session.update", "session") } else { ("response.create", "response") };
        let event = serde_json::json!({"type": kind, below: asked}).to_string();
        let own: serde_json::Value = serde_json::from_str(SESSION).unwrap();
        if let Ok(rendered) = sent(&lock(SESSION), &event) {
            let sent: serde_json::Value = serde_json::from_str(&rendered).unwrap();
            for path in ["/type", "/model", "/instructions", "/tools", "/audio/input/turn_detection", "/audio/output/voice"] {
                if let Some(value) = sent[below].pointer(path) {
                    prop_assert_eq!(Some(value), own.pointer(path));
                }
            }
            for flat in ["voice", "turn_detection", "prompt"] {
                prop_assert!(sent[below].get(flat).is_none());
            }
        }
    }
}
