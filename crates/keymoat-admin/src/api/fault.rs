//! What is wrong with a field, from serde's words, without what was sent.

use keymoat_core::format;
use serde_path_to_error::{Path, Segment};

use super::problem::{Code, Problem};

/// A field's name is repeated up to this length.
const NAME_BYTES_MAX: usize = 40;

/// The problem with a field; `path` leads to it and `message` is what serde says.
pub(crate) fn problem(path: &Path, message: &str) -> Problem {
    let message = message.split(" at line ").next().unwrap_or_default();
    let place = place(path);
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (name, known) = rest.split_once("`, ").unwrap_or((rest.trim_end_matches('`'), "there are none here"));
        let name = shown(name);
        let field = place.rsplit_once('.').map_or(name.clone(), |(before, _)| format!("{before}.{name}"));
        return Problem::with(Code::FieldUnknown, format!("there is no field `{name}`: {known}")).field(field);
    }
    if let Some(name) = quoted(message, "missing field `") {
        let field = if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
        return Problem::with(Code::FieldInvalid, format!("`{name}` is missing")).field(field);
    }
    if let Some(name) = quoted(message, "duplicate field `") {
        return Problem::with(Code::RequestMalformed, format!("`{name}` stands twice")).field(name);
    }
    // What was sent stands before `expected`, and is not repeated.
    let known = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];
    let detail = match message.split_once(", expected ") {
        Some((_, expected)) if known.iter().any(|start| message.starts_with(start)) => {
            format!("this must be {expected}")
        }
        _ if known.iter().any(|start| message.starts_with(start)) => "this is not as it should be".to_owned(),
        _ => message.to_owned(),
    };
    Problem::with(Code::FieldInvalid, detail).field(place)
}

fn quoted<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.strip_prefix(start)?.split('`').next()
}

fn place(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&shown(key));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// A name that somebody sent, if it is written like a field; anything else may be a credential.
fn shown(name: &str) -> String {
    let is_word = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word && name.len() <= NAME_BYTES_MAX && !format::is_in(name.as_bytes()) {
        name.to_owned()
    } else {
        "[…]".to_owned()
    }
}
