//! The state of one Live session, without its socket: a message goes in, steps to send come out.
//!
//! ```text
//! user's turn ends ─▶ queue: pieces… ─▶ generationComplete ─▶ turnComplete + usage ─▶ new handle
//!                └─▶ queue: toolCall ─(toolResponse)─▶ pieces… as above
//! activity while the queue or a call is open ─▶ queue: interrupted ─▶ toolCallCancellation ─▶ turnComplete
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::context::{self, Context};
use super::heard::{Change, Heard};
use super::setup::{self, Modality, Setup};
use super::{field, invalid};
use crate::GeminiOptions;
use crate::sound::{self, SPEECH_RATE};
use crate::websocket::End;

/// The members that a client's message may have; exactly one at a time.
pub(crate) const MESSAGES: [&str; 5] = ["setup", "clientContent", "realtimeInput", "toolResponse", "contextUpdate"];
/// How many function calls may be open at once.
const CALLS_MAX: usize = 16;
/// How many bytes of text the user's unfinished turn may have.
const UNFINISHED_BYTES_MAX: usize = 1024 * 1024;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Send this, then wait so long.
    Send(Value, Duration),
    /// Keep the context under a new handle and send it.
    Save,
}

/// One Live session after its setup.
#[derive(Debug)]
pub(crate) struct Session {
    setup: Setup,
    context: Context,
    options: GeminiOptions,
    steps: VecDeque<Step>,
    calls: Vec<Call>,
    answers: Vec<(String, Value)>,
    calls_made: u64,
    unfinished: String,
    heard: Heard,
    consumed: u64,
    prompt_tokens: usize,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
}

impl Session {
    pub(crate) fn new(setup: Setup, context: Context, options: GeminiOptions) -> Self {
        Self {
            setup,
            context,
            options,
            steps: VecDeque::new(),
            calls: Vec::new(),
            answers: Vec::new(),
            calls_made: 0,
            unfinished: String::new(),
            heard: Heard::default(),
            consumed: 0,
            prompt_tokens: 0,
        }
    }

    /// Takes one message of the client.
    pub(crate) fn take(&mut self, message: &[u8]) -> Result<(), End> {
        let message = parse(message)?;
        let (name, content) = member(&message)?;
        self.consumed = self.consumed.saturating_add(1);
        match name {
            "clientContent" => self.client_content(content),
            "realtimeInput" => self.realtime_input(content),
            "toolResponse" => self.tool_response(content),
            "contextUpdate" => self.context_update(content),
            _ => Err(invalid("setup must be the first message of a session, and only the first.")),
        }
    }

    /// Whether something is to be sent.
    pub(crate) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The next thing to do.
    pub(crate) fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// What a resumption needs: the model and the context.
    pub(crate) fn state(&self) -> (&str, &Context) {
        (&self.setup.model, &self.context)
    }

    /// The update that names a handle.
    pub(crate) fn resumption_update(&self, handle: &str) -> Value {
        let mut update = json!({"newHandle": handle, "resumable": true});
        if let (true, Some(update)) = (self.setup.transparent, update.as_object_mut()) {
            // Protobuf's JSON writes 64-bit numbers as strings.
            update.insert("lastConsumedClientMessageIndex".to_owned(), self.consumed.to_string().into());
        }
        json!({ "sessionResumptionUpdate": update })
    }

    fn client_content(&mut self, content: &Value) -> Result<(), End> {
        let fields = field::object(content, "client_content", &["turns", "turnComplete"])?;
        let mut said = std::mem::take(&mut self.unfinished);
        for turn in field::array(&fields, "turns", "client_content")? {
            let turn = context::content(turn, "client_content.turns")?;
            if turn.by_model {
                self.context.remember(&turn.text);
                continue;
            }
            // All but the last of the user's turns are history.
            if !said.is_empty() {
                self.context.remember(&said);
            }
            said = turn.text;
        }
        if said.len() > UNFINISHED_BYTES_MAX {
            return Err(invalid("Request contains an invalid argument: the turn is too long."));
        }
        self.interrupt();
        if field::boolean(&fields, "turnComplete", "client_content")? {
            self.reply(&said);
        } else {
            self.unfinished = said;
        }
        Ok(())
    }

