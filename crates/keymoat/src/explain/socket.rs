//! WebSockets that pasted code opens: their arguments, and the subprotocols that they offer.

use std::borrow::Cow;

use super::header::Header;
use super::pasted::Pasted;

/// A list of subprotocols.
pub(super) struct Offered<'p> {
    pub(super) entries: Vec<Cow<'p, str>>,
    pub(super) line: usize,
}

/// A constructor with headers in it.
pub(super) struct WithHeaders {
    /// Whether they are in the third argument, where React Native takes them.
    pub(super) third: bool,
    pub(super) event_source: bool,
    pub(super) line: usize,
}

/// The constructors that have headers among their arguments.
pub(super) fn with_headers(pasted: &Pasted) -> Vec<WithHeaders> {
    let mut found = Vec::new();
    for (call, event_source) in [("new websocket(", false), ("new eventsource(", true)] {
        for at in pasted.places(call) {
            let arguments = arguments(pasted.after(at + call.len()));
            if let Some(place) = arguments.iter().position(|one| one.contains("headers")).filter(|place| *place > 0) {
                found.push(WithHeaders { third: place >= 2, event_source, line: pasted.line(at) });
            }
        }
    }
    found
}

/// Every offer: in code, in options of libraries, and in the header itself.
pub(super) fn offered<'p>(pasted: &'p Pasted, headers: &'p [Header<'p>]) -> Vec<Offered<'p>> {
    let mut offers = Vec::new();
    for at in pasted.places("new websocket(") {
        if let Some(second) = arguments(pasted.after(at + "new websocket(".len())).get(1) {
            offers.push(Offered { entries: entries(second), line: pasted.line(at) });
        }
    }
    for option in ["subprotocols=", "protocols:", "protocols ="] {
        for at in pasted.places(option) {
            let rest = pasted.after(at + option.len()).trim_start();
            if rest.starts_with('[') {
                let list = arguments(rest).first().copied().unwrap_or_default();
                offers.push(Offered { entries: entries(list), line: pasted.line(at) });
            }
        }
    }
    for header in headers.iter().filter(|header| header.name == "sec-websocket-protocol") {
        let entries = header.value.split(',').map(|entry| Cow::Borrowed(entry.trim()));
        offers.push(Offered { entries: entries.filter(|entry| !entry.is_empty()).collect(), line: header.line });
    }
    offers
}

/// The arguments of a call whose parenthesis is open.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quote, mut start) = (0_usize, None, 0);
    let mut arguments = Vec::new();
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'' | '`', None) => quote = Some(c),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) if depth > 0 => depth -= 1,
            (')' | ']' | '}', None) => {
                arguments.push(text.get(start..at).unwrap_or_default().trim());
                return arguments;
            }
            (',' | ';', None) if depth == 0 => {
                arguments.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(text.get(start..).unwrap_or_default().lines().next().unwrap_or_default().trim());
    arguments
}

/// The entries of a list in code, or the one text that stands for it. A variable that holds the whole list is none.
fn entries(argument: &str) -> Vec<Cow<'_, str>> {
    if let Some(list) = argument.strip_prefix('[') {
        return arguments(list).into_iter().filter(|entry| !entry.is_empty()).map(entry).collect();
    }
    match argument.starts_with(['"', '\'', '`']) {
        true => vec![entry(argument)],
        false => Vec::new(),
    }
}

/// A text, a text with a variable behind it, or a variable, which comes out as `${name}`.
fn entry(code: &str) -> Cow<'_, str> {
    let Some(quote) = code.chars().next().filter(|c| "\"'`".contains(*c)) else {
        return format!("${{{code}}}").into();
    };
    let inner = code.get(1..).unwrap_or_default();
    let (text, behind) = inner.split_once(quote).unwrap_or((inner, ""));
    match behind.trim_start().strip_prefix('+') {
        Some(added) => format!("{text}${{{}}}", added.trim()).into(),
        None => text.into(),
    }
}
