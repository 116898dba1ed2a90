//! The fields of a Realtime session: where they stand, and where the beta of the API had them (OpenAI's API reference
//! and what its SDKs of November 2026 send).

use crate::json::{Object, Value};

/// Where a field stands: itself, or below `audio` and its two sides.
pub(super) type Path = &'static [&'static str];

/// The names of the beta, flat, and where the same is set now.
pub(super) const OF_BETA: [(&str, Path); 9] = [
    ("voice", &["audio", "output", "voice"]),
    ("speed", &["audio", "output", "speed"]),
    ("output_audio_format", &["audio", "output", "format"]),
    ("input_audio_format", &["audio", "input", "format"]),
    ("input_audio_transcription", &["audio", "input", "transcription"]),
    ("input_audio_noise_reduction", &["audio", "input", "noise_reduction"]),
    ("turn_detection", &["audio", "input", "turn_detection"]),
    ("modalities", &["output_modalities"]),
    ("max_response_output_tokens", &["max_output_tokens"]),
];

/// Objects that hold fields, each of which can be locked. Everything else is locked as a whole.
const CONTAINERS: [Path; 3] = [&["audio"], &["audio", "input"], &["audio", "output"]];

/// Whether there are fields below a path, rather than a value.
pub(super) fn is_container(path: &[String]) -> bool {
    CONTAINERS.iter().any(|container| container.iter().eq(path.iter()))
}

/// What stands at a path.
pub(super) fn at<'a>(session: &'a Object, path: &[String]) -> Option<&'a Value> {
    let (last, parents) = path.split_last()?;
    let mut object = session;
    for name in parents {
        object = object.member(name)?.as_object()?;
    }
    object.member(last)
}

/// Takes out what stands at a path.
pub(super) fn take(session: &mut Object, path: &[String]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return session.remove(first);
    }
    match session.member_mut(first)? {
        Value::Object(below) => take(below, rest),
        _ => None,
    }
}

/// Puts a value at a path, making objects on the way.
pub(super) fn put(session: &mut Object, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        session.set(first.clone(), value);
        return;
    }
    if !matches!(session.member(first), Some(Value::Object(_))) {
        session.set(first.clone(), Object::new());
    }
    if let Some(Value::Object(below)) = session.member_mut(first) {
        put(below, rest, value);
    }
}

/// The paths of all values of a session.
pub(super) fn paths_of(session: &Object) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    collect(session, &mut Vec::new(), &mut paths);
    paths
}

fn collect(object: &Object, above: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    for (name, value) in object.iter() {
        above.push(name.to_owned());
        match value {
            Value::Object(below) if is_container(above) => collect(below, above, paths),
            _ => paths.push(above.clone()),
        }
        above.pop();
    }
}

/// The segments of a path.
pub(super) fn segments(path: Path) -> Vec<String> {
    path.iter().map(|segment| (*segment).to_owned()).collect()
}

/// What the beta wrote for a field, as it is written now.
pub(super) fn modern(name: &str, value: Value) -> Value {
    match (name, &value) {
        ("input_audio_format" | "output_audio_format", Value::String(format)) => match format.as_str() {
            "pcm16" => [("type", Value::from("audio/pcm")), ("rate", Value::from(24_000))]
                .into_iter()
                .collect::<Object>()
                .into(),
            "g711_ulaw" => [("type", Value::from("audio/pcmu"))].into_iter().collect::<Object>().into(),
            "g711_alaw" => [("type", Value::from("audio/pcma"))].into_iter().collect::<Object>().into(),
            _ => value,
        },
        // A session speaks, and writes along, or it only writes.
        ("modalities", Value::Array(modalities)) if modalities.iter().any(|word| word.as_str() == Some("audio")) => {
            vec![Value::from("audio")].into()
        }
        _ => value,
    }
}
