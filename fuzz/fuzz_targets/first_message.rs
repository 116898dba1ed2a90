//! Whatever a client sends first or later, locked fields are the token's in what goes on, as another parser reads it.
//!
//! The first byte chooses the lock; then come messages, a line each.
#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;

use keymoat_core::gemini::{self, Call, FieldMask};
use keymoat_core::json::{self, Caps};
use keymoat_core::openai;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const SETUP: &str =
    r#"{"model":"models/a","generationConfig":{"temperature":0.7},"systemInstruction":{"parts":[]},"tools":[]}"#;
const MASKS: [&str; 4] = [
    "model,temperature,systemInstruction,tools",
    "model,generationConfig,systemInstruction.parts,tools,labels",
    "model,temperature,systemInstruction.parts,tools,topK,sessionResumption",
    "",
];
const SESSION: &str =
    r#"{"model":"m","instructions":"x","tools":[],"audio":{"output":{"voice":"v"},"input":{"turn_detection":null}}}"#;
const SESSION_PATHS: [&str; 5] =
    ["/model", "/instructions", "/tools", "/audio/output/voice", "/audio/input/turn_detection"];

static LOCKS: LazyLock<Vec<gemini::Lock>> = LazyLock::new(|| {
    let lock = |mask| gemini::Lock::new(Some(object(SETUP)), FieldMask::parse(mask).expect("known"));
    MASKS.iter().map(|mask| lock(mask).expect("well formed")).collect()
});
static SESSION_LOCK: LazyLock<openai::Lock> =
    LazyLock::new(|| openai::Lock::new(object(SESSION)).expect("well formed"));

fuzz_target!(|data: &[u8]| {
    let Some((&choice, messages)) = data.split_first() else { return };
    let index = usize::from(choice) % MASKS.len();
    for message in messages.split(|byte| *byte == b'\n') {
        check_first(&LOCKS[index], MASKS[index], message);
        check_later(&LOCKS[index], message);
        check_event(message);
    }
});

fn check_first(lock: &gemini::Lock, mask: &str, message: &[u8]) {
    let first = match lock.first(message, Call::Live) {
        Ok(first) => first,
        Err(refusal) => return assert!(refusal.reason().len() <= 123),
    };
    let sent: Value = serde_json::from_slice(&first.rendered).expect("we write JSON");
    let own: Value = serde_json::from_str(SETUP).expect("JSON");
    assert_eq!(sent.as_object().map(serde_json::Map::len), Some(1));
    let handle = sent["setup"].pointer("/sessionResumption/handle");
    assert_eq!(handle.is_some(), first.resumes.is_some());
    if mask.is_empty() {
        let mut whole = sent["setup"].clone();
        whole.as_object_mut().expect("an object").remove("sessionResumption");
        assert_eq!(whole, own);
        return;
    }
    for path in lock.mask().to_string().split(',').filter(|path| *path != "sessionResumption") {
        let pointer = format!("/{}", path.replace('.', "/"));
        assert_eq!(sent["setup"].pointer(&pointer), own.pointer(&pointer), "{path}");
    }
    let fold = |name: &String| name.replace('_', "").to_ascii_lowercase();
    for object in [&sent["setup"], &sent["setup"]["generationConfig"], &sent["setup"]["systemInstruction"]] {
        let Some(object) = object.as_object() else { continue };
        assert_eq!(object.keys().map(fold).collect::<HashSet<_>>().len(), object.len());
    }
    let again = lock.first(&first.rendered, Call::Live).expect("what was sent can be sent");
    assert_eq!(serde_json::from_slice::<Value>(&again.rendered).expect("we write JSON"), sent);
}

/// No message that could configure the session goes on under these locks.
fn check_later(lock: &gemini::Lock, message: &[u8]) {
    if lock.later(message).is_err() {
        return;
    }
    let passed: Value = serde_json::from_slice(message).expect("what passes is JSON");
    let members = passed.as_object().expect("an object");
    assert_eq!(members.len(), 1);
    let name = members.keys().next().expect("one").replace('_', "").to_ascii_lowercase();
    assert!(!matches!(name.as_str(), "setup" | "contextupdate"), "{name}");
}

fn check_event(message: &[u8]) {
    let Ok(later) = SESSION_LOCK.later(message) else { return };
    let openai::Later::Forward(rendered) = later else { return };
    let sent: Value = serde_json::from_slice(&rendered).expect("we write JSON");
    let own: Value = serde_json::from_str(SESSION).expect("JSON");
    for below in ["session", "response"] {
        for path in SESSION_PATHS {
            if let Some(value) = sent[below].pointer(path) {
                // What stands beside the member that the event is about is not read upstream.
                let is_read = (below == "response") == (sent["type"] == "response.create");
                assert!(!is_read || Some(value) == own.pointer(path), "{path}");
            }
        }
    }
}

fn object(text: &str) -> json::Object {
    match json::parse(text.as_bytes(), &Caps::default()) {
        Ok(json::Value::Object(object)) => object,
        _ => panic!("an object"),
    }
}
