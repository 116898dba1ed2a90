//! The strings that give a credential away, each set searched for in one pass of vector instructions.
//!
//! Every name of the table has a core, and a text without any core, prefix, `@` or unusual byte has no credential. What
//! makes such a pass fast is few false alarms of its first bytes: sets are kept apart by how long their strings are.
//!
//! The order within a set matters for that, too: strings share a bucket of the search by it. The orders here were found by
//! trying many over access logs, JSON lines and source code; sorted by what they mean the strings take two to three times as
//! long.

use std::sync::LazyLock;

use aho_corasick::packed::{Config, MatchKind, Searcher};

/// What is looked for in a line beside its separators: prefixes, scheme words, markers.
pub(crate) const RARE: [&str; 32] = [
    "k_test_",
    "whsec_",
    "asic ",
    "gho_",
    "glpat-",
    "ASIA",
    "ya29.",
    "AKIA",
    "-u ",
    "ek_",
    "EARER ",
    "i-key.",
    "sk-",
    "rt_",
    "xox",
    "kma_",
    "earer ",
    "hf_",
    "eyJ",
    "github_pat_",
    "npm_",
    "xapp-",
    "ghu_",
    "km_",
    "k_live_",
    "earer.",
    "ecret.",
    "ghs_",
    "kmt_",
    "ghp_",
    "ghr_",
    "AIza",
];

/// Cores and prefixes of four and more bytes, in lower case. They are looked for in folded text.
const LONG: [&str; 44] = [
    "_live_",
    "aiza",
    "y-user",
    "ass-w",
    "sig=",
    "ghr_",
    "rization.",
    "ass_w",
    "sserti",
    "akia",
    "ghp_",
    "kmt_",
    "assw",
    "asia",
    "ecret",
    "auth=",
    "ghu_",
    " -u ",
    "hub_pat_",
    "--user",
    "ass w",
    "horiz",
    "glpat-",
    "ghs_",
    "kma_",
    "ya29.",
    "xapp-",
    "name",
    "ignat",
    "phras",
    "gho_",
    "ooki",
    "whsec_",
    "y-auth.",
    "npm_",
    "ass.w",
    "otoco",
    "earer",
    "icket=",
    "\"-u ",
    "--begin",
    "edent",
    "_test_",
    "asic ",
];

/// Cores and prefixes of three bytes, alike.
const SHORT: [&str; 10] = ["key", "xox", "jwt", "ek_", "ken", "rt_", "km_", "hf_", "eyj", "sk-"];

/// Those that count only as they stand here.
const EXACT: [&str; 25] = [
    "eyJ", "ek_", "km_", "sk-", "xox", "rt_", "hf_", "_live_", "_test_", "ghr_", "ya29.", "xapp-", "ghs_", "kmt_",
    "ghu_", "hub_pat_", "gho_", "AIza", "glpat-", "ghp_", "ASIA", "npm_", "AKIA", "kma_", "whsec_",
];

/// What upper and lower case, and little else, have in common.
#[inline]
pub(crate) const fn fold(byte: u8) -> u8 {
    byte | 0x20
}

/// Those that stand in names or around them, whatever their case.
fn in_names() -> impl Iterator<Item = &'static str> {
    SHORT.into_iter().chain(LONG).filter(|string| !EXACT.iter().any(|exact| exact.eq_ignore_ascii_case(string)))
}

/// What must stand in one piece in a name, or else it is passed over.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) folded: Vec<u8>,
    /// Whether it must be the end of the name.
    pub(crate) is_end: bool,
    letters: String,
}

/// Each core that may stand in a name.
static CORES: LazyLock<Vec<Core>> = LazyLock::new(|| {
    let core = |string: &str| {
        let name = string.trim_end_matches('=');
        Core {
            folded: name.bytes().map(fold).collect(),
            is_end: name.len() < string.len(),
            letters: name.chars().filter(char::is_ascii_alphanumeric).collect(),
        }
    };
    in_names().map(core).filter(|core| core.letters.len() > 2).collect()
});

/// Those of a name of these letters.
pub(crate) fn cores_of(letters: &str) -> Vec<Core> {
    CORES.iter().filter(|core| letters.contains(&core.letters)).cloned().collect()
}

