//! Registered secrets, found in every form that a server or a reader would take for them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use arc_swap::ArcSwapOption;
use base64::prelude::*;
use zeroize::Zeroizing;

use crate::table::PREFIXES;

/// A secret that is shorter is not looked for: it would be found in ordinary words.
pub const KNOWN_BYTES_MIN: usize = 8;

/// So many bytes behind its prefix tell a secret that was cut off.
const HEAD: usize = 10;

/// A set of secrets to find wherever they stand: as they are, in base64, hexadecimal, JSON, as lists of bytes, and,
/// because lines are also read decoded, percent-encoded or escaped in any mixture. A secret that is cut off is found by
/// its beginning.
///
/// `Debug` shows how many there are and nothing of them.
pub struct Known {
    searcher: AhoCorasick,
    forms: Vec<Form>,
    secrets: Vec<Zeroizing<Vec<u8>>>,
}

/// What a pattern of the searcher is.
#[derive(Clone, Copy)]
enum Form {
    Whole,
    /// The beginning of the secret with this index.
    Head(usize),
    /// The beginning of a list of decimal numbers.
    List,
    /// The beginning of a list of hexadecimal numbers.
    HexList,
}

impl Known {
    /// A set of `secrets`; `None` if none of them is long enough to look for.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let secrets = secrets.into_iter().filter(|secret| secret.len() >= KNOWN_BYTES_MIN);
        let secrets: Vec<Zeroizing<Vec<u8>>> = secrets.map(|secret| Zeroizing::new(secret.to_vec())).collect();
        let mut patterns: Vec<(Zeroizing<Vec<u8>>, Form)> = Vec::new();
        for (index, secret) in secrets.iter().enumerate() {
            patterns.extend(whole_forms(secret).map(|form| (Zeroizing::new(form), Form::Whole)));
            let prefix = PREFIXES.iter().filter(|rule| secret.starts_with(rule.prefix.as_bytes()));
            let prefix = prefix.map(|rule| rule.prefix.len()).max().unwrap_or_default();
            if let Some(head) = secret.get(..prefix + HEAD).filter(|head| secret.len() >= head.len() + 4) {
                patterns.push((Zeroizing::new(head.to_vec()), Form::Head(index)));
            }
            let head = secret.get(..KNOWN_BYTES_MIN).unwrap_or_default();
            for (index, form) in lists(head).enumerate() {
                patterns.push((Zeroizing::new(form), if index < 3 { Form::List } else { Form::HexList }));
            }
        }
        patterns.retain(|(pattern, _)| pattern.len() >= KNOWN_BYTES_MIN);
        if patterns.is_empty() {
            return None;
        }
        let searcher = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns.iter().map(|(pattern, _)| pattern.as_slice()))
            .ok()?;
        Some(Self { searcher, forms: patterns.iter().map(|(_, form)| *form).collect(), secrets })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Where the next one starts.
    pub(crate) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        self.searcher.find(aho_corasick::Input::new(text).range(from..)).map(|found| found.start())
    }

    /// Every one in `text`.
    pub(crate) fn find(&self, text: &[u8], mut found: impl FnMut(Range<usize>)) {
        for one in self.searcher.find_iter(text) {
            let behind = text.get(one.end()..).unwrap_or_default();
            let more = match self.forms.get(one.pattern().as_usize()) {
                Some(Form::Head(index)) => {
                    let rest = self.secrets.get(*index).and_then(|secret| secret.get(one.len()..)).unwrap_or_default();
                    behind.iter().zip(rest).take_while(|(byte, expected)| byte == expected).count()
                }
                Some(Form::List) => run(behind, |byte| byte.is_ascii_digit() || matches!(byte, b',' | b' ')),
                Some(Form::HexList) => {
                    run(behind, |byte| byte.is_ascii_hexdigit() || matches!(byte, b',' | b' ' | b'x' | b':'))
                }
                _ => 0,
            };
            found(one.start()..one.end() + more);
        }
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("len", &self.secrets.len()).finish_non_exhaustive()
    }
}

