//! Any bytes are JSON or not; what is read, another parser reads as the same value, before and after we render it.
//!
//! The whole input is the text.
#![no_main]

use keymoat_core::json::{self, Caps, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let caps = Caps::default();
    let Ok(ours) = json::parse(data, &caps) else { return };
    let theirs: serde_json::Value = serde_json::from_slice(data).expect("what is read strictly is JSON");
    let rendered = ours.render();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&rendered).expect("we write JSON"), theirs);
    // Rendering may lengthen control characters' escapes, and nothing else about it may matter.
    let caps = caps.with_bytes_max(usize::MAX);
    assert!(json::parse(rendered.as_bytes(), &caps) == Ok(ours.clone()));
    assert_eq!(members(&ours), their_members(&theirs));
});

/// How many members there are: another parser keeps one of two that have a name together.
fn members(value: &Value) -> usize {
    match value {
        Value::Object(object) => object.iter().map(|(_, value)| 1 + members(value)).sum(),
        Value::Array(elements) => elements.iter().map(members).sum(),
        _ => 0,
    }
}

fn their_members(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Object(object) => object.values().map(|value| 1 + their_members(value)).sum(),
        serde_json::Value::Array(elements) => elements.iter().map(their_members).sum(),
        _ => 0,
    }
}
