//! Events of a client: which may configure the session, and what a lock makes of them.
//!
//! The lock is in force upstream from Keymoat's own `session.update` on. A client's event that names a locked field gets
//! the token's value there, or loses the field where the upstream takes no second value.

use std::fmt;

use super::{Lock, field, forbidden};
use crate::json::{self, Caps, Fault, Object, Value};
use crate::refusal::{Code, Refusal};

/// The largest event that is looked into; the gateway's own limit for messages is not above it.
pub const EVENT_BYTES_MAX: usize = 16 << 20;

/// The id of Keymoat's own `session.update`, by which an upstream names it when it refuses it.
const OPENING_ID: &str = "keymoat_lock";

/// What kind of session a lock is for that does not say.
const UNNAMED_TYPE: &str = "realtime";

/// Events that configure nothing.
const CONTENT: [&str; 8] = [
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "output_audio_buffer.clear",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "conversation.item.delete",
    "response.cancel",
];

/// What becomes of a client's event.
#[derive(Clone, PartialEq, Eq)]
pub enum Later {
    /// It is sent on as it came: it can be read in one way only, and configures nothing.
    Pass,
    /// This is sent in its place.
    Forward(Vec<u8>),
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("Pass"),
            Self::Forward(rendered) => write!(f, "Forward({} bytes)", rendered.len()),
        }
    }
}

impl Lock {
    /// Keymoat's own `session.update`, sent before anything of the client's; `None` where nothing is locked. The model
    /// is not in it: it is in the URL, and the upstream takes no other later.
    #[must_use]
    pub fn opening_update(&self) -> Option<Vec<u8>> {
        if !self.is_told() {
            return None;
        }
        let mut session = self.session.clone();
        session.remove("model");
        if session.member("type").is_none() {
            session.set("type", UNNAMED_TYPE);
        }
        let update: Object =
            [("type", Value::from("session.update")), ("event_id", OPENING_ID.into()), ("session", session.into())]
                .into_iter()
                .collect();
        Some(update.render().into_bytes())
    }

    /// Whether the upstream has to be told what is locked, other than by the URL.
    fn is_told(&self) -> bool {
        self.session.iter().any(|(name, _)| name != "model" && name != "type")
    }

    /// Checks an event that a client sends.
    ///
    /// # Errors
    /// `request_invalid` for what cannot be read in one way, `forbidden` for another model, for a stored prompt beside a
    /// locked instruction, and for kinds of events that are unknown under a lock.
    pub fn later(&self, event: &[u8]) -> Result<Later, Refusal> {
        let caps = Caps::default().with_bytes_max(EVENT_BYTES_MAX);
        let event = json::parse(event, &caps).map_err(|error| {
            let code = if matches!(error.fault, Fault::TooLong(_)) { Code::BodyTooLarge } else { Code::RequestInvalid };
            Refusal::new(code, format!("the event cannot be taken: {error}"))
        })?;
        let Value::Object(mut event) = event else { return Err(invalid("an event must be an object")) };
        if self.is_open() {
            return Ok(Later::Pass);
        }
        if event.member("event_id").and_then(Value::as_str) == Some(OPENING_ID) {
            return Err(forbidden(format!("`event_id` must not be `{OPENING_ID}`")));
        }
        let Some(kind) = event.member("type").and_then(Value::as_str) else {
            return Err(invalid("`type` must be a string"));
        };
        let below = match kind {
            "conversation.item.create" => {
                self.check_speaker(event.member("item"))?;
                return Ok(Later::Pass);
            }
            "session.update" | "transcription_session.update" => "session",
            "response.create" => "response",
            kind if CONTENT.contains(&kind) => return Ok(Later::Pass),
            _ => return Err(forbidden(String::from("a kind of event that is unknown under this lock"))),
        };
        match event.member_mut(below) {
            // A response without wishes is made as the session says.
            None | Some(Value::Null) if below == "response" => {}
            Some(Value::Object(asked)) => self.hold(asked, below)?,
            _ => return Err(invalid("`session` or `response` must be an object")),
        }
        Ok(Later::Forward(event.render().into_bytes()))
    }

