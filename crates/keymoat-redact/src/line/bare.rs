//! What tells by itself: prefixes, JSON Web Tokens, scheme words, options of a command line.

use base64::prelude::*;

use super::end::{self, Around};
use super::header::bare;
use super::value::string_start;
use super::{LineScan, Site};
use crate::finding::{Carrier, Checksum, Confidence, End, Kind};
use crate::names::{Letters, before, byte, is_behind_escape};
use crate::shape;
use crate::suspect::option_name;
use crate::table::{Check, Letters as Alphabet, MARKERS, PREFIXES, PrefixRule, Scope};
use crate::work;

/// So many markers of one word are looked at with all that stands behind them, which keeps time linear; behind others,
/// so many bytes tell what they announce.
const MARKERS_TRIED: usize = 4;
const SECRET: usize = 128;

/// How much of a JWT's header is decoded.
const JWT_HEADER: usize = 4096;

impl LineScan<'_> {
    /// A rare string. Gives where to go on.
    #[inline(never)]
    pub(super) fn at_rare(&mut self, level: usize, at: usize) -> usize {
        let rest = self.text(level).get(at..).unwrap_or_default();
        match rest {
            [b'e', b'y', b'J', ..] => self.at_jwt(level, at),
            [b'e' | b'E', b'a' | b'A', b'r' | b'R', b'e' | b'E', b'r' | b'R', b' ', ..] => self.at_bearer(level, at),
            [b'a', b's', b'i', b'c', b' ', ..] => self.at_basic(level, at),
            [b'-', b'u', b' ', ..] => self.at_user_option(level, at, at + 3),
            _ if rest.starts_with(b"i-key.") || rest.starts_with(b"earer.") || rest.starts_with(b"ecret.") => {
                self.at_marker(level, at)
            }
            _ => self.at_prefix(level, at),
        }
    }

    fn at_jwt(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        if at < self.jwt_until || is_token_byte(before(text, at)) && !is_behind_escape(text, at) {
            return at + 1;
        }
        let rest = text.get(at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| is_token_byte(**byte) || **byte == b'.').count();
        let token = rest.get(..length).unwrap_or_default();
        let token =
            token.get(..token.iter().rposition(|byte| *byte != b'.').map_or(0, |last| last + 1)).unwrap_or_default();
        self.jwt_until = at + length;
        work::passed(length);
        let header = token.split(|byte| *byte == b'.').next().unwrap_or_default();
        if !names_algorithm(header) {
            return at + 1;
        }
        let end = at + token.len();
        self.report(level, at..end, &bare(Kind::Jwt, Confidence::Named, level), End::Delimiter);
        end
    }

    fn at_bearer(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        let start = end::blank(text, at + 6);
        if !matches!(before(text, at), b'b' | b'B') || before(text, at - 1).is_ascii_alphanumeric() {
            return at + 1;
        }
        let end = end::unquoted(text, start, Around::Word);
        if !shape::is_secret(text.get(start..end).unwrap_or_default()) {
            return at + 1;
        }
        self.report(level, start..end, &bare(Kind::Authorization, Confidence::Named, level), End::Delimiter);
        end
    }

    fn at_basic(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        let start = end::blank(text, at + 5);
        if !matches!(before(text, at), b'b' | b'B') || before(text, at - 1).is_ascii_alphanumeric() {
            return at + 1;
        }
        let end = end::unquoted(text, start, Around::Word);
        let value = text.get(start..end).unwrap_or_default();
        let plain = value.iter().position(|byte| *byte == b'=').and_then(|end| value.get(..end)).unwrap_or(value);
        let decoded = BASE64_STANDARD_NO_PAD.decode(plain).unwrap_or_default();
        if value.len() < 8 || !decoded.contains(&b':') {
            return at + 1;
        }
        self.report(level, start..end, &bare(Kind::Authorization, Confidence::Named, level), End::Delimiter);
        end
    }

    fn at_marker(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        let head = text.get(..at).unwrap_or_default();
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
        let start = at - head.iter().rev().take(64).take_while(is_part).count();
        let Some(entry) = text.get(start..) else { return at + 1 };
        let Some(marker) = MARKERS.iter().find(|marker| entry.starts_with(marker.as_bytes())) else { return at + 1 };
        if before(text, start) == b'.' {
            return at + 1;
        }
        let value = start + marker.len();
        if value >= self.markers.end {
            self.markers = value..end::unquoted(text, value, Around::Word);
            self.markers_tried = 0;
        }
        let end = self.markers.end;
        self.markers_tried += 1;
        let seen = if self.markers_tried > MARKERS_TRIED { end.min(value + SECRET) } else { end };
        if !shape::is_secret(text.get(value..seen).unwrap_or_default()) {
            return at + 1;
        }
        let site = Site { carrier: Carrier::Subprotocol, ..bare(Kind::Subprotocol, Confidence::Named, level) };
        self.report(level, value..end, &site, End::Delimiter);
        end
    }

    fn at_prefix(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        // `k_live_` is the rare part of `sk_live_` and `rk_live_`.
        let starts = [at, at.saturating_sub(1)];
        let found = starts.into_iter().find_map(|start| longest_prefix(text.get(start..)?).map(|rule| (start, rule)));
        let Some((start, rule)) = found else { return at + 1 };
        if !stands_free(text, start, rule) {
            return at + 1;
        }
        let body = start + rule.prefix.len();
        if rule.digit && body < self.no_digit_until {
            return at + 1;
        }
        let rest = text.get(body..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| fits(rule.letters, **byte)).count();
        work::passed(length);
        let value = rest.get(..length).unwrap_or_default();
        if length < rule.least {
            return at + 1;
        }
        if rule.digit && !value.iter().any(u8::is_ascii_digit) {
            // No prefix further in changes that.
            self.no_digit_until = body + length;
            return at + 1;
        }
        if shape::is_masked(value) {
            return at + 1;
        }
        let checksum = checksum(rule, value);
        self.report_checked(
            level,
            start..body + length,
            &bare(rule.kind, Confidence::Named, level),
            End::Delimiter,
            checksum,
        );
        body + length
    }

    /// `--api-key VALUE`, and the first line of PEM.
    #[inline(never)]
    pub(super) fn at_dashes(&mut self, level: usize, at: usize) -> usize {
        let text = self.text(level);
        let start = at - 1;
        let dashes =
            text.get(..at + 1).unwrap_or_default().iter().rev().take(5).take_while(|byte| **byte == b'-').count();
        if let Some(resume) = (dashes == 5).then(|| self.at_pem(level, at - 4)).flatten() {
            return resume;
        }
        if before(text, start) == b'-' {
            return at + 1;
        }
        let rest = text.get(at + 1..).unwrap_or_default();
        let name = option_name(rest);
        let behind = at + 1 + name.len();
        if name.is_empty()
            || name.starts_with(b"-")
            || byte(text, behind) != b' '
            || before(text, start).is_ascii_alphanumeric()
        {
            return at + 1;
        }
        if matches!(name, b"user" | b"proxy-user") {
            return self.at_user_option(level, start, behind + 1);
        }
        let Some(meaning) = self.rules.names.look_up(&Letters::of(name)) else { return behind };
        let site = Site {
            kind: meaning.kind,
            carrier: Carrier::Flag,
            confidence: Confidence::Named,
            name: self.layers.get(level).map(|layer| layer.raw(at + 1..behind)),
            depth: u8::try_from(level).unwrap_or(u8::MAX),
        };
        let value = end::blank(text, behind);
        if let Some(quoted) = end::quoted(text, string_start(text, value)) {
            self.mask(
                level,
                quoted.start..quoted.end,
                &site,
                meaning,
                End::Quote(quoted.quote, 0),
                meaning.scope == Scope::Query,
            );
            return quoted.behind();
        }
        let word = end::unquoted(text, value, Around::Word);
        let argument = text.get(value..word).unwrap_or_default();
        if argument.starts_with(b"-") || shape::is_placeholder(argument) {
            return behind;
        }
        let help = value > behind + 1
            || !(shape::is_unlike_words(argument) || meaning.scope == Scope::Anywhere && is_last_argument(text, word));
        if help && !shape::is_secret(argument) {
            return behind;
        }
        // A scheme word may stand in front.
        let from = self.scheme(level, value..text.len()).filter(|from| *from > word).unwrap_or(value);
        let end = if from > value { end::unquoted(text, from, Around::Word) } else { word };
        self.report(level, from..end, &site, End::Delimiter);
        end
    }

    /// `-u user:password`
    fn at_user_option(&mut self, level: usize, at: usize, value: usize) -> usize {
        let text = self.text(level);
        // `--user` has a core of its own; `-u` has one only behind these.
        let is_long = byte(text, at + 1) == b'-';
        if !is_long && !matches!(before(text, at), b' ' | b'"') {
            return at + 1;
        }
        let start = end::blank(text, value);
        let (start, end) = match end::quoted(text, start) {
            Some(quoted) => (quoted.start, quoted.end),
            None => (start, end::unquoted(text, start, Around::Word)),
        };
        let argument = text.get(start..end).unwrap_or_default();
        let Some(colon) = shape::outside_marks(b':', argument) else { return at + 1 };
        let password = argument.get(colon + 1..).unwrap_or_default();
        let is_id = password.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
        if is_id || shape::is_placeholder(password) || password.starts_with(b"//") {
            return at + 1;
        }
        let site = Site { carrier: Carrier::Flag, ..bare(Kind::Password, Confidence::Named, level) };
        self.report(level, start + colon + 1..end, &site, End::Delimiter);
        end
    }
}