    fn realtime_input(&mut self, content: &Value) -> Result<(), End> {
        let at = "realtime_input";
        let members = ["audio", "video", "text", "activityStart", "activityEnd", "audioStreamEnd", "mediaChunks"];
        let fields = field::object(content, at, &members)?;
        let activity = fields.contains_key("activityStart") || fields.contains_key("activityEnd");
        if activity && !self.setup.manual_activity {
            let reason = "Explicit activity control is not supported when automatic activity detection is enabled.";
            return Err(invalid(reason));
        }
        if fields.contains_key("activityStart") {
            self.activity();
        }
        let chunks = field::array(&fields, "mediaChunks", at)?;
        for blob in fields.get("audio").copied().into_iter().chain(chunks) {
            self.hear(blob)?;
        }
        if let Some(video) = fields.get("video") {
            self.heard.picture(video)?;
        }
        if let Some(text) = field::string(&fields, "text", at)? {
            self.activity();
            self.reply(text);
        }
        if fields.contains_key("activityEnd") || field::boolean(&fields, "audioStreamEnd", at)? {
            self.end_speech();
        }
        Ok(())
    }

    fn tool_response(&mut self, content: &Value) -> Result<(), End> {
        let at = "tool_response";
        let fields = field::object(content, at, &["functionResponses"])?;
        let members = ["id", "name", "response", "willContinue", "scheduling", "parts"];
        for response in field::array(&fields, "functionResponses", at)? {
            let response = field::object(response, at, &members)?;
            let id = field::string(&response, "id", at)?.unwrap_or_default();
            let Some(index) = self.calls.iter().position(|call| call.id == id) else {
                return Err(invalid(format!("Request contains an invalid argument: no open call `{}`.", cut(id))));
            };
            let call = self.calls.remove(index);
            let answer = response.get("response").map_or(Value::Null, |answer| (*answer).clone());
            self.answers.push((call.name, answer));
        }
        if self.calls.is_empty() && !self.answers.is_empty() {
            let reply = Context::reply_to_functions(&std::mem::take(&mut self.answers));
            self.say(&reply);
        }
        Ok(())
    }

    fn context_update(&mut self, content: &Value) -> Result<(), End> {
        let at = "context_update";
        let fields = field::object(content, at, &["systemInstruction", "tools"])?;
        if let Some(instruction) = fields.get("systemInstruction") {
            let text = context::content(instruction, "context_update.system_instruction")?.text;
            self.setup.instruction = Some(text);
            self.setup.canonical.insert("systemInstruction".to_owned(), (*instruction).clone());
        }
        if let Some(tools) = fields.get("tools") {
            let tools = field::object(tools, "context_update.tools", &["tools"])?;
            let tools = field::array(&tools, "tools", "context_update.tools")?;
            self.setup.functions = setup::functions(tools, "context_update.tools")?;
            self.setup.canonical.insert("tools".to_owned(), Value::Array(tools.to_vec()));
        }
        Ok(())
    }

    /// Hears a piece of audio; automatic detection notices where speech begins and ends.
    fn hear(&mut self, audio: &Value) -> Result<(), End> {
        let change = self.heard.audio(audio)?;
        match change {
            Change::Began if !self.setup.manual_activity => self.activity(),
            Change::Ended if !self.setup.manual_activity => self.end_speech(),
            Change::Began | Change::Ended | Change::None => {}
        }
        Ok(())
    }

    fn end_speech(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        if heard.is_empty() {
            return;
        }
        let (millis, rate) = (heard.millis(), heard.rate());
        if self.setup.transcribe_input {
            let transcription = json!({"inputTranscription": {"text": format!("({millis} ms of audio)")}});
            self.send(json!({ "serverContent": transcription }));
        }
        self.prompt_tokens = heard.tokens();
        let reply = self.context.reply_to_speech(millis, rate);
        self.say(&reply);
    }

    /// The user does something by voice or by realtime text, which interrupts unless the setup says otherwise.
    fn activity(&mut self) {
        if !self.setup.no_interruption {
            self.interrupt();
        }
    }

