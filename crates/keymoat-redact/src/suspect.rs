//! Passes over clean text at the speed of its anchors, and stops where a line must be looked at closely.
//!
//! INVARIANT: a line in which the closer look would find something has a suspect. A property test holds this.

use std::ops::Range;

use crate::anchor::{Anchors, PAIR_NAMES, is_telling_escape};
use crate::known::Known;
use crate::names::{Letters, Name, byte};
use crate::rules::Rules;
use crate::view::{colour, folded, is_padding};

/// The next suspicious places of a text, in order.
pub(crate) struct Suspects<'a> {
    rules: &'a Rules,
    known: Option<&'a Known>,
    text: &'a [u8],
    anchors: Anchors<'a>,
    rare: Option<usize>,
    user: Option<usize>,
    secret: Option<usize>,
}

impl<'a> Suspects<'a> {
    pub(crate) fn new(rules: &'a Rules, known: Option<&'a Known>, text: &'a [u8]) -> Self {
        Self {
            rules,
            known,
            text,
            anchors: Anchors::new(text, 0),
            rare: rules.rare.next(text, 0),
            user: rules.next_user(text, 0),
            secret: known.and_then(|known| known.next(text, 0)),
        }
    }

    /// The first one from `from` on.
    pub(crate) fn next(&mut self, from: usize) -> Option<usize> {
        let text = self.text;
        let stale = |place: Option<usize>| place.is_some_and(|at| at < from);
        if stale(self.rare) {
            self.rare = self.rules.rare.next(text, from);
        }
        if stale(self.user) {
            self.user = self.rules.next_user(text, from);
        }
        if stale(self.secret) {
            self.secret = self.known.and_then(|known| known.next(text, from));
        }
        self.anchors.skip_to(from);
        let nearest = [self.rare, self.user, self.secret].into_iter().flatten().min();
        while let Some(at) = self.anchors.next() {
            if nearest.is_some_and(|nearest| nearest < at) {
                break;
            }
            if self.is_suspicious(at) {
                return Some(at);
            }
        }
        nearest
    }

    #[inline]
    fn is_suspicious(&self, at: usize) -> bool {
        let text = self.text;
        match byte(text, at) {
            b'=' | b':' | b',' => self.rules.tails.may_end(text, at) && self.has_meaning(at),
            b'>' => self.rules.tag(text, at).is_some(),
            b'-' => self.may_be_option(at),
            b'@' => may_be_userinfo(text, at),
            b'%' => self.known.is_some() || is_telling_escape(text, at),
            b'\\' | b'#' => is_telling_escape(text, at) || text.get(at..).and_then(colour).is_some(),
            0 => is_padding(text, at),
            0x1b => true,
            _ => text.get(at..).and_then(folded).is_some(),
        }
    }

    fn has_meaning(&self, at: usize) -> bool {
        let Some(mut name) = Name::before(self.text, at) else { return false };
        name.meaning(&self.rules.names, self.text).is_some() || is_pair_name(&name.letters)
    }

    fn may_be_option(&self, at: usize) -> bool {
        let rest = self.text.get(at + 1..).unwrap_or_default();
        if rest.starts_with(b"---BEGIN") {
            return true;
        }
        let name = option_name(rest);
        byte(rest, name.len()) == b' '
            && (matches!(name, b"user" | b"proxy-user") || self.rules.names.look_up(&Letters::of(name)).is_some())
    }
}

impl Rules {
    /// The name of the XML tag that ends at `close`, if it is one that means something: its place, and the letters.
    pub(crate) fn tag(&self, text: &[u8], close: usize) -> Option<(Range<usize>, Letters)> {
        /// How long a tag may be.
        const TAG: usize = 256;
        let start = close.saturating_sub(TAG);
        let open = start + memchr::memrchr2(b'<', b'>', text.get(start..close)?)?;
        let tag = text.get(open + 1..close)?;
        if byte(text, open) != b'<' || matches!(tag.first(), None | Some(b'/' | b'!' | b'?' | b' ')) || tag.last() == Some(&b'/') {
            return None;
        }
        let word = tag.split(|byte| byte.is_ascii_whitespace()).next()?;
        let local = word.rsplit(|byte| *byte == b':').next()?;
        if local.is_empty() || !local.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte)) {
            return None;
        }
        let letters = Letters::of(local);
        let end = open + 1 + word.len();
        (self.names.look_up(&letters).is_some() || is_pair_name(&letters)).then_some((end - local.len()..end, letters))
    }
}

pub(crate) fn is_pair_name(letters: &Letters) -> bool {
    PAIR_NAMES.iter().any(|pair| letters.as_bytes() == pair.as_bytes())
}

/// The name of an option behind its dashes.
pub(crate) fn option_name(rest: &[u8]) -> &[u8] {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    rest.get(..rest.iter().take(64).take_while(is_part).count()).unwrap_or_default()
}

fn may_be_userinfo(text: &[u8], at: usize) -> bool {
    let head = text.get(at.saturating_sub(4096)..at).unwrap_or_default();
    let part = head.iter().rev().take_while(|byte| !ends_authority(**byte));
    let mut length = 0;
    for byte in part {
        length += 1;
        if *byte == b':' || length >= 20 {
            return true;
        }
    }
    false
}

/// Whether a byte ends what stands before a host.
pub(crate) const fn ends_authority(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | b'"' | b'\'' | b'`' | b'/' | b'\\' | b'<' | b'>')
}

/// The start of the line that `at` is in, not before `from`.
pub(crate) fn line_start(text: &[u8], from: usize, at: usize) -> usize {
    let head = text.get(from..at).unwrap_or_default();
    memchr::memrchr(b'\n', head).map_or(from, |end| from + end + 1)
}
