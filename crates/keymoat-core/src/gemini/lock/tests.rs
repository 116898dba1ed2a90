//! What comes out of first and later messages, whatever the client sends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;
use crate::gemini::Call;
use crate::json::{self, Caps, searched};
use crate::refusal::{Code, Refusal};
use crate::secret::Secret;

const SETUP: &str = r#"{"model":"models/a","generationConfig":{"responseModalities":["AUDIO"],"temperature":0.7},"systemInstruction":{"parts":[{"text":"You are X."}],"role":"user"},"tools":[{"googleSearch":{}}],"sessionResumption":{},"inputAudioTranscription":{}}"#;
const CASE_3: &str = "model,generationConfig.responseModalities,generationConfig.temperature,systemInstruction.parts,systemInstruction.role,tools,sessionResumption,inputAudioTranscription";
const CLIENT: &str = r#"{"model":"models/b","generationConfig":{"temperature":1.5,"topK":40,"speechConfig":{"voice":"X"}},"tools":[],"outputAudioTranscription":{}}"#;

fn object(text: &str) -> Object {
    let Value::Object(object) = json::parse(text.as_bytes(), &Caps::default()).unwrap() else { panic!("an object") };
    object
}

fn lock(setup: Option<&str>, mask: &str) -> Lock {
    Lock::new(setup.map(object), FieldMask::parse(mask).unwrap()).unwrap()
}

fn full() -> Lock {
    lock(Some(SETUP), "")
}

fn partial() -> Lock {
    lock(Some(SETUP), CASE_3)
}

fn first(lock: &Lock, message: &str) -> Result<FirstMessage, Refusal> {
    lock.first(message.as_bytes(), Call::Live)
}

