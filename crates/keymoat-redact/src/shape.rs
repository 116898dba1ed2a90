//! What a value looks like: a mark, a placeholder, a word, or a secret.

use crate::work;

/// How long a mark may be.
const MARK_MAX: usize = 96;

/// The end of the mark that starts at `at`: `[REDACTED:api_key]`, or what other tools write.
pub(crate) fn mark_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let (open, close) = match rest.first()? {
        b'[' => (1, b']'),
        b'<' => (1, b'>'),
        b'(' => (1, b')'),
        _ => return None,
    };
    let inner = rest.get(open..rest.len().min(MARK_MAX))?;
    let end = memchr::memchr(close, inner)?;
    let inner = inner.get(..end)?;
    let word = inner.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(inner.len());
    let said = inner.get(word..)?;
    let fits = said.iter().all(|byte| byte.is_ascii_alphanumeric() || b":=_.- ".contains(byte))
        // What is a secret itself is no mark, whatever stands around it.
        && !said.split(|byte| matches!(byte, b':' | b' ' | b'=')).any(|part| part.len() >= 16 && is_random(part));
    (fits && is_mark_word(inner.get(..word)?)).then_some(at + open + end + 1)
}

/// Whether a mark of this crate is in the value.
pub(crate) fn has_own_mark(value: &[u8]) -> bool {
    memchr::memchr_iter(b'[', value)
        .any(|at| value.get(at..).is_some_and(|rest| rest.starts_with(b"[REDACTED:")) && mark_end(value, at).is_some())
}

fn is_mark_word(word: &[u8]) -> bool {
    (6..=9).contains(&word.len())
        && ["redacted", "filtered", "masked", "hidden", "scrubbed", "removed", "sensitive"]
            .iter()
            .any(|mark| word.eq_ignore_ascii_case(mark.as_bytes()))
}

/// Whether a value is marks only, or stars. What stands beside a mark in the same value is part of the value.
pub(crate) fn is_masked(value: &[u8]) -> bool {
    let Some(first) = value.first() else { return false };
    work::passed(value.len());
    // Most values are in one piece, and begin like none of these.
    let may_have_mark = value.len() >= 64 || value.iter().any(|byte| matches!(byte, b'[' | b'<' | b'('));
    may_have_mark && has_mark(value) && !beside_marks(value).any(|part| part.iter().any(u8::is_ascii_alphanumeric))
        || is_mark_word(value)
        || matches!(first, b'*' | b'.' | b'-' | b'#')
            && value.iter().all(|byte| matches!(byte, b'*' | b'.' | b'-' | b'#'))
        || matches!(first, b'x' | b'X' | b'*')
            && value.len() >= 3
            && value.iter().all(|byte| matches!(byte, b'x' | b'X' | b'*'))
}

fn has_mark(value: &[u8]) -> bool {
    memchr::memchr3_iter(b'[', b'<', b'(', value).any(|at| mark_end(value, at).is_some())
}

/// The parts of a value before, between and behind its marks.
fn beside_marks(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = Some(0);
    std::iter::from_fn(move || {
        let start = from?;
        let mut search = start;
        while let Some(found) = value.get(search..).and_then(|rest| memchr::memchr3(b'[', b'<', b'(', rest)) {
            let at = search + found;
            if let Some(end) = mark_end(value, at) {
                from = Some(end);
                return value.get(start..at);
            }
            search = at + 1;
        }
        from = None;
        value.get(start..)
    })
}