    /// Refuses an item that the model obeys as it does the instructions, where those are locked.
    fn check_speaker(&self, item: Option<&Value>) -> Result<(), Refusal> {
        let role = item.and_then(Value::as_object).and_then(|item| item.member("role"));
        if self.session.member("instructions").is_none() || role.is_none_or(|role| *role == Value::Null) {
            return Ok(());
        }
        match role.and_then(Value::as_str) {
            Some("user" | "assistant") => Ok(()),
            _ => Err(forbidden(String::from(
                "an item's `role` is `user` or `assistant`: this token locks the instructions",
            ))),
        }
    }

    /// Gives `asked` the token's value wherever it names a locked field.
    fn hold(&self, asked: &mut Object, below: &str) -> Result<(), Refusal> {
        self.hold_model(asked, below)?;
        for item in asked.member("input").and_then(Value::as_array).unwrap_or_default() {
            self.check_speaker(Some(item))?;
        }
        // The kind of session that was opened is part of the lock, named or not.
        if below == "session"
            && self.session.member("type").is_none()
            && self.is_told()
            && asked.member("type").is_some()
        {
            asked.set("type", UNNAMED_TYPE);
        }
        let locked = field::paths_of(&self.session);
        let is_locked = |path: &[String]| locked.iter().any(|known| known == path);
        for (name, path) in field::OF_BETA {
            if is_locked(&field::segments(path)) {
                asked.remove(name);
            }
        }
        let instructs =
            locked.iter().any(|path| matches!(path.as_slice(), [name] if name == "instructions" || name == "tools"));
        if instructs
            && self.session.member("prompt").is_none()
            && asked.remove("prompt").is_some_and(|prompt| prompt != Value::Null)
        {
            return Err(forbidden(format!("`{below}.prompt` would replace what this token locks")));
        }
        for path in &locked {
            check_containers(asked, path, below)?;
            if matches!(path.as_slice(), [name] if name == "model") || field::at(asked, path).is_none() {
                continue;
            }
            // Once the session has spoken, the upstream takes no `voice`, not even the same.
            let is_fixed = path.last().is_some_and(|name| name == "voice");
            match field::at(&self.session, path).filter(|_| !is_fixed) {
                Some(value) => field::put(asked, path, value.clone()),
                None => drop(field::take(asked, path)),
            }
        }
        Ok(())
    }

    fn hold_model(&self, asked: &Object, below: &str) -> Result<(), Refusal> {
        let Some(model) = asked.member("model") else { return Ok(()) };
        match (self.model(), model.as_str()) {
            (Some(locked), Some(model)) if locked == model => Ok(()),
            (Some(locked), _) => Err(forbidden(format!("`{below}.model` is another one than this token's: {locked}"))),
            (None, model) => self.check_model(model),
        }
    }
}

/// What holds a locked field must be an object, or absent: anything else could clear the field.
fn check_containers(asked: &Object, path: &[String], below: &str) -> Result<(), Refusal> {
    let Some((_, parents)) = path.split_last() else { return Ok(()) };
    let mut object = asked;
    for parent in parents {
        match object.member(parent) {
            None => return Ok(()),
            Some(Value::Object(inner)) => object = inner,
            Some(other) => {
                let detail = format!("`{below}.audio` and its sides must be objects, not {}", other.kind());
                return Err(Refusal::new(Code::RequestInvalid, detail));
            }
        }
    }
    Ok(())
}

fn invalid(detail: &'static str) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

/// Whether the upstream says with this event that it refuses Keymoat's own `session.update`: then nothing is locked, and
/// the session must end.
#[must_use]
pub fn refuses_lock(event: &[u8]) -> bool {
    if memchr::memmem::find(event, OPENING_ID.as_bytes()).is_none() {
        return false;
    }
    let caps = Caps::default().with_bytes_max(EVENT_BYTES_MAX);
    let Ok(Value::Object(event)) = json::parse(event, &caps) else { return true };
    let names_it = |error: &Object| error.member("event_id").and_then(Value::as_str) == Some(OPENING_ID);
    event.member("type").and_then(Value::as_str) == Some("error")
        && event.member("error").and_then(Value::as_object).is_some_and(names_it)
}
