//! One response of a Realtime session: the events that it is made of, and its end before its time.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::config::{self, Function};
use super::fault::{self, Fault};
use super::item::Input;
use super::session::Session;
use crate::gemini::context::{self, Context};
use crate::sound::{self, SPEECH_RATE};

const MEMBERS: [&str; 12] = [
    "audio",
    "conversation",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "output_modalities",
    "parallel_tool_calls",
    "prompt",
    "reasoning",
    "tool_choice",
    "tools",
];
/// How many function calls are remembered.
const CALLS_MAX: usize = 64;

/// The response that goes on.
#[derive(Debug)]
pub(crate) struct Active {
    id: String,
    spoken: bool,
    metadata: Value,
    /// Its item as it will be when it is whole.
    item: Value,
    input_tokens: usize,
}

/// Queues a response to what waits for an answer; `asked` may say what it is to be like.
pub(super) fn create(session: &mut Session, asked: Option<&Value>) -> Result<(), Fault> {
    let none = Map::new();
    let asked = match asked {
        Some(asked) => fault::object(asked, "response", &MEMBERS)?,
        None => &none,
    };
    config::modalities(asked, "response")?;
    let instructions = fault::string(asked, "instructions", "response")?.or(session.config.instructions());
    let instructions = instructions.map(str::to_owned);
    if let Some(active) = &session.active {
        let message = format!("Conversation already has an active response in progress: {}.", active.id);
        return Err(Fault::new("conversation_already_has_active_response", message));
    }
    let spoken = match asked.get("output_modalities") {
        None | Some(Value::Null) => session.config.speaks(),
        modalities => config::spoken(modalities),
    };
    let (said, speech, answers) = gathered(session);
    let functions = named(&session.config.functions(), &said);
    let id = session.next_id("resp");
    let active = Active {
        id,
        spoken,
        metadata: asked.get("metadata").cloned().unwrap_or_default(),
        item: Value::Null,
        input_tokens: said.split_whitespace().count(),
    };
    if let Some(function) = functions.first() {
        call(session, active, function, &said);
        return Ok(());
    }
    let members = session.config.members().clone();
    let reply = match speech {
        _ if !answers.is_empty() => Context::reply_to_functions(&answers),
        Some(millis) => session.context.reply_to_speech(millis, u64::from(SPEECH_RATE)),
        None => session.context.reply(&said, instructions.as_deref(), &members),
    };
    say(session, active, &reply);
    Ok(())
}

/// Ends the response that goes on, if there is one; what of it was not sent is dropped.
pub(super) fn cancel(session: &mut Session) -> bool {
    let Some(mut active) = session.active.take() else { return false };
    session.queue.clear();
    active.item["status"] = "incomplete".into();
    let details = json!({"type": "cancelled", "reason": "client_cancelled"});
    let response = response(session, &active, "cancelled", details, &[active.item.clone()]);
    session.tell("response.done", json!({ "response": response }));
    true
}

/// What waits for an answer: words, the length of speech if that came last, and what functions gave back.
fn gathered(session: &mut Session) -> (String, Option<u64>, Vec<(String, Value)>) {
    let (mut said, mut speech, mut answers) = (Vec::new(), None, Vec::new());
    for input in std::mem::take(&mut session.inputs) {
        match input {
            Input::Text(text) => {
                speech = None;
                said.push(text);
            }
            Input::Speech(millis) => speech = Some(millis),
            Input::Function(call, output) => {
                if let Some(at) = session.calls.iter().position(|(known, _)| *known == call) {
                    let name = session.calls.remove(at).map(|(_, name)| name).unwrap_or_default();
                    answers.push((name, serde_json::from_str(&output).unwrap_or(Value::String(output))));
                }
            }
            Input::Context(_) => {}
        }
    }
    (said.join(" "), speech, answers)
}

