//! What a reader subscribes to: types of events such as `key.revoked`, and all that begin alike such as `key.*`.

use serde_json::{Value, json};

/// How many patterns one reader may have.
const PATTERNS_MAX: usize = 64;

/// A pattern may be this long.
const PATTERN_BYTES_MAX: usize = 64;

/// The patterns of one reader; without any, everything is told.
#[derive(Debug, Default)]
pub(super) struct Topics(Vec<String>);

/// What a message asks for beside an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Only the answer, if there is one.
    Nothing,
    /// To go on behind this number.
    Resume(u64),
}

impl Topics {
    /// Whether events of this type are told.
    pub(super) fn want(&self, word: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => word.starts_with(start),
            None => word == pattern,
        };
        self.0.is_empty() || self.0.iter().any(matches)
    }

    /// Takes a message and answers it. Nothing that was sent is repeated but the patterns that were taken.
    pub(super) fn take(&mut self, text: &str) -> (Option<Value>, Asked) {
        if text.trim() == "ping" {
            return (Some(json!({"type": "pong"})), Asked::Nothing);
        }
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return (Some(error("invalid_json", "the message is not JSON", &json!({}))), Asked::Nothing);
        };
        let Some(kind) = message.get("type").and_then(Value::as_str) else {
            let answer = error("invalid_message_format", "the message has no `type`", &json!({}));
            return (Some(answer), Asked::Nothing);
        };
        match kind {
            "ping" => (Some(json!({"type": "pong"})), Asked::Nothing),
            "pong" => (None, Asked::Nothing),
            "subscribe" | "unsubscribe" => (Some(self.change(kind, message.get("data"))), Asked::Nothing),
            "resume" => {
                let place = message.get("lastSeq").or_else(|| message.get("data").and_then(|data| data.get("lastSeq")));
                match place.and_then(Value::as_u64) {
                    Some(after) => (Some(json!({"action": "resumed", "lastSeq": after})), Asked::Resume(after)),
                    None => {
                        let answer =
                            error("validation_error", "`lastSeq` must be a number", &json!({"field": "lastSeq"}));
                        (Some(answer), Asked::Nothing)
                    }
                }
            }
            _ => {
                let known = json!({"known": ["ping", "pong", "subscribe", "unsubscribe", "resume"]});
                (Some(error("unknown_message_type", "no such message type", &known)), Asked::Nothing)
            }
        }
    }

    fn change(&mut self, kind: &str, data: Option<&Value>) -> Value {
        let events = data.and_then(|data| data.get("events")).and_then(Value::as_array);
        let patterns: Option<Vec<String>> =
            events.and_then(|events| events.iter().map(|event| event.as_str().map(str::to_owned)).collect());
        let is_pattern = |pattern: &String| {
            let word = pattern.strip_suffix('*').unwrap_or(pattern);
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte == b'.';
            !pattern.is_empty() && pattern.len() <= PATTERN_BYTES_MAX && word.bytes().all(plain)
        };
        let patterns = patterns.filter(|patterns| (1..=PATTERNS_MAX).contains(&patterns.len()));
        let Some(patterns) = patterns.filter(|patterns| patterns.iter().all(is_pattern)) else {
            let expected = format!("`data.events` must be a list of 1 to {PATTERNS_MAX} patterns such as `key.*`");
            return error("validation_error", &expected, &json!({"field": "data.events"}));
        };
        self.0.retain(|known| !patterns.contains(known));
        if kind == "unsubscribe" {
            return json!({"action": "unsubscribed", "events": patterns});
        }
        if self.0.len() + patterns.len() > PATTERNS_MAX {
            return error("validation_error", "too many subscriptions", &json!({"field": "data.events"}));
        }
        self.0.extend(patterns.iter().cloned());
        json!({"action": "subscribed", "events": patterns})
    }
}

fn error(code: &str, message: &str, details: &Value) -> Value {
    json!({"type": "error", "error": code, "message": message, "details": details})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_what_is_told_until_they_are_taken_back() {
        let mut topics = Topics::default();
        assert!(topics.want("key.revoked"));
        let (answer, _) = topics.take(r#"{"type":"subscribe","data":{"events":["key.*"]}}"#);
        assert_eq!(answer, Some(json!({"action": "subscribed", "events": ["key.*"]})));
        assert!(topics.want("key.revoked") && !topics.want("request.refused"));
        topics.take(r#"{"type":"unsubscribe","data":{"events":["key.*"]}}"#);
        assert!(topics.want("request.refused"));
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_repeated() {
        for (text, code) in [
            ("{canary", "invalid_json"),
            ("[]", "invalid_message_format"),
            (r#"{"type":"canary"}"#, "unknown_message_type"),
            (r#"{"type":"subscribe","data":{"events":["kmt_Canary"]}}"#, "validation_error"),
            (r#"{"type":"subscribe"}"#, "validation_error"),
            (r#"{"type":"resume","lastSeq":"canary"}"#, "validation_error"),
        ] {
            let (answer, asked) = Topics::default().take(text);
            let answer = answer.expect("an answer");
            assert_eq!(answer["error"], code, "{text}");
            assert!(!answer.to_string().to_lowercase().contains("canary") && asked == Asked::Nothing);
        }
        let (answer, asked) = Topics::default().take(r#"{"type":"resume","lastSeq":7}"#);
        assert_eq!((answer.map(|it| it["action"].clone()), asked), (Some(json!("resumed")), Asked::Resume(7)));
        for ping in ["ping", r#"{"type":"ping"}"#] {
            assert_eq!(Topics::default().take(ping).0, Some(json!({"type": "pong"})));
        }
    }
}
