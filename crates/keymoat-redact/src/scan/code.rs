//! Source code and documents that build a credential into a URL (CWE-598): the place where every later leak begins.
//!
//! The rules are lexical, so that one table serves all languages: a literal with `?key=` or `&api_key=` in it that is
//! directly followed by an interpolation, a call that sets a parameter of such a name, and an OpenAPI scheme of API keys
//! `in: query`. A line that says `keymoat: allow(url-credential) REASON`, or whose line before does, is counted and not
//! reported.

mod rules;

use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

pub use rules::Rule;
use rules::{Match, Matcher};

/// How a waiver begins; the reason follows in the same comment.
const WAIVER: &[u8] = b"keymoat: allow(url-credential)";

/// How many lines around a finding are searched for the header that makes the parameter redundant.
const NEIGHBOURS: usize = 6;

/// What carries the same credential in a header.
const HEADERS: [&[u8]; 6] = [b"x-goog-api-key", b"x-api-key", b"authorization", b"xi-api-key", b"api-key", b"headers"];

/// What kind of file a text is, as far as the rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A programming language, or the configuration of a proxy.
    Code,
    /// Markdown and its kin: the examples that people copy.
    Document,
    /// YAML or JSON, which may be an OpenAPI description.
    Data,
}

impl Language {
    /// The language of a file by its name, or nothing when it is no source code.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "py" | "pyi" | "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx" | "vue" | "svelte" | "go"
            | "java" | "kt" | "kts" | "swift" | "rs" | "sh" | "bash" | "zsh" | "rb" | "php" | "cs" | "dart"
            | "scala" | "html" | "htm" | "conf" | "env" | "ps1" => Self::Code,
            "md" | "mdx" | "rst" | "adoc" | "ipynb" => Self::Document,
            "yaml" | "yml" | "json" => Self::Data,
            _ => return None,
        })
    }

    /// Whether files that end in this are written in a programming language.
    #[must_use]
    pub fn is_code(extension: &str) -> bool {
        Self::of(&Path::new("x").with_extension(extension)) == Some(Self::Code)
    }
}

/// A place where code puts a credential into a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlCredential {
    /// Which rule it is.
    pub rule: Rule,
    /// The parameter's name as it is written, or what computes it.
    pub parameter: String,
    /// Where in the text, in bytes.
    pub span: Range<usize>,
    /// The line, from 1.
    pub line: usize,
    /// Whether a header nearby seems to carry the same credential already.
    pub redundant: bool,
}

/// What was found in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// In the order of the text.
    pub found: Vec<UrlCredential>,
    /// How many were waived by a comment with a reason.
    pub waived: usize,
}

/// Finds the places; make one and use it for many files.
#[derive(Debug)]
pub struct Finder {
    /// Compiled for the first source file: among logs alone there is none, and it takes longer than reading a small one.
    matcher: LazyLock<Matcher>,
    placeholders: bool,
}

impl Finder {
    /// Reports what leads to a real URL; values such as `YOUR_KEY` in examples are left alone.
    #[must_use]
    pub fn new() -> Self {
        Self { matcher: LazyLock::new(Matcher::new), placeholders: false }
    }

    /// Reports examples with a placeholder, too: whoever copies them puts a real key there.
    #[must_use]
    pub fn with_placeholders(self) -> Self {
        Self { placeholders: true, ..self }
    }

    /// Looks through `text`.
    #[must_use]
    pub fn find(&self, text: &[u8], language: Language) -> Findings {
        let mut findings = Findings::default();
        if !self.matcher.is_worth_it(text) {
            return findings;
        }
        let lines = Lines::of(text);
        let mut matches = self.matcher.matches(text, language, self.placeholders);
        matches.sort_by_key(|found| (found.span.start, std::cmp::Reverse(found.span.end)));
        matches.dedup_by(|later, earlier| later.span.start < earlier.span.end);
        for Match { rule, parameter, span } in matches {
            let line = lines.number(span.start);
            if waives(lines.text(text, line)) || waives(lines.text(text, line.saturating_sub(1))) {
                findings.waived += 1;
                continue;
            }
            let redundant = rule != Rule::OpenApiScheme && has_header(lines.around(text, line));
            findings.found.push(UrlCredential { rule, parameter, span, line, redundant });
        }
        findings
    }
}