/// The functions whose names stand in the text.
fn named(functions: &[Function], text: &str) -> Vec<Function> {
    let no_word = |letter: char| !letter.is_alphanumeric() && letter != '_';
    let is_named = |function: &&Function| text.split(no_word).any(|word| word == function.name);
    functions.iter().filter(is_named).cloned().collect()
}

fn say(session: &mut Session, mut active: Active, reply: &str) {
    let item_id = begin(session, &mut active, &json!({"type": "message", "role": "assistant", "content": []}));
    let (kind, field) = if active.spoken { ("audio", "transcript") } else { ("text", "text") };
    let at = json!({"response_id": active.id, "item_id": item_id, "output_index": 0, "content_index": 0});
    let with = |more: Value| merged(&at, more);
    push(session, "response.content_part.added", with(json!({"part": {"type": kind, field: ""}})), Duration::ZERO);
    for piece in context::pieces(reply) {
        if active.spoken {
            let delta = with(json!({ "delta": piece }));
            push(session, "response.output_audio_transcript.delta", delta, Duration::ZERO);
            speak(session, &at, &piece);
        } else {
            let pause = session.options.paced(session.options.text_pause);
            push(session, "response.output_text.delta", with(json!({ "delta": piece })), pause);
        }
    }
    if active.spoken {
        push(session, "response.output_audio.done", at.clone(), Duration::ZERO);
        let done = with(json!({ "transcript": reply }));
        push(session, "response.output_audio_transcript.done", done, Duration::ZERO);
    } else {
        push(session, "response.output_text.done", with(json!({ "text": reply })), Duration::ZERO);
    }
    push(session, "response.content_part.done", with(json!({"part": {"type": kind, field: reply}})), Duration::ZERO);
    active.item["content"] = json!([{"type": format!("output_{kind}"), field: reply}]);
    finish(session, active, reply.split_whitespace().count());
}

fn speak(session: &mut Session, at: &Value, piece: &str) {
    let samples = session.options.audio_chunk.as_millis() as u64 * u64::from(SPEECH_RATE) / 1000;
    let bytes = usize::try_from(samples.clamp(1, u64::from(SPEECH_RATE)) * 2).unwrap_or(1920);
    let pause = session.options.paced(session.options.audio_chunk);
    for chunk in sound::speech(piece).chunks(bytes) {
        let delta = merged(at, json!({"delta": STANDARD.encode(chunk)}));
        push(session, "response.output_audio.delta", delta, pause);
    }
}

/// Calls a function in place of an answer; its arguments are made of what the user said.
fn call(session: &mut Session, mut active: Active, function: &Function, said: &str) {
    let argument = |kind: &str| match kind {
        "number" | "integer" => json!(said.split_whitespace().count()),
        "boolean" => json!(said.ends_with('?')),
        "array" => json!([]),
        "object" => json!({}),
        _ => json!(said),
    };
    let arguments: Map<_, _> = function.parameters.iter().map(|(name, kind)| (name.clone(), argument(kind))).collect();
    let arguments = Value::Object(arguments).to_string();
    let call_id = session.next_id("call");
    let item = json!({"type": "function_call", "name": function.name, "call_id": call_id, "arguments": ""});
    let item_id = begin(session, &mut active, &item);
    let at = json!({"response_id": active.id, "item_id": item_id, "output_index": 0, "call_id": call_id});
    let delta = merged(&at, json!({ "delta": arguments }));
    push(session, "response.function_call_arguments.delta", delta, Duration::ZERO);
    let done = merged(&at, json!({"name": function.name, "arguments": arguments}));
    push(session, "response.function_call_arguments.done", done, Duration::ZERO);
    active.item["arguments"] = arguments.into();
    if session.calls.len() >= CALLS_MAX {
        session.calls.pop_front();
    }
    session.calls.push_back((call_id, function.name.clone()));
    finish(session, active, 1);
}

