//! The first message of a client: exactly one setup, checked, merged, and rendered anew.

use std::fmt;

use super::super::field::{self, Place};
use super::merge::Unknown;
use super::{Lock, NoModel, TwoSpellings, misshapen, name_model, spelled, told};
use crate::gemini::Call;
use crate::json::{self, Caps, Fault, JsonError, Object, Value};
use crate::refusal::{Code, Refusal};
use crate::secret::Secret;

/// What is sent upstream in the place of the client's first message, once the session is claimed.
pub struct FirstMessage {
    /// The message.
    pub rendered: Vec<u8>,
    /// The handle of the session that the client wants to go on with. It is in `rendered`: what is sent must have been
    /// claimed as a resumption of this token's own.
    pub resumes: Option<Secret>,
    /// The model that the session is opened with, in full.
    pub model: Option<String>,
}

impl fmt::Debug for FirstMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstMessage")
            .field("rendered", &format_args!("{} bytes", self.rendered.len()))
            .field("resumes", &self.resumes)
            .field("model", &self.model)
            .finish()
    }
}

impl Lock {
    /// Reads a client's first message and makes the one that is sent.
    ///
    /// # Errors
    /// `request_invalid` for what is not exactly one setup that can be read in one way, `body_too_large`, `forbidden` for
    /// what the lock does not let pass. Nothing of the message is in the text but names of known fields.
    pub fn first(&self, message: &[u8], call: Call) -> Result<FirstMessage, Refusal> {
        let setup = read_setup(message)?;
        let (mut setup, handle) = self.effective(setup)?;
        if call == Call::LiveMusic {
            // Google resumes Live sessions only. A handle here would buy a session that costs no use.
            if handle.is_some() {
                return Err(invalid(String::from("Live Music has no sessions to resume: leave out the handle")));
            }
            setup = self.for_music(setup)?;
        }
        self.check_choices(&setup)?;
        let model = setup.member("model").and_then(Value::as_str).map(str::to_owned);
        self.check_model(model.as_deref())?;
        let resumes = handle.as_deref().map(Secret::from);
        if let Some(handle) = handle {
            put_handle(&mut setup, handle);
        }
        let message: Object = [("setup", Value::Object(setup))].into_iter().collect();
        Ok(FirstMessage { rendered: message.render().into_bytes(), resumes, model })
    }

    /// The effective setup but for the handle, and the handle.
    pub(super) fn effective(&self, setup: Object) -> Result<(Object, Option<String>), Refusal> {
        let mut client = spelled(setup).map_err(|TwoSpellings(place)| two_spellings(&place))?;
        let handle = take_handle(&mut client)?;
        if let Some(setup) = self.setup().filter(|_| self.is_full()) {
            return Ok((setup.clone(), handle));
        }
        if let Some(name) = misshapen(&client) {
            return Err(invalid(format!("`setup.{name}` must be an object")));
        }
        let mut merged = self.merged(client).map_err(|Unknown { field, child }| {
            let place = told(&field, child.as_deref());
            Refusal::new(Code::Forbidden, format!("the setup has a field that is unknown under this lock: {place}"))
        })?;
        name_model(&mut merged)
            .map_err(|NoModel| Refusal::new(Code::Forbidden, "`setup.model` is not a model's name"))?;
        Ok((merged, handle))
    }

    pub(super) fn check_model(&self, model: Option<&str>) -> Result<(), Refusal> {
        if self.models.is_empty() || model.is_some_and(|model| self.models.iter().any(|allowed| allowed == model)) {
            return Ok(());
        }
        Err(Refusal::new(Code::Forbidden, format!("only these models may be asked for: {}", self.models.join(", "))))
    }

    /// Under a lock on the model, refuses what chooses another one beside it, unless the token says so itself.
    fn check_choices(&self, setup: &Object) -> Result<(), Refusal> {
        if self.models.is_empty() && !self.touches("model") {
            return Ok(());
        }
        let of = |setup: &Object, name| setup.member("generationConfig")?.as_object()?.member(name).cloned();
        let chosen = field::CHOOSE_MODEL.into_iter().find(|name| {
            let asked = of(setup, name);
            asked.is_some() && asked != self.setup.as_ref().and_then(|own| of(own, name))
        });
        let Some(name) = chosen else { return Ok(()) };
        let place = Place::default().below("setup").below("generationConfig").below(name);
        Err(Refusal::new(Code::Forbidden, format!("{place} may choose another model than this token's")))
    }

    /// Live Music has a model to set up and nothing else.
    fn for_music(&self, setup: Object) -> Result<Object, Refusal> {
        let own = self.setup.iter().flat_map(Object::iter).map(|(name, _)| name);
        let masked = self.mask.paths().iter().map(|path| path.field.as_str());
        if own.chain(masked).any(|name| name != "model") {
            return Err(Refusal::new(Code::Forbidden, "this token locks a Live setup: it opens no Live Music session"));
        }
        Ok(setup)
    }
}

/// The setup of a message that has exactly this one member.
fn read_setup(message: &[u8]) -> Result<Object, Refusal> {
    let message = match json::parse(message, &Caps::default()).map_err(unreadable)? {
        Value::Object(message) => message,
        other => return Err(invalid(format!("the first message must be {{\"setup\": {{…}}}}, not {}", other.kind()))),
    };
    if message.len() > 1 {
        return Err(invalid(String::from("the first message has more members than `setup`")));
    }
    match message.into_iter().next() {
        Some((name, Value::Object(setup))) if name == "setup" => Ok(setup),
        Some((name, other)) if name == "setup" => {
            Err(invalid(format!("`setup` must be an object, not {}", other.kind())))
        }
        _ => Err(invalid(String::from("the first message must be {\"setup\": {…}}"))),
    }
}

/// The handle is taken out before anything is merged: it belongs to the client alone.
fn take_handle(client: &mut Object) -> Result<Option<String>, Refusal> {
    let Some(Value::Object(resumption)) = client.member_mut("sessionResumption") else { return Ok(None) };
    match resumption.remove("handle") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(handle)) if handle.is_empty() => Ok(None),
        Some(Value::String(handle)) => Ok(Some(handle)),
        Some(other) => Err(invalid(format!("`setup.sessionResumption.handle` must be a string, not {}", other.kind()))),
    }
}

fn put_handle(setup: &mut Object, handle: String) {
    if let Some(Value::Object(resumption)) = setup.member_mut("sessionResumption") {
        resumption.set("handle", handle);
    } else {
        let resumption: Object = [("handle", Value::String(handle))].into_iter().collect();
        setup.set("sessionResumption", resumption);
    }
}

pub(super) fn invalid(detail: String) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

pub(super) fn two_spellings(place: &Place) -> Refusal {
    invalid(format!("{place} stands twice, in two spellings"))
}

/// A message that cannot be read, or not in one way only.
pub(super) fn unreadable(error: JsonError) -> Refusal {
    let code = if matches!(error.fault, Fault::TooLong(_)) { Code::BodyTooLarge } else { Code::RequestInvalid };
    Refusal::new(code, format!("the message cannot be taken: {error}"))
}
