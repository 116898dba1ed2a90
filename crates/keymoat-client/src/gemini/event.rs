//! What a Live session says: one message of the server becomes one or more events, in the order in which they are of use.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value};

use super::audio::Audio;
use super::resumption::Handle;

/// Something that happened in a Live session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The model speaks.
    Audio(Audio),
    /// The model writes.
    Text(String),
    /// The model writes what it thinks.
    Thought(String),
    /// What the user said, written out.
    InputTranscription(String),
    /// What the model says, written out.
    OutputTranscription(String),
    /// The model wants functions called; answer with [`super::Session::send_tool_response`].
    ToolCall(Vec<FunctionCall>),
    /// Calls with these ids are not wanted any more.
    ToolCallCancellation(Vec<String>),
    /// The user spoke over the model: drop what was not played yet.
    Interrupted,
    /// The model has said all; what it said may still be on its way.
    GenerationComplete,
    /// It is the user's turn.
    TurnComplete,
    /// What was counted.
    Usage(Usage),
    /// The connection will end.
    GoAway {
        /// How soon.
        time_left: Option<Duration>,
    },
    /// Where the session can go on; none while it cannot, such as in the midst of an answer.
    Resumption(Option<Handle>),
    /// The session went on on a new connection.
    Reconnected,
    /// What this version does not know, as it came.
    Other {
        /// Where it stood, such as `serverContent.groundingMetadata`.
        name: String,
        /// What it was.
        value: Value,
    },
}

/// A function that the model wants called.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FunctionCall {
    /// Names this call in the answer.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments, an object.
    pub args: Value,
}

/// How many tokens were counted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Of the user.
    pub prompt_tokens: u64,
    /// Of the model.
    pub response_tokens: u64,
    /// Together.
    pub total_tokens: u64,
    /// All that was told.
    pub raw: Value,
}

/// Reads one message and queues what it says.
pub(crate) fn read(message: Value, events: &mut VecDeque<Event>) {
    let Value::Object(mut members) = message else {
        events.push_back(Event::Other { name: String::new(), value: message });
        return;
    };
    if let Some(usage) = members.remove("usageMetadata") {
        events.push_back(Event::Usage(Usage::read(usage)));
    }
    if let Some(call) = members.remove("toolCall") {
        let calls = call.get("functionCalls").and_then(Value::as_array).cloned().unwrap_or_default();
        events.push_back(Event::ToolCall(calls.iter().map(FunctionCall::read).collect()));
    }
    if let Some(cancelled) = members.remove("toolCallCancellation") {
        let ids = cancelled.get("ids").and_then(Value::as_array).cloned().unwrap_or_default();
        let ids = ids.iter().filter_map(|id| id.as_str().map(str::to_owned));
        events.push_back(Event::ToolCallCancellation(ids.collect()));
    }
    match members.remove("serverContent") {
        Some(Value::Object(content)) => read_content(content, events),
        Some(value) => events.push_back(Event::Other { name: "serverContent".to_owned(), value }),
        None => {}
    }
    if let Some(update) = members.remove("sessionResumptionUpdate") {
        let resumable = update.get("resumable").and_then(Value::as_bool) == Some(true);
        let handle = update.get("newHandle").and_then(Value::as_str).filter(|handle| resumable && !handle.is_empty());
        events.push_back(Event::Resumption(handle.map(Handle::new)));
    }
    if let Some(away) = members.remove("goAway") {
        let time_left = away.get("timeLeft").and_then(Value::as_str).and_then(duration);
        events.push_back(Event::GoAway { time_left });
    }
    events.extend(members.into_iter().map(|(name, value)| Event::Other { name, value }));
}

fn read_content(mut content: Map<String, Value>, events: &mut VecDeque<Event>) {
    let text = |value: &Value| value.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_set = |name: &str, content: &mut Map<String, Value>| content.remove(name) == Some(Value::Bool(true));
    if is_set("interrupted", &mut content) {
        events.push_back(Event::Interrupted);
    }
    if let Some(said) = content.remove("inputTranscription") {
        events.push_back(Event::InputTranscription(text(&said)));
    }
    if let Some(said) = content.remove("outputTranscription") {
        events.push_back(Event::OutputTranscription(text(&said)));
    }
    if let Some(Value::Object(mut turn)) = content.remove("modelTurn")
        && let Some(Value::Array(parts)) = turn.remove("parts")
    {
        events.extend(parts.into_iter().map(part));
    }
    let (generated, complete) = (is_set("generationComplete", &mut content), is_set("turnComplete", &mut content));
    events
        .extend(content.into_iter().map(|(name, value)| Event::Other { name: format!("serverContent.{name}"), value }));
    events.extend(generated.then_some(Event::GenerationComplete));
    events.extend(complete.then_some(Event::TurnComplete));
}

