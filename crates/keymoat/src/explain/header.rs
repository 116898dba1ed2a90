//! Headers in the pasted text: as lines, in code of any language, in curl commands and in HAR files.

use std::borrow::Cow;

use keymoat_core::carrier::KNOWN_HEADERS;

use super::pasted::Pasted;

/// A header that may carry a credential, or says something about one.
pub(super) struct Header<'p> {
    /// The name, from the fixed list.
    pub(super) name: &'static str,
    pub(super) value: Cow<'p, str>,
    pub(super) line: usize,
}

const OTHERS: [&str; 2] = ["sec-websocket-protocol", "openai-beta"];

/// All headers with a well-known name.
pub(super) fn headers(pasted: &Pasted) -> Vec<Header<'_>> {
    let mut headers = Vec::new();
    for name in KNOWN_HEADERS.into_iter().chain(OTHERS) {
        for at in pasted.places(name) {
            // `apiKey:` is an option of SDKs; the header is written in one case.
            let is_option = name == "apikey" && !pasted.after(at).starts_with("apikey");
            let before = pasted.before(at);
            if is_option || before.is_ascii_alphanumeric() || "-_?&.".contains(before) {
                continue;
            }
            if let Some(value) = value(pasted.after(at + name.len()), before) {
                headers.push(Header { name, value, line: pasted.line(at) });
            }
        }
    }
    headers.sort_by_key(|header| header.line);
    headers
}

/// The value behind a name, which `before` stood in front of.
fn value(rest: &str, before: char) -> Option<Cow<'_, str>> {
    let name_quoted = "\"'`".contains(before) && rest.starts_with(before);
    let rest = if name_quoted { rest.get(1..)? } else { rest };
    let rest = rest.trim_start_matches([' ', '\t']);
    let rest = match rest.strip_prefix([':', '=']) {
        Some(rest) => rest,
        // The next member of an object in a HAR file, or of a pair.
        None => after_value_name(rest).or_else(|| rest.strip_prefix(',').filter(|_| name_quoted))?,
    };
    let rest = rest.trim_start_matches([' ', '\t']);
    let bare = rest.strip_prefix(['f', 'b', 'r']).filter(|rest| rest.starts_with(['"', '\''])).unwrap_or(rest);
    if let Some(quote) = bare.chars().next().filter(|c| "\"'`".contains(*c)) {
        let inner = bare.get(1..)?;
        let end = inner.find([quote, '\n'])?;
        let behind = inner.get(end + 1..).unwrap_or_default().trim_start();
        let value = inner.get(..end)?;
        // A text with a variable behind it is as good as a template.
        return Some(match behind.strip_prefix('+') {
            Some(added) => format!("{value}${{{}}}", expression(added)).into(),
            None => value.into(),
        });
    }
    if name_quoted {
        // Code: a variable.
        return Some(format!("${{{}}}", expression(rest)).into());
    }
    let end = rest.find(['\n', '\r', '"', '\'', '`']).unwrap_or(rest.len());
    rest.get(..end).map(|value| value.trim().into())
}

/// What follows `,"value":` or its like.
fn after_value_name(rest: &str) -> Option<&str> {
    let rest = rest.trim_start().strip_prefix(',')?.trim_start();
    let rest = rest.strip_prefix(['"', '\''])?.strip_prefix("value")?.strip_prefix(['"', '\''])?;
    rest.trim_start().strip_prefix(':')
}

/// The first expression of code: up to what ends it.
pub(super) fn expression(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| c.is_whitespace() || ",})];".contains(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}
