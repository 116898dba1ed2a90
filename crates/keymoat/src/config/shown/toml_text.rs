//! The settings as a configuration file.

use std::fmt::Write;

use super::Shown;

/// TOML, with the source of each value behind it. What has no value is a comment, and so is a section that has nothing
/// else.
pub(crate) fn toml_text(shown: &[Shown]) -> String {
    let mut text = String::new();
    for settings in shown.chunk_by(|one, other| one.section == other.section) {
        let Some(first) = settings.first() else { continue };
        let gap = if text.is_empty() { "" } else { "\n" };
        let is_empty = settings.iter().all(|setting| setting.value.is_none());
        let comment = if is_empty { "# " } else { "" };
        let _ = writeln!(text, "{gap}{comment}[{}]", first.section);
        for setting in settings {
            let line = match &setting.value {
                Some(value) => format!("{} = {value}", setting.name),
                None => format!("# {} =", setting.name),
            };
            let _ = writeln!(text, "{line:<56} # {}", in_one_line(&setting.source));
        }
    }
    text
}

/// The name of a file may hold anything, a comment may not.
fn in_one_line(source: &str) -> String {
    source.replace(char::is_control, "\u{fffd}")
}