fn part(part: Value) -> Event {
    if let Some(audio) = part.get("inlineData").and_then(Audio::read) {
        return Event::Audio(audio);
    }
    let thought = part.get("thought").and_then(Value::as_bool) == Some(true);
    match part.get("text").and_then(Value::as_str) {
        Some(text) if thought => Event::Thought(text.to_owned()),
        Some(text) => Event::Text(text.to_owned()),
        None => Event::Other { name: "serverContent.modelTurn.parts".to_owned(), value: part },
    }
}

impl FunctionCall {
    fn read(call: &Value) -> Self {
        let text = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { id: text("id"), name: text("name"), args: call.get("args").cloned().unwrap_or_default() }
    }
}

impl Usage {
    fn read(raw: Value) -> Self {
        let count = |name: &str| raw.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (prompt_tokens, response_tokens) = (count("promptTokenCount"), count("responseTokenCount"));
        Self { prompt_tokens, response_tokens, total_tokens: count("totalTokenCount"), raw }
    }
}

/// A duration as Protobuf's JSON writes it: `9.5s`.
fn duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(message: Value) -> Vec<Event> {
        let mut events = VecDeque::new();
        read(message, &mut events);
        events.into()
    }

    #[test]
    fn the_end_of_a_turn_comes_after_what_came_with_it() {
        let blob = json!({"mimeType": "audio/pcm;rate=24000", "data": "AQA="});
        let message = json!({
            "serverContent": {
                "turnComplete": true,
                "generationComplete": true,
                "groundingMetadata": {"a": 1},
                "modelTurn": {"role": "model", "parts": [{"text": "hm", "thought": true}, {"text": "hi"}, {"inlineData": blob}, {"x": 1}]},
                "outputTranscription": {"text": "hi"},
            },
            "usageMetadata": {"promptTokenCount": 1, "responseTokenCount": 2, "totalTokenCount": 3},
        });
        let events = events(message);
        let [usage, said, thought, text, audio, part, other, generated, complete] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert!(matches!(usage, Event::Usage(usage) if usage.total_tokens == 3));
        assert_eq!((said, text), (&Event::OutputTranscription("hi".into()), &Event::Text("hi".into())));
        assert_eq!(thought, &Event::Thought("hm".into()));
        assert!(matches!(audio, Event::Audio(audio) if audio.rate() == Some(24_000)));
        assert!(matches!(part, Event::Other { name, .. } if name == "serverContent.modelTurn.parts"));
        assert!(
            matches!(other, Event::Other { name, value } if name == "serverContent.groundingMetadata" && value["a"] == 1)
        );
        assert_eq!((generated, complete), (&Event::GenerationComplete, &Event::TurnComplete));
    }

    #[test]
    fn reads_calls_endings_and_handles() {
        let call = json!({"id": "1", "name": "f", "args": {"a": 1}});
        let [Event::ToolCall(calls)] = &events(json!({"toolCall": {"functionCalls": [call]}}))[..] else { panic!() };
        assert_eq!((calls[0].id.as_str(), &calls[0].args), ("1", &json!({"a": 1})));
        let cancelled = events(json!({"toolCallCancellation": {"ids": ["1"]}}));
        assert_eq!(cancelled, [Event::ToolCallCancellation(vec!["1".into()])]);
        let away = events(json!({"goAway": {"timeLeft": "9.5s"}}));
        assert_eq!(away, [Event::GoAway { time_left: Some(Duration::from_millis(9500)) }]);
        let handle = json!({"sessionResumptionUpdate": {"newHandle": "h", "resumable": true}});
        assert_eq!(events(handle), [Event::Resumption(Some(Handle::new("h")))]);
        let none = json!({"sessionResumptionUpdate": {"newHandle": "h", "resumable": false}});
        assert_eq!(events(none), [Event::Resumption(None)]);
        assert_eq!(events(json!({"serverContent": {"interrupted": true}})), [Event::Interrupted]);
    }

    #[test]
    fn what_is_unknown_is_kept() {
        for message in [json!({"voiceActivity": {"x": 1}}), json!([1]), json!({"serverContent": 7})] {
            let events = events(message.clone());
            assert!(matches!(&events[..], [Event::Other { .. }]), "{message}: {events:?}");
        }
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("-1s"), None);
        assert_eq!(duration("1e400s"), None);
    }
}
