//! Passes over clean text at the speed of its anchors, and stops where a line must be looked at closely.
//!
//! INVARIANT: a line in which the closer look would find something has a suspect. A property test holds this.

use std::ops::Range;

use crate::anchor::{Anchors, is_telling_escape};
use crate::known::Known;
use crate::names::{Letters, Meaning, Name, before, byte, is_behind_escape, is_in_quotes, is_quote};
use crate::rules::Rules;
use crate::streams::Folded;
use crate::view::{colour, folded, is_padding};
use crate::work;

/// What is looked for by itself.
#[derive(Clone, Copy)]
enum Stream {
    Escapes,
    Controls,
    /// Those outside of ASCII.
    Letters,
    Cores,
    /// Of users.
    Names,
    /// Patterns of users.
    Users,
    Known,
}

/// All streams: those first that cost least where there is much of what they look for.
const STREAMS: [Stream; 7] =
    [Stream::Escapes, Stream::Controls, Stream::Letters, Stream::Cores, Stream::Names, Stream::Users, Stream::Known];

/// The next suspicious places of a text, in order: the nearest of several streams.
pub(crate) struct Suspects<'a> {
    rules: &'a Rules,
    known: Option<&'a Known>,
    text: &'a [u8],
    /// The next place of each stream; the text's length if there is none.
    next: [usize; STREAMS.len()],
    anchors: Option<Anchors<'a>>,
    folded: &'a mut Folded,
}

impl<'a> Suspects<'a> {
    /// Whether there is none in `text`.
    pub(crate) fn is_clean(rules: &'a Rules, known: Option<&'a Known>, text: &'a [u8], folded: &'a mut Folded) -> bool {
        let mut suspects = Self::unread(rules, known, text, folded);
        STREAMS.into_iter().all(|stream| suspects.advance(stream, 0) == text.len())
    }

    /// `folded` is memory that is used again.
    pub(crate) fn new(rules: &'a Rules, known: Option<&'a Known>, text: &'a [u8], folded: &'a mut Folded) -> Self {
        let mut suspects = Self::unread(rules, known, text, folded);
        for stream in STREAMS {
            suspects.advance(stream, 0);
        }
        suspects
    }

    fn unread(rules: &'a Rules, known: Option<&'a Known>, text: &'a [u8], folded: &'a mut Folded) -> Self {
        let anchors = rules.own_names.then(|| Anchors::new(text, 0));
        folded.clear();
        Self { rules, known, text, next: [0; STREAMS.len()], anchors, folded }
    }

    /// The first one from `from` on.
    pub(crate) fn next(&mut self, from: usize) -> Option<usize> {
        let mut nearest = usize::MAX;
        for stream in STREAMS {
            let mut at = self.next.get(stream as usize).copied()?;
            if at < from {
                at = self.advance(stream, from);
            }
            nearest = nearest.min(at);
        }
        (nearest < self.text.len()).then_some(nearest)
    }

    #[cfg(test)]
    fn fail(&self, passed: Range<usize>) {
        let passed = self.text.get(passed).unwrap_or_default();
        let fault = self.rules.fault_in_passing.and_then(|fault| memchr::memmem::find(passed, fault));
        assert!(fault.is_none(), "a fault on purpose");
    }

    fn advance(&mut self, stream: Stream, from: usize) -> usize {
        let at = self.search(stream, from).unwrap_or(self.text.len());
        #[cfg(test)]
        self.fail(from..at);
        if let Some(next) = self.next.get_mut(stream as usize) {
            *next = at;
        }
        at
    }

    fn search(&mut self, stream: Stream, from: usize) -> Option<usize> {
        let text = self.text;
        let rest = text.get(from..)?;
        match stream {
            Stream::Escapes => self.next_escape(from),
            Stream::Controls => {
                memchr::memchr3_iter(0, 0x1b, b'#', rest).map(|at| from + at).find(|at| self.is_suspicious(*at))
            }
            Stream::Letters => self.next_letter(from),
            Stream::Names => {
                let mut anchors = self.anchors.take()?;
                anchors.skip_to(from);
                let found = std::iter::from_fn(|| anchors.next()).find(|at| self.is_suspicious(*at));
                self.anchors = Some(anchors);
                found
            }
            Stream::Users => self.rules.next_user(text, from),
            Stream::Known => self.known.and_then(|known| known.next(text, from)),
            Stream::Cores => self.next_core(from),
        }
    }

