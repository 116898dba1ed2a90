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
    "key.",
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

/// A set of strings.
#[derive(Clone, Debug)]
pub(crate) struct Strings {
    searcher: Option<Searcher>,
    patterns: Vec<Vec<u8>>,
}

impl Strings {
    pub(crate) fn new(strings: &[impl AsRef<str>]) -> Self {
        let patterns: Vec<Vec<u8>> = strings.iter().map(|text| text.as_ref().as_bytes().to_vec()).collect();
        let searcher = Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(&patterns).build();
        Self { searcher, patterns }
    }

    /// Where the next one starts, from `from` on.
    pub(crate) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        match &self.searcher {
            _ if from >= text.len() => None,
            Some(searcher) => searcher.find_in(text, (from..text.len()).into()).map(|found| found.start()),
            // A platform without vectors.
            None => self.next_one_by_one(text, from),
        }
    }

    fn next_one_by_one(&self, text: &[u8], from: usize) -> Option<usize> {
        let rest = text.get(from..)?;
        let places = self.patterns.iter().filter_map(|pattern| memchr::memmem::find(rest, pattern));
        places.min().map(|at| from + at)
    }
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
