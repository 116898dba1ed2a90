//! The lexical rules, as patterns over bytes, and what a name or a value has to look like.

use std::ops::Range;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use super::Language;

/// Which rule found a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A literal that ends in `?key=` or the like, and an interpolation behind it.
    Interpolation,
    /// A call or a literal that sets a query parameter of such a name.
    Parameter,
    /// An OpenAPI security scheme of API keys `in: query`.
    OpenApiScheme,
    /// An example with a placeholder for the credential.
    Placeholder,
}

impl Rule {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 4] = [Self::Interpolation, Self::Parameter, Self::OpenApiScheme, Self::Placeholder];

    /// The stable id in reports.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Interpolation => "url-credential-interpolation",
            Self::Parameter => "url-credential-parameter",
            Self::OpenApiScheme => "url-credential-openapi",
            Self::Placeholder => "url-credential-example",
        }
    }

    /// What is wrong, in a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Interpolation => "code writes a credential into a URL",
            Self::Parameter => "code sets a credential as a query parameter",
            Self::OpenApiScheme => "an OpenAPI scheme takes its key in the query",
            Self::Placeholder => "an example puts a credential into a URL",
        }
    }
}

/// One place that a pattern matched.
#[derive(Debug)]
pub(super) struct Match {
    pub(super) rule: Rule,
    pub(super) parameter: String,
    pub(super) span: Range<usize>,
}

/// Names that hold a credential wherever they stand in a query.
const CERTAIN: &str = r"(?:[a-z0-9]*[_-]?)?(?:api[_-]?key|access[_-]?key|secret[_-]?key|access[_-]?token|auth[_-]?token|id[_-]?token|session[_-]?token|security[_-]?token|client[_-]?secret|password|passwd|passphrase|secret|credential|jwt|signature|token|auth|authorization)";

/// Names that hold one when the value says so.
const AMBIGUOUS: &str = r"key|sig|ticket|k|t|code";

/// What follows a literal that goes on with a value.
const INTERPOLATION: &str = r#"\$\{[^}\r\n]{1,120}\}|\$\([^)\r\n]{1,120}\)|\$[a-z_][a-z0-9_]*|\{\{[^}\r\n]{1,80}\}\}|\{[^}{\r\n"']{0,120}\}|%[svq@]|%\([a-z_]+\)s|\\\([^)\r\n]{1,120}\)|#\{[^}\r\n]{1,120}\}|["'`]\s{0,8}(?:\+|\.)\s{0,8}\$?[a-z_][a-z0-9_.()]{0,80}"#;

/// What a placeholder looks like.
const PLACEHOLDER: &str =
    r"<[a-z _-]{1,40}>|your[a-z_-]{0,40}|[x*]{3,}|\.\.\.|k[0-9]?\b|api_key\b|api-key\b|token\b|secret\b";

/// Words in an expression that say that it is a credential.
const TELLING: &str = r"(?i)(?:api_?key|apikey|\bkey\b|_key\b|token|secret|passw|credential|auth|jwt|[a-z]Key\b)";

/// The compiled patterns.
#[derive(Debug)]
pub(super) struct Matcher {
    interpolation: Regex,
    computed: Regex,
    call: Regex,
    member: Regex,
    member_name: Regex,
    scheme: Regex,
    scheme_in_query: Regex,
    scheme_name: Regex,
    placeholder: Regex,
    telling: Regex,
}