/// A set of strings of three bytes and more.
#[derive(Clone, Debug)]
pub(crate) struct Strings {
    /// What finds the next one in a long text, on platforms with vectors.
    searcher: Option<Searcher>,
    /// By a hash of the first three bytes: a group, from 1 on; 0 if no string begins so.
    heads: Box<[u8; HEADS]>,
    groups: Vec<Vec<Vec<u8>>>,
}

/// How many hashes there are; a power of two.
const HEADS: usize = 4096;
/// So many bytes are looked at one by one before the searcher is started: where there is one string there are more.
const NEAR: usize = 32;
/// A text of this length pays for starting the searcher.
const LONG_ENOUGH: usize = 64;

impl Strings {
    pub(crate) fn new(strings: &[impl AsRef<[u8]>]) -> Self {
        let patterns = strings.iter().map(AsRef::as_ref);
        let searcher = Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(patterns).build();
        Self { searcher, ..Self::to_compare(strings) }
    }

    /// The same for who only asks what stands at a place.
    fn to_compare(strings: &[impl AsRef<[u8]>]) -> Self {
        let patterns = strings.iter().map(AsRef::as_ref);
        let mut set = Self { searcher: None, heads: Box::new([0; HEADS]), groups: Vec::new() };
        for pattern in patterns {
            let Some(place) = pattern.first_chunk().and_then(|head| set.heads.get_mut(hash(three(*head)))) else {
                continue;
            };
            if *place == 0 {
                set.groups.push(Vec::new());
                *place = u8::try_from(set.groups.len()).unwrap_or(u8::MAX);
            }
            if let Some(group) = set.groups.get_mut(usize::from(*place) - 1) {
                group.push(pattern.to_vec());
            }
        }
        set
    }

    /// Where the next one starts, from `from` on.
    pub(crate) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let rest = text.get(from..)?;
        let searcher = self.searcher.as_ref().filter(|_| rest.len() >= LONG_ENOUGH);
        let near = if searcher.is_some() { NEAR } else { rest.len() };
        if let Some(found) = self.near(rest, near) {
            return Some(from + found);
        }
        let found = searcher?.find_in(text, (from + NEAR..text.len()).into());
        found.map(|found| found.start())
    }

    /// The first one that starts before `until`, looked for byte by byte.
    #[inline]
    fn near(&self, text: &[u8], until: usize) -> Option<usize> {
        // The last that counts may end behind it.
        let near = text.get(..text.len().min(until.saturating_add(2))).unwrap_or_default();
        let mut at = 0;
        loop {
            at += self.begins(near.get(at..)?)?;
            if self.is_at(text.get(at..).unwrap_or_default()) {
                return Some(at);
            }
            at += 1;
        }
    }

    /// The first place where one may begin, by its first three bytes.
    #[inline]
    fn begins(&self, near: &[u8]) -> Option<usize> {
        let heads = &*self.heads;
        let is_head = |head: u32| heads.get(hash(head)).is_some_and(|group| *group > 0);
        // Four bytes are read together; the last of them waits.
        let fours = |four: &[u8]| four.first_chunk().is_some_and(|four| is_head(u32::from_le_bytes(*four) & THREE));
        let last = || near.last_chunk().filter(|last| is_head(three(**last))).map(|last| near.len() - last.len());
        near.windows(4).position(fours).or_else(last)
    }

    #[inline(never)]
    fn is_at(&self, rest: &[u8]) -> bool {
        let group = rest.first_chunk().and_then(|head| self.heads.get(hash(three(*head))));
        let group = group.and_then(|group| self.groups.get(usize::from(*group).checked_sub(1)?));
        group.is_some_and(|group| group.iter().any(|pattern| rest.starts_with(pattern)))
    }
}

/// The next one of a set in a text. In a short text it is looked for only as far as somebody asks.
pub(crate) struct Next<'a> {
    set: &'a Strings,
    text: &'a [u8],
    /// It is not before this.
    from: usize,
    /// Where it is, if that is known.
    found: Option<usize>,
}

impl<'a> Next<'a> {
    pub(crate) fn new(set: &'a Strings, text: &'a [u8], from: usize) -> Self {
        Self { set, text, from, found: None }
    }

    /// The next one, if it starts before `until`.
    #[inline]
    pub(crate) fn before(&mut self, until: usize) -> Option<usize> {
        if self.from >= until {
            return None;
        }
        if self.found.is_none() {
            self.search(until);
        }
        self.found.filter(|found| *found < until)
    }

