//! The state of one Realtime session, without its socket: an event goes in, events to send come out.
//!
//! ```text
//! session.update ─▶ session.updated          conversation.item.create ─▶ …item.added ─▶ …item.done
//! input_audio_buffer.append ─(speech ends)─▶ …committed ─▶ …item.added ─▶ a response
//! response.create ─▶ response.created ─▶ output_item.added ─▶ deltas… ─▶ output_item.done ─▶ response.done
//! response.cancel, or speech ─▶ response.done (cancelled)
//! ```
//! A mistake is answered with an `error` event, and the session goes on.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::config::Config;
use super::fault::{self, Fault};
use super::heard::{Change, Heard};
use super::item::{self, Input};
use super::response::{self, Active};
use crate::OpenAiOptions;
use crate::gemini::context::Context;

/// How many items a conversation keeps; the oldest is forgotten first.
const ITEMS_MAX: usize = 256;
/// How many inputs may wait for a response.
const INPUTS_MAX: usize = 64;

/// One Realtime session.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    pub(super) config: Config,
    pub(super) context: Context,
    pub(super) options: OpenAiOptions,
    /// Sent at once.
    at_once: VecDeque<Value>,
    /// The response that goes on, each event with the pause behind it.
    pub(super) queue: VecDeque<(Value, Duration)>,
    pub(super) active: Option<Active>,
    items: VecDeque<Value>,
    /// What waits to be answered.
    pub(super) inputs: Vec<Input>,
    /// The functions that were called, by call id.
    pub(super) calls: VecDeque<(String, String)>,
    heard: Heard,
    /// The item that speech which goes on will become.
    speech_item: Option<String>,
    connection: u64,
    made: u64,
}

impl Session {
    /// A session that begins, with `session.created` to send.
    pub(crate) fn new(connection: u64, config: Config, options: OpenAiOptions) -> Self {
        let mut session = Self {
            id: format!("sess_{connection}"),
            config,
            context: Context::default(),
            options,
            at_once: VecDeque::new(),
            queue: VecDeque::new(),
            active: None,
            items: VecDeque::new(),
            inputs: Vec::new(),
            calls: VecDeque::new(),
            heard: Heard::default(),
            speech_item: None,
            connection,
            made: 0,
        };
        session.tell("session.created", json!({"session": session.config.json(&session.id)}));
        session
    }

    /// Takes one message of the client.
    pub(crate) fn take(&mut self, message: &[u8]) {
        let event: Value = match serde_json::from_slice(message) {
            Ok(event) => event,
            Err(_) => {
                return self.fail(&Fault::new("invalid_json", "We could not parse the JSON of your event."), None);
            }
        };
        let id = event.get("event_id").and_then(Value::as_str).map(|id| id.chars().take(64).collect::<String>());
        if let Err(fault) = self.handle(&event) {
            self.fail(&fault, id.as_deref());
        }
    }

    /// What is to be sent next without waiting.
    pub(crate) fn next_at_once(&mut self) -> Option<Value> {
        self.at_once.pop_front()
    }

    /// Whether a response goes on.
    pub(crate) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next event of the response, and the pause behind it.
    pub(crate) fn next_queued(&mut self) -> Option<(Value, Duration)> {
        let (event, pause) = self.queue.pop_front()?;
        if event["type"] == "response.done" {
            self.active = None;
        }
        Some((event, pause))
    }

    /// An event of the server.
    pub(super) fn event(&mut self, kind: &str, mut members: Value) -> Value {
        let id = self.next_id("event");
        if let Some(members) = members.as_object_mut() {
            members.insert("type".to_owned(), kind.into());
            members.insert("event_id".to_owned(), id.into());
        }
        members
    }

    pub(super) fn next_id(&mut self, kind: &str) -> String {
        self.made = self.made.saturating_add(1);
        format!("{kind}_{}_{}", self.connection, self.made)
    }

    pub(super) fn last_item_id(&self) -> Option<String> {
        self.items.back().and_then(|item| item["id"].as_str()).map(str::to_owned)
    }

    pub(super) fn keep(&mut self, item: Value) {
        if self.items.len() >= ITEMS_MAX {
            self.items.pop_front();
        }
        self.items.push_back(item);
    }