    /// Drops what is not sent yet. An interrupted turn has no `generationComplete`.
    fn interrupt(&mut self) {
        let unsent = self.steps.iter().any(|step| matches!(step, Step::Send(..)));
        if !unsent && self.calls.is_empty() {
            return;
        }
        self.steps.clear();
        self.answers.clear();
        self.send(json!({"serverContent": {"interrupted": true}}));
        let cancelled: Vec<_> = self.calls.drain(..).map(|call| call.id).collect();
        if !cancelled.is_empty() {
            self.send(json!({"toolCallCancellation": {"ids": cancelled}}));
        }
        self.send(json!({"serverContent": {"turnComplete": true}}));
        self.save();
    }

    /// Replies to text: by calling the functions that it names, else in words.
    fn reply(&mut self, text: &str) {
        self.prompt_tokens = text.split_whitespace().count();
        let word = |letter: char| !letter.is_alphanumeric() && letter != '_';
        let named = |name: &str| text.split(word).any(|word| word == name);
        let functions = self.setup.functions.iter().filter(|function| named(&function.name));
        let functions: Vec<_> = functions.take(CALLS_MAX).cloned().collect();
        let reply = self.context.reply(text, self.setup.instruction.as_deref(), &self.setup.canonical);
        if functions.is_empty() {
            return self.say(&reply);
        }
        let mut calls = Vec::new();
        for function in functions {
            self.calls_made = self.calls_made.saturating_add(1);
            let id = format!("call-{}", self.calls_made);
            let args = context::arguments(&function, text);
            calls.push(json!({"id": id, "name": function.name, "args": args}));
            self.calls.push(Call { id, name: function.name });
        }
        self.send(json!({"toolCall": {"functionCalls": calls}}));
    }

    /// Queues a reply in pieces and what follows it.
    fn say(&mut self, reply: &str) {
        for piece in context::pieces(reply) {
            match self.setup.modality {
                Modality::Text => {
                    let turn = json!({"role": "model", "parts": [{"text": piece}]});
                    let pause = self.options.paced(self.options.text_pause);
                    self.steps.push_back(Step::Send(json!({"serverContent": {"modelTurn": turn}}), pause));
                }
                Modality::Audio => self.speak(&piece),
            }
        }
        self.send(json!({"serverContent": {"generationComplete": true}}));
        let (prompt, response) = (self.prompt_tokens, reply.split_whitespace().count());
        let usage = json!({
            "promptTokenCount": prompt,
            "responseTokenCount": response,
            "totalTokenCount": prompt.saturating_add(response),
        });
        self.send(json!({"serverContent": {"turnComplete": true}, "usageMetadata": usage}));
        self.save();
    }

    fn speak(&mut self, piece: &str) {
        if self.setup.transcribe_output {
            self.send(json!({"serverContent": {"outputTranscription": {"text": piece}}}));
        }
        let samples = self.options.audio_chunk.as_millis() as u64 * u64::from(SPEECH_RATE) / 1000;
        let bytes = usize::try_from(samples.clamp(1, u64::from(SPEECH_RATE)) * 2).unwrap_or(1920);
        for chunk in sound::speech(piece).chunks(bytes) {
            let mime = format!("audio/pcm;rate={SPEECH_RATE}");
            let data = json!({"inlineData": {"mimeType": mime, "data": STANDARD.encode(chunk)}});
            let turn = json!({"role": "model", "parts": [data]});
            let pause = self.options.paced(self.options.audio_chunk);
            self.steps.push_back(Step::Send(json!({"serverContent": {"modelTurn": turn}}), pause));
        }
    }

    fn send(&mut self, value: Value) {
        self.steps.push_back(Step::Send(value, Duration::ZERO));
    }

    fn save(&mut self) {
        if self.setup.resumable {
            self.steps.push_back(Step::Save);
        }
    }
}

/// Parses a message, whichever kind of frame it came in.
pub(crate) fn parse(message: &[u8]) -> Result<Value, End> {
    serde_json::from_slice(message).map_err(|_| invalid("Invalid JSON payload received. Expected one JSON object."))
}

/// The one member of a message and its content.
pub(crate) fn member(message: &Value) -> Result<(&'static str, &Value), End> {
    let fields = field::object(message, "", &MESSAGES)?;
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(invalid("Request contains an invalid argument: the message is empty.")),
        (Some(_), Some((second, _))) => {
            let reason = format!(
                "Invalid value at '' (oneof), oneof field 'message_type' is already set. Cannot set '{second}'"
            );
            Err(invalid(reason))
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}