    #[inline(never)]
    fn search(&mut self, until: usize) {
        let rest = self.text.get(self.from..).unwrap_or_default();
        if rest.len() >= LONG_ENOUGH {
            self.found = self.set.next(self.text, self.from);
            self.from = self.found.unwrap_or(usize::MAX);
        } else {
            self.found = self.set.near(rest, until - self.from).map(|found| self.from + found);
            self.from = self.found.unwrap_or(until);
        }
    }

    /// Leaves out everything before `at`.
    #[inline]
    pub(crate) fn skip_to(&mut self, at: usize) {
        if self.from < at {
            (self.from, self.found) = (at, None);
        }
    }
}

/// What of four bytes are the first three.
const THREE: u32 = 0xff_ffff;

#[inline]
const fn three([first, second, third]: [u8; 3]) -> u32 {
    u32::from_le_bytes([first, second, third, 0])
}

#[inline]
const fn hash(head: u32) -> usize {
    head.wrapping_mul(0x9e37_79b1) as usize >> (32 - HEADS.trailing_zeros())
}

/// The sets that a text is passed over with. All but the last are of folded bytes.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    short: Strings,
    long: Strings,
    in_names: Strings,
    exact: Strings,
}

impl Default for Cores {
    fn default() -> Self {
        let folded = |string: &str| string.bytes().map(fold).collect::<Vec<u8>>();
        Self {
            short: Strings::new(&SHORT.map(folded)),
            long: Strings::new(&LONG.map(folded)),
            in_names: Strings::to_compare(&in_names().map(folded).collect::<Vec<_>>()),
            exact: Strings::to_compare(&EXACT),
        }
    }
}

impl Cores {
    /// Whether what starts here, and folded so, counts.
    pub(crate) fn count(&self, rest: &[u8], folded: &[u8]) -> bool {
        self.exact.is_at(rest) || self.in_names.is_at(folded)
    }
}

/// A part of a text, folded, and what is next in it. Another part is folded where somebody goes on to it.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    bytes: Vec<u8>,
    from: usize,
    /// The next place of each set of cores; one behind the part if there is none in it.
    next: [usize; 2],
}

impl Folded {
    /// How much is folded together: it stays in the processor's first cache.
    const BYTES: usize = 16 << 10;
    /// How much at the end of a part is in the next one, too: more than the longest string.
    const OVERLAP: usize = 16;

    /// Nothing, of a text that nobody has asked about.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The place in `text` from `from` on at which a core starts.
    pub(crate) fn next(&mut self, cores: &Cores, text: &[u8], from: usize) -> Option<usize> {
        let mut from = from;
        while from < text.len() {
            let end = self.end();
            let is_in = from >= self.from && from < end && (end == text.len() || from + Self::OVERLAP <= end);
            if !is_in {
                self.fold(text, from);
            }
            let end = self.end();
            for (index, set) in [&cores.short, &cores.long].into_iter().enumerate() {
                if let Some(next) = self.next.get_mut(index).filter(|next| **next < from || !is_in) {
                    *next = set.next(&self.bytes, from - self.from).map_or(end, |found| self.from + found);
                }
            }
            let nearest = self.next.iter().copied().min().filter(|nearest| *nearest < end);
            if nearest.is_some() || end == text.len() {
                return nearest;
            }
            from = from.max(end - Self::OVERLAP + 1);
        }
        None
    }

    fn end(&self) -> usize {
        self.from + self.bytes.len()
    }

    fn fold(&mut self, text: &[u8], from: usize) {
        let part = text.get(from..text.len().min(from + Self::BYTES)).unwrap_or_default();
        self.bytes.clear();
        self.bytes.extend(part.iter().map(|byte| fold(*byte)));
        self.from = from;
    }

