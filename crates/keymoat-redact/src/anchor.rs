//! Anchors: the few bytes of a text at which a credential can be recognised, found many bytes at a time.
//!
//! A separator after a name, an `@`, the second of two dashes. Most text has none that matter, and is never looked at more
//! closely. Encoded and unusual bytes are none: what a closer look decodes has anchors of its own.

use crate::names::{before, byte, is_quote};

/// The bytes that are looked at together.
const BLOCK: usize = 64;

/// The positions of separators, in order.
#[derive(Debug)]
pub(crate) struct Anchors<'a> {
    text: &'a [u8],
    base: usize,
    mask: u64,
}

impl<'a> Anchors<'a> {
    pub(crate) fn new(text: &'a [u8], from: usize) -> Self {
        let mut anchors = Self { text, base: from, mask: 0 };
        anchors.mask = anchors.look();
        anchors
    }

    /// The next one.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.base += BLOCK;
            if self.base >= self.text.len() {
                return None;
            }
            self.mask = self.look();
        }
        let at = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }

    /// Leaves out everything before `at`.
    pub(crate) fn skip_to(&mut self, at: usize) {
        if at >= self.base + BLOCK {
            self.base = at;
            self.mask = if at < self.text.len() { self.look() } else { 0 };
        } else if at > self.base {
            self.mask &= u64::MAX << (at - self.base);
        }
    }

    /// The anchors of the few bytes from `base` on.
    fn look_short(&self, rest: &[u8]) -> u64 {
        let first = before(self.text, self.base);
        if let (Some(start), Some(end)) = (rest.first_chunk(), rest.last_chunk()) {
            // Two halves, which may overlap, are compared together.
            let behind = rest.len() - HALF;
            let last = behind.checked_sub(1).map_or(first, |at| byte(rest, at));
            let previous = two_halves(behind_one(*start, first), behind_one(*end, last));
            let both = group(&two_halves(*start, *end), &previous);
            return both & HALF_MASK | both >> HALF << behind;
        }
        let mut previous = first;
        let mut mask = 0;
        for (at, byte) in rest.iter().enumerate() {
            mask |= u64::from(is_anchor(*byte, previous)) << at;
            previous = *byte;
        }
        mask
    }

    /// The anchors of the block at `base`.
    #[inline]
    fn look(&self) -> u64 {
        let whole = self.base.checked_sub(1).and_then(|start| self.text.get(start..start + BLOCK + 1));
        if let Some((current, previous)) = whole.and_then(|whole| {
            let previous: &[u8; BLOCK] = whole.first_chunk()?;
            let current: &[u8; BLOCK] = whole.last_chunk()?;
            Some((current, previous))
        }) {
            return mask(current, previous, BLOCK);
        }
        let end = self.text.len().min(self.base + BLOCK);
        let rest = self.text.get(self.base..end).unwrap_or_default();
        if rest.len() <= GROUP {
            return self.look_short(rest);
        }
        let mut current = [b' '; BLOCK];
        let mut previous = [b' '; BLOCK];
        fill(&mut current, rest);
        match self.base.checked_sub(1) {
            Some(start) => fill(&mut previous, self.text.get(start..end.saturating_sub(1)).unwrap_or_default()),
            None => fill(
                previous.get_mut(1..).unwrap_or_default(),
                self.text.get(..end.saturating_sub(1)).unwrap_or_default(),
            ),
        }
        mask(&current, &previous, end.saturating_sub(self.base))
    }
}

/// One byte alone; [`group`] says the same of many.
#[inline]
const fn is_anchor(byte: u8, previous: u8) -> bool {
    let colon = (byte == b':') & (previous.wrapping_sub(b'0') >= 10);
    let comma = (byte == b',') & ((previous == b'"') | (previous == b'\''));
    let dash = (byte == b'-') & (previous == b'-');
    colon | comma | dash | (byte == b'=') | (byte == b'@') | (byte == b'>')
}

