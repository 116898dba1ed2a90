//! What becomes of each field of a setup under a lock, told for people.

use std::fmt;

use super::super::field;
use super::{Lock, spelled};
use crate::json::{Object, Value};
use crate::refusal::Refusal;

/// The effective setup, and where each of its fields comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The fields of token, mask and client, in this order, each once.
    pub fields: Vec<Field>,
    /// What the session would be opened with.
    pub effective: Object,
}

/// One field and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its path, such as `generationConfig.temperature`.
    pub path: String,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The token's value stands.
    FromToken,
    /// The client's value stands.
    FromClient,
    /// It is locked to being absent: the token has no value for it.
    Cleared,
    /// The client's value is not looked at, because the token's setup replaces the whole.
    Ignored,
    /// The client's value passes every lock, if the session is one of this token's.
    AlwaysPasses,
}

impl Fate {
    /// The words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::FromToken => "from the token",
            Self::FromClient => "from the client",
            Self::Cleared => "cleared",
            Self::Ignored => "ignored",
            Self::AlwaysPasses => "always passes",
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The one field that passes every lock.
const HANDLE: &str = "sessionResumption.handle";

impl Lock {
    /// Explains what a session would be opened with if a client asked for `setup`. A handle is taken for one that the
    /// token was given, and not shown in the effective setup.
    ///
    /// # Errors
    /// What [`Lock::first`] answers to such a setup.
    pub fn explain(&self, setup: Object) -> Result<Explanation, Refusal> {
        let asked = spelled(setup.clone()).map(|client| field::paths_of(&client)).unwrap_or_default();
        let (effective, handle) = self.effective(setup)?;
        self.check_model(effective.member("model").and_then(Value::as_str))?;
        let own = self.setup.as_ref().map(field::paths_of).unwrap_or_default();
        let masked = self.mask.paths().iter().map(|path| (path.field.clone(), path.child.clone()));
        let mut fields: Vec<Field> = Vec::new();
        for (name, child) in own.into_iter().chain(masked).chain(asked) {
            let path = child.as_ref().map_or_else(|| name.clone(), |child| format!("{name}.{child}"));
            let fate = if path == HANDLE { Fate::AlwaysPasses } else { self.fate(&name, child.as_deref()) };
            let is_told = fields.iter().any(|known| known.path == path)
                || child.is_none() && fate == Fate::FromToken && has_below(&fields, &name);
            if !is_told && (path != HANDLE || handle.is_some()) {
                fields.push(Field { path, fate });
            }
        }
        Ok(Explanation { fields, effective })
    }

    fn fate(&self, name: &str, child: Option<&str>) -> Fate {
        let own = self.setup.as_ref().and_then(|setup| setup.member(name));
        let has = match child {
            None => own.is_some(),
            Some(child) => own.and_then(Value::as_object).is_some_and(|own| own.member(child).is_some()),
        };
        let is_locked = self.is_full() || self.mask.covers(name, child);
        match (is_locked, has) {
            (false, _) => Fate::FromClient,
            (true, true) => Fate::FromToken,
            (true, false) if self.is_full() => Fate::Ignored,
            (true, false) => Fate::Cleared,
        }
    }
}

/// Whether the fields of a field have been told of: then the whole needs no line of its own.
fn has_below(fields: &[Field], name: &str) -> bool {
    fields.iter().any(|known| known.path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}
