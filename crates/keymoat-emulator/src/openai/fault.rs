//! What is wrong with a request or an event, in OpenAI's words: a code, a message, and the parameter that it is about.

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::answer::{self, Body};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
}

impl Fault {
    /// A mistake that no parameter stands for.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Some(code), message: message.into(), param: None }
    }

    fn about(code: &'static str, param: &str, message: String) -> Self {
        Self { code: Some(code), message, param: Some(param.to_owned()) }
    }

    /// A parameter that is not there.
    pub(crate) fn missing(param: &str) -> Self {
        Self::about("missing_required_parameter", param, format!("Missing required parameter: '{param}'."))
    }

    /// A parameter that does not exist.
    pub(crate) fn unknown(param: &str) -> Self {
        let param = cut(param);
        Self::about("unknown_parameter", &param, format!("Unknown parameter: '{param}'."))
    }

    /// A parameter of another type.
    pub(crate) fn mismatch(param: &str, expected: &str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        let message = format!("Invalid type for '{param}': expected {expected}, but got {found} instead.");
        Self::about("invalid_type", param, message)
    }

    /// A parameter with a value that it cannot have; `hint` says which it can.
    pub(crate) fn value(param: &str, found: &str, hint: &str) -> Self {
        Self::about("invalid_value", param, format!("Invalid value: '{}'. {hint}", cut(found)))
    }

    /// The `error` object.
    pub(crate) fn json(&self) -> Value {
        json!({
            "type": "invalid_request_error",
            "code": self.code,
            "message": self.message,
            "param": self.param,
        })
    }

    /// The answer over HTTP.
    pub(crate) fn answer(&self, status: StatusCode) -> Response<Body> {
        answer::json(status, &json!({"error": self.json()}))
    }
}

/// Reads an object whose members are all in `known`; `at` is its parameter, empty for the whole. Null members are absent.
pub(crate) fn object<'a>(value: &'a Value, at: &str, known: &[&str]) -> Result<&'a Map<String, Value>, Fault> {
    let Value::Object(members) = value else { return Err(Fault::mismatch(at, "an object", value)) };
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Fault::unknown(&below(at, name))),
        None => Ok(members),
    }
}

/// Reads a string, if it is there.
pub(crate) fn string<'a>(members: &'a Map<String, Value>, name: &str, at: &str) -> Result<Option<&'a str>, Fault> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Fault::mismatch(&below(at, name), "a string", other)),
    }
}

/// Reads an array; absent is empty.
pub(crate) fn array<'a>(members: &'a Map<String, Value>, name: &str, at: &str) -> Result<&'a [Value], Fault> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(Fault::mismatch(&below(at, name), "an array", other)),
    }
}

/// Reads a word that must be one of `known`, if it is there.
pub(crate) fn word<'a>(
    members: &'a Map<String, Value>,
    name: &str,
    at: &str,
    known: &[&str],
) -> Result<Option<&'a str>, Fault> {
    let found = string(members, name, at)?;
    match found {
        Some(word) if !known.contains(&word) => {
            let known: Vec<_> = known.iter().map(|word| format!("'{word}'")).collect();
            let hint = format!("Supported values are: {}.", known.join(", "));
            Err(Fault::value(&below(at, name), word, &hint))
        }
        found => Ok(found),
    }
}

/// The name of a member of the parameter `at`.
pub(crate) fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_code_and_parameter() {
        let body = json!({"session": {"type": "realtime", "voice": "alloy"}});
        let fault = object(&body["session"], "session", &["type"]).err();
        assert_eq!(fault, Some(Fault::unknown("session.voice")));
        let error = Fault::unknown("session.voice").json();
        assert_eq!(error["code"], "unknown_parameter");
        assert_eq!(error["param"], "session.voice");
        assert_eq!(error["message"], "Unknown parameter: 'session.voice'.");
    }

    #[test]
    fn a_word_that_is_not_known_is_told_the_known_ones() {
        let body = json!({"type": "x", "n": 1});
        let members = object(&body, "", &["type", "n"]).expect("an object");
        let fault = word(members, "type", "", &["a", "b"]).expect_err("unknown");
        assert_eq!(fault.message, "Invalid value: 'x'. Supported values are: 'a', 'b'.");
        assert_eq!(string(members, "n", "session").expect_err("a number").code, Some("invalid_type"));
        assert_eq!(string(members, "absent", ""), Ok(None));
    }
}
