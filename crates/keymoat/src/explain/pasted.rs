//! The pasted text, made readable byte by byte: escapes of JSON and HTML undone in place, so that lines stay lines.

use zeroize::Zeroizing;

/// The text. It may hold credentials, so it is wiped when it is dropped and has no `Debug`.
pub(super) struct Pasted {
    text: Zeroizing<String>,
    lower: Zeroizing<String>,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// How much of one kind is looked at.
pub(super) const FOUND_MAX: usize = 1000;
/// How far something is followed.
const FOLLOWED_BYTES_MAX: usize = 4 << 10;
/// How far something is looked back from.
const BEFORE_BYTES_MAX: usize = 80;

/// What stands for what, written with the same number of bytes.
const ESCAPES: [(&str, &str); 5] =
    [("\\\"", " \""), ("\\u0026", "     &"), ("\\u003d", "     ="), ("\\u003D", "     ="), ("&amp;", "    &")];

impl Pasted {
    pub(super) fn new(text: &str) -> Self {
        // JSON may escape slashes, and shells write `\$`; addresses are read whole.
        let mut text = Zeroizing::new(text.replace("\\/", "/").replace("\\$", "$"));
        for (escape, plain) in ESCAPES {
            if text.contains(escape) {
                text = Zeroizing::new(text.replace(escape, plain));
            }
        }
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lower, lines }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The same in lower case, byte for byte.
    pub(super) fn lower(&self) -> &str {
        &self.lower
    }

    /// The number of the line that holds byte `at`, from 1 on.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    /// What follows byte `at`, as far as anything is looked for: a hostile text costs no more than its length.
    pub(super) fn after(&self, at: usize) -> &str {
        let end = self.text.floor_char_boundary(at.saturating_add(FOLLOWED_BYTES_MAX));
        self.text.get(at..end).unwrap_or_default()
    }

    /// The character in front of byte `at`; a line end at the beginning.
    pub(super) fn before(&self, at: usize) -> char {
        self.text.get(..at).and_then(|text| text.chars().next_back()).unwrap_or('\n')
    }

    /// What stands in the same line shortly before byte `at`, in lower case.
    pub(super) fn line_before(&self, at: usize) -> &str {
        let line = self.lines.get(self.line(at).saturating_sub(1)).copied().unwrap_or_default();
        let start = self.lower.ceil_char_boundary(line.max(at.saturating_sub(BEFORE_BYTES_MAX)));
        self.lower.get(start..at).unwrap_or_default()
    }

    /// The places of `word`, which is in lower case; so many that nobody reads them all.
    pub(super) fn places<'p>(&'p self, word: &'p str) -> impl Iterator<Item = usize> + 'p {
        self.lower.match_indices(word).map(|(at, _)| at).take(FOUND_MAX)
    }

    /// Whether one of `words`, in lower case, is there.
    pub(super) fn has_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.lower.contains(word))
    }
}
