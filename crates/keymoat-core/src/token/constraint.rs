//! What a token's sessions may ask for, in the one form in which it is kept.

use std::borrow::Cow;
use std::sync::Arc;

use crate::json::{self, Caps, Object, Value};
use crate::refusal::{Code, Refusal};
use crate::{gemini, openai};

/// How large a kept constraint may be: a setup has at most 256 KiB and 64 levels, and our own names around it.
const CAPS: Caps = Caps { bytes_max: 2 << 20, depth_max: 72, members_max: 20_000 };

/// What a token's sessions may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Constraint {
    /// Whatever its routes take.
    #[default]
    None,
    /// These models and no others. Such a token opens sessions only where a model is named in a way that is read.
    Models(Vec<Arc<str>>),
    /// A setup of Gemini Live.
    Gemini(gemini::Lock),
    /// A session of OpenAI Realtime.
    OpenAi(openai::Lock),
}

/// A kept constraint that cannot be read. Whoever has it must refuse the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed constraint of a token: {0}")]
pub struct MalformedConstraint(String);

impl Constraint {
    /// The canonical JSON of it: equal constraints give equal texts.
    ///
    /// ```text
    /// {}
    /// {"models":["models/a"]}
    /// {"gemini":{"setup":{…},"field_mask":"model,tools"}}      each of the two may be absent
    /// {"openai":{"session":{…}}}
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let whole: Object = match self {
            Self::None => Object::new(),
            Self::Models(models) => {
                let models: Vec<Value> = models.iter().map(|model| Value::from(&**model)).collect();
                [("models", models.into())].into_iter().collect()
            }
            Self::Gemini(lock) => {
                let mut inner = Object::new();
                if let Some(setup) = lock.setup() {
                    inner.set("setup", setup.clone());
                }
                if !lock.mask().is_empty() {
                    inner.set("field_mask", lock.mask().to_string());
                }
                [("gemini", inner.into())].into_iter().collect()
            }
            Self::OpenAi(lock) => {
                let inner: Object = [("session", lock.session().clone().into())].into_iter().collect();
                [("openai", inner.into())].into_iter().collect()
            }
        };
        whole.render()
    }

    /// Reads what [`Self::to_json`] wrote, and refuses everything else.
    ///
    /// # Errors
    /// [`MalformedConstraint`], without the text.
    pub fn from_json(text: &str) -> Result<Self, MalformedConstraint> {
        let malformed = |what: String| MalformedConstraint(what);
        let whole = json::parse(text.as_bytes(), &CAPS).map_err(|error| malformed(error.to_string()))?;
        let Value::Object(whole) = whole else { return Err(malformed(String::from("not an object"))) };
        Self::from_object(whole).map_err(malformed)
    }

    /// Reads the same from an object, as the minting API takes it.
    pub(super) fn from_object(whole: Object) -> Result<Self, String> {
        let mut members = whole.into_iter();
        let Some((name, value)) = members.next() else { return Ok(Self::None) };
        if members.next().is_some() {
            return Err(String::from("write one of `gemini`, `openai` and `models`"));
        }
        match (name.as_str(), value) {
            ("models", Value::Array(models)) => read_models(&models),
            ("models", _) => Err(String::from("`models` must be an array")),
            ("gemini", Value::Object(inner)) => read_gemini(inner),
            ("gemini", _) => Err(String::from("`gemini` must be an object")),
            ("openai", Value::Object(inner)) => read_openai(inner),
            ("openai", _) => Err(String::from("`openai` must be an object")),
            _ => Err(String::from("unknown member: write one of `gemini`, `openai` and `models`")),
        }
    }

    /// What it means for Gemini.
    ///
    /// # Errors
    /// `forbidden` if it is another provider's.
    pub fn for_gemini(&self) -> Result<Cow<'_, gemini::Lock>, Refusal> {
        match self {
            Self::None => Ok(Cow::Owned(gemini::Lock::default())),
            Self::Gemini(lock) => Ok(Cow::Borrowed(lock)),
            Self::Models(models) => gemini::Lock::of_models(models.iter().map(|model| &**model))
                .map(Cow::Owned)
                .map_err(|_| Refusal::new(Code::Forbidden, "this token is for models that Gemini does not have")),
            Self::OpenAi(_) => Err(Refusal::new(Code::Forbidden, "this token is locked to a session of OpenAI's API")),
        }
    }

    /// What it means for OpenAI.
    ///
    /// # Errors
    /// `forbidden` if it is another provider's.
    pub fn for_openai(&self) -> Result<Cow<'_, openai::Lock>, Refusal> {
        match self {
            Self::None => Ok(Cow::Owned(openai::Lock::default())),
            Self::OpenAi(lock) => Ok(Cow::Borrowed(lock)),
            Self::Models(models) => openai::Lock::of_models(models.iter().map(|model| &**model))
                .map(Cow::Owned)
                .map_err(|_| Refusal::new(Code::Forbidden, "this token is for models that OpenAI does not have")),
            Self::Gemini(_) => Err(Refusal::new(Code::Forbidden, "this token is locked to a setup of Gemini's API")),
        }
    }
}

