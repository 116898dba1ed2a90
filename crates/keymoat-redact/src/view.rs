//! Decoded views of a line, with the way back to its own bytes: names are read decoded, bytes are masked as they stand.

use std::ops::Range;

/// How many levels of encoding are looked through.
pub(crate) const LEVELS: usize = 3;

/// A text made from another one, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) text: Vec<u8>,
    /// Where each byte's piece starts and ends in the line, and how many levels it was encoded.
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    length: u16,
    level: u8,
}

impl Place {
    fn new(piece: Range<usize>, level: u8) -> Self {
        Self { start: piece.start as u32, length: u16::try_from(piece.len()).unwrap_or(u16::MAX), level }
    }

    const fn end(self) -> usize {
        self.start as usize + self.length as usize
    }
}

impl View {
    fn clear(&mut self) {
        self.text.clear();
        self.places.clear();
    }

    fn push(&mut self, byte: u8, place: Place) {
        self.text.push(byte);
        self.places.push(place);
    }

    /// The line's bytes that a part of this view was made from.
    pub(crate) fn raw(&self, part: Range<usize>) -> Range<usize> {
        let behind = |at: usize| {
            let place = self.places.get(at).map(|place| place.start as usize);
            place.unwrap_or_else(|| self.places.last().map_or(0, |last| last.end()))
        };
        let start = behind(part.start);
        let end = part.end.checked_sub(1).and_then(|last| self.places.get(last)).map_or(start, |place| place.end());
        start..end.max(start)
    }

    /// The highest level of encoding in a part.
    pub(crate) fn level(&self, part: Range<usize>) -> u8 {
        let places = self.places.get(part).unwrap_or_default();
        places.iter().map(|place| place.level).max().unwrap_or_default()
    }

    /// Where the piece that starts at `raw` is in this view.
    pub(crate) fn at(&self, raw: usize) -> usize {
        self.places.partition_point(|place| (place.start as usize) < raw)
    }

    /// Fills this view with `line` without what is not seen: NULs of UTF-16, colours, characters of no width; and with
    /// letters that look like ASCII as ASCII. Says whether anything changed.
    #[inline(never)]
    pub(crate) fn clean(&mut self, line: &[u8]) -> bool {
        self.clear();
        // What is as it seems is not copied.
        let mut at = 0;
        while shown(line, at).is_none() {
            at += 1;
            if at >= line.len() {
                return false;
            }
        }
        self.copy(line, 0..at, None);
        while let Some(&byte) = line.get(at) {
            let (length, shown) = shown(line, at).unwrap_or((1, Some(byte)));
            let end = at + length;
            if let Some(shown) = shown {
                self.push(shown, Place::new(at..end, 0));
            }
            at = end;
        }
        true
    }

    /// Fills this view with `text` decoded once; `below` is the view that `text` is of, if it is not the line itself.
    /// Says whether anything was decoded.
    pub(crate) fn decode(&mut self, text: &[u8], below: Option<&Self>) -> bool {
        self.clear();
        // A text without an escape is not copied.
        let mut at = 0;
        loop {
            at += run(text, at);
            match text.get(at..).filter(|rest| !rest.is_empty()) {
                None => return false,
                Some(rest) if decoded(rest).is_some() => break,
                Some(_) => at += 1,
            }
        }
        self.text.reserve(text.len());
        self.places.reserve(text.len());
        self.copy(text, 0..at, below);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some((length, shown)) = decoded(rest) {
                let (raw, level) = match below {
                    Some(below) => (below.raw(at..at + length), below.level(at..at + length)),
                    None => (at..at + length, 0),
                };
                self.push(shown, Place::new(raw, level + 1));
                at += length;
            } else {
                let end = at + 1 + run(text, at + 1);
                self.copy(text, at..end, below);
                at = end;
            }
        }
        true
    }

    fn copy(&mut self, text: &[u8], part: Range<usize>, below: Option<&Self>) {
        /// So few bytes are copied one by one.
        const FEW: usize = 8;
        if part.len() <= FEW && below.is_none() {
            for (at, byte) in part.clone().zip(text.get(part).unwrap_or_default()) {
                self.push(*byte, Place { start: at as u32, length: 1, level: 0 });
            }
            return;
        }
        self.text.extend_from_slice(text.get(part.clone()).unwrap_or_default());
        match below {
            Some(below) => self.places.extend_from_slice(below.places.get(part).unwrap_or_default()),
            None => self.places.extend(part.map(|at| Place { start: at as u32, length: 1, level: 0 })),
        }
    }
}

