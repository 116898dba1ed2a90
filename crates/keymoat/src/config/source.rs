//! The text that a configuration is read from: the file, and `KEYMOAT__SECTION__KEY` variables laid over it.
//!
//! Every value keeps its place, so that an error can say `keymoat.toml:12:9`, or the name of the variable.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::backend::parse_bool;
use super::file::File;
use super::problem::{Problem, nearest};

/// What the variables that overlay a file start with.
pub(crate) const VARIABLE_PREFIX: &str = "KEYMOAT__";

/// The home-security backend's own variables that are settings here, each with its setting.
const BACKEND_SETTINGS: [(&str, [&str; 2]); 7] = [
    ("TLS_MODE", ["tls", "mode"]),
    ("TLS_CERT_PATH", ["tls", "cert"]),
    ("TLS_KEY_PATH", ["tls", "key"]),
    ("TLS_CA_PATH", ["tls", "client_ca"]),
    ("TLS_VERIFY_CLIENT", ["tls", "verify_client"]),
    ("TLS_MIN_VERSION", ["tls", "min_version"]),
    ("TRUSTED_PROXY_IPS", ["listen", "trusted_proxies"]),
];

/// A file's text with its name, and the variables over it. There is no `Debug`: a secret may stand in the wrong place.
pub(crate) struct Source {
    name: String,
    text: String,
    variables: Vec<Variable>,
}

/// One `KEYMOAT__SECTION__KEY` variable.
struct Variable {
    name: String,
    value: String,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// File, line and column, both from 1.
    File { name: String, line: usize, column: usize },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

impl Variable {
    /// The path of the setting, and its value.
    fn setting(&self) -> (VecDeque<String>, DeValue<'_>) {
        let text = || DeValue::String(self.value.as_str().into());
        if let Some(path) = self.name.strip_prefix(VARIABLE_PREFIX) {
            let value = DeValue::parse(&self.value).map_or_else(|_| text(), Spanned::into_inner);
            return (path.split("__").map(str::to_lowercase).collect(), value);
        }
        let path = BACKEND_SETTINGS.iter().find(|(name, _)| *name == self.name).map_or([""; 2], |(_, path)| *path);
        let value = match path {
            [_, "verify_client"] => parse_bool(&self.value).map_or_else(text, DeValue::Boolean),
            [_, "mode"] => DeValue::String(self.value.trim().to_ascii_lowercase().into()),
            // A JSON list of texts is one of TOML too.
            [_, "trusted_proxies"] => match DeValue::parse(&self.value) {
                Ok(list) => list.into_inner(),
                Err(_) => {
                    let items =
                        self.value.split(',').map(|item| Spanned::new(0..0, DeValue::String(item.trim().into())));
                    DeValue::Array(items.collect())
                }
            },
            _ => text(),
        };
        (path.map(str::to_owned).into(), value)
    }
}

impl Source {
    /// A text with the name that errors show, and the variables that lie over it; other variables are left out.
    pub(crate) fn new(name: String, text: String, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let of_backend = |name: &str| BACKEND_SETTINGS.iter().any(|(known, _)| *known == name);
        let ours = environment
            .into_iter()
            .filter(|(name, value)| name.starts_with(VARIABLE_PREFIX) || of_backend(name) && !value.trim().is_empty());
        let mut variables: Vec<Variable> = ours.map(|(name, value)| Variable { name, value }).collect();
        // The later one wins: the backend's own lie below Keymoat's.
        variables.sort_by_key(|variable| (variable.name.starts_with(VARIABLE_PREFIX), variable.name.clone()));
        Self { name, text, variables }
    }

    /// Reads the values; names and types are checked, nothing else.
    ///
    /// # Errors
    /// The first thing that is not TOML, not a known name, or not of the expected type.
    pub(crate) fn read(&self) -> Result<File, Problem> {
        let mut table = DeTable::parse(&self.text).map_err(|error| self.problem(&error))?;
        for (index, variable) in self.variables.iter().enumerate() {
            let span = self.span_of_variable(index);
            let (mut keys, value) = variable.setting();
            if keys.iter().any(String::is_empty) || keys.len() < 2 {
                return Err(Problem::at(
                    self.place(&span),
                    "names no setting: write KEYMOAT__SECTION__KEY, such as KEYMOAT__LISTEN__DATA".to_owned(),
                ));
            }
            lay_over(table.get_mut(), &mut keys, respan(value, &span), &span).map_err(|taken| {
                Problem::at(self.place(&span), format!("`{taken}` is a single value, not a section"))
            })?;
        }
        File::deserialize(Deserializer::from(table)).map_err(|error| self.problem(&error))
    }

    /// Where the bytes at `span` stand.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        if let Some(variable) = span.start.checked_sub(self.text.len() + 1).and_then(|index| self.variables.get(index))
        {
            return Place::Variable(variable.name.clone());
        }
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Place::File { name: self.name.clone(), line, column }
    }

    /// Variables are placed behind the end of the text, one byte each.
    fn span_of_variable(&self, index: usize) -> Range<usize> {
        let start = self.text.len() + 1 + index;
        start..start + 1
    }

    fn problem(&self, error: &toml::de::Error) -> Problem {
        let place = self.place(&error.span().unwrap_or(0..0));
        Problem::at(place, plain(error.message()))
    }
}

/// Says what the TOML reader means without repeating a value: a value could be a secret in the wrong place.
fn plain(message: &str) -> String {
    // The last comma: the value before it is not ours and could hold the same words.
    if let Some((_, expected)) = message.rsplit_once(", expected ")
        && message.starts_with("invalid ")
    {
        let expected = if expected.starts_with("struct ") { "a section" } else { expected };
        return format!("this is not {expected}, which is what belongs here");
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut words = rest.split('`').skip(1).step_by(2);
        let unknown = words.next().unwrap_or_default();
        let known: Vec<&str> = words.collect();
        return match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("unknown setting `{unknown}`: did you mean `{near}`?"),
            None => format!("unknown setting `{unknown}`: known here are {}", known.join(", ")),
        };
    }
    if message.contains("untagged enum Quantity") {
        return "this is neither a number nor a text with a unit, such as 30, \"30s\" or \"16MiB\"".to_owned();
    }
    message.lines().next().unwrap_or(message).to_owned()
}

/// Puts `value` at the path `keys`, making sections on the way. Gives the key that is no section as its error.
fn lay_over<'i>(
    table: &mut DeTable<'i>,
    keys: &mut VecDeque<String>,
    value: Spanned<DeValue<'i>>,
    span: &Range<usize>,
) -> Result<(), String> {
    let Some(wanted) = keys.pop_front() else { return Ok(()) };
    // A variable's name has no `-` and no case; the file's own spelling of a name wins.
    let known = table.keys().map(|key| key.get_ref()).find(|key| key.to_lowercase().replace('-', "_") == wanted);
    let key = known.map_or_else(|| wanted.clone(), ToString::to_string);
    if keys.is_empty() {
        table.remove(key.as_str());
        table.insert(Spanned::new(span.clone(), key.into()), value);
        return Ok(());
    }
    let section = table
        .entry(Spanned::new(span.clone(), key.into()))
        .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
    match section.get_mut() {
        DeValue::Table(section) => lay_over(section, keys, value, span),
        _ => Err(wanted),
    }
}

/// Gives a value and everything in it the place of its variable.
fn respan<'i>(value: DeValue<'i>, span: &Range<usize>) -> Spanned<DeValue<'i>> {
    let value = match value {
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| respan(item.into_inner(), span)).collect())
        }
        other => other,
    };
    Spanned::new(span.clone(), value)
}
