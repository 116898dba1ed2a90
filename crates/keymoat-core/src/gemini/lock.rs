//! What a token lets the sessions of Gemini Live ask for, and the first message that is sent in the client's place.

mod explain;
mod first;
mod later;
mod merge;
#[cfg(test)]
mod tests;

use super::canonical::{self, TwoSpellings};
use super::field::{self, Place, Reach};
use super::{FieldMask, model};
use crate::json::{Object, Value};

pub use explain::{Explanation, Fate, Field};
pub use first::FirstMessage;
pub use later::{Later, MESSAGE_BYTES_MAX, issued_handle};

/// A setup and a mask, as a token locks them (Google's guide to ephemeral tokens, 2026-06-12):
///
/// | token has | effective setup |
/// |---|---|
/// | neither | the client's |
/// | a setup | the token's; the client's is ignored |
/// | a mask, with or without a setup | the client's, each masked field overwritten from the token or cleared |
///
/// One difference to Google's: the handle of a session that this token was given passes every lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    setup: Option<Object>,
    mask: FieldMask,
    models: Vec<String>,
}

/// A setup that cannot be locked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// One field under two spellings.
    #[error("{0} stands twice, in two spellings")]
    TwoSpellings(String),
    /// A field that has fields of its own is something else.
    #[error("`{0}` is not an object")]
    NotAnObject(String),
    /// The model is no name.
    #[error("`model` is not a model's name")]
    Model,
    /// A mask that does not name a field which the setup has.
    #[error("setup contains fields not in the mask: {0}")]
    Omitted(String),
    /// A handle that no token was given.
    #[error("`sessionResumption.handle` belongs to the token whose session it was: the client sends it")]
    Handle,
}

impl Lock {
    /// Locks the fields that `mask` names to what `setup` has, or everything if it names none.
    ///
    /// # Errors
    /// [`LockError`] for a setup that cannot be told apart from another one, or that the mask does not cover.
    pub fn new(setup: Option<Object>, mask: FieldMask) -> Result<Self, LockError> {
        let setup = setup.map(canonical_setup).transpose()?;
        if let (Some(setup), false) = (&setup, mask.is_empty())
            && let Some(path) = mask.omitted_of(setup)
        {
            // The names of a setup that was minted are told to whoever minted it, if they are known.
            return Err(LockError::Omitted(told(&path.field, path.child.as_deref())));
        }
        Ok(Self { setup, mask, models: Vec::new() })
    }

    /// Locks nothing but which models may be asked for; an empty list allows all.
    ///
    /// # Errors
    /// [`LockError::Model`] for what is no model's name.
    pub fn of_models<'a>(models: impl IntoIterator<Item = &'a str>) -> Result<Self, LockError> {
        let models: Option<Vec<String>> = models.into_iter().map(model::canonical).collect();
        Ok(Self { models: models.ok_or(LockError::Model)?, ..Self::default() })
    }

    /// The same lock for sessions that ask for one of `models` only; names that Gemini cannot have are left out. `None` if no
    /// model is left.
    #[must_use]
    pub fn narrowed<T: AsRef<str>>(mut self, models: &[T]) -> Option<Self> {
        let names: Vec<String> = models.iter().filter_map(|model| model::canonical(model.as_ref())).collect();
        if self.models.is_empty() {
            self.models = names;
        } else {
            self.models.retain(|model| names.contains(model));
        }
        (!self.models.is_empty()).then_some(self)
    }

    /// The token's setup, in camelCase.
    #[must_use]
    pub const fn setup(&self) -> Option<&Object> {
        self.setup.as_ref()
    }

    /// The fields that are locked; empty for all, if there is a setup, or else for none.
    #[must_use]
    pub const fn mask(&self) -> &FieldMask {
        &self.mask
    }

    /// Whether it locks nothing at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.setup.is_none() && self.mask.is_empty() && self.models.is_empty()
    }

    /// Whether the client's setup is ignored.
    pub(super) const fn is_full(&self) -> bool {
        self.setup.is_some() && self.mask.is_empty()
    }

    /// Whether a field, or one of its own, is locked.
    pub(super) fn touches(&self, field: &str) -> bool {
        self.is_full() || self.mask.touches(field)
    }
}

/// A token's setup, as it is kept.
fn canonical_setup(setup: Object) -> Result<Object, LockError> {
    let mut setup = spelled(setup).map_err(|TwoSpellings(place)| LockError::TwoSpellings(place.to_string()))?;
    if let Some(name) = misshapen(&setup) {
        return Err(LockError::NotAnObject(name.to_owned()));
    }
    name_model(&mut setup).map_err(|NoModel| LockError::Model)?;
    if let Some(Value::Object(resumption)) = setup.member_mut("sessionResumption") {
        match resumption.remove("handle") {
            None | Some(Value::Null) => {}
            Some(Value::String(handle)) if handle.is_empty() => {}
            Some(_) => return Err(LockError::Handle),
        }
    }
    Ok(setup)
}

/// A setup of token or client in camelCase, without what is null: in protobuf's JSON form that is the same as nothing.
fn spelled(setup: Object) -> Result<Object, TwoSpellings> {
    let mut setup = canonical::message(setup, &Place::default().below("setup"))?;
    setup.retain(|_, value| *value != Value::Null);
    Ok(setup)
}

/// The first field that holds fields of its own but is no object: a lock could not reach into it.
fn misshapen(setup: &Object) -> Option<&'static str> {
    field::setup()
        .filter(|name| field::reach(name) == Some(Reach::Inside))
        .find(|name| setup.member(name).is_some_and(|value| value.as_object().is_none()))
}

struct NoModel;

/// Writes the model's name in full.
fn name_model(setup: &mut Object) -> Result<(), NoModel> {
    let Some(named) = setup.member("model") else { return Ok(()) };
    let named = named.as_str().and_then(model::canonical).ok_or(NoModel)?;
    setup.set("model", named);
    Ok(())
}

/// A path of known names, others left out.
fn told(field: &str, child: Option<&str>) -> String {
    let place = Place::default().below(field);
    child.map_or(place.clone(), |child| place.below(child)).to_string()
}
