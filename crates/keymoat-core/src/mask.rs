//! Masks one known secret in what an upstream sends: as it is, in base64 and in hexadecimal, and each of these with any of its
//! characters escaped as URLs and JSON do.
//!
//! Some servers repeat the key that they refuse. Nothing else is looked for: what an upstream says is not ours to read.

use base64::prelude::*;
use memchr::memchr3_iter;
use zeroize::Zeroizing;

use crate::disguise::NEEDLE_MIN;
use crate::secret::Secret;

/// What stands in the secret's place.
const SHOWN: &[u8] = b"[redacted]";

/// How often a `%` may be escaped again, as in `%252561`.
const ENCODED_AGAIN_MAX: usize = 2;
/// How many backslashes JSON in JSON puts before a character.
const BACKSLASHES_MAX: usize = 4;

/// The forms of one secret, if it has at least [`Mask::SECRET_BYTES_MIN`] bytes.
#[derive(Debug, Default)]
pub struct Mask {
    forms: Vec<Secret>,
}

/// A text that comes in parts, with the end held back that could be the beginning of the secret.
#[derive(Default)]
pub struct Masking {
    held: Zeroizing<Vec<u8>>,
}

/// Whether something is written at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// So many bytes are it.
    In(usize),
    /// The text ends before it does.
    Cut,
    /// Something else is.
    Not,
}

impl Mask {
    /// A shorter secret has no mask: it would be found in ordinary words.
    pub const SECRET_BYTES_MIN: usize = NEEDLE_MIN;

    /// A mask that finds nothing.
    pub const NONE: Self = Self { forms: Vec::new() };

    /// Of a secret.
    #[must_use]
    pub fn of(secret: &Secret) -> Self {
        if secret.len() < Self::SECRET_BYTES_MIN {
            return Self::NONE;
        }
        // Its forms are secrets again.
        let raw = secret.expose();
        let mut forms: Vec<Vec<u8>> = vec![raw.to_vec(), hexadecimal(raw), hexadecimal(raw).to_ascii_uppercase()];
        for offset in 0..3 {
            forms.push(base64_inside(&BASE64_STANDARD_NO_PAD, raw, offset));
            forms.push(base64_inside(&BASE64_URL_SAFE_NO_PAD, raw, offset));
        }
        forms.sort_unstable();
        forms.dedup();
        Self { forms: forms.into_iter().map(Secret::new).collect() }
    }

    /// Whether it finds nothing, because there is no secret.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.forms.is_empty()
    }

    /// The text with the secret masked; `None` if it is not in it.
    #[must_use]
    pub fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.first(text)?;
        let mut masking = Masking::default();
        let mut shown = masking.push(self, text);
        shown.append(&mut masking.finish());
        Some(shown)
    }

    /// The first place where a form stands, and its length; of two at one place the longer.
    fn first(&self, text: &[u8]) -> Option<(usize, usize)> {
        let places = self.forms.iter().filter_map(|form| {
            // Searched for and forgotten.
            let form = form.expose();
            starts(form, text).find_map(|at| match written(form, text.get(at..).unwrap_or_default()) {
                Written::In(length) => Some((at, length)),
                Written::Cut | Written::Not => None,
            })
        });
        places.min_by_key(|(at, length)| (*at, usize::MAX - length))
    }

    /// How many bytes at the end could be the beginning of a form.
    fn unfinished(&self, text: &[u8]) -> usize {
        let begins = self.forms.iter().filter_map(|form| {
            // Compared and forgotten.
            let form = form.expose();
            starts(form, text).find(|at| written(form, text.get(*at..).unwrap_or_default()) == Written::Cut)
        });
        begins.min().map_or(0, |at| text.len() - at)
    }
}

impl Masking {
    /// Takes the next part and gives what may be shown by now, which can be nothing.
    #[must_use]
    pub fn push(&mut self, mask: &Mask, part: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(part);
        let mut shown = Vec::with_capacity(self.held.len());
        let mut rest = self.held.as_slice();
        while let Some((at, length)) = mask.first(rest) {
            shown.extend_from_slice(rest.get(..at).unwrap_or_default());
            shown.extend_from_slice(SHOWN);
            rest = rest.get(at + length..).unwrap_or_default();
        }
        let (sure, unsure) = rest.split_at(rest.len() - mask.unfinished(rest));
        shown.extend_from_slice(sure);
        self.held = Zeroizing::new(unsure.to_vec());
        shown
    }

