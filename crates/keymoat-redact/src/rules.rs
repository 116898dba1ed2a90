//! The rules in force: the table's, and what a user added.

use std::collections::HashSet;
use std::ops::Range;

use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;

use crate::anchor::{PAIR_NAMES, Tails};
use crate::finding::Kind;
use crate::names::{Meaning, Names};
use crate::shape::is_secret;
use crate::streams::{Cores, RARE, Strings};
use crate::table::{HEADERS, LABELS, NAMES, Scope};

/// How large a user's patterns may become when compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// How many patterns a user may have.
const PATTERNS_MAX: usize = 256;

/// What a user adds to the table.
#[derive(Clone, Debug, Default)]
pub struct Custom {
    /// Names whose value is a credential, wherever they stand; in any case, with or without `_` and `-`.
    pub names: Vec<String>,
    /// Patterns of credentials.
    pub patterns: Vec<Pattern>,
    /// Values that are no credentials, exactly as they stand.
    pub allow: Vec<String>,
    /// Long subprotocols that are no credentials.
    pub protocols: Vec<String>,
}

/// A user's own rule.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// What stands in the mark: lower-case letters, digits and `_`, at most 32.
    pub name: String,
    /// A regular expression. Its first group is what is masked, or else all of it. It sees one line.
    pub regex: String,
}

/// Why a user's rules were refused.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The name would not make a mark.
    #[error("`{name}` is no name for a rule: use up to 32 lower-case letters, digits and `_`, with a letter first")]
    Name {
        /// Which.
        name: String,
    },
    /// The pattern is wrong or too large.
    #[error("the pattern of rule `{name}`: {reason}")]
    Pattern {
        /// Whose.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// All patterns together are too large.
    #[error("the patterns are too large together: {reason}")]
    Together {
        /// What is wrong.
        reason: String,
    },
    /// There are too many.
    #[error("more than {PATTERNS_MAX} patterns")]
    TooMany,
    /// A name that nothing is left of when it is normalised, or that would be found everywhere.
    #[error("`{name}` is too short for the name of a credential: use at least 3 letters or digits")]
    ShortName {
        /// Which.
        name: String,
    },
}

/// Every rule, compiled. [`Rules::default`] has those of the table.
#[derive(Debug)]
pub struct Rules {
    pub(crate) names: Names,
    pub(crate) tails: Tails,
    pub(crate) rare: Strings,
    pub(crate) cores: Cores,
    /// Whether names were added, whose cores nobody knows.
    pub(crate) own_names: bool,
    labels: HashSet<Vec<u8>>,
    allow: HashSet<Vec<u8>>,
    users: Option<Regex>,
    user_names: Vec<String>,
    #[cfg(test)]
    pub(crate) fault: Option<&'static [u8]>,
    #[cfg(test)]
    pub(crate) fault_in_passing: Option<&'static [u8]>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            names: Names::of_table(),
            tails: Tails::of(table_tails().map(str::as_bytes)),
            rare: Strings::new(&RARE),
            cores: Cores::default(),
            own_names: false,
            labels: LABELS.iter().map(|label| label.as_bytes().to_vec()).collect(),
            allow: HashSet::new(),
            users: None,
            user_names: Vec::new(),
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            fault_in_passing: None,
        }
    }
}

fn table_tails() -> impl Iterator<Item = &'static str> {
    let headers = HEADERS.iter().map(|(name, _)| *name);
    NAMES.iter().map(|rule| rule.name).chain(headers).chain(PAIR_NAMES)
}