/// Queues what stands before every content, and gives the id of the item.
fn begin(session: &mut Session, active: &mut Active, item: &Value) -> String {
    let created = response(session, active, "in_progress", Value::Null, &[]);
    push(session, "response.created", json!({ "response": created }), Duration::ZERO);
    let item_id = session.next_id("item");
    let own = json!({"id": item_id, "object": "realtime.item", "status": "in_progress"});
    active.item = merged(item, own);
    let at = json!({"response_id": active.id, "output_index": 0, "item": active.item});
    push(session, "response.output_item.added", at, Duration::ZERO);
    let previous = session.last_item_id();
    let added = json!({"previous_item_id": previous, "item": active.item});
    push(session, "conversation.item.added", added, Duration::ZERO);
    item_id
}

/// Queues what stands behind every content.
fn finish(session: &mut Session, mut active: Active, output_tokens: usize) {
    active.item["status"] = "completed".into();
    let previous = session.last_item_id();
    let done = json!({"previous_item_id": previous, "item": active.item});
    push(session, "conversation.item.done", done, Duration::ZERO);
    let at = json!({"response_id": active.id, "output_index": 0, "item": active.item});
    push(session, "response.output_item.done", at, Duration::ZERO);
    let mut done = response(session, &active, "completed", Value::Null, &[active.item.clone()]);
    done["usage"] = json!({
        "input_tokens": active.input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": active.input_tokens.saturating_add(output_tokens),
    });
    push(session, "response.done", json!({ "response": done }), Duration::ZERO);
    session.keep(active.item.clone());
    session.active = Some(active);
}

fn response(session: &Session, active: &Active, status: &str, details: Value, output: &[Value]) -> Value {
    json!({
        "object": "realtime.response",
        "id": active.id,
        "status": status,
        "status_details": details,
        "output": output,
        "output_modalities": [if active.spoken { "audio" } else { "text" }],
        "max_output_tokens": "inf",
        "audio": session.config.output(),
        "metadata": active.metadata,
        "usage": null,
    })
}

fn push(session: &mut Session, kind: &str, members: Value, pause: Duration) {
    let event = session.event(kind, members);
    session.queue.push_back((event, pause));
}

