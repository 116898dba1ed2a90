//! Messages after the first: which may configure the session, and what a lock says of them.

use std::fmt;

use memchr::memmem;

use super::super::canonical::{self, TwoSpellings};
use super::super::field::{self, Place};
use super::Lock;
use super::first::{invalid, two_spellings, unreadable};
use crate::json::{self, Caps, Object, Value};
use crate::refusal::{Code, Refusal};
use crate::secret::Secret;

/// The largest message that is looked into; the gateway's own limit for messages is not above it.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Content, which no lock is about.
const CONTENT: [&str; 5] =
    ["clientContent", "realtimeInput", "toolResponse", "musicGenerationConfig", "playbackControl"];

/// Who may have said a turn. Google takes a turn of `system` in mid-session as a new system instruction (its guide to Live
/// on Vertex AI, "update system instructions mid-session").
const SPEAKERS: [&str; 5] = ["", "user", "model", "function", "tool"];

/// What `contextUpdate` replaces in mid-session.
const CONTEXT: [&str; 2] = ["systemInstruction", "tools"];

/// What becomes of a client's later message.
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
    /// Checks a message that a client sends after its first.
    ///
    /// # Errors
    /// `request_invalid` for a second setup and for what does not have exactly one member or cannot be read in one way,
    /// `forbidden` for what would change a locked field.
    pub fn later(&self, message: &[u8]) -> Result<Later, Refusal> {
        let caps = Caps::default().with_bytes_max(MESSAGE_BYTES_MAX);
        let Value::Object(message) = json::parse(message, &caps).map_err(unreadable)? else {
            return Err(invalid(String::from("a message must be an object with one member")));
        };
        if message.len() != 1 {
            return Err(invalid(String::from("a message must have exactly one member")));
        }
        let message = canonical::message(message, &Place::default());
        let message = message.map_err(|TwoSpellings(place)| two_spellings(&place))?;
        let Some((name, value)) = message.iter().next() else { return Ok(Later::Pass) };
        if field::fold(name) == "setup" {
            return Err(invalid(String::from("a second `setup`: the session has been set up")));
        }
        if name == "contextUpdate" {
            self.check_context_update(value)?;
            return Ok(Later::Forward(message.render().into_bytes()));
        }
        if name == "clientContent" && self.touches("systemInstruction") {
            check_speakers(value)?;
        }
        if CONTENT.contains(&name) || self.is_open() {
            return Ok(Later::Pass);
        }
        Err(Refusal::new(Code::Forbidden, "a kind of message that is unknown under this lock"))
    }

    /// Refuses an update of what is locked.
    fn check_context_update(&self, update: &Value) -> Result<(), Refusal> {
        if self.is_open() {
            return Ok(());
        }
        let Some(update) = update.as_object() else {
            return Err(invalid(format!("`contextUpdate` must be an object, not {}", update.kind())));
        };
        // Whether an empty one clears what it does not name is the upstream's to know.
        let clears = update.is_empty() && CONTEXT.iter().any(|name| self.touches(name));
        let locked = update.iter().find(|(name, _)| !CONTEXT.contains(name) || self.touches(name));
        let place = match locked {
            None if !clears => return Ok(()),
            None => Place::default().below("contextUpdate"),
            Some((name, _)) => Place::default().below("contextUpdate").below(name),
        };
        Err(Refusal::new(Code::Forbidden, format!("{place} is locked by this token")))
    }
}

/// Refuses content with a turn that would stand in the place of a locked system instruction.
fn check_speakers(content: &Value) -> Result<(), Refusal> {
    let turns = of_name(content, "turns");
    let spoken = turns.flat_map(|turns| turns.as_array().unwrap_or(std::slice::from_ref(turns)));
    let mut speakers = spoken.flat_map(|turn| of_name(turn, "role"));
    if speakers.all(|speaker| *speaker == Value::Null || speaker.as_str().is_some_and(|word| SPEAKERS.contains(&word)))
    {
        return Ok(());
    }
    let place = Place::default().below("clientContent").below("turns").below("role");
    Err(Refusal::new(Code::Forbidden, format!("{place} is `user` or `model`: this token locks the system instruction")))
}

/// The members that a reader might take for the one of that name.
fn of_name<'a>(object: &'a Value, name: &'static str) -> impl Iterator<Item = &'a Value> {
    let members = object.as_object().into_iter().flat_map(Object::iter);
    members.filter(move |(known, _)| field::fold(known) == name).map(|(_, value)| value)
}

/// The resumption handle that an upstream message gives out, if it does: `sessionResumptionUpdate.newHandle`.
#[must_use]
pub fn issued_handle(message: &[u8]) -> Option<Secret> {
    let names: [&[u8]; 2] = [b"newHandle", b"new_handle"];
    if !names.iter().any(|name| memmem::find(message, name).is_some()) {
        return None;
    }
    let caps = Caps::default().with_bytes_max(MESSAGE_BYTES_MAX);
    let Value::Object(message) = json::parse(message, &caps).ok()? else { return None };
    let update = either(&message, ["sessionResumptionUpdate", "session_resumption_update"])?.as_object()?;
    let handle = either(update, ["newHandle", "new_handle"])?.as_str()?;
    (!handle.is_empty()).then(|| Secret::from(handle))
}

fn either<'a>(object: &'a Object, names: [&str; 2]) -> Option<&'a Value> {
    names.into_iter().find_map(|name| object.member(name))
}
