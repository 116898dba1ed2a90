//! Removes credentials from where they do not belong, by looking at values.

use http::header::{CONTENT_LENGTH, COOKIE, Entry, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use super::gather::Found;
use crate::carrier::{KNOWN_HEADERS, KNOWN_QUERY};
use crate::disguise::{self, LEVELS, NEEDLE_MIN};
use crate::format;
use crate::gemini;
use crate::head::{Ask, Head};
use crate::openai;
use crate::query::Pair;
use crate::snapshot::Snapshot;

/// Names with one of these in them may hold a credential: only their values are looked up in the snapshot.
const TELLING: [&str; 7] = ["key", "token", "auth", "secret", "credential", "passw", "jwt"];

/// Where a stray credential was; only names from our own list are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Header(Option<&'static str>),
    Cookie,
    Query(Option<&'static str>),
    Subprotocol,
}

/// Removes what is recognised from headers, cookies, query and offer, and says where it was: `None` for what only the
/// snapshot knew, since the client must not learn that.
pub(super) fn strays(head: &mut Head, found: &[Found], snapshot: &Snapshot) -> Vec<Option<Place>> {
    let eye = Eye { found: found.get(..super::COPIES_MAX).unwrap_or(found), snapshot };
    let mut strays = Vec::new();
    strip_headers(&mut head.headers, &eye, &mut strays);
    strip_cookies(&mut head.headers, &eye, &mut strays);
    head.query.retain(|pair| {
        let seen = eye.sees(pair.raw()) || eye.sees(pair.raw_value());
        let stray = seen || eye.knows_pair(pair);
        if stray {
            let name = KNOWN_QUERY.into_iter().find(|name| pair.resembles(name));
            strays.push(seen.then_some(Place::Query(name)));
        }
        !stray
    });
    if eye.sees_across(b'&', head.query.as_str().as_bytes()) {
        head.query.retain(|_| false);
        strays.push(Some(Place::Query(None)));
    }
    if let Ask::WebSocket(opening) = &mut head.ask {
        let seen = opening.offer.drop_labels(|label| eye.sees(label));
        let known = opening.offer.drop_labels(|label| eye.knows(label));
        strays.extend(std::iter::repeat_n(Some(Place::Subprotocol), seen));
        strays.extend(std::iter::repeat_n(None, known));
    }
    strays
}

/// Removes whatever Google reads a credential from or learns the client by.
pub(super) fn withhold_from_gemini(head: &mut Head) {
    withhold(head, gemini::withholds_header);
    if let Ask::WebSocket(opening) = &mut head.ask {
        opening.offer.keep_from_upstream();
    }
}

/// Removes whatever OpenAI reads a credential from, learns the client by, or bills another by.
pub(super) fn withhold_from_openai(head: &mut Head) {
    withhold(head, openai::withholds_header);
    openai::drop_beta(&mut head.headers);
    if let Ask::WebSocket(opening) = &mut head.ask {
        opening.offer.pass_only(openai::LABEL);
    }
}

fn withhold(head: &mut Head, withholds: fn(&str) -> bool) {
    let names: Vec<HeaderName> = head.headers.keys().filter(|name| withholds(name.as_str())).cloned().collect();
    for name in names {
        if let Entry::Occupied(entry) = head.headers.entry(name) {
            let _ = entry.remove_entry_mult();
        }
    }
    for name in KNOWN_QUERY {
        let _ = head.query.take(name);
    }
}

/// Recognises credentials: those that this request presented, those that look like Keymoat's, and known secrets.
struct Eye<'a> {
    found: &'a [Found],
    snapshot: &'a Snapshot,
}