fn read_models(models: &[Value]) -> Result<Constraint, String> {
    let models: Option<Vec<Arc<str>>> = models.iter().map(|model| model.as_str().map(Arc::from)).collect();
    let models = models.filter(|models: &Vec<Arc<str>>| !models.is_empty());
    let models = models.ok_or("`models` must name at least one model, each as a string")?;
    let names = || models.iter().map(|model| &**model);
    if gemini::Lock::of_models(names()).is_err() && openai::Lock::of_models(names()).is_err() {
        return Err(String::from("`models` holds what is no model's name"));
    }
    Ok(Constraint::Models(models))
}

fn read_gemini(mut inner: Object) -> Result<Constraint, String> {
    let setup = match inner.remove("setup") {
        None => None,
        Some(Value::Object(setup)) => Some(setup),
        Some(_) => return Err(String::from("`gemini.setup` must be an object")),
    };
    let mask = match inner.remove("field_mask") {
        None => gemini::FieldMask::default(),
        Some(Value::String(mask)) => {
            gemini::FieldMask::parse(&mask).map_err(|error| format!("`gemini.field_mask`: {error}"))?
        }
        Some(_) => return Err(String::from("`gemini.field_mask` must be a string")),
    };
    if !inner.is_empty() {
        return Err(String::from("unknown member of `gemini`: it has `setup` and `field_mask`"));
    }
    gemini::Lock::new(setup, mask).map(Constraint::Gemini).map_err(|error| format!("`gemini.setup`: {error}"))
}

fn read_openai(mut inner: Object) -> Result<Constraint, String> {
    let Some(Value::Object(session)) = inner.remove("session") else {
        return Err(String::from("`openai.session` must be an object"));
    };
    if !inner.is_empty() {
        return Err(String::from("unknown member of `openai`: it has `session`"));
    }
    openai::Lock::new(session).map(Constraint::OpenAi).map_err(|error| format!("`openai`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_as_it_was() {
        for text in [
            "{}",
            r#"{"models":["models/a","models/b"]}"#,
            r#"{"gemini":{}}"#,
            r#"{"gemini":{"setup":{"model":"models/a","generationConfig":{"temperature":0.70}}}}"#,
            r#"{"gemini":{"setup":{"model":"models/a","tools":[{"googleSearch":{}}]},"field_mask":"model,tools"}}"#,
            r#"{"gemini":{"field_mask":"generationConfig.topK"}}"#,
            r#"{"openai":{"session":{"type":"realtime","model":"gpt-realtime","audio":{"output":{"voice":"marin"}}}}}"#,
        ] {
            let read = Constraint::from_json(text).expect(text);
            assert_eq!(read.to_json(), text);
        }
    }

    #[test]
    fn what_cannot_have_been_kept_is_refused_without_showing_it() {
        for text in [
            "",
            "[]",
            r#"{"canary":1}"#,
            r#"{"gemini":{"setup":[]}}"#,
            r#"{"gemini":{"canary":1}}"#,
            r#"{"gemini":{"field_mask":"canary"},"openai":{}}"#,
            r#"{"gemini":{"setup":{"canary":1},"field_mask":"model"}}"#,
            r#"{"gemini":{},"gemini":{}}"#,
            r#"{"models":[]}"#,
            r#"{"models":["canary canary"]}"#,
            r#"{"openai":{}}"#,
            r#"{"openai":{"session":{"type":"canary"}}}"#,
        ] {
            let error = Constraint::from_json(text).expect_err(text).to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_lock_of_one_provider_is_none_for_another() {
        let gemini = Constraint::from_json(r#"{"gemini":{}}"#).expect("well formed");
        let openai = Constraint::from_json(r#"{"openai":{"session":{}}}"#).expect("well formed");
        assert!(gemini.for_gemini().is_ok() && gemini.for_openai().is_err());
        assert!(openai.for_openai().is_ok() && openai.for_gemini().is_err());
        assert!(Constraint::None.for_gemini().is_ok_and(|lock| lock.is_open()));
        assert!(Constraint::None.for_openai().is_ok_and(|lock| lock.is_open()));
    }
}
