//! Errors, close codes and refusals in the pasted text.

use keymoat_core::{Code, Dialect, Mistake};

use super::judge::Facts;
use super::pasted::Pasted;
use super::{Explained, Seen};

/// What providers, browsers and libraries say, in lower case.
const PHRASES: [(&str, Mistake); 21] = [
    ("unregistered callers", Mistake::UnregisteredCallers),
    ("api key not valid", Mistake::ApiKeyNotValid),
    ("api_key_invalid", Mistake::ApiKeyNotValid),
    ("missing the access_token", Mistake::ConstrainedMethod),
    ("incorrect api key provided", Mistake::IncorrectApiKey),
    ("invalid_api_key", Mistake::IncorrectApiKey),
    ("beta_api_shape_disabled", Mistake::RealtimeBeta),
    ("openai-beta.realtime", Mistake::RealtimeBeta),
    ("sent non-empty 'sec-websocket-protocol' header but no response", Mistake::SubprotocolNotSelected),
    ("server sent no subprotocol", Mistake::SubprotocolNotSelected),
    ("invalid or duplicated subprotocol", Mistake::SubprotocolCharacters),
    ("failed to construct 'websocket': the subprotocol", Mistake::SubprotocolCharacters),
    ("unexpected server response: 4", Mistake::HandshakeRefused),
    ("unexpected response code: 4", Mistake::HandshakeRefused),
    ("received bad response code from server", Mistake::HandshakeRefused),
    ("expected http 101 response", Mistake::HandshakeRefused),
    ("server rejected websocket connection: http 4", Mistake::HandshakeRefused),
    ("invalidstatus", Mistake::HandshakeRefused),
    ("mixed content", Mistake::PlainText),
    ("encodeuricomponent(encodeuricomponent(", Mistake::Encoded),
    ("credential is the only subprotocol", Mistake::LoneSubprotocol),
];

/// Words in front of a close code.
const BEFORE_CODES: [&str; 7] = ["code", "clos", "disconnect", "apierror", "received", "websocket", "error"];

/// Reads all of them. What says more about a line goes before its close code.
pub(super) fn read(pasted: &Pasted, facts: &Facts<'_>, explained: &mut Explained) {
    let mut told = Seen::default();
    for (phrase, mistake) in PHRASES {
        for at in pasted.places(phrase) {
            explained.add(mistake, pasted.line(at), "");
            if mistake != Mistake::HandshakeRefused {
                told.add(pasted.line(at), "");
            }
        }
    }
    for code in Code::ALL {
        let mut seen = Seen::default();
        for at in pasted.places(code.word()).filter(|at| is_refusal(pasted, *at, code.word())) {
            seen.add(pasted.line(at), "");
            told.add(pasted.line(at), "");
        }
        if !seen.lines.is_empty() {
            explained.refusals.push((code, seen));
        }
    }
    for (at, number) in numbers(pasted) {
        let Some(mistake) = closed_with(number, facts.dialect) else { continue };
        let before = pasted.line_before(at);
        let is_code = before.trim().is_empty() || BEFORE_CODES.iter().any(|word| before.contains(word));
        if is_code && !told.lines.contains(&pasted.line(at)) {
            explained.add(mistake, pasted.line(at), "");
        }
    }
}

/// Whether the word at `at` is a refusal's code, and not a word of everyday language.
fn is_refusal(pasted: &Pasted, at: usize, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let behind = pasted.after(at + word.len());
    if is_part(pasted.before(at)) || behind.chars().next().is_some_and(is_part) {
        return false;
    }
    let before = pasted.line_before(at);
    let in_document = before.ends_with("/errors/") || before.trim_end_matches(['"', ' ', ':', '=']).ends_with("code");
    // A reason: the word, a colon, and a text; behind a close code, a quote, or at the beginning of a line.
    let leads = before.trim().is_empty()
        || before.trim_end_matches(' ').ends_with(['"', '\'', '`', ':', ',', '('])
        || before.trim_end().ends_with(|c: char| c.is_ascii_digit());
    word.contains('_') || in_document || (behind.starts_with(": ") && leads)
}

/// Numbers of four digits, with their places.
fn numbers(pasted: &Pasted) -> Vec<(usize, u16)> {
    let mut numbers = Vec::new();
    let mut digits: Option<(usize, usize)> = None;
    for (at, c) in pasted.text().char_indices().chain([(pasted.text().len(), '\n')]) {
        match digits {
            None if c.is_ascii_digit() => {
                let free = !pasted.before(at).is_ascii_alphanumeric() && !".-_/".contains(pasted.before(at));
                digits = free.then_some((at, 1)).or(Some((at, usize::MAX / 2)));
            }
            Some((start, length)) if c.is_ascii_digit() => digits = Some((start, length + 1)),
            Some((start, 4)) if !c.is_ascii_alphanumeric() && !"_/-".contains(c) => {
                let number = pasted.text().get(start..at).and_then(|text| text.parse().ok());
                numbers.extend(number.map(|number| (start, number)));
                digits = None;
            }
            _ => digits = None,
        }
    }
    numbers
}

/// What a close code says by itself.
const fn closed_with(code: u16, dialect: Dialect) -> Option<Mistake> {
    Some(match code {
        1006 => Mistake::ClosedAbnormally,
        1007 => Mistake::ClosedInvalid,
        1008 => Mistake::ClosedPolicy,
        1009 => Mistake::ClosedTooBig,
        1011 => Mistake::ClosedInternal,
        1012..=1014 => Mistake::ClosedTryAgain,
        3000 => Mistake::ClosedUnauthorized,
        4000 if matches!(dialect, Dialect::OpenAi) => Mistake::ModelMissing,
        // Centrifugo's and Discord's words for the same.
        3500 | 4001 | 4004 | 4401 => Mistake::ClosedUnauthenticated,
        4002 => Mistake::ClosedTokenOver,
        4003 | 4403 => Mistake::ClosedForbidden,
        4008 => Mistake::ClosedReplaced,
        4029 | 4429 => Mistake::ClosedTooMany,
        _ => return None,
    })
}