impl Rules {
    /// The table's rules and the user's.
    ///
    /// # Errors
    /// A pattern that does not compile or is too large, or a name that cannot be used.
    pub fn new(custom: &Custom) -> Result<Self, RuleError> {
        let mut rules = Self::default();
        let mut tails: Vec<Vec<u8>> = Vec::new();
        for name in &custom.names {
            let normalised = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
            if normalised.len() < 3 {
                return Err(RuleError::ShortName { name: name.clone() });
            }
            let meaning = Meaning { scope: Scope::Anywhere, kind: Kind::Credential, header: None };
            rules.names.add(&normalised, false, meaning);
            tails.push(normalised.into_bytes());
        }
        let mut all: Vec<&[u8]> = table_tails().map(str::as_bytes).collect();
        all.extend(tails.iter().map(Vec::as_slice));
        rules.tails = Tails::of(all.into_iter());
        rules.own_names = !custom.names.is_empty();
        rules.labels.extend(custom.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()));
        rules.allow.extend(custom.allow.iter().map(|value| value.as_bytes().to_vec()));
        rules.users = patterns(&custom.patterns)?;
        rules.user_names = custom.patterns.iter().map(|pattern| pattern.name.clone()).collect();
        Ok(rules)
    }

    /// The word in the mark of a kind.
    #[must_use]
    pub fn word(&self, kind: Kind) -> &str {
        match kind {
            Kind::User(index) => self.user_names.get(usize::from(index)).map_or("custom", String::as_str),
            kind => kind.word().unwrap_or("custom"),
        }
    }

    pub(crate) fn is_allowed(&self, value: &[u8]) -> bool {
        !self.allow.is_empty() && self.allow.contains(value)
    }

    /// Whether a long subprotocol is no credential.
    pub(crate) fn is_label(&self, entry: &[u8]) -> bool {
        self.labels.contains(entry)
    }

    /// Where the next match of a user's pattern starts.
    pub(crate) fn next_user(&self, text: &[u8], from: usize) -> Option<usize> {
        let input = regex_automata::Input::new(text).range(from..);
        self.users.as_ref()?.find(input).map(|found| found.start())
    }

    /// Whether a user has patterns.
    pub(crate) const fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// Every match of a user's pattern in a line.
    pub(crate) fn find_users(&self, line: &[u8], mut found: impl FnMut(Range<usize>, u16)) {
        let Some(regex) = &self.users else { return };
        for captures in regex.captures_iter(line) {
            let Some(pattern) = captures.pattern() else { continue };
            let Some(span) = captures.get_group(1).or_else(|| captures.get_group(0)) else { continue };
            if !self.is_allowed(line.get(span.range()).unwrap_or_default()) {
                found(span.range(), u16::try_from(pattern.as_usize()).unwrap_or(u16::MAX));
            }
        }
    }
}

fn patterns(patterns: &[Pattern]) -> Result<Option<Regex>, RuleError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    if patterns.len() > PATTERNS_MAX {
        return Err(RuleError::TooMany);
    }
    let mut builder = Regex::builder();
    builder
        .configure(
            Config::new()
                .nfa_size_limit(Some(PATTERN_BYTES_MAX))
                .onepass_size_limit(Some(PATTERN_BYTES_MAX))
                .hybrid_cache_capacity(PATTERN_BYTES_MAX)
                .utf8_empty(false),
        )
        .syntax(syntax::Config::new().utf8(false).unicode(true));
    for Pattern { name, regex } in patterns {
        let fits = name.len() <= 32
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            // Its mark would not be taken for one.
            && !is_secret(name.as_bytes());
        if !fits {
            return Err(RuleError::Name { name: name.clone() });
        }
        let compiled = builder.build(regex).map_err(|error| {
            let reason = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
            RuleError::Pattern { name: name.clone(), reason }
        })?;
        if compiled.is_match("") {
            let reason = "it matches nothing at all, which is everywhere".to_owned();
            return Err(RuleError::Pattern { name: name.clone(), reason });
        }
    }
    let regexes: Vec<&str> = patterns.iter().map(|pattern| pattern.regex.as_str()).collect();
    builder.build_many(&regexes).map(Some).map_err(|error| RuleError::Together { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(name: &str, regex: &str) -> Result<Rules, RuleError> {
        let patterns = vec![Pattern { name: name.into(), regex: regex.into() }];
        Rules::new(&Custom { patterns, ..Custom::default() })
    }

    #[test]
    fn a_users_pattern_is_compiled_within_limits() {
        assert!(custom("badge", r"badge-(\d{6})").is_ok());
        assert!(matches!(custom("Bad", "x"), Err(RuleError::Name { .. })));
        assert!(matches!(custom("open", "("), Err(RuleError::Pattern { .. })));
        assert!(matches!(custom("empty", "a*"), Err(RuleError::Pattern { .. })));
        assert!(matches!(custom("huge", r"(\w{1000}){1000}"), Err(RuleError::Pattern { .. })));
    }

    #[test]
    fn a_name_has_letters() {
        let named = |name: &str| Rules::new(&Custom { names: vec![name.into()], ..Custom::default() });
        assert!(named("X-Badge").is_ok());
        assert!(matches!(named("x-"), Err(RuleError::ShortName { .. })));
    }
}