    /// What stands from `at` on, as far as it is folded.
    pub(crate) fn rest(&self, at: usize) -> &[u8] {
        at.checked_sub(self.from).and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::PAIR_NAMES;
    use crate::table::{HEADERS, MARKERS, NAMES, PREFIXES, Scope};

    fn has_core(text: &str) -> bool {
        Folded::default().next(&Cores::default(), text.as_bytes(), 0).is_some()
    }

    #[test]
    fn what_is_exact_is_looked_for_and_the_rest_is_in_lower_case() {
        let all = || SHORT.into_iter().chain(LONG);
        for string in EXACT {
            assert!(all().any(|all| all.eq_ignore_ascii_case(string)), "{string}");
        }
        for string in all() {
            assert_eq!(string.to_ascii_lowercase(), string);
            assert!(string.len() < Folded::OVERLAP, "{string}");
        }
    }

    #[test]
    fn a_text_is_folded_part_by_part() {
        let cores = Cores::default();
        let mut text = vec![b'~'; 3 * Folded::BYTES];
        let mut places: Vec<usize> =
            (1..=2).flat_map(|part| (0..6).map(move |back| part * Folded::BYTES - back * 40 - 1)).collect();
        places.sort_unstable();
        for (index, at) in places.iter().enumerate() {
            let core: &[u8] = if index % 3 == 0 { b"OOki" } else { b"KeY" };
            text[*at..*at + core.len()].copy_from_slice(core);
        }
        let mut folded = Folded::default();
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = folded.next(&cores, &text, from) {
            assert!(folded.rest(at).starts_with(if found.len() % 3 == 0 { b"ooki" } else { b"key" }));
            found.push(at);
            from = at + 1;
        }
        assert_eq!(found, places);
        // Backwards, and in another text.
        assert_eq!(folded.next(&cores, &text, 0), Some(places[0]));
        folded.clear();
        assert_eq!(folded.next(&cores, b"a KEY", 0), Some(2));
    }

    #[test]
    fn a_string_is_found_wherever_it_stands() {
        let Cores { short, long, .. } = Cores::default();
        for set in [short, long, Strings::new(&RARE)] {
            for length in [0, 3, 15, 16, 17, 62, 63, 64, 65, 200] {
                for string in RARE.iter().chain(&LONG).chain(&SHORT) {
                    let is_in_set = set.next(string.as_bytes(), 0) == Some(0);
                    let text = format!("{}{string}{}", "~".repeat(length), "~".repeat(200 - length));
                    for text in [&text, text.trim_end_matches('~')] {
                        for from in [0, length / 2, length] {
                            let found = set.next(text.as_bytes(), from);
                            assert!(!is_in_set || found == Some(length), "{string} at {length} from {from}");
                        }
                        assert!(set.next(text.as_bytes(), length + string.len()).is_none());
                    }
                }
            }
        }
    }

    #[test]
    fn those_in_a_row_are_given_as_far_as_somebody_asks() {
        let set = Strings::new(&RARE);
        for length in [0, 1, 7, 30, 70] {
            let gap = "~".repeat(length);
            let text = format!("{gap}AKIA{gap}eyJ{gap}kma_{gap}");
            let places = [length, 2 * length + 4, 3 * length + 7];
            for step in [1, 2, 3, 5, 64, 300] {
                let mut next = Next::new(&set, text.as_bytes(), 0);
                let mut found = Vec::new();
                for until in (0..text.len() + step).step_by(step) {
                    while let Some(at) = next.before(until) {
                        assert!(at < until, "{at} is asked for later");
                        found.push(at);
                        next.skip_to(at + 1);
                    }
                }
                assert_eq!(found, places, "{text} in steps of {step}");
            }
            let mut next = Next::new(&set, text.as_bytes(), 0);
            assert_eq!(next.before(usize::MAX), Some(places[0]));
            next.skip_to(places[0] + 1);
            next.skip_to(places[2]);
            assert_eq!([next.before(places[2]), next.before(usize::MAX)], [None, Some(places[2])], "{text}");
        }
    }

    #[test]
    fn every_name_header_prefix_and_marker_has_a_core() {
        for rule in NAMES {
            let text = if rule.scope == Scope::Query { format!("{}=", rule.name) } else { rule.name.to_owned() };
            assert!(has_core(&text) && has_core(&text.to_uppercase()), "{}", rule.name);
        }
        for (name, _) in HEADERS {
            assert!(has_core(name) && has_core(&name.to_uppercase()), "{name}");
        }
        for marker in MARKERS {
            assert!(has_core(marker), "{marker}");
        }
        for rule in PREFIXES {
            assert!(has_core(rule.prefix), "{}", rule.prefix);
            let rare = Strings::new(&RARE);
            assert_eq!(rare.next(rule.prefix.as_bytes(), 0).map(|at| at < 2), Some(true), "{}", rule.prefix);
        }
        assert!(PAIR_NAMES.contains(&"name"));
    }
}