/// The prefixes that begin with two bytes of this hash, as bits.
const BY_HEAD: [u64; 256] = {
    let mut by_head = [0; 256];
    let mut index = 0;
    while index < PREFIXES.len() {
        let prefix = PREFIXES[index].prefix.as_bytes();
        by_head[head(prefix[0], prefix[1]) as usize] |= 1 << index;
        index += 1;
    }
    by_head
};

const fn head(first: u8, second: u8) -> u8 {
    first.wrapping_mul(31) ^ second
}

/// The longest prefix of the table that a text begins with.
fn longest_prefix(text: &[u8]) -> Option<&'static PrefixRule> {
    let head = usize::from(head(byte(text, 0), byte(text, 1)));
    let mut left = BY_HEAD.get(head).copied().unwrap_or(0);
    let mut longest: Option<&PrefixRule> = None;
    while left != 0 {
        let rule = PREFIXES.get(left.trailing_zeros() as usize)?;
        left &= left - 1;
        if text.starts_with(rule.prefix.as_bytes())
            && longest.is_none_or(|longest| longest.prefix.len() <= rule.prefix.len())
        {
            longest = Some(rule);
        }
    }
    longest
}

/// Whether a command line goes on with an option or an operator, or ends.
fn is_last_argument(text: &[u8], at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default().trim_ascii_start();
    matches!(rest.first(), None | Some(b'-' | b'|' | b'>' | b'<' | b'&' | b';' | b'"' | b'\'' | b')' | b'\\' | b']'))
        || rest.starts_with(b"http")
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn stands_free(text: &[u8], at: usize, rule: &PrefixRule) -> bool {
    let last = before(text, at);
    if is_behind_escape(text, at) {
        return true;
    }
    !last.is_ascii_alphanumeric() && (rule.prefix.len() > 3 || !matches!(last, b'_' | b'-'))
}

const fn fits(alphabet: Alphabet, byte: u8) -> bool {
    match alphabet {
        Alphabet::Base62 => byte.is_ascii_alphanumeric(),
        Alphabet::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        Alphabet::Base64Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
        Alphabet::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
    }
}

/// Whether a JWT's first part is the beginning of a JSON object that names an algorithm.
fn names_algorithm(part: &[u8]) -> bool {
    let part = part.get(..part.len().min(JWT_HEADER)).unwrap_or_default();
    let whole = part.get(..part.len() / 4 * 4).unwrap_or_default();
    let decoded =
        BASE64_URL_SAFE_NO_PAD.decode(part).or_else(|_| BASE64_URL_SAFE_NO_PAD.decode(whole)).unwrap_or_default();
    decoded.starts_with(b"{") && memchr::memmem::find(&decoded, b"\"alg\"").is_some()
}

fn checksum(rule: &PrefixRule, value: &[u8]) -> Checksum {
    let (digits, payload) = match rule.check {
        Check::None => return Checksum::None,
        Check::CrcWithPrefix | Check::CrcWithoutPrefix => match value.split_last_chunk::<6>() {
            Some((payload, digits)) => (digits, payload),
            None => return Checksum::Fails,
        },
    };
    let mut crc = crc32fast::Hasher::new();
    if rule.check == Check::CrcWithPrefix {
        crc.update(rule.prefix.as_bytes());
    }
    crc.update(payload);
    if base62(crc.finalize()) == *digits { Checksum::Holds } else { Checksum::Fails }
}

/// A CRC as six digits, `0-9A-Za-z`.
fn base62(mut value: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS.get((value % 62) as usize).copied().unwrap_or(b'0');
        value /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_tells_a_key_from_a_mistyped_one() {
        let rule = PREFIXES.iter().find(|rule| rule.prefix == "ghp_").expect("in the table");
        let payload = b"0123456789abcdefghijABCDEFGHIJ";
        let mut value = payload.to_vec();
        value.extend(base62(crc32fast::hash(payload)));
        assert_eq!(checksum(rule, &value), Checksum::Holds);
        value[3] ^= 1;
        assert_eq!(checksum(rule, &value), Checksum::Fails);
    }

    #[test]
    fn only_a_jwt_names_an_algorithm() {
        assert!(names_algorithm(b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"));
        assert!(names_algorithm(b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXV"));
        assert!(!names_algorithm(b"eyJhIjoxfQ"));
    }
}
