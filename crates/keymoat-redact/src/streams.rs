//! The strings that give a credential away, each set searched for in one pass of vector instructions.
//!
//! Every name of the table has a core, and a text without any core, prefix, `@` or unusual byte has no credential. What
//! makes such a pass fast is few false alarms of its first bytes: sets are kept apart by how long their strings are.

use aho_corasick::packed::{Config, MatchKind, Searcher};

/// What is looked for in a line beside its separators: prefixes, scheme words, markers.
pub(crate) const RARE: [&str; 32] = [
    "eyJ",
    "earer ",
    "EARER ",
    "asic ",
    "-u ",
    "i-key.",
    "earer.",
    "ecret.",
    "km_",
    "kmt_",
    "kma_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "npm_",
    "AIza",
    "AKIA",
    "ASIA",
    "sk-",
    "k_live_",
    "k_test_",
    "whsec_",
    "xox",
    "xapp-",
    "ek_",
    "rt_",
    "hf_",
    "glpat-",
    "ya29.",
];

/// Cores in every case, because a server may not care.
const ANY_CASE: [&str; 2] = ["key", "ken"];

/// Cores and prefixes of four and more bytes.
const LONG: [&str; 60] = [
    "ecret",
    "ECRET",
    "assw",
    "ASSW",
    "phras",
    "PHRAS",
    "edent",
    "EDENT",
    "ignat",
    "IGNAT",
    "horiz",
    "HORIZ",
    "ooki",
    "OOKI",
    "otoco",
    "OTOCO",
    "auth=",
    "AUTH=",
    "Auth=",
    "icket=",
    "ICKET=",
    "sserti",
    "SSERTI",
    "ame\"",
    "ame\\",
    "ame:",
    "earer",
    "EARER",
    "ass_w",
    "ASS_W",
    "ass-w",
    "asic ",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "hub_pat_",
    "npm_",
    "_live_",
    "_test_",
    "whsec_",
    "xapp-",
    "glpat-",
    "AIza",
    "ya29.",
    "AKIA",
    "ASIA",
    "kmt_",
    "kma_",
    "y-auth.",
    "rization.",
    "sig=",
    "SIG=",
    "Sig=",
    " -u ",
    "\"-u ",
    "--user",
    "--BEGIN",
    "y-user",
];

/// Cores and prefixes of three bytes.
const SHORT: [&str; 10] = ["jwt", "JWT", "Jwt", "km_", "sk-", "ek_", "rt_", "hf_", "xox", "eyJ"];

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
    pub(crate) fn new(strings: &[impl AsRef<str>]) -> Self {
        let patterns = strings.iter().map(|text| text.as_ref().as_bytes());
        let searcher = Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(patterns.clone()).build();
        let mut set = Self { searcher, heads: Box::new([0; HEADS]), groups: Vec::new() };
        for pattern in patterns {
            let Some(place) = pattern.first_chunk().and_then(|head| set.heads.get_mut(hash(*head))) else { continue };
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
        let near = if searcher.is_some() { NEAR + 2 } else { rest.len() };
        let near = rest.get(..near).unwrap_or_default();
        let mut at = 0;
        while let Some(passed) = near.get(at..).and_then(|near| self.begins(near)) {
            at += passed;
            if self.is_at(rest.get(at..).unwrap_or_default()) {
                return Some(from + at);
            }
            at += 1;
        }
        let found = searcher?.find_in(text, (from + NEAR..text.len()).into());
        found.map(|found| found.start())
    }

    /// The first place where one may begin, by its first three bytes.
    #[inline]
    fn begins(&self, near: &[u8]) -> Option<usize> {
        let heads = &*self.heads;
        let is_head = |three: &[u8]| match *three {
            [first, second, third] => heads.get(hash([first, second, third])).is_some_and(|group| *group > 0),
            _ => false,
        };
        near.windows(3).position(is_head)
    }

    #[inline(never)]
    fn is_at(&self, rest: &[u8]) -> bool {
        let group = rest.first_chunk().and_then(|head| self.heads.get(hash(*head)));
        let group = group.and_then(|group| self.groups.get(usize::from(*group).checked_sub(1)?));
        group.is_some_and(|group| group.iter().any(|pattern| rest.starts_with(pattern)))
    }
}

#[inline]
const fn hash([first, second, third]: [u8; 3]) -> usize {
    let head = u32::from_le_bytes([first, second, third, 0]);
    head.wrapping_mul(0x9e37_79b1) as usize >> (32 - HEADS.trailing_zeros())
}

/// The sets that a text is passed over with.
pub(crate) fn cores() -> [Strings; 2] {
    let any_case: Vec<String> = ANY_CASE.iter().flat_map(|core| (0..8).map(|case| in_case(core, case))).collect();
    let short: Vec<&str> = any_case.iter().map(String::as_str).chain(SHORT).collect();
    [Strings::new(&short), Strings::new(&LONG)]
}

/// The letters of `core`, upper case where `case` has a bit.
fn in_case(core: &str, case: u32) -> String {
    let upper = |(index, letter): (usize, char)| {
        if case >> index & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
    };
    core.chars().enumerate().map(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::PAIR_NAMES;
    use crate::table::{HEADERS, MARKERS, NAMES, PREFIXES, Scope};

    fn has_core(text: &str) -> bool {
        cores().iter().any(|set| set.next(text.as_bytes(), 0).is_some())
    }

    #[test]
    fn a_string_is_found_wherever_it_stands() {
        for set in cores().iter().chain([&Strings::new(&RARE)]) {
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
