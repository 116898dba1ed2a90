//! Paths: the canonical form that routes see, and the masked form that records show.

use std::fmt::Write;

use crate::disguise;
use crate::foreign;
use crate::format;
use crate::refusal::{Code, Refusal};
use crate::secret::Secret;

/// A path in a record is at most this long, in bytes.
const SHOWN_BYTES_MAX: usize = 512;

/// What stands in a record where a credential stood.
const MASK: &str = "[redacted]";

/// What stands in a record for a path that cannot be shown in part.
pub(crate) const HIDDEN: &str = "/[redacted]";

/// Brings a request's path into the one form that routes are compared with and that goes upstream.
///
/// Runs of `/` become one (Google's JavaScript SDK requests `//ws/…`). An escaped character that may stand in a segment
/// unescaped is unescaped, other escapes are written in upper case, and characters that must be escaped are
/// (RFC 3986 sections 3.3 and 6.2.2), so that no spelling leads past a route.
///
/// # Errors
/// `request_invalid` for whatever servers read in different ways: dot segments, escaped `/`, `\` or control characters
/// (also escaped twice), `\`, non-ASCII bytes, broken escapes, escapes that are not UTF-8, and `;`. Servlet containers
/// cut a segment at `;`, others do not; none of the known SDKs sends one. An escaped `%3B` passes.
pub fn canonical(raw: &str) -> Result<String, Refusal> {
    if !raw.starts_with('/') {
        return Err(invalid("the path must start with `/`"));
    }
    let mut path = String::with_capacity(raw.len());
    let mut escaped = Vec::new();
    let mut rest = raw.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        let decoded = if byte == b'%' { escape(&mut rest)? } else { literal(byte)? };
        // UTF-8 is judged over whole characters, whose bytes stand next to each other.
        if decoded >= 0x80 {
            escaped.push(decoded);
        } else {
            finish_character(&mut escaped)?;
        }
        match decoded {
            b'/' if path.ends_with('/') => {}
            // A plus is a space to some servers when it is not escaped; it stays as it was written.
            b'+' if byte == b'%' => path.push_str("%2B"),
            b'/' | b'+' => path.push(char::from(decoded)),
            decoded if may_stand(decoded) => path.push(char::from(decoded)),
            decoded => {
                let _ = write!(path, "%{decoded:02X}");
            }
        }
    }
    finish_character(&mut escaped)?;
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(invalid("the path has a `.` or `..` segment"));
    }
    if hides_a_separator(&path) {
        return Err(invalid("the path has a separator that is escaped twice"));
    }
    Ok(path)
}

/// The path as a record shows it: credentials masked, control characters escaped, cut at 512 bytes.
///
/// A segment in which something of Keymoat's shape, of another provider's, or the `presented` credential can be read, in
/// whatever disguise, is replaced as a whole, and the whole path for a credential that segments can cut in two. Takes any
/// text, also one that [`canonical`] refused; what follows a `?` is dropped.
#[must_use]
pub fn shown(path: &str, presented: Option<&Secret>) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if presented.is_some_and(|secret| may_span_segments(secret) && holds(path, secret)) {
        return String::from(HIDDEN);
    }
    let mut shown = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            shown.push('/');
        }
        if reveals(segment.as_bytes(), presented) {
            shown.push_str(MASK);
        } else {
            push_escaped(&mut shown, segment);
        }
    }
    if shown.len() > SHOWN_BYTES_MAX {
        shown.truncate(shown.floor_char_boundary(SHOWN_BYTES_MAX - '…'.len_utf8()));
        shown.push('…');
    }
    shown
}

/// Whether `presented` can be read in the path. A short credential says nothing there: `/api/test` is not the key
/// `test`.
pub(crate) fn holds(path: &str, presented: &Secret) -> bool {
    // Compared and forgotten.
    let read = |reading: &[u8]| disguise::holds(reading, presented.expose());
    presented.len() >= disguise::NEEDLE_MIN && disguise::any_reading(path.as_bytes(), &mut { read })
}

fn reveals(segment: &[u8], presented: Option<&Secret>) -> bool {
    disguise::any_reading(segment, &mut |reading| {
        // The presented one is compared and forgotten.
        let is_presented = |secret: &Secret| disguise::holds(reading, secret.expose());
        format::is_in(reading) || foreign::is_in(reading) || presented.is_some_and(is_presented)
    })
}

/// Whether there can be a slash inside a copy: as it is, or in base64, where of visible ASCII only `?` makes one.
fn may_span_segments(secret: &Secret) -> bool {
    // Looked at byte by byte and forgotten.
    secret.expose().iter().any(|byte| matches!(byte, b'/' | b'?') || !byte.is_ascii_graphic())
}

fn push_escaped(shown: &mut String, segment: &str) {
    for character in segment.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
}

fn literal(byte: u8) -> Result<u8, Refusal> {
    match byte {
        0..=0x20 | 0x7f => Err(invalid("the path has a control character")),
        0x80.. => Err(invalid("the path has a character that is not ASCII: percent-encode it")),
        b'\\' => Err(invalid("the path has a `\\`")),
        b';' => Err(invalid("the path has a `;`: path parameters are not taken, write `%3B` if it is part of a name")),
        _ => Ok(byte),
    }
}

fn escape(rest: &mut impl Iterator<Item = u8>) -> Result<u8, Refusal> {
    let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(), digit()) else {
        return Err(invalid("the path has a broken percent escape"));
    };
    match (high * 16 + low) as u8 {
        0..=0x1f | 0x7f => Err(invalid("the path has an escaped control character")),
        b'/' | b'\\' => Err(invalid("the path has an escaped `/` or `\\`")),
        byte => Ok(byte),
    }
}