impl Matcher {
    pub(super) fn new() -> Self {
        let compiled = |pattern: &str| {
            let syntax = syntax::Config::new().unicode(false).utf8(false).case_insensitive(true);
            Regex::builder().syntax(syntax).build(pattern).expect("the patterns are our own, and tested")
        };
        let escapes = r"(?:\\?[?&]|&amp;)";
        Self {
            interpolation: compiled(&format!(r"{escapes}(?P<name>{CERTAIN}|{AMBIGUOUS})=(?P<value>{INTERPOLATION})")),
            computed: compiled(&format!(r"{escapes}(?P<name>\$\{{\w+\}}|\{{\w+\}})=(?P<value>{INTERPOLATION})")),
            call: compiled(&format!(
                r#"(?:search_?params\s{{0,4}}\.\s{{0,4}}(?:set|append)|(?:params|query|q|values|qs)\s{{0,4}}\.\s{{0,4}}(?:set|append|add)|append_pair|query_?param(?:eter)?|add_?query_?param(?:eter)?|append_?query_?param(?:eter)?|set_?query_?param(?:eter)?|url_?query_?item)\s{{0,4}}\(\s{{0,8}}(?:name:\s{{0,4}})?["'`](?P<name>{CERTAIN}|{AMBIGUOUS})["'`]\s{{0,8}},?\s{{0,8}}(?:value:\s{{0,4}})?(?P<value>[^\r\n]{{0,80}})"#
            )),
            member: compiled(
                r#"(?:\bparams\s{0,4}[=:]\s{0,4}|URLSearchParams\s{0,4}\(\s{0,4}|urlencode\s{0,4}\(\s{0,4}|\.query\s{0,4}\(\s{0,4}&?)(?P<members>[\[{][^\r\n}\]]{1,240})"#,
            ),
            member_name: compiled(&format!(
                r#"(?:^|[\s{{\[,(])["']?(?P<name>{CERTAIN}|{AMBIGUOUS})["']?\s{{0,4}}[:,]\s{{0,4}}(?P<value>[^,}})\]]{{1,80}})"#
            )),
            scheme: compiled(r#"["']?type["']?\s{0,4}:\s{0,4}["']?apikey["']?"#),
            scheme_in_query: compiled(r#"["']?\bin["']?\s{0,4}:\s{0,4}["']?query\b"#),
            scheme_name: compiled(r#"["']?\bname["']?\s{0,4}:\s{0,4}["']?(?P<name>[a-z0-9_.-]+)"#),
            placeholder: compiled(&format!(r"{escapes}(?P<name>{CERTAIN}|key)=(?P<value>{PLACEHOLDER})")),
            telling: compiled(TELLING),
        }
    }

    /// Whether anything in the text can match at all: a cheap look before the patterns.
    pub(super) fn is_worth_it(&self, text: &[u8]) -> bool {
        self.telling.is_match(text)
    }

    pub(super) fn matches(&self, text: &[u8], language: Language, placeholders: bool) -> Vec<Match> {
        let mut matches = Vec::new();
        if language == Language::Data {
            self.schemes(text, &mut matches);
            return matches;
        }
        self.named(&self.interpolation, Rule::Interpolation, text, &mut matches);
        self.computed(text, &mut matches);
        self.named(&self.call, Rule::Parameter, text, &mut matches);
        self.members(text, &mut matches);
        if placeholders {
            self.named(&self.placeholder, Rule::Placeholder, text, &mut matches);
        }
        matches
    }

    /// Patterns with a name and a value: an ambiguous name counts when the value is called a credential.
    fn named(&self, pattern: &Regex, rule: Rule, text: &[u8], matches: &mut Vec<Match>) {
        for captures in pattern.captures_iter(text) {
            let (Some(whole), Some(name)) = (captures.get_match(), captures.get_group_by_name("name")) else {
                continue;
            };
            let name = text.get(name.range()).unwrap_or_default();
            let value =
                captures.get_group_by_name("value").and_then(|value| text.get(value.range())).unwrap_or_default();
            if rule != Rule::Placeholder && is_ambiguous(name) && !self.tells(value) {
                continue;
            }
            matches.push(Match { rule, parameter: shown(name), span: whole.range() });
        }
    }

    /// `?${keyName}=${apiKey}`: the name is computed, the value tells.
    fn computed(&self, text: &[u8], matches: &mut Vec<Match>) {
        for captures in self.computed.captures_iter(text) {
            let (Some(whole), Some(name)) = (captures.get_match(), captures.get_group_by_name("name")) else {
                continue;
            };
            let value =
                captures.get_group_by_name("value").and_then(|value| text.get(value.range())).unwrap_or_default();
            if self.tells(value) {
                let parameter = shown(text.get(name.range()).unwrap_or_default());
                matches.push(Match { rule: Rule::Interpolation, parameter, span: whole.range() });
            }
        }
    }

    /// `params={"q": q, "key": API_KEY}` and its kin: every member is looked at.
    fn members(&self, text: &[u8], matches: &mut Vec<Match>) {
        for captures in self.member.captures_iter(text) {
            let Some(members) = captures.get_group_by_name("members") else { continue };
            let inside = text.get(members.range()).unwrap_or_default();
            for found in self.member_name.captures_iter(inside) {
                let (Some(whole), Some(name)) = (found.get_match(), found.get_group_by_name("name")) else { continue };
                let name = inside.get(name.range()).unwrap_or_default();
                let value = found.get_group_by_name("value").and_then(|value| inside.get(value.range()));
                if is_ambiguous(name) && !self.tells(value.unwrap_or_default()) {
                    continue;
                }
                let span = members.start + whole.start()..members.start + whole.end();
                matches.push(Match { rule: Rule::Parameter, parameter: shown(name), span });
            }
        }
    }

    /// A scheme's members stand together, in any order: within its braces, or in lines as deep as its own.
    fn schemes(&self, text: &[u8], matches: &mut Vec<Match>) {
        for found in self.scheme.find_iter(text) {
            let block = block_around(text, found.range());
            let inside = text.get(block).unwrap_or_default();
            if !self.scheme_in_query.is_match(inside) {
                continue;
            }
            let name = self.scheme_name.captures_iter(inside).next();
            let name = name.and_then(|name| inside.get(name.get_group_by_name("name")?.range()));
            let parameter = name.map_or_else(|| "?".to_owned(), shown);
            matches.push(Match { rule: Rule::OpenApiScheme, parameter, span: found.range() });
        }
    }

    fn tells(&self, value: &[u8]) -> bool {
        // `object_key` and `sort_key` are names of things; a value that is called so is none of ours.
        self.telling.is_match(value) && !value.to_ascii_lowercase().windows(7).any(|part| part == b"object_")
    }
}

fn is_ambiguous(name: &[u8]) -> bool {
    AMBIGUOUS.split('|').any(|ambiguous| name.eq_ignore_ascii_case(ambiguous.as_bytes()))
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The members beside `found`: what its braces enclose in JSON, the neighbouring lines of its depth in YAML.
fn block_around(text: &[u8], found: Range<usize>) -> Range<usize> {
    let line_start = text.get(..found.start).and_then(|before| memchr::memrchr(b'\n', before)).map_or(0, |at| at + 1);
    let indent = text.get(line_start..found.start).unwrap_or_default();
    if indent.iter().all(|byte| matches!(byte, b' ' | b'-')) && text.get(found.start).is_none_or(|byte| *byte != b'"') {
        return lines_of_depth(text, line_start, indent.len());
    }
    let start = text.get(..found.start).and_then(|before| memchr::memrchr(b'{', before)).unwrap_or(line_start);
    let behind = text.get(found.end..).unwrap_or_default();
    let end = memchr::memchr(b'}', behind).map_or(text.len(), |at| found.end + at);
    start..end
}

/// The lines before and behind `line_start` that are exactly as deep, and those between them that are deeper.
fn lines_of_depth(text: &[u8], line_start: usize, depth: usize) -> Range<usize> {
    let depth_of = |line: &[u8]| {
        let blank = line.iter().take_while(|byte| matches!(byte, b' ' | b'-')).count();
        (blank < line.len()).then_some(blank)
    };
    let mut start = line_start;
    while start > 0 {
        let before = text.get(..start - 1).unwrap_or_default();
        let previous = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let line = text.get(previous..start - 1).unwrap_or_default();
        if depth_of(line).is_some_and(|of| of < depth) {
            break;
        }
        start = previous;
    }
    let mut end = line_start;
    while let Some(rest) = text.get(end..).filter(|rest| !rest.is_empty()) {
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let line = rest.get(..length).unwrap_or_default().trim_ascii_end();
        if end != line_start && depth_of(line).is_some_and(|of| of < depth) {
            break;
        }
        end += length;
    }
    start..end
}