/// The setup that is sent when the client sends `setup`.
fn sent(lock: &Lock, setup: &str) -> serde_json::Value {
    let message = first(lock, &format!("{{\"setup\":{setup}}}")).unwrap();
    let mut message: serde_json::Value = serde_json::from_slice(&message.rendered).unwrap();
    message["setup"].take()
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn refused(lock: &Lock, message: &str) -> (Code, String) {
    let refusal = first(lock, message).expect_err(message);
    (refusal.code, refusal.detail.into_owned())
}

#[test]
fn without_a_lock_the_client_has_its_own_setup() {
    assert_eq!(sent(&Lock::default(), CLIENT), parsed(CLIENT));
    assert_eq!(
        sent(&Lock::default(), r#"{"model":"a","new_field":{"x_y":1}}"#),
        parsed(r#"{"model":"models/a","newField":{"xY":1}}"#)
    );
}

#[test]
fn a_setup_without_a_mask_replaces_the_whole() {
    assert_eq!(sent(&full(), CLIENT), parsed(SETUP));
    assert_eq!(sent(&full(), "{}"), parsed(SETUP));
    assert_eq!(sent(&full(), r#"{"model":7,"generationConfig":[],"unknown":{"x":1}}"#), parsed(SETUP));
}

#[test]
fn a_mask_overwrites_what_it_names_and_leaves_the_rest() {
    let mut expected = parsed(SETUP);
    expected["generationConfig"]["topK"] = 40.into();
    expected["generationConfig"]["speechConfig"] = parsed(r#"{"voice":"X"}"#);
    expected["outputAudioTranscription"] = parsed("{}");
    assert_eq!(sent(&partial(), CLIENT), expected);
}

#[test]
fn further_locked_fields_are_cleared() {
    for further in [
        "generationConfig.temperature,generationConfig.top_k,output_audio_transcription",
        "topK,outputAudioTranscription",
    ] {
        let lock = lock(Some(SETUP), &format!("{CASE_3},{further}"));
        let mut expected = parsed(SETUP);
        expected["generationConfig"]["speechConfig"] = parsed(r#"{"voice":"X"}"#);
        assert_eq!(sent(&lock, CLIENT), expected, "{further}");
    }
    let alone = lock(None, "temperature");
    assert_eq!(
        sent(&alone, r#"{"model":"a","generation_config":{"temperature":2}}"#),
        parsed(r#"{"model":"models/a","generationConfig":{}}"#)
    );
}

#[test]
fn a_mask_without_aliases_leaves_no_field_open() {
    let locked = r#"{"tools":[{"googleSearch":{}}]}"#;
    for mask in ["tools", "tools.0", "tools.0.googleSearch", "tools.functionDeclarations"] {
        for client in [r#"{"tools":[{"codeExecution":{}}]}"#, r#"{"tools":null}"#, "{}", r#"{"tools":{"0":1}}"#] {
            assert_eq!(sent(&lock(Some(locked), mask), client), parsed(locked), "{mask} {client}");
        }
    }
}

#[test]
fn e73_a_handle_passes_every_lock_and_is_to_be_claimed() {
    let client = r#"{"setup":{"model":"models/b","session_resumption":{"handle":"h-1"}}}"#;
    for lock in
        [Lock::default(), full(), partial(), lock(None, "sessionResumption"), lock(None, "sessionResumption.handle")]
    {
        let message = first(&lock, client).unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&message.rendered).unwrap();
        assert_eq!(sent["setup"]["sessionResumption"]["handle"], "h-1");
        assert!(message.resumes.unwrap().matches(&Secret::from("h-1")));
    }
    for none in [r#"{"handle":""}"#, r#"{"handle":null}"#, "{}", "null"] {
        let message = first(&partial(), &format!("{{\"setup\":{{\"sessionResumption\":{none}}}}}")).unwrap();
        assert!(message.resumes.is_none());
        assert!(!String::from_utf8(message.rendered).unwrap().contains("handle"));
    }
    assert_eq!(refused(&full(), r#"{"setup":{"sessionResumption":{"handle":7}}}"#).0, Code::RequestInvalid);
    assert_eq!(
        Lock::new(Some(object(r#"{"sessionResumption":{"handle":"h"}}"#)), FieldMask::default()),
        Err(LockError::Handle)
    );
}

#[test]
fn neither_debug_nor_a_refusal_shows_the_message() {
    let message =
        first(&Lock::default(), r#"{"setup":{"model":"m","sessionResumption":{"handle":"canary"}}}"#).unwrap();
    assert!(!format!("{message:?} {:?}", full()).contains("canary"));
    for text in [
        r#"{"canary":1}"#,
        r#"{"setup":"canary"}"#,
        r#"{"setup":{"canary":1,"canary":2}}"#,
        r#"{"setup":{"canary_x":1,"canaryX":2}}"#,
        r#"{"setup":{"canary":1}}"#,
        r#"{"setup":{"generationConfig":{"canary":1}}}"#,
        r#"{"setup":{"generationConfig":"canary"}}"#,
        r#"{"setup":{},"canary":1}"#,
        "canary",
    ] {
        let refusal = first(&partial(), text).expect_err(text);
        assert!(!format!("{refusal:?} {refusal} {}", refusal.reason()).contains("canary"), "{refusal}");
    }
}

#[test]
fn e58_a_member_that_stands_twice_is_refused() {
    for text in [
        r#"{"setup":{"model":"a"},"setup":{"model":"b"}}"#,
        r#"{"setup":{"model":"models/a","model":"models/b"}}"#,
        r#"{"setup":{"model":"models/b","model":"models/a"}}"#,
    ] {
        assert_eq!(refused(&full(), text).0, Code::RequestInvalid);
        assert_eq!(refused(&partial(), text).0, Code::RequestInvalid);
    }
}

#[test]
fn e59_an_escaped_name_is_the_name() {
    let message = r#"{"\u0073etup":{"\u006dodel":"models/b"}}"#;
    let sent = first(&partial(), message).unwrap();
    assert_eq!(sent.model.as_deref(), Some("models/a"));
    assert!(!String::from_utf8(sent.rendered).unwrap().contains("models/b"));
    assert_eq!(refused(&full(), r#"{"setup":{},"\u0073etup":{}}"#).0, Code::RequestInvalid);
}

#[test]
fn e60_two_spellings_of_one_field_are_refused_at_any_depth() {
    for setup in [
        r#"{"generationConfig":{"temperature":1},"generation_config":{"temperature":2}}"#,
        r#"{"generationConfig":{"topK":1,"top_k":2}}"#,
        r#"{"systemInstruction":{"parts":[{"inlineData":{},"inline_data":{}}]}}"#,
        r#"{"model":"a","Model":"b"}"#,
    ] {
        for lock in [Lock::default(), full(), partial()] {
            let (code, detail) = refused(&lock, &format!("{{\"setup\":{setup}}}"));
            assert_eq!(code, Code::RequestInvalid);
            assert!(detail.contains("in two spellings"), "{detail}");
        }
    }
}

#[test]
fn e61_snake_case_alone_is_held_to_the_lock() {
    let setup =
        r#"{"generation_config":{"temperature":2,"response_modalities":["TEXT"]},"system_instruction":{"parts":[]}}"#;
    assert_eq!(sent(&partial(), setup), parsed(SETUP));
}

#[test]
fn e62_an_unknown_field_is_refused_under_a_mask_and_ignored_under_a_full_lock() {
    for setup in [
        r#"{"extra":1}"#,
        r#"{"Model":"b"}"#,
        r#"{"generationConfig":{"extra":1}}"#,
        r#"{"generationConfig":{"Temperature":1}}"#,
    ] {
        let message = format!("{{\"setup\":{setup}}}");
        assert_eq!(refused(&partial(), &message).0, Code::Forbidden, "{setup}");
        assert!(first(&full(), &message).is_ok());
        assert!(first(&Lock::default(), &message).is_ok());
    }
    let child = sent(&partial(), r#"{"systemInstruction":{"Parts":[1]}}"#);
    assert_eq!(child["systemInstruction"], parsed(SETUP)["systemInstruction"]);
}

#[test]
fn e63_the_first_message_is_exactly_one_setup() {
    for text in [
        "",
        "{}",
        "[]",
        "null",
        r#""setup""#,
        r#"{"setup":null}"#,
        r#"{"setup":[]}"#,
        r#"{"setup":"x"}"#,
        r#"[{"setup":{}}]"#,
        r#"{"Setup":{}}"#,
        r#"{"clientContent":{}}"#,
        r#"{"realtimeInput":{"audio":{"data":"AAA="}}}"#,
        r#"{"setup":{},"clientContent":{}}"#,
        r#"{"clientContent":{},"setup":{}}"#,
    ] {
        for lock in [Lock::default(), full()] {
            assert_eq!(refused(&lock, text).0, Code::RequestInvalid, "{text}");
        }
    }
}

#[test]
fn e64_a_first_message_above_256_kib_is_too_large() {
    let message = |padding: usize| format!("{{\"setup\":{{\"model\":\"a\"}}{}}}", " ".repeat(padding));
    let room = (256 << 10) - message(0).len();
    assert!(first(&full(), &message(room)).is_ok());
    assert_eq!(refused(&full(), &message(room + 1)).0, Code::BodyTooLarge);
}

#[test]
fn e68_what_configures_a_session_later_is_held_to_the_lock() {
    let later = |lock: &Lock, text: &str| match lock.later(text.as_bytes()) {
        Ok(Later::Pass) => String::from("pass"),
        Ok(Later::Forward(rendered)) => String::from_utf8(rendered).unwrap(),
        Err(refusal) => refusal.code.to_string(),
    };
    let voice_only = lock(Some(r#"{"generationConfig":{"speechConfig":{}}}"#), "speechConfig");
    for lock in [Lock::default(), full(), partial(), voice_only.clone()] {
        for text in [
            r#"{"setup":{}}"#,
            r#"{"\u0073etup":{}}"#,
            r#"{"Setup":{}}"#,
            r#"{"clientContent":{},"setup":{}}"#,
            r#"{"realtimeInput":{},"contextUpdate":{}}"#,
            "{}",
            "[]",
            "null",
            r#"{"clientContent":{"turns":[],"turns":[]}}"#,
            r#"{"client_content":{"turnComplete":true,"turn_complete":true}}"#,
        ] {
            assert_eq!(later(&lock, text), "request_invalid", "{text}");
        }
        for text in [
            r#"{"realtime_input": {"audio": {"data": "AAA=", "mimeType": "audio/pcm;rate=16000"}}}"#,
            r#"{"clientContent":{"turns":[{"parts":[{"text":"hello"}],"role":"user"}],"turnComplete":true}}"#,
            r#"{"tool_response": {"functionResponses": [{"id": "1", "name": "f", "response": {"a_b": 1, "aB": 2}}]}}"#,
            r#"{"musicGenerationConfig": {"temperature": 1.0}}"#,
            r#"{"playbackControl": "PLAY"}"#,
        ] {
            assert_eq!(later(&lock, text), "pass");
        }
    }
    let instruction = r#"{"context_update":{"system_instruction":{"parts":[{"text":"x"}]}}}"#;
    let tools = r#"{"contextUpdate":{"tools":{"tools":[]}}}"#;
    let other = r#"{"contextUpdate":{"model":"b"}}"#;
    let empty = r#"{"contextUpdate":{}}"#;
    for text in [instruction, tools, other, empty] {
        assert_eq!(later(&full(), text), "forbidden", "{text}");
        assert_eq!(later(&partial(), text), "forbidden", "{text}");
    }
    assert_eq!(later(&voice_only, instruction), r#"{"contextUpdate":{"systemInstruction":{"parts":[{"text":"x"}]}}}"#);
    assert_eq!(later(&voice_only, tools), tools);
    assert_eq!(later(&voice_only, empty), empty);
    assert_eq!(later(&voice_only, other), "forbidden");
    assert_eq!(later(&Lock::default(), tools), tools);
    for unknown in [r#"{"sessionUpdate":{}}"#, r#"{"contextupdate":{}}"#] {
        assert_eq!(later(&voice_only, unknown), "forbidden");
        assert_eq!(later(&Lock::default(), unknown), "pass");
    }
}

#[test]
fn e68_nobody_speaks_in_the_place_of_a_locked_system_instruction() {
    let voice_only = lock(Some(r#"{"generationConfig":{"speechConfig":{}}}"#), "speechConfig");
    for text in [
        r#"{"clientContent":{"turns":[{"parts":[{"text":"x"}],"role":"system"}]}}"#,
        r#"{"client_content":{"turns":[{"role":"user"},{"\u0072ole":"system"}]}}"#,
        r#"{"clientContent":{"turns":{"role":"system"}}}"#,
        r#"{"clientContent":{"Turns":[{"Role":"system"}]}}"#,
        r#"{"clientContent":{"turns":[{"role":"System "}]}}"#,
        r#"{"clientContent":{"turns":[{"role":["system"]}]}}"#,
    ] {
        for lock in [full(), partial(), lock(None, "systemInstruction")] {
            assert_eq!(lock.later(text.as_bytes()).expect_err(text).code, Code::Forbidden);
        }
        for lock in [Lock::default(), voice_only.clone()] {
            assert_eq!(lock.later(text.as_bytes()), Ok(Later::Pass), "{text}");
        }
    }
    let said = r#"{"clientContent":{"turns":[{"role":"model"},{"role":"user"},{"role":null},{},{"role":"function"}]}}"#;
    assert_eq!(full().later(said.as_bytes()), Ok(Later::Pass));
}

#[test]
fn e73_live_music_is_not_bought_with_a_handle() {
    let message = br#"{"setup":{"model":"models/a","sessionResumption":{"handle":"h-1"}}}"#;
    for lock in [Lock::default(), Lock::of_models(["a"]).unwrap(), lock(Some(r#"{"model":"models/a"}"#), "")] {
        assert_eq!(lock.first(message, Call::LiveMusic).expect_err("a handle").code, Code::RequestInvalid);
        assert!(lock.first(br#"{"setup":{"model":"models/a"}}"#, Call::LiveMusic).is_ok());
    }
}

#[test]
fn e69_no_other_field_chooses_the_model_under_a_lock_on_it() {
    let choice = r#"{"manualMode":{"modelName":"b"}}"#;
    for name in ["routingConfig", "model_config", "modelSelectionConfig"] {
        let setup = format!(r#"{{"model":"models/a","generationConfig":{{"{name}":{choice}}}}}"#);
        let message = format!("{{\"setup\":{setup}}}");
        for lock in [Lock::of_models(["a"]).unwrap(), partial(), lock(None, "model")] {
            assert_eq!(refused(&lock, &message).0, Code::Forbidden, "{message}");
        }
        assert!(first(&Lock::default(), &message).is_ok());
        assert!(first(&lock(None, "temperature"), &message).is_ok());
        let own = lock(Some(&setup), "model,generationConfig");
        assert_eq!(sent(&own, r#"{"model":"b"}"#)["model"], "models/a");
        assert!(first(&lock(Some(&setup), ""), r#"{"setup":{}}"#).is_ok());
    }
}

#[test]
fn e70_many_members_cost_no_more_each_than_few() {
    let of = |members: usize| {
        let members: Vec<String> = (0..members).map(|index| format!("\"a{index:05}\":1")).collect();
        format!("{{\"toolResponse\":{{{}}}}}", members.join(","))
    };
    let searched = |text: String| searched::by(|| assert_eq!(full().later(text.as_bytes()), Ok(Later::Pass)));
    let (few, many) = (searched(of(900)), searched(of(9_000)));
    assert!(many <= few * 10 + 9_000, "{few} for 900 members, {many} for 9000");
}

#[test]
fn e69_a_model_is_compared_exactly_after_it_is_written_in_full() {
    let lock = Lock::of_models(["x", "tunedModels/y"]).unwrap();
    let asks = |model: &str| first(&lock, &format!("{{\"setup\":{{\"model\":\"{model}\"}}}}")).map(|first| first.model);
    for (model, named) in [("x", "models/x"), ("models/x", "models/x"), ("tunedModels/y", "tunedModels/y")] {
        assert_eq!(asks(model).unwrap().as_deref(), Some(named));
    }
    for model in [
        "models/X",
        "models/x ",
        " x",
        "models/x/../y",
        "models/\u{445}",
        "y",
        "models/tunedModels/y",
        "models/x-tuned",
        "",
        "x\\u0000",
    ] {
        assert_eq!(asks(model).expect_err(model).code, Code::Forbidden, "{model}");
    }
    assert_eq!(refused(&lock, r#"{"setup":{}}"#).0, Code::Forbidden);
    assert_eq!(refused(&lock, r#"{"setup":{"model":null}}"#).0, Code::Forbidden);
    assert_eq!(refused(&Lock::default(), r#"{"setup":{"model":["x"]}}"#).0, Code::Forbidden);
}

#[test]
fn e70_what_parsers_read_differently_is_refused() {
    for text in [
        "\u{feff}{\"setup\":{}}".to_owned(),
        r#"{"setup":{}} {}"#.to_owned(),
        r#"{"setup":{"generationConfig":{"seed":NaN}}}"#.to_owned(),
        r#"{"setup":{"generationConfig":{"seed":99999999999999999999}}}"#.to_owned(),
        r#"{"setup":{"model":"\ud800"}}"#.to_owned(),
        format!("{{\"setup\":{}", "{\"a\":".repeat(10_000)),
        format!("{{\"setup\":{{\"tools\":[{}0]}}}}", "0,".repeat(10_000)),
    ] {
        assert_eq!(refused(&full(), &text).0, Code::RequestInvalid);
    }
    assert_eq!(full().first(b"{\"setup\":{\"model\":\"\xff\"}}", Call::Live).unwrap_err().code, Code::RequestInvalid);
}

#[test]
fn e71_audio_before_the_setup_opens_nothing() {
    for text in [r#"{"realtimeInput":{"audio":{"data":"AAA="}}}"#, r#"{"realtime_input":{"text":"hey"},"setup":{}}"#] {
        assert_eq!(refused(&Lock::default(), text).0, Code::RequestInvalid);
    }
}

#[test]
fn live_music_is_opened_with_a_model_alone() {
    let music =
        |lock: &Lock| lock.first(br#"{"setup":{"model":"models/lyria"}}"#, Call::LiveMusic).map(|first| first.model);
    assert_eq!(music(&Lock::default()).unwrap().as_deref(), Some("models/lyria"));
    let locked = lock(Some(r#"{"model":"models/lyria-2"}"#), "");
    assert_eq!(music(&locked).unwrap().as_deref(), Some("models/lyria-2"));
    assert_eq!(music(&full()).unwrap_err().code, Code::Forbidden);
    assert_eq!(music(&lock(None, "systemInstruction")).unwrap_err().code, Code::Forbidden);
}

#[test]
fn issued_handles_are_found_in_what_the_upstream_sends() {
    let found = |text: &str| issued_handle(text.as_bytes()).is_some_and(|handle| handle.matches(&Secret::from("h1")));
    assert!(found(r#"{"sessionResumptionUpdate":{"newHandle":"h1","resumable":true}}"#));
    assert!(found(r#"{"usageMetadata":{},"session_resumption_update":{"new_handle":"h1"}}"#));
    for text in [
        r#"{"sessionResumptionUpdate":{"newHandle":""}}"#,
        r#"{"sessionResumptionUpdate":{"resumable":false}}"#,
        r#"{"serverContent":{"modelTurn":{"parts":[{"text":"newHandle"}]}}}"#,
        r#"{"serverContent":{"newHandle":"h1"}}"#,
        "newHandle",
    ] {
        assert!(issued_handle(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn an_explanation_says_of_each_field_where_it_comes_from() {
    let lock = lock(Some(SETUP), &format!("{CASE_3},topK"));
    let client = r#"{"model":"models/b","generation_config":{"temperature":1.5,"top_k":40,"seed":1},"session_resumption":{"handle":"h"}}"#;
    let told = lock.explain(object(client)).unwrap();
    let lines: Vec<String> = told.fields.iter().map(|field| format!("{}: {}", field.path, field.fate)).collect();
    assert_eq!(
        lines,
        [
            "model: from the token",
            "generationConfig.responseModalities: from the token",
            "generationConfig.temperature: from the token",
            "systemInstruction.parts: from the token",
            "systemInstruction.role: from the token",
            "tools: from the token",
            "sessionResumption: from the token",
            "inputAudioTranscription: from the token",
            "generationConfig.topK: cleared",
            "generationConfig.seed: from the client",
            "sessionResumption.handle: always passes",
        ]
    );
    assert!(!told.effective.render().contains("\"h\""));
    let ignored = full().explain(object(CLIENT)).unwrap();
    let fate = |path: &str| ignored.fields.iter().find(|field| field.path == path).map(|field| field.fate);
    assert_eq!(fate("generationConfig.topK"), Some(Fate::Ignored));
    assert_eq!(fate("model"), Some(Fate::FromToken));
    assert_eq!(ignored.effective.render(), SETUP);
}

#[test]
fn a_setup_that_cannot_be_locked_is_refused() {
    for (setup, mask, told) in [
        (r#"{"model":"a","tools":[]}"#, "model", "setup contains fields not in the mask: `tools`"),
        (
            r#"{"generationConfig":{"seed":1,"topK":2}}"#,
            "seed",
            "setup contains fields not in the mask: `generationConfig.topK`",
        ),
        (r#"{"generationConfig":[]}"#, "", "`generationConfig` is not an object"),
        (r#"{"top_k":1,"topK":1}"#, "", "`setup.topK` stands twice, in two spellings"),
        (r#"{"model":"a b"}"#, "", "`model` is not a model's name"),
    ] {
        let error = Lock::new(Some(object(setup)), FieldMask::parse(mask).unwrap()).expect_err(setup);
        assert_eq!(error.to_string(), told);
    }
}

/// Values that a hostile client may put anywhere.
fn hostile() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[a-z/]{0,6}".prop_map(Into::into)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            proptest::collection::hash_map(name(), inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Names of fields in all sorts of spellings.
fn name() -> impl Strategy<Value = String> {
    let known = prop_oneof![
        Just("model"),
        Just("generationConfig"),
        Just("generation_config"),
        Just("GenerationConfig"),
        Just("temperature"),
        Just("responseModalities"),
        Just("response_modalities"),
        Just("topK"),
        Just("top__k"),
        Just("systemInstruction"),
        Just("system_instruction"),
        Just("parts"),
        Just("Parts"),
        Just("role"),
        Just("tools"),
        Just("tools_"),
        Just("sessionResumption"),
        Just("handle"),
        Just("labels"),
        Just("properties"),
    ];
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[a-zA-Z_]{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn locked_fields_are_the_token_s_whatever_the_client_sends(
        setup in proptest::collection::hash_map(name(), hostile(), 0..6), which in 0..4usize,
    ) {
        let mask = ["model,temperature", CASE_3, "generationConfig,model,tools", "topK,labels,systemInstruction.parts"][which];
        let parts = r#"{"model":"models/a","generationConfig":{"temperature":0.7}}"#;
        let own = [parts, SETUP, r#"{"generationConfig":{"seed":1},"tools":[]}"#, r#"{"systemInstruction":{"parts":[]}}"#][which];
        let lock = lock(Some(own), mask);
        let message = serde_json::json!({"setup": setup}).to_string();
        if let Ok(first) = first(&lock, &message) {
            let sent: serde_json::Value = serde_json::from_slice(&first.rendered).unwrap();
            let own = parsed(own);
            for path in FieldMask::parse(mask).unwrap().to_string().split(',') {
                let pointer = format!("/{}", path.replace('.', "/"));
                let mut value = sent["setup"].pointer(&pointer).cloned();
                if let (Some(serde_json::Value::Object(value)), "sessionResumption") = (&mut value, path) {
                    value.remove("handle");
                }
                prop_assert_eq!(value.as_ref(), own.pointer(&pointer), "{}", path);
            }
            // No other spelling of a locked field is left beside it.
            let folds: Vec<String> = sent["setup"].as_object().unwrap().keys().map(|name| field::fold(name)).collect();
            let distinct: std::collections::HashSet<&String> = folds.iter().collect();
            prop_assert_eq!(distinct.len(), folds.len());
        }
    }

    #[test]
    fn what_was_sent_would_be_sent_again(setup in proptest::collection::hash_map(name(), hostile(), 0..6)) {
        let message = serde_json::json!({"setup": setup}).to_string();
        for lock in [Lock::default(), partial(), full()] {
            if let Ok(once) = first(&lock, &message) {
                let twice = lock.first(&once.rendered, Call::Live).unwrap();
                prop_assert_eq!(parsed(&String::from_utf8(twice.rendered).unwrap()), parsed(&String::from_utf8(once.rendered).unwrap()));
            }
        }
    }
}