/// The bytes of two halves. Made of numbers: bytes written apart would be waited for before they are read together.
#[inline]
pub(crate) const fn two_halves(first: [u8; HALF], second: [u8; HALF]) -> [u8; GROUP] {
    ((u64::from_le_bytes(second) as u128) << 64 | u64::from_le_bytes(first) as u128).to_le_bytes()
}

/// What stands before each of these bytes.
#[inline]
const fn behind_one(bytes: [u8; HALF], first: u8) -> [u8; HALF] {
    (u64::from_le_bytes(bytes) << 8 | first as u64).to_le_bytes()
}

/// Puts `bytes` at the beginning.
#[inline]
fn fill(block: &mut [u8], bytes: &[u8]) {
    if let Some(place) = block.get_mut(..bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// A bit for each byte of `current` that is an anchor, for the first `length`; `previous` has the byte before each.
#[inline]
fn mask(current: &[u8; BLOCK], previous: &[u8; BLOCK], length: usize) -> u64 {
    let (current, _) = current.as_chunks::<GROUP>();
    let (previous, _) = previous.as_chunks::<GROUP>();
    let groups = current.iter().zip(previous).take(length.div_ceil(GROUP));
    groups.enumerate().fold(0, |mask, (index, (current, previous))| mask | group(current, previous) << (index * GROUP))
}

/// The bytes that are compared together.
pub(crate) const GROUP: usize = 16;
const HALF: usize = GROUP / 2;
const HALF_MASK: u64 = (1 << HALF) - 1;

/// Written so that the compiler compares all of them at a time.
#[inline]
fn group(current: &[u8; GROUP], previous: &[u8; GROUP]) -> u64 {
    let mut flags = [0_u8; GROUP];
    for ((flag, byte), previous) in flags.iter_mut().zip(current).zip(previous) {
        *flag = u8::from(is_anchor(*byte, *previous));
    }
    pack(&flags)
}

/// The lowest bits of the bytes as one number.
#[inline]
fn pack(flags: &[u8; GROUP]) -> u64 {
    let (chunks, _) = flags.as_chunks::<8>();
    let mut mask = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        // The multiplication gathers the lowest bit of each byte in the highest byte.
        let bits = u64::from_le_bytes(*chunk).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask |= bits << (index * 8);
    }
    mask
}

/// The last three letters that a name can have which means something, as bits.
#[derive(Clone, Debug)]
pub(crate) struct Tails {
    bits: Box<[u64; 512]>,
}

/// The names of attributes and members that hold another name.
pub(crate) const PAIR_NAMES: [&str; 8] = ["name", "key", "header", "headername", "field", "param", "parameter", "id"];

impl Tails {
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut tails = Self { bits: Box::new([0; 512]) };
        for name in names {
            let mut last = name.iter().rev();
            let (third, second, first) = (last.next(), last.next(), last.next());
            let (Some(third), Some(second)) = (third, second) else { continue };
            match first {
                Some(first) => tails.set(*first, *second, *third),
                None => (0..32).for_each(|first| tails.set(first, *second, *third)),
            }
        }
        tails
    }

    fn set(&mut self, first: u8, second: u8, third: u8) {
        let (word, bit) = place(first, second, third);
        if let Some(word) = self.bits.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Whether a name that means something could end before `separator`.
    #[inline]
    pub(crate) fn may_end(&self, text: &[u8], separator: usize) -> bool {
        let mut end = separator;
        let mut last = before(text, end);
        if !last.is_ascii_alphabetic() {
            for _ in 0..24 {
                if !(is_quote(last) || matches!(last, b' ' | b'\\')) {
                    break;
                }
                end -= 1;
                last = before(text, end);
            }
            if matches!(last, b']' | b'_' | b'-' | b'.') {
                return true;
            }
            if last.is_ascii_digit() {
                return before(text, end - 1).is_ascii_alphabetic()
                    || matches!(before(text, end - 1), b'_' | b'-' | b'0'..=b'9');
            }
            if !last.is_ascii_alphabetic() {
                return last == b';'
                    && text.get(..end).is_some_and(|text| text.ends_with(b"&quot;") || text.ends_with(b"&apos;"));
            }
        }
        let Some([first, second, third]) =
            end.checked_sub(3).and_then(|start| text.get(start..end)?.first_chunk().copied())
        else {
            return end >= 2;
        };
        let ends_word =
            |byte: u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'-' | b'.' | b' ') && byte < 0x80;
        if ends_word(second) || ends_word(first) && (second | 0x20, third | 0x20) != (b'i', b'd') {
            return false;
        }
        let (word, bit) = place(first, second, third);
        // A separator inside of the last three letters is rare: a closer look is cheap.
        !first.is_ascii_alphabetic()
            || !second.is_ascii_alphabetic()
            || self.bits.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }
}

