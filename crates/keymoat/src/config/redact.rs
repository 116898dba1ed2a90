//! What is a credential here beside what Keymoat knows, and what is none.

use std::path::Path;

use keymoat_redact::{Custom, Pattern, RuleError, Rules};

use super::file::{self, At};
use super::reader::Reader;
use super::source::Source;
use super::{DEFAULT_FILE, Environment, Problems, folder_of, text_of};

/// The `[redact]` section of a configuration, without judging anything else of it.
///
/// # Errors
/// What is wrong with the file's form or with the section.
pub(crate) fn of_file(path: Option<&Path>, environment: &Environment) -> Result<Custom, Problems> {
    let (text, base) = match path {
        Some(path) => (text_of(path)?, folder_of(path)),
        None => (String::new(), Path::new(".")),
    };
    let name = path.unwrap_or(Path::new(DEFAULT_FILE)).display().to_string();
    let source = Source::new(name, text, environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    let file = source.read()?;
    let mut read = Reader::new(&source, base, environment);
    let custom = custom(&mut read, &file.redact);
    let (problems, _, watched) = read.finish();
    if problems.is_empty() { Ok(custom) } else { Err(Problems { problems, watched }) }
}

/// The rules that are written, once they were found to be good.
pub(super) fn custom(read: &mut Reader<'_>, file: &file::Redact) -> Custom {
    let texts = |written: &Option<At<Vec<At<String>>>>| -> Vec<String> {
        written.iter().flat_map(At::get_ref).map(|text| text.get_ref().clone()).collect()
    };
    let patterns =
        file.rules.iter().map(|(name, regex)| Pattern { name: name.get_ref().clone(), regex: regex.get_ref().clone() });
    let custom = Custom {
        names: texts(&file.names),
        patterns: patterns.collect(),
        allow: texts(&file.allow),
        protocols: texts(&file.protocols),
    };
    if let Err(error) = Rules::new(&custom) {
        let rule = |wrong: &str| file.rules.keys().find(|name| name.get_ref() == wrong).map(At::span);
        let place = match &error {
            RuleError::Name { name } | RuleError::Pattern { name, .. } => rule(name),
            RuleError::ShortName { .. } => file.names.as_ref().map(At::span),
            RuleError::Together { .. } | RuleError::TooMany => None,
        };
        match place {
            Some(span) => read.report(span, error.to_string()),
            None => read.report_overall(format!("[redact]: {error}")),
        }
    }
    custom
}