/// What is seen of the bytes at a place and how many they are, if that is not the one byte that stands there.
#[inline]
fn shown(line: &[u8], at: usize) -> Option<(usize, Option<u8>)> {
    let rest = line.get(at..)?;
    match rest.first()? {
        0 => is_padding(line, at).then_some((1, None)),
        0x1b | b'\\' | b'#' => colour(rest).map(|length| (length, None)),
        0xc2..=0xf4 => folded(rest),
        _ => None,
    }
}

/// How many bytes from a place on begin no escape.
#[inline]
fn run(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().position(|byte| matches!(byte, b'%' | b'\\' | b'#' | b'&')).unwrap_or(rest.len())
}

/// A NUL that belongs to a UTF-16 letter has another NUL two bytes away.
pub(crate) fn is_padding(line: &[u8], at: usize) -> bool {
    let is_nul = |at: Option<usize>| at.and_then(|at| line.get(at)) == Some(&0);
    let is_letter = |at: Option<usize>| at.and_then(|at| line.get(at)).is_none_or(|byte| *byte != 0);
    (is_nul(at.checked_sub(2)) || is_nul(at.checked_add(2)))
        && is_letter(at.checked_sub(1))
        && is_letter(at.checked_add(1))
}

/// The length of a terminal's control sequence, raw or escaped.
pub(crate) fn colour(rest: &[u8]) -> Option<usize> {
    const ESCAPES: [&[u8]; 8] = [b"\x1b", b"\\u001b", b"\\u001B", b"\\x1b", b"\\x1B", b"\\033", b"\\e", b"#033"];
    let escape = ESCAPES.iter().find(|escape| rest.starts_with(escape))?;
    let behind = rest.get(escape.len()..)?;
    if behind.first() != Some(&b'[') {
        return (rest.first() == Some(&0x1b)).then_some(1);
    }
    let parameters = behind.iter().skip(1).take(32).take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
    let last = behind.get(1 + parameters)?;
    (0x40..=0x7e).contains(last).then_some(escape.len() + 2 + parameters)
}

/// A character of no width, or one that looks like ASCII: its length, and what it looks like.
pub(crate) fn folded(rest: &[u8]) -> Option<(usize, Option<u8>)> {
    let is_more = |byte: u8| byte & 0xc0 == 0x80;
    let (length, character) = match *rest {
        [first @ 0xc2..=0xdf, second, ..] if is_more(second) => {
            (2, char::from_u32(u32::from(first & 0x1f) << 6 | u32::from(second & 0x3f))?)
        }
        [first @ 0xe0..=0xef, second, third, ..] if is_more(second) && is_more(third) => {
            let code = u32::from(first & 0xf) << 12 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
            (3, char::from_u32(code).filter(|character| *character >= '\u{800}')?)
        }
        [0xf0..=0xf4, ..] => (4, std::str::from_utf8(rest.get(..4)?).ok()?.chars().next()?),
        _ => return None,
    };
    let code = u32::from(character);
    let shown = match code {
        0xad
        | 0x34f
        | 0x61c
        | 0x180e
        | 0x200b..=0x200f
        | 0x202a..=0x202e
        | 0x2060..=0x2064
        | 0xfeff
        | 0xfe00..=0xfe0f => None,
        0xff01..=0xff5e => u8::try_from(code - 0xff01 + 0x21).ok(),
        0x1d400..=0x1d6a3 => {
            let letter = u8::try_from((code - 0x1d400) % 52).ok()?;
            Some(if letter < 26 { b'A' + letter } else { b'a' + letter - 26 })
        }
        0x24d0..=0x24e9 => u8::try_from(code - 0x24d0 + u32::from(b'a')).ok(),
        0x24b6..=0x24cf => u8::try_from(code - 0x24b6 + u32::from(b'A')).ok(),
        _ => Some(look_alike(character)?),
    };
    Some((length, shown))
}