#[inline]
const fn place(first: u8, second: u8, third: u8) -> (usize, u32) {
    let index = ((first & 31) as usize) << 10 | ((second & 31) as usize) << 5 | (third & 31) as usize;
    (index >> 6, (index & 63) as u32)
}

/// Whether the escape at `at` can change what a name or separator is.
pub(crate) fn is_telling_escape(text: &[u8], at: usize) -> bool {
    let next = byte(text, at + 1);
    match byte(text, at) {
        b'%' => match (next, byte(text, at + 2)) {
            (b'2', b'0' | b'1' | b'8' | b'9' | b'a'..=b'c' | b'A'..=b'C' | b'f' | b'F')
            | (b'7', b'c' | b'C' | b'e' | b'E') => false,
            (b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', _) => false,
            (b'u' | b'U', second) => second.is_ascii_hexdigit(),
            (first, second) => first.is_ascii_hexdigit() && second.is_ascii_hexdigit(),
        },
        b'\\' => match next {
            b'x' => byte(text, at + 2).is_ascii_hexdigit(),
            b'u' => byte(text, at + 2) == b'0' || byte(text, at + 2) == b'{',
            b'0'..=b'1' => byte(text, at + 2).is_ascii_digit(),
            b'e' => byte(text, at + 2) == b'[',
            _ => false,
        },
        b'#' => {
            matches!(next, b'0'..=b'1') && byte(text, at + 2).is_ascii_digit() && byte(text, at + 3).is_ascii_digit()
                || before(text, at) == b'&' && (next.is_ascii_digit() || matches!(next, b'x' | b'X'))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_anchor_is_given_once_wherever_it_stands() {
        let text: Vec<u8> = (0..300).map(|at| if at % 7 == 3 { b'=' } else { b'a' }).collect();
        for from in 0..200 {
            let mut anchors = Anchors::new(&text, from);
            let found: Vec<usize> = std::iter::from_fn(|| anchors.next()).collect();
            let expected: Vec<usize> = (from..300).filter(|at| at % 7 == 3).collect();
            assert_eq!(found, expected, "{from}");
        }
        let mut anchors = Anchors::new(&text, 0);
        anchors.skip_to(100);
        assert_eq!(anchors.next(), Some(101));
    }

    #[test]
    fn a_byte_is_an_anchor_wherever_the_text_ends() {
        for byte in 0..=u8::MAX {
            for before in [b' ', b'"', b'-', b'7', byte] {
                let place = |length: usize| {
                    let mut text = vec![b'a'; length];
                    text[2] = before;
                    text[3] = byte;
                    let mut anchors = Anchors::new(&text, 3);
                    anchors.next() == Some(3)
                };
                assert_eq!([4, 5, 10, 11, 12, 17, 18, 19, 30].map(place), [place(200); 9], "{byte} behind {before}");
            }
        }
    }

    #[test]
    fn times_are_no_anchors() {
        let mut anchors = Anchors::new(b"10:30:45 a:b \",x, --y", 0);
        let found: Vec<usize> = std::iter::from_fn(|| anchors.next()).collect();
        assert_eq!(found, [10, 14, 19]);
    }
}