/// The place of a [`Known`] that can be replaced while redactors use it; clones share it.
#[derive(Clone, Debug, Default)]
pub struct KnownSecrets(Arc<ArcSwapOption<Known>>);

impl KnownSecrets {
    /// Replaces all of them at once; whatever is written afterwards is masked by the new ones.
    pub fn replace(&self, known: Option<Known>) {
        self.0.store(known.map(Arc::new));
    }

    /// Those of now.
    #[must_use]
    pub fn load(&self) -> Option<Arc<Known>> {
        self.0.load_full()
    }
}

/// How far a list goes on; it ends with a digit.
fn run(behind: &[u8], is_list: impl Fn(&u8) -> bool) -> usize {
    let run = behind.iter().take_while(|byte| is_list(byte)).count();
    let run = behind.get(..run).unwrap_or_default();
    run.iter().rposition(u8::is_ascii_hexdigit).map_or(0, |last| last + 1)
}

fn whole_forms(secret: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    let escaped: Vec<u8> = secret
        .iter()
        .flat_map(|byte| if matches!(byte, b'"' | b'\\') { vec![b'\\', *byte] } else { vec![*byte] })
        .collect();
    forms.push(escaped);
    for offset in 0..3 {
        forms.push(base64_inside(&BASE64_STANDARD_NO_PAD, secret, offset));
        forms.push(base64_inside(&BASE64_URL_SAFE_NO_PAD, secret, offset));
    }
    forms.push(secret.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
    forms.push(secret.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect());
    forms.sort();
    forms.dedup();
    forms.into_iter()
}

/// The characters that base64 always has for `raw` when `offset` other bytes stand before it in its quantum.
fn base64_inside(alphabet: &impl Engine, raw: &[u8], offset: usize) -> Vec<u8> {
    let encoded = alphabet.encode([vec![0; offset].as_slice(), raw].concat());
    let (start, end) = ((offset * 8).div_ceil(6), (offset + raw.len()) * 8 / 6);
    encoded.as_bytes().get(start..end).unwrap_or_default().to_vec()
}

fn lists(head: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let of =
        |each: fn(&u8) -> String, between: &str| head.iter().map(each).collect::<Vec<_>>().join(between).into_bytes();
    [
        of(u8::to_string, ", "),
        of(u8::to_string, ","),
        of(u8::to_string, " "),
        of(|byte| format!("0x{byte:02x}"), ", "),
        of(|byte| format!("0x{byte:02x}"), ","),
        of(|byte| format!("{byte:02x}"), " "),
        of(|byte| format!("{byte:02x}"), ", "),
        of(|byte| format!("{byte:02x}"), ":"),
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_its_forms_and_the_longest_wins() {
        let known = Known::new([&b"alpha/beta+gamma"[..], b"alpha/beta+gamma-delta=", b"short"]).expect("two");
        assert_eq!(known.len(), 2);
        let found = |text: &str| {
            let mut spans = Vec::new();
            known.find(text.as_bytes(), |span| spans.push(text[span].to_owned()));
            spans
        };
        assert_eq!(found("x alpha/beta+gamma-delta= y"), ["alpha/beta+gamma-delta="]);
        assert_eq!(found("x alpha/beta+ga"), ["alpha/beta+ga"]);
        assert_eq!(found("616c7068612f626574612b67616d6d61"), ["616c7068612f626574612b67616d6d61"]);
        assert_eq!(found("[97, 108, 112, 104, 97, 47, 98, 101, 116]"), ["97, 108, 112, 104, 97, 47, 98, 101, 116"]);
        for before in ["", "u", "u:", "usr"] {
            let text = BASE64_STANDARD.encode(format!("{before}alpha/beta+gamma"));
            assert_eq!(found(&text).len(), 1, "{text}");
        }
        assert!(found("short alpha beta").is_empty());
        assert!(!format!("{known:?}").contains("alpha"));
    }
}