/// The first `wanted` byte of a value that is in no mark.
pub(crate) fn outside_marks(wanted: u8, value: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        work::passed(1);
        match byte {
            byte if *byte == wanted => return Some(at),
            b'[' | b'<' | b'(' => at = mark_end(value, at).unwrap_or(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Whether what starts here, up to `end`, stands for a value that somebody else puts in.
pub(crate) fn is_placeholder(value: &[u8]) -> bool {
    let Some(&first) = value.first() else { return true };
    let rest = value.get(1..).unwrap_or_default();
    let is_name = |name: &[u8]| {
        !name.is_empty()
            && name.len() <= 40
            && !name.iter().all(u8::is_ascii_digit)
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            && (name.contains(&b'_') || name.iter().all(|byte| !byte.is_ascii_digit()))
    };
    match first {
        b'$' => {
            is_name(rest)
                || rest.first() == Some(&b'{') && is_template(rest, b'}')
                || rest.first() == Some(&b'(') && rest.last() == Some(&b')')
        }
        b'{' => is_template(value, b'}'),
        b'#' if rest.first() == Some(&b'{') => is_template(rest, b'}'),
        b'<' => is_template(value, b'>'),
        b'%' => {
            rest.len() == 1 && rest.iter().all(u8::is_ascii_alphabetic)
                || rest.len() > 2
                    && rest.last() == Some(&b'%')
                    && rest.split_last().is_some_and(|(_, name)| is_name(name))
                || rest.first() == Some(&b'(') && rest.len() < 40
        }
        b'?' => rest.is_empty(),
        b':' => is_name(rest),
        _ => is_word_for_nothing(value),
    }
}

fn is_template(value: &[u8], close: u8) -> bool {
    value.len() <= 64
        && value.last() == Some(&close)
        && value.iter().filter(|byte| **byte == close).count() <= 2
        && value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

fn is_word_for_nothing(value: &[u8]) -> bool {
    const WORDS: [&str; 18] = [
        "null",
        "nil",
        "none",
        "undefined",
        "true",
        "false",
        "nan",
        "n/a",
        "na",
        "empty",
        "unset",
        "string",
        "str",
        "changeme_placeholder",
        "optional",
        "required",
        "...",
        "missing",
    ];
    // What all of them, and those below, begin with.
    let may_begin = |first: u8| matches!(first | 0x20, b'c' | b'e'..=b'f' | b'm'..=b'o' | b'r'..=b'u' | b'y' | b'.');
    if value.len() > 40 || !value.first().is_some_and(|first| may_begin(*first)) {
        return false;
    }
    if WORDS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes())) {
        return true;
    }
    // `YOUR_API_KEY`, `your-token-here`: words only.
    let starts =
        value.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"your") || start.eq_ignore_ascii_case(b"my_a"));
    starts && value.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'))
}

/// Long, in one piece, of mixed classes: what a random secret looks like.
pub(crate) fn is_secret(value: &[u8]) -> bool {
    work::passed(value.len());
    if value.len() < 16
        || !value.iter().all(u8::is_ascii_graphic)
        || memchr::memchr_iter(b':', value).any(|at| value.get(at..at + 3) == Some(b"://"))
    {
        return false;
    }
    if has_own_mark(value) {
        return beside_marks(value).any(|part| part.len() >= 16 && is_one_piece(part) && is_random(part));
    }
    is_random(value)
}

/// Whether nothing is in it that could end a value, or be a name and a value of its own.
fn is_one_piece(part: &[u8]) -> bool {
    part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.~+/:".contains(byte))
}

fn is_random(value: &[u8]) -> bool {
    let classes = Classes::of(value);
    if classes.letters == 0 {
        return classes.digits >= 24;
    }
    let mixed_case = classes.upper > 1 && classes.lower > 1 && value.len() >= 20;
    if classes.digits == 0 {
        return mixed_case && classes.other == 0 && classes.turns >= value.len() / 4;
    }
    !is_time(value) && !is_path(value) && (classes.digits >= 2 || mixed_case) && classes.turns >= 3
}

/// Something that nobody writes in a sentence: a digit between letters, a symbol inside, or great length.
pub(crate) fn is_unlike_words(value: &[u8]) -> bool {
    if has_own_mark(value) {
        return beside_marks(value).any(|part| is_one_piece(part) && differs_from_words(part));
    }
    differs_from_words(value)
}

fn differs_from_words(value: &[u8]) -> bool {
    let classes = Classes::of(value);
    value.len() >= 24 && !value.contains(&b' ')
        || value.len() >= 6 && classes.digits > 0 && classes.letters > 0 && !is_time(value)
        || value.len() >= 6 && classes.digits >= 6 && classes.letters == 0 && classes.other == 0
        || value.len() >= 8 && value.iter().any(|byte| b"!@$^*~%".contains(byte))
}