    /// What was held back, once nothing follows.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.held)
    }

    /// Whether something is held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Where `form` could begin: at its first byte, or at an escape.
fn starts(form: &[u8], text: &[u8]) -> impl Iterator<Item = usize> {
    memchr3_iter(form.first().copied().unwrap_or_default(), b'%', b'\\', text)
}

/// Whether `text` begins with `form`, each byte as it is or escaped in any way. A secret may hold what looks like an escape, so every
/// reading is followed.
fn written(form: &[u8], text: &[u8]) -> Written {
    let (mut ends, mut cut) = (vec![0], false);
    for byte in form {
        let mut further = Vec::with_capacity(ends.len());
        for end in ends {
            let rest = text.get(end..).unwrap_or_default();
            if rest.first() == Some(byte) {
                further.push(end + 1);
            }
            match escaped(*byte, rest) {
                Written::In(length) => further.push(end + length),
                Written::Cut => cut = true,
                Written::Not => {}
            }
        }
        further.sort_unstable();
        further.dedup();
        ends = further;
    }
    match ends.into_iter().max() {
        Some(end) => Written::In(end),
        None if cut => Written::Cut,
        None => Written::Not,
    }
}

/// Whether `text` begins with an escape that means `byte`.
fn escaped(byte: u8, text: &[u8]) -> Written {
    match text {
        [] => Written::Cut,
        [b'%', digits @ ..] => percent(byte, digits),
        [b'\\', ..] => backslash(byte, text),
        _ => Written::Not,
    }
}

/// `61`, or `2561` where the `%` before it was encoded again.
fn percent(byte: u8, mut digits: &[u8]) -> Written {
    let mut length = 1;
    for _ in 0..=ENCODED_AGAIN_MAX {
        let value = match number(digits, 2) {
            Ok(value) => value,
            Err(other) => return other,
        };
        length += 2;
        if value == u32::from(byte) {
            return Written::In(length);
        }
        if value != u32::from(b'%') {
            return Written::Not;
        }
        digits = digits.get(2..).unwrap_or_default();
    }
    Written::Not
}

