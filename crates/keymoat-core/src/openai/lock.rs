//! What a token lets the sessions of OpenAI Realtime ask for.

mod event;
#[cfg(test)]
mod tests;

use super::field;
use crate::json::{Object, Value};
use crate::refusal::{Code, Refusal};

pub use event::{EVENT_BYTES_MAX, Later, refuses_lock};

/// The longest name of a model.
const MODEL_BYTES_MAX: usize = 256;

/// A session object whose fields are locked: what it names stays as it is, what it does not name is the client's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    session: Object,
    models: Vec<String>,
}

/// A session that cannot be locked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// A field is of another kind than it must be.
    #[error("`session.{field}` must be {kind}")]
    Kind {
        /// The field.
        field: &'static str,
        /// What it must be, with its article.
        kind: &'static str,
    },
    /// A field stands in its place and in that of the beta.
    #[error("`session.{0}` and the field that replaced it are both set")]
    Twice(&'static str),
}

impl Lock {
    /// Locks what `session` names. The flat fields of the API's beta are moved to where they stand now.
    ///
    /// # Errors
    /// [`LockError`] for fields of a wrong kind, and for those that are set twice.
    pub fn new(session: Object) -> Result<Self, LockError> {
        let mut session = session;
        check_kinds(&session)?;
        for (name, path) in field::OF_BETA {
            let Some(value) = session.remove(name) else { continue };
            let path = field::segments(path);
            if field::at(&session, &path).is_some() {
                return Err(LockError::Twice(name));
            }
            field::put(&mut session, &path, field::modern(name, value));
        }
        Ok(Self { session, models: Vec::new() })
    }

    /// Locks nothing but which models may be asked for; an empty list allows all.
    ///
    /// # Errors
    /// [`LockError::Kind`] for what is no model's name.
    pub fn of_models<'a>(models: impl IntoIterator<Item = &'a str>) -> Result<Self, LockError> {
        let models: Vec<String> = models.into_iter().map(str::to_owned).collect();
        if !models.iter().all(|model| is_model(model)) {
            return Err(LockError::Kind { field: "model", kind: "a model's name" });
        }
        Ok(Self { models, ..Self::default() })
    }

    /// The same lock for sessions that ask for one of `models` only; names that OpenAI cannot have are left out. `None` if no
    /// model is left, or the one that is locked is not among them.
    #[must_use]
    pub fn narrowed<T: AsRef<str>>(mut self, models: &[T]) -> Option<Self> {
        let names: Vec<&str> = models.iter().map(AsRef::as_ref).filter(|model| is_model(model)).collect();
        if self.model().is_some_and(|locked| !names.contains(&locked)) {
            return None;
        }
        if self.models.is_empty() {
            self.models = names.into_iter().map(str::to_owned).collect();
        } else {
            self.models.retain(|model| names.contains(&model.as_str()));
        }
        (!self.models.is_empty()).then_some(self)
    }

    /// The fields that are locked, and to what.
    #[must_use]
    pub const fn session(&self) -> &Object {
        &self.session
    }

    /// Whether it locks nothing at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.is_empty() && self.models.is_empty()
    }

    /// The model that is locked.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.session.member("model").and_then(Value::as_str)
    }

    /// The model to ask the upstream for in the URL, when the client's URL asks for `asked`.
    ///
    /// # Errors
    /// `forbidden` for another model than the token's, compared exactly.
    pub fn model_for_url<'a>(&'a self, asked: Option<&'a str>) -> Result<Option<&'a str>, Refusal> {
        match (self.model(), asked) {
            (Some(locked), Some(asked)) if locked != asked => {
                Err(forbidden(format!("the URL asks for another model than this token's: {locked}")))
            }
            (Some(locked), _) => Ok(Some(locked)),
            (None, asked) => self.check_model(asked).map(|()| asked),
        }
    }

    /// Refuses a model that is not in the list.
    pub(super) fn check_model(&self, model: Option<&str>) -> Result<(), Refusal> {
        if self.models.is_empty() || model.is_some_and(|model| self.models.iter().any(|allowed| allowed == model)) {
            return Ok(());
        }
        Err(forbidden(format!("only these models may be asked for: {}", self.models.join(", "))))
    }
}

pub(super) fn forbidden(detail: String) -> Refusal {
    Refusal::new(Code::Forbidden, detail)
}

fn check_kinds(session: &Object) -> Result<(), LockError> {
    let must = |field, kind| Err(LockError::Kind { field, kind });
    match session.member("type") {
        None => {}
        Some(Value::String(kind)) if matches!(kind.as_str(), "realtime" | "transcription") => {}
        Some(_) => return must("type", "`realtime` or `transcription`"),
    }
    if session.member("model").is_some_and(|model| !model.as_str().is_some_and(is_model)) {
        return must("model", "a model's name");
    }
    let Some(audio) = session.member("audio") else { return Ok(()) };
    let Some(audio) = audio.as_object() else { return must("audio", "an object") };
    for (side, field) in [("input", "audio.input"), ("output", "audio.output")] {
        if audio.member(side).is_some_and(|side| side.as_object().is_none()) {
            return must(field, "an object");
        }
    }
    Ok(())
}

fn is_model(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MODEL_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'/'))
}