    fn next_core(&mut self, from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            let at = self.folded.next(&self.rules.cores, self.text, from)?;
            if self.is_telling_core(at) {
                return Some(at);
            }
            from = at + 1;
        }
    }

    /// The next escape or `@` that tells something. Where there is one there are more: these are looked for byte by byte.
    fn next_escape(&self, from: usize) -> Option<usize> {
        find_dense(self.text, from, [b'%', b'\\', b'@'], |at| self.is_suspicious(at))
    }

    /// The next letter outside of ASCII that is folded.
    fn next_letter(&self, from: usize) -> Option<usize> {
        const STEP: usize = 256;
        let text = self.text;
        let mut at = from;
        while at < text.len() {
            let step = text.get(at..text.len().min(at + STEP)).unwrap_or_default();
            if !step.is_ascii() {
                let place = (at..at + step.len())
                    .find(|at| byte(text, *at) >= 0xc2 && text.get(*at..).and_then(folded).is_some());
                if place.is_some() {
                    return place;
                }
            }
            at += step.len();
        }
        None
    }

    /// Whether a name that means something ends in the word around `at`, or a prefix or marker stands there.
    #[inline]
    fn is_telling_core(&self, at: usize) -> bool {
        let text = self.text;
        let rest = text.get(at..).unwrap_or_default();
        let folded = self.folded.rest(at);
        let is_name = folded.starts_with(b"name");
        if !(is_name || folded.starts_with(b"key") || folded.starts_with(b"ken")) {
            let is_in_words = rest.starts_with(b"rt_") || rest.starts_with(b"ek_") || rest.starts_with(b"sk-");
            return self.rules.cores.count(rest, folded)
                && (!is_in_words || !before(text, at).is_ascii_alphanumeric() || is_behind_escape(text, at));
        }
        let is_part =
            |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || is_name && **byte == b'.';
        let word = rest.iter().take(64).take_while(is_part).count();
        if word == 64 || byte(rest, word) == b'.' {
            return true;
        }
        let end = at + word;
        self.has_meaning(end) || self.is_in_quoted_name(end)
    }

    /// Whether a name in quotes goes on at `from` that means something: there may be more in it than in others.
    fn is_in_quoted_name(&self, from: usize) -> bool {
        let rest = self.text.get(from..).unwrap_or_default();
        let more = rest.iter().take(128).take_while(|byte| is_in_quotes(**byte) || **byte == b'\\').count();
        is_quote(byte(rest, more)) && self.has_meaning(from + more + 1)
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
            b'\\' | b'#' => {
                is_telling_escape(text, at)
                    || matches!(byte(text, at + 1), b'u' | b'x' | b'0' | b'e')
                        && text.get(at..).and_then(colour).is_some()
            }
            0 => is_padding(text, at),
            0x1b => true,
            _ => text.get(at..).and_then(folded).is_some(),
        }
    }

    fn has_meaning(&self, at: usize) -> bool {
        let mut name = Name::before(self.text, at);
        let Some(name) = &mut name else { return false };
        name.meaning(&self.rules.names, self.text).is_some() || name.letters.is_pair_name()
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
    /// The name of the XML tag that ends at `close`, if it means something or announces another name: its place, and
    /// what it means.
    pub(crate) fn tag(&self, text: &[u8], close: usize) -> Option<(Range<usize>, Option<Meaning>)> {
        /// How long a tag may be.
        const TAG: usize = 256;
        let start = close.saturating_sub(TAG);
        let head = text.get(start..close)?;
        // Most tags are short.
        let near = head.iter().rev().take(16).position(|byte| matches!(byte, b'<' | b'>'));
        let open = match near {
            Some(back) => close - 1 - back,
            None => start + memchr::memrchr2(b'<', b'>', head)?,
        };
        let tag = text.get(open + 1..close)?;
        if byte(text, open) != b'<'
            || matches!(tag.first(), None | Some(b'/' | b'!' | b'?' | b' '))
            || tag.last() == Some(&b'/')
        {
            return None;
        }
        let word = tag.split(|byte| byte.is_ascii_whitespace()).next()?;
        let local = word.rsplit(|byte| *byte == b':').next()?;
        if local.is_empty() || !local.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte)) {
            return None;
        }
        let letters = Letters::of(local);
        let end = open + 1 + word.len();
        let meaning = self.names.look_up(&letters);
        (meaning.is_some() || letters.is_pair_name()).then_some((end - local.len()..end, meaning))
    }
}

/// The first one of three bytes that `is_it` takes. Where there is one there are more: those near by are looked for byte
/// by byte.
pub(crate) fn find_dense(
    text: &[u8],
    from: usize,
    [first, second, third]: [u8; 3],
    is_it: impl Fn(usize) -> bool,
) -> Option<usize> {
    const NEAR: usize = 32;
    let mut from = from;
    loop {
        let at = from + memchr::memchr3(first, second, third, text.get(from..)?)?;
        let near = text.get(at..text.len().min(at + NEAR))?;
        let is_one = |byte: u8| (byte == first) | (byte == second) | (byte == third);
        let mut places = near.iter().enumerate().filter(|(_, byte)| is_one(**byte)).map(|(place, _)| at + place);
        if let Some(found) = places.find(|place| is_it(*place)) {
            return Some(found);
        }
        from = at + near.len();
    }
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
        work::passed(1);
        length += 1;
        if *byte == b':' || length >= 20 {
            return true;
        }
    }
    false
}

/// Whether a byte ends what stands before a host.
#[inline]
pub(crate) const fn ends_authority(byte: u8) -> bool {
    (byte <= b' ')
        | (byte == b'"')
        | (byte == b'\'')
        | (byte == b'`')
        | (byte == b'/')
        | (byte == b'\\')
        | (byte == b'<')
        | (byte == b'>')
}

/// The start of the line that `at` is in, not before `from`.
pub(crate) fn line_start(text: &[u8], from: usize, at: usize) -> usize {
    let head = text.get(from..at).unwrap_or_default();
    memchr::memrchr(b'\n', head).map_or(from, |end| from + end + 1)
}