/// Lower-case words, with what stands between words.
pub(crate) fn is_prose(value: &[u8]) -> bool {
    work::passed(value.len());
    value.iter().all(|byte| byte.is_ascii_alphabetic() || b" ,.;:!?'()-_".contains(byte))
        && value
            .split(|byte| *byte == b' ')
            .all(|word| word.len() <= 16 && word.iter().skip(1).filter(|byte| byte.is_ascii_uppercase()).count() <= 1)
}

fn is_time(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_digit() || b"-:.TZ+/,".contains(byte))
}

fn is_path(value: &[u8]) -> bool {
    (value.starts_with(b"/") || value.starts_with(b"./") || value.starts_with(b"~/"))
        && value.iter().filter(|byte| **byte == b'/').count() >= 2
}

/// How many of which.
struct Classes {
    lower: usize,
    upper: usize,
    letters: usize,
    digits: usize,
    other: usize,
    turns: usize,
}

impl Classes {
    fn of(value: &[u8]) -> Self {
        let mut classes = Self { lower: 0, upper: 0, letters: 0, digits: 0, other: 0, turns: 0 };
        let mut last = 0_u8;
        work::passed(value.len());
        for byte in value {
            let class = match byte {
                b'a'..=b'z' => 1,
                b'A'..=b'Z' => 2,
                b'0'..=b'9' => 3,
                _ => 4,
            };
            match class {
                1 => classes.lower += 1,
                2 => classes.upper += 1,
                3 => classes.digits += 1,
                _ => classes.other += 1,
            }
            classes.turns += usize::from(class != last && class != 4);
            last = class;
        }
        classes.letters = classes.lower + classes.upper;
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_piece() {
        assert_eq!(mark_end(b"[REDACTED:api_key:fp=7f3a9c01]x", 0), Some(30));
        assert_eq!(mark_end(b"a [redacted]", 2), Some(12));
        assert_eq!(mark_end(b"[Filtered]", 0), Some(10));
        assert_eq!(mark_end(b"[1, 2]", 0), None);
        assert!(is_masked(b"[REDACTED:a][REDACTED:b]") && is_masked(b"***") && is_masked(b"REDACTED"));
        assert!(!is_masked(b"[hidden]Zk7Qw2Lr9") && !is_masked(b""));
    }

    #[test]
    fn what_stands_beside_a_mark_is_part_of_the_value() {
        assert!(is_masked(b"[REDACTED:api_key],") && is_masked(b"([REDACTED:api_key])"));
        for value in ["[REDACTED:api_key]Zk7Qw", "Zk7Qw[REDACTED:api_key]", "[REDACTED:a]Zk7Qw[REDACTED:b]"] {
            assert!(!is_masked(value.as_bytes()), "{value}");
        }
        assert!(is_secret(b"[REDACTED:token]Zk7Qw2Lr9TnXb4Vm") && !is_secret(b"[REDACTED:token]see-the-docs-for"));
        assert_eq!(mark_end(b"[REDACTED:Zk7Qw2Lr9TnXb4Vm]", 0), None);
        assert_eq!(outside_marks(b':', b"[REDACTED:token]:x"), Some(16));
    }

    #[test]
    fn a_placeholder_is_no_secret() {
        for text in [
            "$API_KEY",
            "${env:KEY}",
            "$(cat key)",
            "%s",
            "%KEY%",
            "{key}",
            "{{ key }}",
            "<key>",
            "",
            "null",
            "YOUR_API_KEY",
            "?",
            ":token",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
        for text in
            ["$2a$10$abcdefgh", "hunter2", "%5A%6B", "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue", "$Zk7Qw2Lr9TnXb4Vm8PcYd6"]
        {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn secrets_have_a_shape() {
        for text in [
            "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue",
            "3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
            "5f0c6e1e-9c0e-4a5e-8f0b-0a1b2c3d4e5f",
        ] {
            assert!(is_secret(text.as_bytes()), "{text}");
        }
        for text in [
            "see docs for how",
            "https://h/a1b2c3d4e5f6",
            "2026-01-03T10:30:45.123Z",
            "internationalization",
            "/usr/share/doc2/x86_64/file",
        ] {
            assert!(!is_secret(text.as_bytes()), "{text}");
        }
    }
}
