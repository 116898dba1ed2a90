//! What a session remembers, and the replies that are derived from it, word for word the same every time.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::field;
use super::setup::Function;
use crate::websocket::End;

/// How many things that were said are remembered.
const SAID_MAX: usize = 32;
/// How many characters of one of them.
const SAID_CHARS_MAX: usize = 400;
const PART_MEMBERS: [&str; 12] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "thought",
    "thoughtSignature",
    "videoMetadata",
    "mediaResolution",
    "partMetadata",
];

/// The memory of a session; it survives a resumption.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    turns: u64,
    said: VecDeque<String>,
}

/// One piece of content: who said what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// Said by the model, as history that the client brings.
    pub(crate) by_model: bool,
    /// The text of all parts.
    pub(crate) text: String,
}

/// Reads a `Content`: a role and parts.
pub(crate) fn content(value: &Value, at: &str) -> Result<Content, End> {
    let fields = field::object(value, at, &["role", "parts"])?;
    let mut text = String::new();
    let at = format!("{at}.parts");
    for part in field::array(&fields, "parts", &at)? {
        let part = field::object(part, &at, &PART_MEMBERS)?;
        if let Some(said) = field::string(&part, "text", &at)? {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(said);
        }
    }
    Ok(Content { by_model: field::string(&fields, "role", &at)? == Some("model"), text })
}

impl Context {
    /// Remembers something that was said without a reply.
    pub(crate) fn remember(&mut self, said: &str) {
        if self.said.len() >= SAID_MAX {
            self.said.pop_front();
        }
        self.said.push_back(said.chars().take(SAID_CHARS_MAX).collect());
    }

    /// Counts a turn and replies to text. The reply names the turn, repeats the text, and shows the system
    /// instruction, what was said before, and (asked with `show setup`) the setup.
    pub(crate) fn reply(&mut self, text: &str, instruction: Option<&str>, setup: &Map<String, Value>) -> String {
        self.turns = self.turns.saturating_add(1);
        let words = text.split_whitespace().count();
        let mut reply = format!("Turn {}: you said \"{text}\", that is {words} words.", self.turns);
        if let Some(before) = self.said.back() {
            reply.push_str(&format!(" Before that I heard \"{before}\"."));
        }
        if let Some(instruction) = instruction {
            reply.push_str(&format!(" My instruction is \"{instruction}\"."));
        }
        if text.contains("show setup") {
            reply.push_str(&format!(" My setup is {}", Value::Object(setup.clone())));
        }
        self.remember(text);
        reply
    }

    /// Counts a turn and replies to speech.
    pub(crate) fn reply_to_speech(&mut self, millis: u64, rate: u64) -> String {
        self.turns = self.turns.saturating_add(1);
        let reply = format!("Turn {}: I heard {millis} ms of audio at {rate} Hz.", self.turns);
        self.remember(&format!("{millis} ms of audio"));
        reply
    }

    /// Goes on in the same turn after a function has answered.
    pub(crate) fn reply_to_functions(answers: &[(String, Value)]) -> String {
        let answers: Vec<_> = answers.iter().map(|(name, answer)| format!("{name} answered {answer}")).collect();
        format!("{}.", answers.join(" and "))
    }
}

/// The arguments of a call, made from what the user said.
pub(crate) fn arguments(function: &Function, text: &str) -> Value {
    let argument = |kind: &str| match kind {
        "NUMBER" | "INTEGER" => json!(text.split_whitespace().count()),
        "BOOLEAN" => json!(text.ends_with('?')),
        "ARRAY" => json!([]),
        "OBJECT" => json!({}),
        _ => json!(text),
    };
    Value::Object(function.parameters.iter().map(|(name, kind)| (name.clone(), argument(kind))).collect())
}

/// Cuts a reply into pieces of three words that join to the whole.
pub(crate) fn pieces(reply: &str) -> Vec<String> {
    let words: Vec<_> = reply.split_inclusive(' ').collect();
    words.chunks(3).map(<[&str]>::concat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_derived_from_what_was_said_and_remembered() {
        let mut context = Context::default();
        let none = Map::new();
        assert_eq!(context.reply("hello you", None, &none), "Turn 1: you said \"hello you\", that is 2 words.");
        assert_eq!(
            context.reply("again", Some("be brief"), &none),
            "Turn 2: you said \"again\", that is 1 words. Before that I heard \"hello you\". \
             My instruction is \"be brief\"."
        );
        assert_eq!(context.reply_to_speech(40, 16_000), "Turn 3: I heard 40 ms of audio at 16000 Hz.");
    }

    #[test]
    fn pieces_join_to_the_whole() {
        let whole = "one two three four  five";
        assert_eq!(pieces(whole), ["one two three ", "four  five"]);
        assert_eq!(pieces(whole).concat(), whole);
    }

    #[test]
    fn reads_the_text_of_a_content() {
        let read = content(&json!({"role": "user", "parts": [{"text": "a"}, {"inline_data": {}}, {"text": "b"}]}), "c");
        assert_eq!(read, Ok(Content { by_model: false, text: "a b".to_owned() }));
        assert!(content(&json!("a"), "c").is_err());
    }
}