impl Eye<'_> {
    fn sees(&self, text: &[u8]) -> bool {
        disguise::any_reading(text, &mut |reading| {
            // Compared and forgotten.
            format::is_in(reading) || self.found.iter().any(|found| disguise::holds(reading, found.credential.expose()))
        })
    }

    /// Whether a credential that has the `separator` in it stands in `text`, where it was cut in two by looking at what
    /// is between the separators.
    fn sees_across(&self, separator: u8, text: &[u8]) -> bool {
        // Searched for one byte and forgotten.
        self.found.iter().any(|found| found.credential.expose().contains(&separator)) && self.sees(text)
    }

    /// Whether the value, decoded up to three times, is a secret that the snapshot knows.
    fn knows(&self, value: &[u8]) -> bool {
        if self.snapshot.keys.is_empty() {
            return false;
        }
        let mut reading = Zeroizing::new(value.trim_ascii().to_vec());
        for _ in 0..=LEVELS {
            let plausible = (NEEDLE_MIN..=super::CREDENTIAL_BYTES_MAX).contains(&reading.len());
            if plausible && self.snapshot.keys.contains_key(&self.snapshot.pepper.digest(&reading)) {
                return true;
            }
            if !reading.contains(&b'%') {
                return false;
            }
            reading = Zeroizing::new(percent_decode(&reading).collect());
        }
        false
    }

    fn knows_named(&self, name: &[u8], value: &[u8]) -> bool {
        if !is_telling(name) {
            return false;
        }
        let behind_scheme = value.iter().position(|byte| *byte == b' ').and_then(|at| value.get(at..));
        self.knows(value) || behind_scheme.is_some_and(|value| self.knows(value))
    }

    fn knows_pair(&self, pair: Pair<'_>) -> bool {
        self.knows_named(&pair.name(), pair.raw_value())
    }
}

fn is_telling(name: &[u8]) -> bool {
    TELLING.iter().any(|word| name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes())))
}

fn strip_headers(headers: &mut HeaderMap, eye: &Eye<'_>, strays: &mut Vec<Option<Place>>) {
    // A name is in lower case, which hides no credential of Keymoat's shape.
    let seen =
        |name: &HeaderName, value: &HeaderValue| eye.sees(value.as_bytes()) || eye.sees(name.as_str().as_bytes());
    let known = |name: &HeaderName, value: &HeaderValue| eye.knows_named(name.as_str().as_bytes(), value.as_bytes());
    let mut names: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, _)| **name != CONTENT_LENGTH && **name != COOKIE)
        .filter(|(name, value)| seen(name, value) || known(name, value))
        .map(|(name, _)| name.clone())
        .collect();
    names.dedup();
    for name in names {
        let Entry::Occupied(entry) = headers.entry(&name) else { continue };
        let values: Vec<HeaderValue> = entry.remove_entry_mult().1.collect();
        for value in values {
            if seen(&name, &value) {
                strays.push(Some(Place::Header(KNOWN_HEADERS.into_iter().find(|known| name == *known))));
            } else if known(&name, &value) {
                strays.push(None);
            } else {
                headers.append(&name, value);
            }
        }
    }
}

/// Cookies are looked at one by one; the others stay as they were written.
fn strip_cookies(headers: &mut HeaderMap, eye: &Eye<'_>, strays: &mut Vec<Option<Place>>) {
    let Some(cookies) = headers.get(COOKIE) else { return };
    let before = strays.len();
    let kept: Vec<&[u8]> = cookies
        .as_bytes()
        .split(|byte| *byte == b';')
        .filter(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            let seen = eye.sees(pair) || eye.sees(value);
            let stray = seen || eye.knows_named(name, value);
            if stray {
                strays.push(seen.then_some(Place::Cookie));
            }
            !stray
        })
        .collect();
    let joined = kept.join(&b";"[..]);
    if eye.sees_across(b';', &joined) {
        strays.push(Some(Place::Cookie));
        headers.remove(COOKIE);
        return;
    }
    if strays.len() == before {
        return;
    }
    match HeaderValue::from_bytes(joined.trim_ascii()) {
        Ok(value) if !value.is_empty() => headers.insert(COOKIE, value),
        _ => headers.remove(COOKIE),
    };
}