/// The ASCII letter that another alphabet's letter is mistaken for.
fn look_alike(character: char) -> Option<u8> {
    Some(match character {
        'а' | 'ɑ' | 'α' => b'a',
        'А' | 'Α' => b'A',
        'В' | 'Β' => b'B',
        'с' | 'ϲ' => b'c',
        'С' | 'Ϲ' => b'C',
        'ԁ' => b'd',
        'е' | 'ҽ' => b'e',
        'Е' | 'Ε' => b'E',
        'һ' => b'h',
        'Н' | 'Η' => b'H',
        'і' | 'ı' | 'ι' => b'i',
        'І' | 'Ι' => b'I',
        'ј' => b'j',
        'Ј' => b'J',
        'κ' | 'к' => b'k',
        'К' | 'Κ' | '\u{212a}' => b'K',
        'ӏ' => b'l',
        'М' | 'Μ' => b'M',
        'ո' => b'n',
        'Ν' => b'N',
        'о' | 'ο' | 'օ' => b'o',
        'О' | 'Ο' => b'O',
        'р' | 'ρ' => b'p',
        'Р' | 'Ρ' => b'P',
        'ѕ' | 'ſ' => b's',
        'Ѕ' => b'S',
        'т' => b't',
        'Т' | 'Τ' => b'T',
        'υ' | 'ս' => b'u',
        'ѵ' | 'ν' => b'v',
        'ԝ' | 'ω' => b'w',
        'х' | 'χ' => b'x',
        'Х' | 'Χ' => b'X',
        'у' | 'γ' => b'y',
        'У' | 'Υ' => b'Y',
        'Ζ' => b'Z',
        '‐' | '‑' | '‒' | '–' | '−' => b'-',
        '∶' | '꞉' => b':',
        '＝' | '᐀' => b'=',
        _ => return None,
    })
}

/// The escape at the start of `rest`: its length and the byte that it stands for. Only ASCII counts.
fn decoded(rest: &[u8]) -> Option<(usize, u8)> {
    let (length, code) = match rest.first()? {
        b'%' => match rest.get(1)? {
            b'u' | b'U' => (6, hex(rest.get(2..6)?)?),
            _ => (3, hex(rest.get(1..3)?)?),
        },
        b'\\' => match rest.get(1)? {
            b'x' => (4, hex(rest.get(2..4)?)?),
            b'u' if rest.get(2) == Some(&b'{') => {
                let digits = rest.get(3..)?.iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
                (rest.get(3 + digits) == Some(&b'}')).then_some((4 + digits, hex(rest.get(3..3 + digits)?)?))?
            }
            b'u' => (6, hex(rest.get(2..6)?)?),
            b'/' => (2, u32::from(b'/')),
            b'0'..=b'1' => (4, octal(rest.get(1..4)?)?),
            _ => return None,
        },
        b'#' => (4, octal(rest.get(1..4)?)?),
        b'&' => entity(rest)?,
        _ => return None,
    };
    let byte = u8::try_from(code).ok()?;
    // What ends a line ends it encoded too, but is no part of a name.
    (byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).then_some((length, byte))
}

fn hex(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, digit| Some((value << 4) | char::from(*digit).to_digit(16)?))
}