/// Whether a byte may stand in a segment as it is (`pchar`, RFC 3986 section 3.3). `;` may, but is kept escaped.
const fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'')
        || matches!(byte, b'(' | b')' | b'*' | b',' | b'=')
}

fn finish_character(escaped: &mut Vec<u8>) -> Result<(), Refusal> {
    if std::str::from_utf8(escaped).is_err() {
        return Err(invalid("the path has percent escapes that are not UTF-8"));
    }
    escaped.clear();
    Ok(())
}

/// Whether a server that decodes twice would find a dot, a separator or a NUL.
fn hides_a_separator(path: &str) -> bool {
    path.match_indices("%25").any(|(at, found)| {
        let code = path.as_bytes().get(at + found.len()..at + found.len() + 2).unwrap_or_default();
        [b"2e", b"2f", b"5c", b"00"].iter().any(|bad| code.eq_ignore_ascii_case(*bad))
    })
}

const fn invalid(detail: &'static str) -> Refusal {
    Refusal { code: Code::RequestInvalid, detail: std::borrow::Cow::Borrowed(detail), retry_after_secs: None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(raw: &str) -> Option<String> {
        canonical(raw).ok()
    }

    #[test]
    fn a13_slashes_collapse_and_spellings_meet() {
        for (raw, expected) in [
            ("/", "/"),
            ("//ws/google.ai", "/ws/google.ai"),
            ("///evil//x/", "/evil/x/"),
            ("/%61pi/%7eme", "/api/~me"),
            ("/models/m:generateContent", "/models/m:generateContent"),
            ("/models/m%3agenerateContent", "/models/m:generateContent"),
            ("/a%20b", "/a%20b"),
            ("/%c3%a4", "/%C3%A4"),
            ("/a%3bb", "/a%3Bb"),
            ("/a+b%2bc", "/a+b%2Bc"),
            ("/a[0]|{x}", "/a%5B0%5D%7C%7Bx%7D"),
            ("/100%25", "/100%25"),
            ("/.well-known/...", "/.well-known/..."),
        ] {
            assert_eq!(path(raw).as_deref(), Some(expected), "{raw}");
        }
    }

    #[test]
    fn a13_what_servers_read_in_different_ways_is_refused() {
        for raw in [
            "",
            "*",
            "ws",
            "/a/../b",
            "/a/./b",
            "/..",
            "/%2e%2e/x",
            "/.%2E/x",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a\u{1}",
            "/a b",
            "/ä",
            "/a;x/b",
            "/..;/x",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/%c3x",
            "/%c0%ae",
            "/%252e%252e/x",
            "/a%252Fb",
            "/a%255cb",
            "/a%2500",
        ] {
            let refusal = canonical(raw).expect_err(raw);
            assert_eq!(refusal.code, Code::RequestInvalid, "{raw}");
        }
    }

    #[test]
    fn a_record_shows_no_credential() {
        let secret = Secret::from("c2VjcmV0LWtleQ/x=");
        for hidden in [
            "km_0123456789abcdef",
            "auth_tokens/kmt_0123456789abcdefg",
            "%6bm_0123456789abcdef",
            "%256bm_0123456789abcdef",
            "a21fMDEyMzQ1Njc4OWFiY2RlZg",
            "AIzaSyA0b1C2d3E4f5G6h7I8j9K0l1M2n3O4p5Q",
            "%41IzaSyA0b1C2d3E4f5G6h7I8j9K0l1M2n3O4p5Q",
        ] {
            let shown = shown(&format!("/a/{hidden}/b?key=x"), None);
            assert!(shown.starts_with("/a/") && shown.ends_with("[redacted]/b"), "{shown}");
        }
        assert_eq!(shown("/a/c2VjcmV0LWtleQ/x=/b", Some(&secret)), "/[redacted]");
        assert_eq!(shown("/a/c2VjcmV0LWtleQ%2Fx%3D", Some(&secret)), "/[redacted]");
        let beside_another_copy = "/a/c2VjcmV0LWtleQ/x=&c2VjcmV0LWtleQ%2Fx=/b";
        assert_eq!(shown(beside_another_copy, Some(&secret)), "/[redacted]");
        let cut_in_base64 = "/a/c2VjcmV0LWtleS0/LS0";
        assert_eq!(shown(cut_in_base64, Some(&Secret::from("secret-key-?--"))), "/[redacted]");
        assert_eq!(shown("/a/secret-key/b", Some(&Secret::from("secret-key"))), "/a/[redacted]/b");
        assert_eq!(shown("/a/test/b", Some(&Secret::from("test"))), "/a/[redacted]/b");
        assert_eq!(shown("/a/testing", Some(&Secret::from("test"))), "/a/testing");
    }

    #[test]
    fn a_record_shows_no_control_characters_and_is_short() {
        assert_eq!(shown("/a\r\n\u{1b}[0m", None), "/a\\u{d}\\u{a}\\u{1b}[0m");
        let long = shown(&"/ä".repeat(1000), None);
        assert!(long.len() <= 512 && long.ends_with('…'));
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(raw in "/[ -~]{0,40}") {
            if let Ok(once) = canonical(&raw) {
                prop_assert_eq!(canonical(&once).ok(), Some(once.clone()));
                prop_assert!(!once.contains("//"));
            }
        }

        #[test]
        fn any_text_can_be_shown(raw in any::<String>()) {
            prop_assert!(shown(&raw, None).len() <= 512);
        }
    }
}