impl Default for Finder {
    fn default() -> Self {
        Self::new()
    }
}

/// A waiver without a reason is none.
fn waives(line: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(line, WAIVER) else { return false };
    let reason = line.get(at + WAIVER.len()..).unwrap_or_default();
    reason.iter().filter(|byte| byte.is_ascii_alphabetic()).count() >= 4
}

fn has_header(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    HEADERS.iter().any(|header| memchr::memmem::find(&lower, header).is_some())
}

/// Where the lines of a text begin.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &[u8]) -> Self {
        let mut starts = vec![0];
        starts.extend(memchr::memchr_iter(b'\n', text).map(|end| end + 1));
        Self { starts }
    }

    /// The line of an offset, from 1.
    fn number(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// A line's text; empty where there is none.
    fn text<'a>(&self, text: &'a [u8], line: usize) -> &'a [u8] {
        self.between(text, line, line)
    }

    fn around<'a>(&self, text: &'a [u8], line: usize) -> &'a [u8] {
        self.between(text, line.saturating_sub(NEIGHBOURS).max(1), line + NEIGHBOURS)
    }

    fn between<'a>(&self, text: &'a [u8], first: usize, last: usize) -> &'a [u8] {
        let Some(start) = first.checked_sub(1).and_then(|at| self.starts.get(at)) else { return &[] };
        let end = self.starts.get(last).copied().unwrap_or(text.len());
        text.get(*start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, language: Language) -> Vec<(usize, String)> {
        let findings = Finder::new().find(text.as_bytes(), language);
        findings.found.into_iter().map(|found| (found.line, found.parameter)).collect()
    }

    #[test]
    fn an_interpolation_behind_a_telling_parameter_is_found_in_every_language() {
        for line in [
            "uri = f'{base}/ws/v1.BidiGenerateMusic?key={api_key}'",
            r#"url = "https://api.example/v1?api_key=%s" % key"#,
            r#"url = "https://api.example/v1?a=1&access_token={}".format(token)"#,
            r#"url = base + "/events?api_key=" + settings.key"#,
            "const url = `${base}/ws/Music?key=${apiKey}`;",
            "const url = `${base}/ws/${method}?${keyName}=${apiKey}`;",
            r#"const url = base + '/ws?token=' + token;"#,
            r#"url := fmt.Sprintf("%s/v1?api_key=%s", base, key)"#,
            r#"String url = base + "?apikey=" + key;"#,
            r#"val url = "$base/v1?api_key=$key""#,
            r#"let url = "\(base)/v1?api_key=\(key)""#,
            r#"let url = format!("{base}/v1?api_key={key}");"#,
            r#"curl "https://api.example/v1?api_key=$KEY""#,
            r#"curl https://api.example/v1?a=b\&access_token=${TOKEN}"#,
            r#"proxy_pass https://backend/events?api_key=$backend_key;"#,
            r##"url = "#{base}/v1?api_key=#{key}""##,
            r#"$url = $base . "?api_key=" . $key;"#,
            r#"wss = new WebSocket(`wss://x/ws?access_token=${encodeURIComponent(t)}`)"#,
            r#"fetch("/api/events?apiKey=" + encodeURIComponent(key))"#,
        ] {
            assert_eq!(found(line, Language::Code).len(), 1, "{line}");
        }
    }

    #[test]
    fn a_call_that_sets_a_telling_parameter_is_found() {
        for line in [
            "url.searchParams.set('api_key', apiKey)",
            r#"params.append("access_token", token);"#,
            "new URLSearchParams({ key: apiKey, alt: 'sse' })",
            "requests.get(url, params={'api_key': key})",
            r#"httpx.get(url, params={"q": q, "key": API_KEY})"#,
            r#"q.Set("api_key", key)"#,
            r#"values.Add("token", token)"#,
            r#"client.get(url).query(&[("api_key", key)])"#,
            r#"url.query_pairs_mut().append_pair("key", api_key);"#,
            r#"builder.queryParam("api_key", key)"#,
            r#"HttpUrl.Builder().addQueryParameter("api_key", key)"#,
            r#"Uri.Builder().appendQueryParameter("key", apiKey)"#,
            r#"URLQueryItem(name: "api_key", value: key)"#,
            r#"axios.get(url, { params: { api_key: key } })"#,
        ] {
            assert_eq!(found(line, Language::Code).len(), 1, "{line}");
        }
    }

    #[test]
    fn what_only_resembles_one_is_left_alone() {
        for line in [
            "uri = f'{base}/ws/v1.BidiGenerateMusic'",
            "const url = `${base}/v1/models?key_count=${n}&sort_key=${by}`;",
            "const url = `${base}/objects?page=${page}&q=${q}`;",
            r#"headers.set("x-api-key", key)"#,
            r#"headers.append('authorization', token)"#,
            r#"map.set("key", value)"#,
            r#"cache.Set("token", value)"#,
            r#"url = "https://api.example/v1?api_key=""#,
            r#"println!("page?{}", token)"#,
            "params={'key_id': id, 'tokens': n}",
            r#"help = "append ?api_key= to the URL""#,
            "const url = `${base}/o?key=${objectName}`;",
        ] {
            assert_eq!(found(line, Language::Code), [], "{line}");
        }
    }

    #[test]
    fn an_open_api_scheme_in_the_query_is_found_and_one_in_a_header_is_not() {
        let yaml = "securitySchemes:\n  events:\n    type: apiKey\n    name: api_key\n    in: query\n";
        assert_eq!(found(yaml, Language::Data), [(3, "api_key".to_owned())]);
        assert_eq!(found(&yaml.replace("query", "header"), Language::Data), []);
        let json = r#"{"securitySchemes": {"events": {"type": "apiKey", "in": "query", "name": "key"}}}"#;
        assert_eq!(found(json, Language::Data), [(1, "key".to_owned())]);
        let apart = "a:\n  type: apiKey\n  in: header\nb:\n  schema: {}\nparameters:\n  - in: query\n    name: page\n";
        assert_eq!(found(apart, Language::Data), []);
    }

    #[test]
    fn placeholders_in_examples_are_reported_on_demand() {
        let example = "```sh\ncurl \"https://api.example/v1?api_key=YOUR_API_KEY\"\n```\nUse `?key=<token>`.\n";
        assert_eq!(found(example, Language::Document), []);
        let finder = Finder::new().with_placeholders();
        let lines: Vec<_> = finder.find(example.as_bytes(), Language::Document).found.iter().map(|f| f.line).collect();
        assert_eq!(lines, [2, 4]);
    }

    #[test]
    fn a_waiver_needs_a_reason_and_is_counted() {
        let line = "url = f'{base}?key={api_key}'";
        let waived = format!("{line}  # keymoat: allow(url-credential) the provider takes nothing else\n");
        let before = format!("# keymoat: allow(url-credential) the provider takes nothing else\n{line}\n");
        for text in [waived, before] {
            let findings = Finder::new().find(text.as_bytes(), Language::Code);
            assert_eq!((findings.found.len(), findings.waived), (0, 1), "{text}");
        }
        let bare = format!("{line}  # keymoat: allow(url-credential)\n");
        assert_eq!(found(&bare, Language::Code).len(), 1);
    }

    #[test]
    fn a_header_nearby_makes_the_parameter_redundant() {
        let text = "uri = f'{base}?key={api_key}'\nheaders = {'x-goog-api-key': api_key}\n";
        assert!(Finder::new().find(text.as_bytes(), Language::Code).found[0].redundant);
        let text = "uri = f'{base}?key={api_key}'\n";
        assert!(!Finder::new().find(text.as_bytes(), Language::Code).found[0].redundant);
    }

    #[test]
    fn the_language_is_told_by_the_name() {
        assert_eq!(Language::of(Path::new("a/live_music.py")), Some(Language::Code));
        assert_eq!(Language::of(Path::new("README.MD")), Some(Language::Document));
        assert_eq!(Language::of(Path::new("openapi.yaml")), Some(Language::Data));
        assert_eq!(Language::of(Path::new("access.log")), None);
        assert_eq!(Language::of(Path::new("Makefile")), None);
    }
}