fn octal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| Some((value << 3) | char::from(*digit).to_digit(8)?))
}

fn entity(rest: &[u8]) -> Option<(usize, u32)> {
    const NAMED: [(&[u8], u8); 12] = [
        (b"&amp;", b'&'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&equals;", b'='),
        (b"&colon;", b':'),
        (b"&lowbar;", b'_'),
        (b"&num;", b'#'),
        (b"&quest;", b'?'),
        (b"&sol;", b'/'),
        (b"&commat;", b'@'),
    ];
    if rest.get(1) != Some(&b'#') {
        let (name, byte) = NAMED.iter().find(|(name, _)| rest.starts_with(name))?;
        return Some((name.len(), u32::from(*byte)));
    }
    let (skip, radix) = if matches!(rest.get(2), Some(b'x' | b'X')) { (3, 16) } else { (2, 10) };
    let digits = rest.get(skip..)?.iter().take(6).take_while(|byte| char::from(**byte).is_digit(radix)).count();
    if digits == 0 || rest.get(skip + digits) != Some(&b';') {
        return None;
    }
    let text = std::str::from_utf8(rest.get(skip..skip + digits)?).ok()?;
    Some((skip + digits + 1, u32::from_str_radix(text, radix).ok()?))
}

/// A value with its encodings undone, for fingerprints: the same for `%2F` and `/`.
pub(crate) fn decoded_value(value: &[u8]) -> Vec<u8> {
    let mut text = value.to_vec();
    for _ in 0..LEVELS {
        let mut view = View::default();
        if !view.decode(&text, None) {
            break;
        }
        text = view.text;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(line: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let mut below: Option<View> = None;
        for _ in 0..LEVELS {
            let mut view = View::default();
            let changed = match &below {
                Some(below) => view.decode(&below.text, Some(below)),
                None => view.decode(line.as_bytes(), None),
            };
            if !changed {
                break;
            }
            texts.push(String::from_utf8(view.text.clone()).expect("text"));
            below = Some(view);
        }
        texts
    }

    #[test]
    fn every_escape_is_undone_level_by_level() {
        assert_eq!(levels("a%5Fb%253D"), ["a_b%3D", "a_b="]);
        assert_eq!(levels(r"\u0026\x5F#137\/&amp;&#61;&#x3d;"), ["&__/&=="]);
        assert_eq!(levels("%C3%BC %zz % &x #12"), [""; 0]);
    }

    #[test]
    fn the_way_back_is_exact() {
        let line = b"a%253Db";
        let mut one = View::default();
        one.decode(line, None);
        let mut two = View::default();
        two.decode(&one.text, Some(&one));
        assert_eq!(two.text, b"a=b");
        assert_eq!((two.raw(1..2), two.raw(2..3), two.raw(3..3)), (1..6, 6..7, 7..7));
        assert_eq!((two.level(0..1), two.level(1..2), two.at(6)), (0, 2, 2));
    }

    #[test]
    fn what_is_not_seen_is_left_out() {
        let mut view = View::default();
        let shown = |view: &mut View, line: &[u8]| {
            view.clean(line).then(|| String::from_utf8(view.text.clone()).expect("text"))
        };
        assert_eq!(shown(&mut view, "ａｐｉ＿ｋｅｙ＝".as_bytes()).as_deref(), Some("api_key="));
        assert_eq!(shown(&mut view, "a\u{200b}p\u{feff}і".as_bytes()).as_deref(), Some("api"));
        assert_eq!(shown(&mut view, b"\x1b[1;31ma\x1b[0mb\\u001b[0mc#033[0m").as_deref(), Some("abc"));
        assert_eq!(shown(&mut view, b"a\0p\0i\0").as_deref(), Some("api"));
        assert_eq!(shown(&mut view, b"a\0b"), None);
        assert_eq!(shown(&mut view, "grün".as_bytes()), None);
    }
}