/// Both objects' members.
fn merged(one: &Value, other: Value) -> Value {
    let mut both = one.clone();
    if let (Some(both), Value::Object(other)) = (both.as_object_mut(), other) {
        both.extend(other);
    }
    both
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::*;
    use crate::OpenAiOptions;

    fn session() -> Session {
        let mut session = Session::new(1, Config::new("gpt-realtime"), OpenAiOptions::default());
        while session.next_at_once().is_some() {}
        session
    }

    fn send(session: &mut Session, event: &Value) -> Vec<Value> {
        session.take(event.to_string().as_bytes());
        let mut events = Vec::new();
        while let Some(event) = session.next_at_once() {
            events.push(event);
        }
        events
    }

    fn played(session: &mut Session) -> Vec<Value> {
        std::iter::from_fn(|| session.next_queued()).map(|(event, _)| event).collect()
    }

    fn kinds(events: &[Value]) -> Vec<&str> {
        let mut kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        kinds.dedup();
        kinds
    }

    fn text(said: &str) -> Value {
        let content = json!([{"type": "input_text", "text": said}]);
        json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
    }

    #[test]
    fn a_text_is_answered_in_text_event_by_event() {
        let mut session = session();
        assert_eq!(kinds(&send(&mut session, &text("hello"))), ["conversation.item.added", "conversation.item.done"]);
        let create = json!({"type": "response.create", "response": {"output_modalities": ["text"]}});
        assert!(send(&mut session, &create).is_empty());
        let again = send(&mut session, &create);
        assert_eq!(again[0]["error"]["code"], "conversation_already_has_active_response");
        let events = played(&mut session);
        assert_eq!(
            kinds(&events),
            [
                "response.created",
                "response.output_item.added",
                "conversation.item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "conversation.item.done",
                "response.output_item.done",
                "response.done",
            ]
        );
        let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas, "Turn 1: you said \"hello\", that is 1 words.");
        let done = &events.last().expect("an end")["response"];
        assert_eq!(done["output"][0]["content"][0]["text"], deltas.as_str());
        assert_eq!(done["status"], "completed");
        assert!(send(&mut session, &create).is_empty(), "the next one may come");
    }

    #[test]
    fn a_response_is_spoken_by_default_and_can_be_cancelled() {
        let mut session = session();
        send(&mut session, &text("one two three"));
        send(&mut session, &json!({"type": "response.create"}));
        let first: Vec<_> = std::iter::from_fn(|| session.next_queued()).take(6).map(|(event, _)| event).collect();
        assert_eq!(kinds(&first).last(), Some(&"response.output_audio.delta"));
        let rest = send(&mut session, &json!({"type": "response.cancel"}));
        assert_eq!(kinds(&rest), ["response.done"]);
        assert!(played(&mut session).is_empty());
        assert_eq!(rest[0]["response"]["status"], "cancelled");
        let again = send(&mut session, &json!({"type": "response.cancel", "event_id": "mine"}));
        assert_eq!(again[0]["error"]["code"], "response_cancel_not_active");
        assert_eq!(again[0]["error"]["event_id"], "mine");
    }

    #[test]
    fn a_function_that_is_named_is_called_and_its_output_answered() {
        let mut session = session();
        let parameters =
            json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
        let tool = json!({"type": "function", "name": "weather", "parameters": parameters});
        let update = json!({"type": "session.update", "session": {"type": "realtime", "tools": [tool]}});
        assert_eq!(kinds(&send(&mut session, &update)), ["session.updated"]);
        send(&mut session, &text("weather please"));
        send(&mut session, &json!({"type": "response.create"}));
        let events = played(&mut session);
        let done =
            events.iter().find(|event| event["type"] == "response.function_call_arguments.done").expect("a call");
        assert_eq!(done["arguments"], r#"{"city":"weather please","days":2}"#);
        let output = json!({"type": "function_call_output", "call_id": done["call_id"], "output": "{\"sun\":true}"});
        send(&mut session, &json!({"type": "conversation.item.create", "item": output}));
        send(&mut session, &json!({"type": "response.create"}));
        let events = played(&mut session);
        let said = &events.last().expect("an end")["response"]["output"][0]["content"][0]["transcript"];
        assert_eq!(said, "weather answered {\"sun\":true}.");
        let stranger = json!({"type": "function_call_output", "call_id": "x", "output": ""});
        let refused = send(&mut session, &json!({"type": "conversation.item.create", "item": stranger}));
        assert_eq!(refused[0]["type"], "error");
    }

    #[test]
    fn speech_is_heard_answered_and_interrupts() {
        let mut session = session();
        let append = |pcm: &[u8]| json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode(pcm)});
        let (loud, quiet) = (append(&sound::speech("one two")), append(&[0; 9600]));
        assert_eq!(kinds(&send(&mut session, &loud)), ["input_audio_buffer.speech_started"]);
        let ended = send(&mut session, &quiet);
        let expected = [
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ];
        assert_eq!(kinds(&ended), expected);
        let _ = session.next_queued();
        let interrupted = send(&mut session, &loud);
        assert_eq!(kinds(&interrupted), ["input_audio_buffer.speech_started", "response.done"]);
        assert_eq!(interrupted[1]["response"]["status"], "cancelled");
        let manual = json!({"type": "realtime", "audio": {"input": {"turn_detection": null}}});
        send(&mut session, &json!({"type": "session.update", "session": manual}));
        send(&mut session, &json!({"type": "input_audio_buffer.clear"}));
        let empty = send(&mut session, &json!({"type": "input_audio_buffer.commit"}));
        assert_eq!(empty[0]["error"]["code"], "input_audio_buffer_commit_empty");
    }
}