/// `\u0061`, `\x61`, `\/`, with more backslashes where JSON stands in JSON.
fn backslash(byte: u8, text: &[u8]) -> Written {
    let backslashes = text.iter().take(BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count();
    // One that is meant is written as two.
    if byte == b'\\' && backslashes > 1 {
        return Written::In(2);
    }
    let (kind, digits) = match text.get(backslashes..) {
        Some([kind, digits @ ..]) => (*kind, digits),
        _ => return Written::Cut,
    };
    let width = match kind {
        b'u' => 4,
        b'x' => 2,
        _ if kind == byte && !byte.is_ascii_alphanumeric() => return Written::In(backslashes + 1),
        _ => return Written::Not,
    };
    match number(digits, width) {
        Ok(value) if value == u32::from(byte) => Written::In(backslashes + 1 + width),
        Ok(_) => Written::Not,
        Err(other) => other,
    }
}

/// The number that so many hexadecimal digits are.
fn number(digits: &[u8], width: usize) -> Result<u32, Written> {
    let digits = digits.get(..width.min(digits.len())).unwrap_or_default();
    let mut value = 0;
    for digit in digits {
        value = value * 16 + char::from(*digit).to_digit(16).ok_or(Written::Not)?;
    }
    if digits.len() == width { Ok(value) } else { Err(Written::Cut) }
}

fn hexadecimal(raw: &[u8]) -> Vec<u8> {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    raw.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The characters that base64 always has for `raw` when `offset` other bytes stand before it in its quantum.
fn base64_inside(alphabet: &impl Engine, raw: &[u8], offset: usize) -> Vec<u8> {
    let encoded = alphabet.encode([vec![0; offset].as_slice(), raw].concat());
    let (start, end) = ((offset * 8).div_ceil(6), (offset + raw.len()) * 8 / 6);
    encoded.as_bytes().get(start..end).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use memchr::memmem;
    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "real/Key+with=odd~chars.0123";

    fn mask() -> Mask {
        Mask::of(&Secret::from(SECRET))
    }

    fn masked(text: &str) -> Option<String> {
        mask().masked(text.as_bytes()).map(|shown| String::from_utf8(shown).expect("text stays text"))
    }

    #[test]
    fn the_secret_is_found_in_all_its_forms() {
        let escaped = percent_encode(SECRET.as_bytes(), NON_ALPHANUMERIC).to_string();
        let component = "real%2FKey%2Bwith%3Dodd~chars.0123";
        for form in
            [SECRET, &escaped, &escaped.to_lowercase().replace("key", "Key"), component, &SECRET.replace('/', "\\/")]
        {
            assert_eq!(masked(&format!("a{form}b{form}")).as_deref(), Some("a[redacted]b[redacted]"), "{form}");
        }
        for before in ["", "u", "u:", "usr:", "Bearer "] {
            for after in ["", "x", "xy"] {
                let text = format!("{before}{SECRET}{after}");
                for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
                    let shown = masked(&encoded).expect("found");
                    assert!(shown.contains("[redacted]") && shown.len() < encoded.len(), "{shown}");
                }
            }
        }
    }

    #[test]
    fn the_secret_is_found_however_its_characters_are_escaped() {
        let each = |spell: fn(u8) -> String| SECRET.bytes().map(spell).collect::<String>();
        let everything = each(|byte| format!("%{byte:02x}"));
        for form in [
            everything.clone(),
            everything.to_uppercase(),
            everything.replace('%', "%25"),
            everything.replace('%', "%2525"),
            each(|byte| format!("\\u{byte:04x}")),
            each(|byte| format!("\\\\u{byte:04X}")),
            each(|byte| format!("\\x{byte:02x}")),
            each(|byte| format!("{byte:02x}")),
            each(|byte| format!("{byte:02X}")),
            SECRET.replace('/', "\\\\/").replace('K', "%4b"),
            SECRET.replacen("re", "%72e", 1),
            percent_encode(BASE64_STANDARD_NO_PAD.encode(SECRET).as_bytes(), NON_ALPHANUMERIC).to_string(),
        ] {
            let shown = masked(&format!("a {form} b")).unwrap_or_else(|| panic!("not found in `{form}`"));
            assert!(shown.starts_with("a [redacted]") && shown.ends_with(" b") && shown.len() < 20, "{shown}");
        }
    }

    #[test]
    fn escapes_in_the_secret_itself_are_found() {
        for secret in ["100%25of\\it/all", "ends-in-a-%", "ends-in-a-\\"] {
            let mask = Mask::of(&Secret::from(secret));
            assert_eq!(mask.masked(secret.as_bytes()).as_deref(), Some(SHOWN), "{secret}");
            let escaped = percent_encode(secret.as_bytes(), NON_ALPHANUMERIC).to_string();
            assert_eq!(mask.masked(escaped.as_bytes()).as_deref(), Some(SHOWN), "{escaped}");
            let json = secret.replace('\\', "\\\\");
            assert_eq!(mask.masked(json.as_bytes()).as_deref(), Some(SHOWN), "{json}");
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in ["", "real/Key+with=odd~chars.012", "REAL/KEY+WITH=ODD~CHARS.0123", "key"] {
            assert_eq!(masked(text), None, "{text}");
        }
        assert!(Mask::of(&Secret::from("short")).masked(b"short").is_none());
        assert!(Mask::NONE.masked(b"anything").is_none());
        assert!(!format!("{:?}", mask()).contains("real"));
    }

    #[test]
    fn only_what_could_be_its_beginning_is_held_back() {
        let mask = mask();
        let mut masking = Masking::default();
        assert_eq!(masking.push(&mask, b"data: x\n\n"), b"data: x\n\n");
        assert_eq!(masking.push(&mask, b"a real/"), b"a ");
        assert!(masking.is_holding());
        assert_eq!(masking.push(&mask, b"time"), b"real/time");
        assert_eq!(masking.push(&mask, b"real/Key"), b"");
        assert_eq!(masking.finish(), b"real/Key");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_text_is_cut(
            pieces in proptest::collection::vec("(real/Key\\+with=odd~chars\\.0123|%72eal%2fKey\\+with\\\\u003dodd~chars\\.012%33|real/Key|re|%|%2|\\\\|%2F|[a-z]{0,5})", 0..12),
            cuts in proptest::collection::vec(1_usize..9, 1..40),
        ) {
            let text = pieces.concat();
            let mask = mask();
            let mut masking = Masking::default();
            let (mut shown, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, behind) = rest.split_at((*cut).min(rest.len()));
                shown.extend(masking.push(&mask, part));
                rest = behind;
            }
            shown.extend(masking.finish());
            let whole = mask.masked(text.as_bytes()).unwrap_or_else(|| text.clone().into_bytes());
            prop_assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&whole));
            prop_assert!(memmem::find(&shown, SECRET.as_bytes()).is_none());
        }
    }
}
