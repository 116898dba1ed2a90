//! The configuration in force, setting by setting, each with where its value comes from. No secret is in it.
//!
//! Written as TOML it is a configuration itself, which comes to the same settings. What has no value, or one that no file
//! may hold, stands in a comment.

mod behind;
mod events;
mod front;
mod limits;
mod overrides;
mod toml_text;

use std::path::Path;

use serde::{Serialize, Serializer};
use toml::Value;

use super::file::{At, File};
use super::source::{Place, Source};
use super::{Config, DEFAULT_FILE, Environment, Flags, Problems, Reader, folder_of, lower, text_of, text_of_preset};

pub(crate) use self::overrides::show_overrides;
pub(crate) use self::toml_text::toml_text;

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Shown {
    /// Such as `route.voice`.
    pub(crate) section: String,
    /// Such as `query`.
    pub(crate) name: &'static str,
    /// As the file would have it; `None` where it is not set, or cannot stand in a file.
    #[serde(serialize_with = "in_json")]
    pub(crate) value: Option<Value>,
    /// `default`, a place in the file, a variable, a flag, or a preset; and what goes without saying.
    pub(crate) source: String,
}

impl Shown {
    /// The value for programs; dates are texts.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.value.as_ref().map_or(serde_json::Value::Null, json)
    }
}

/// What a configuration was read from.
struct Origin<'a> {
    /// The text and the variables over it.
    source: &'a Source,
    /// Where relative paths start.
    base: &'a Path,
    /// All variables.
    environment: &'a Environment,
    /// What lies over them.
    flags: &'a Flags,
    /// The flag that took the place of a file.
    preset: Option<PresetFlag<'a>>,
}

/// `--preset`, and the flag that goes with it.
#[derive(Clone, Copy)]
pub(super) struct PresetFlag<'a> {
    /// The file with the real key; `-` is standard input.
    secret_file: Option<&'a Path>,
}

/// Every setting of the file at `path`, or of `keymoat.toml` if there is one, or else of no file, with its source.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn show(path: Option<&Path>, flags: &Flags, environment: &Environment) -> anyhow::Result<Vec<Shown>> {
    let default = Path::new(DEFAULT_FILE);
    let (text, path) = match path.or_else(|| default.exists().then_some(default)) {
        Some(path) => (text_of(path)?, path),
        None => (String::new(), default),
    };
    show_text(path.display().to_string(), text, folder_of(path), (flags, None), environment)
}

/// Every setting that a preset comes to, with its source.
///
/// # Errors
/// An unknown preset, and one that needs more than its name.
pub(crate) fn show_preset(
    word: &str,
    secret_file: Option<&Path>,
    flags: &Flags,
    environment: &Environment,
) -> anyhow::Result<Vec<Shown>> {
    let text = text_of_preset(word)?;
    show_text(format!("preset {word}"), text, Path::new("."), (flags, Some(PresetFlag { secret_file })), environment)
}

pub(super) fn show_text(
    name: String,
    text: String,
    base: &Path,
    (flags, preset): (&Flags, Option<PresetFlag<'_>>),
    environment: &Environment,
) -> anyhow::Result<Vec<Shown>> {
    let source = Source::new(name, text, environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    let file = source.read().map_err(Problems::from)?;
    let mut read = Reader::new(&source, base, environment);
    let mut config = lower(&mut read, &file);
    let (problems, _, watched) = read.finish();
    if !problems.is_empty() {
        return Err(Problems { problems, watched }.into());
    }
    if let Some(listen) = flags.listen {
        config.listen_on(listen)?;
    }
    let origin = Origin { source: &source, base, environment, flags, preset };
    Ok(all(&origin, &file, &config))
}

/// All settings of a configuration.
fn all(origin: &Origin<'_>, file: &File, config: &Config) -> Vec<Shown> {
    let mut sheet = Sheet { origin, section: String::new(), rows: Vec::new() };
    // Taken apart, so that a new section cannot be left out.
    let File { listen, tls, store, admin, upstream, key, route, limits, log, events, telemetry, redact } = file;
    sheet.listen(listen, config);
    sheet.tls(tls, config);
    sheet.store(store, config);
    sheet.admin(admin, config);
    for known in &config.upstreams {
        if let Some((_, written)) = upstream.iter().find(|(name, _)| *name.get_ref() == *known.name) {
            sheet.upstream(known, written);
        }
    }
    for known in &config.keys {
        let written = key.iter().find(|(name, _)| format!("file_{}", name.get_ref()) == *known.id);
        sheet.key(known, written.map(|(_, written)| written));
    }
    for known in &config.routes {
        if let Some((_, written)) = route.iter().find(|(name, _)| *name.get_ref() == *known.name) {
            sheet.route(known, written, file, &config.defaults);
        }
    }
    sheet.limits(limits, &config.limits);
    sheet.log(log, config);
    sheet.events(events, config);
    sheet.telemetry(telemetry, config);
    sheet.redact(redact);
    sheet.rows
}

struct Sheet<'a> {
    origin: &'a Origin<'a>,
    section: String,
    rows: Vec<Shown>,
}

impl Sheet<'_> {
    fn begin(&mut self, section: impl Into<String>) {
        self.section = section.into();
    }

    /// A setting from where it is written, or else from `otherwise`.
    fn row<T>(&mut self, name: &'static str, value: Value, written: Option<&At<T>>, otherwise: &str) {
        let source = written.map_or_else(|| otherwise.to_owned(), |written| self.place(written));
        self.given(name, value, source);
    }

    /// A setting that has a value only where it is written.
    fn written<T>(&mut self, name: &'static str, written: Option<&At<T>>, value: impl Fn(&T) -> Value, unset: &str) {
        match written {
            Some(written) => self.given(name, value(written.get_ref()), self.place(written)),
            None => self.unset(name, unset),
        }
    }

    fn given(&mut self, name: &'static str, value: Value, source: impl Into<String>) {
        self.rows.push(Shown { section: self.section.clone(), name, value: Some(value), source: source.into() });
    }

    fn unset(&mut self, name: &'static str, source: impl Into<String>) {
        self.rows.push(Shown { section: self.section.clone(), name, value: None, source: source.into() });
    }

    fn place<T>(&self, written: &At<T>) -> String {
        match self.origin.source.place(&written.span()) {
            Place::File { .. } if self.origin.preset.is_some() => "flag --preset".to_owned(),
            place => place.to_string(),
        }
    }

    /// A path as the file would have it: from the file's folder on where it lies there.
    fn path(&self, path: &Path) -> Value {
        match path.strip_prefix(self.origin.base) {
            Ok(inner) if inner.is_relative() => text(format!("./{}", inner.display())),
            _ => text(path.display()),
        }
    }
}

fn text(shown: impl ToString) -> Value {
    Value::String(shown.to_string())
}

fn texts<T: ToString>(shown: impl IntoIterator<Item = T>) -> Value {
    Value::Array(shown.into_iter().map(text).collect())
}

/// No setting has larger numbers than TOML.
fn number(shown: impl TryInto<i64>) -> Value {
    Value::Integer(shown.try_into().unwrap_or(i64::MAX))
}

fn in_json<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(json).serialize(serializer)
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Datetime(moment) => moment.to_string().into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Table(table) => table.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
    }
}

#[cfg(test)]
mod tests;