    fn handle(&mut self, event: &Value) -> Result<(), Fault> {
        let Value::Object(members) = event else { return Err(Fault::mismatch("", "an object", event)) };
        let kind = fault::string(members, "type", "")?.ok_or_else(|| Fault::missing("type"))?;
        let known = |more: &[&str]| {
            let names: Vec<&str> = ["type", "event_id"].iter().chain(more).copied().collect();
            fault::object(event, "", &names)
        };
        match kind {
            "session.update" => {
                let session = known(&["session"])?.get("session").ok_or_else(|| Fault::missing("session"))?;
                self.config.update(session, "session")?;
                self.tell("session.updated", json!({"session": self.config.json(&self.id)}));
                Ok(())
            }
            "conversation.item.create" => self.create_item(known(&["item", "previous_item_id"])?),
            "conversation.item.retrieve" => {
                let at = self.find_item(known(&["item_id"])?)?;
                let item = self.items.get(at).cloned();
                self.tell("conversation.item.retrieved", json!({ "item": item }));
                Ok(())
            }
            "conversation.item.delete" => {
                let at = self.find_item(known(&["item_id"])?)?;
                let item = self.items.remove(at).unwrap_or_default();
                self.tell("conversation.item.deleted", json!({"item_id": item["id"]}));
                Ok(())
            }
            "conversation.item.truncate" => {
                let members = known(&["item_id", "content_index", "audio_end_ms"])?;
                let at = self.find_item(members)?;
                let item = self.items.get(at).cloned().unwrap_or_default();
                let part = |name: &str| members.get(name).cloned().unwrap_or_else(|| json!(0));
                let (index, end) = (part("content_index"), part("audio_end_ms"));
                let told = json!({"item_id": item["id"], "content_index": index, "audio_end_ms": end});
                self.tell("conversation.item.truncated", told);
                Ok(())
            }
            "input_audio_buffer.append" => self.hear(known(&["audio"])?),
            "input_audio_buffer.commit" => {
                known(&[])?;
                self.commit()
            }
            "input_audio_buffer.clear" => {
                known(&[])?;
                self.heard.commit();
                self.speech_item = None;
                self.tell("input_audio_buffer.cleared", json!({}));
                Ok(())
            }
            "response.create" => response::create(self, known(&["response"])?.get("response")),
            "response.cancel" => {
                known(&["response_id"])?;
                match response::cancel(self) {
                    true => Ok(()),
                    false => {
                        Err(Fault::new("response_cancel_not_active", "Cancellation failed: no active response found"))
                    }
                }
            }
            other => Err(Fault::value("type", other, "It is no event of the client's that is emulated.")),
        }
    }

    fn create_item(&mut self, members: &Map<String, Value>) -> Result<(), Fault> {
        let value = members.get("item").ok_or_else(|| Fault::missing("item"))?;
        fault::string(members, "previous_item_id", "")?;
        let id = self.next_id("item");
        let (item, input) = item::read(value, || id)?;
        if self.items.iter().any(|known| known["id"] == item["id"]) {
            return Err(Fault::new("item_create_duplicate_id", "An item with this id exists already."));
        }
        if let Input::Function(call, _) = &input
            && !self.calls.iter().any(|(known, _)| known == call)
        {
            return Err(Fault::new("item_create_invalid_item_id", "No function call has this call_id."));
        }
        self.add(item, input);
        Ok(())
    }

    /// Adds an item to the conversation, and what it says to what waits for an answer.
    fn add(&mut self, item: Value, input: Input) {
        let previous = self.last_item_id();
        self.tell("conversation.item.added", json!({"previous_item_id": previous, "item": item}));
        self.tell("conversation.item.done", json!({"previous_item_id": previous, "item": item}));
        self.keep(item);
        if let Input::Context(said) = input {
            return self.context.remember(&said);
        }
        if self.inputs.len() >= INPUTS_MAX {
            self.inputs.remove(0);
        }
        self.inputs.push(input);
    }

    fn find_item(&self, members: &Map<String, Value>) -> Result<usize, Fault> {
        let id = fault::string(members, "item_id", "")?.ok_or_else(|| Fault::missing("item_id"))?;
        let found = self.items.iter().position(|item| item["id"] == id);
        found.ok_or_else(|| Fault::new("item_not_found", "No item has this id."))
    }

    fn hear(&mut self, members: &Map<String, Value>) -> Result<(), Fault> {
        let audio = fault::string(members, "audio", "")?.ok_or_else(|| Fault::missing("audio"))?;
        let pcm = STANDARD.decode(audio).map_err(|_| Fault::value("audio", "…", "It is not base64."))?;
        match self.heard.hear(&pcm, self.config.silence_millis()) {
            Change::None => Ok(()),
            Change::Began => {
                let id = self.next_id("item");
                let told = json!({"audio_start_ms": self.heard.millis(), "item_id": id});
                self.speech_item = Some(id);
                self.tell("input_audio_buffer.speech_started", told);
                if self.config.detection_does("interrupt_response") {
                    response::cancel(self);
                }
                Ok(())
            }
            Change::Ended => {
                let told = json!({"audio_end_ms": self.heard.millis(), "item_id": self.speech_item});
                self.tell("input_audio_buffer.speech_stopped", told);
                self.commit()?;
                if self.config.detection_does("create_response") && self.active.is_none() {
                    response::create(self, None)?;
                }
                Ok(())
            }
        }
    }

    /// Makes an item of the input audio buffer.
    fn commit(&mut self) -> Result<(), Fault> {
        let Some(millis) = self.heard.commit() else {
            return Err(Fault::new(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, but buffer \
                 only has 0.00ms of audio.",
            ));
        };
        let id = match self.speech_item.take() {
            Some(id) => id,
            None => self.next_id("item"),
        };
        let previous = self.last_item_id();
        self.tell("input_audio_buffer.committed", json!({"previous_item_id": previous, "item_id": id}));
        self.add(item::of_speech(&id), Input::Speech(millis));
        if self.config.transcribes() {
            let usage = json!({"type": "duration", "seconds": millis as f64 / 1000.0});
            let transcript = format!("({millis} ms of audio)");
            let told = json!({"item_id": id, "content_index": 0, "transcript": transcript, "usage": usage});
            self.tell("conversation.item.input_audio_transcription.completed", told);
        }
        Ok(())
    }

    /// Has an event sent at once.
    pub(super) fn tell(&mut self, kind: &str, members: Value) {
        let event = self.event(kind, members);
        self.at_once.push_back(event);
    }

    fn fail(&mut self, fault: &Fault, client_event: Option<&str>) {
        let mut error = fault.json();
        error["event_id"] = client_event.into();
        self.tell("error", json!({ "error": error }));
    }
}
