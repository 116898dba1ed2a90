//! Masks one known secret in what an upstream sends: as it is, percent-encoded, and in base64.
//!
//! Some servers repeat the key that they refuse. Nothing else is looked for: what an upstream says is not ours to read.

use base64::prelude::*;
use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use crate::disguise::NEEDLE_MIN;
use crate::secret::Secret;

/// What stands in the secret's place.
const SHOWN: &[u8] = b"[redacted]";

/// What JavaScript's `encodeURIComponent` leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'!')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
/// What RFC 3986 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The forms of one secret, if it has at least [`Mask::SECRET_BYTES_MIN`] bytes.
#[derive(Debug, Default)]
pub struct Mask {
    forms: Vec<Secret>,
    longest: usize,
}

/// A text that comes in parts, with the end held back that could be the beginning of the secret.
#[derive(Default)]
pub struct Masking {
    held: Zeroizing<Vec<u8>>,
}

impl Mask {
    /// A shorter secret has no mask: it would be found in ordinary words.
    pub const SECRET_BYTES_MIN: usize = NEEDLE_MIN;

    /// A mask that finds nothing.
    pub const NONE: Self = Self { forms: Vec::new(), longest: 0 };

    /// Of a secret.
    #[must_use]
    pub fn of(secret: &Secret) -> Self {
        if secret.len() < Self::SECRET_BYTES_MIN {
            return Self::NONE;
        }
        // Its forms are secrets again.
        let raw = secret.expose();
        let mut forms: Vec<Vec<u8>> = vec![raw.to_vec()];
        for set in [NON_ALPHANUMERIC, COMPONENT, UNRESERVED] {
            let upper = percent_encode(raw, set).to_string().into_bytes();
            forms.push(lower_escapes(&upper));
            forms.push(upper);
        }
        // JSON may write `\/` for `/`.
        forms.push(
            raw.iter()
                .flat_map(|byte| if *byte == b'/' { &b"\\/"[..] } else { std::slice::from_ref(byte) })
                .copied()
                .collect(),
        );
        for offset in 0..3 {
            forms.push(base64_inside(&BASE64_STANDARD_NO_PAD, raw, offset));
            forms.push(base64_inside(&BASE64_URL_SAFE_NO_PAD, raw, offset));
        }
        forms.sort_unstable();
        forms.dedup();
        let longest = forms.iter().map(Vec::len).max().unwrap_or_default();
        Self { forms: forms.into_iter().map(Secret::new).collect(), longest }
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
            memmem::find(text, form.expose()).map(|at| (at, form.len()))
        });
        places.min_by_key(|(at, length)| (*at, usize::MAX - length))
    }

    /// How many bytes at the end could be the beginning of a form.
    fn unfinished(&self, text: &[u8]) -> usize {
        let longest = self.longest.saturating_sub(1).min(text.len());
        let begins = |end: &[u8]| {
            // Compared and forgotten.
            self.forms.iter().any(|form| form.expose().starts_with(end))
        };
        (1..=longest).rev().find(|bytes| begins(text.get(text.len() - bytes..).unwrap_or_default())).unwrap_or_default()
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

/// The same with the escapes in lower case.
fn lower_escapes(text: &[u8]) -> Vec<u8> {
    let mut escape = 0_u8;
    text.iter()
        .map(|byte| {
            if *byte == b'%' {
                escape = 2;
                return *byte;
            }
            let lower = escape > 0;
            escape = escape.saturating_sub(1);
            if lower { byte.to_ascii_lowercase() } else { *byte }
        })
        .collect()
}

/// The characters that base64 always has for `raw` when `offset` other bytes stand before it in its quantum.
fn base64_inside(alphabet: &impl Engine, raw: &[u8], offset: usize) -> Vec<u8> {
    let encoded = alphabet.encode([vec![0; offset].as_slice(), raw].concat());
    let (start, end) = ((offset * 8).div_ceil(6), (offset + raw.len()) * 8 / 6);
    encoded.as_bytes().get(start..end).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
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
            pieces in proptest::collection::vec("(real/Key\\+with=odd~chars\\.0123|real/Key|re|%2F|[a-z]{0,5})", 0..12),
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
