//! Routes: which requests go to which upstream, under which policy.

use std::str::FromStr;
use std::sync::Arc;

use crate::carrier::Carriers;
use crate::gemini;
use crate::head::Head;
use crate::openai;
use crate::origin::Origins;
use crate::time::UnixMillis;
use crate::token::MintRules;

/// What one provider's SDKs expect: paths, carriers, and how a refusal looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Any HTTP, SSE or WebSocket API.
    Generic,
    /// Google's Gemini API: Live, Live Music, REST and SSE.
    Gemini,
    /// OpenAI's API: Realtime, REST and SSE.
    OpenAi,
}

impl Dialect {
    /// All dialects.
    pub const ALL: [Self; 3] = [Self::Generic, Self::Gemini, Self::OpenAi];

    /// The configuration's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Gemini => "gemini",
            Self::OpenAi => "openai",
        }
    }
}

/// What a route does with a credential in the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryPolicy {
    /// Nothing is accepted.
    Refuse,
    /// Short-lived tokens only, because some SDKs have no other carrier.
    #[default]
    Tokens,
    /// Long-lived keys work, are counted, and are answered with `Deprecation` and its kin.
    Warn,
    /// Long-lived keys work.
    Allow,
}

impl QueryPolicy {
    /// The configuration's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Tokens => "tokens",
            Self::Warn => "warn",
            Self::Allow => "allow",
        }
    }

    /// Whether long-lived keys are taken in URLs.
    #[must_use]
    pub const fn takes_keys(self) -> bool {
        matches!(self, Self::Warn | Self::Allow)
    }
}

impl FromStr for QueryPolicy {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "refuse" => Ok(Self::Refuse),
            "tokens" => Ok(Self::Tokens),
            "warn" => Ok(Self::Warn),
            "allow" => Ok(Self::Allow),
            _ => Err(UnknownWord { word: word.to_owned(), known: "refuse, tokens, warn, allow" }),
        }
    }
}

/// What a WebSocket gets whose only offered subprotocol is its credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoneSubprotocol {
    /// The handshake is answered without a selection and closed with a hint.
    #[default]
    Refuse,
    /// The entry is echoed, because a browser fails otherwise. The secret then stands in a response header.
    Echo,
}

impl FromStr for LoneSubprotocol {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "refuse" => Ok(Self::Refuse),
            "echo" => Ok(Self::Echo),
            _ => Err(UnknownWord { word: word.to_owned(), known: "refuse, echo" }),
        }
    }
}

/// A word in a configuration that is none of those known at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word `{word}`: write one of {known}")]
pub struct UnknownWord {
    /// What was written.
    pub word: String,
    /// What could have been.
    pub known: &'static str,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name; a key's scopes are route names.
    pub name: Arc<str>,
    /// The name of the upstream that it leads to.
    pub upstream: Arc<str>,
    /// What its clients speak.
    pub dialect: Dialect,
    /// Which paths it takes.
    pub paths: Paths,
    /// Where its credentials may sit. All of them are stripped.
    pub carriers: Carriers,
    /// What it does with a credential in the query.
    pub query: QueryPolicy,
    /// When keys in URLs end: told to clients where `query` warns (RFC 8594), and from then on they are refused.
    pub sunset: Option<UnixMillis>,
    /// What it does with a lone credential in `Sec-WebSocket-Protocol`.
    pub lone_subprotocol: LoneSubprotocol,
    /// Which origins' pages may use it.
    pub origins: Origins,
    /// What may be minted for it.
    pub tokens: MintRules,
    /// Paths of it that need no credential, such as the health pages of a backend. Credentials are stripped there as
    /// everywhere, and the upstream's real key is not put on.
    pub public: Vec<Pattern>,
}

impl Route {
    /// A route with the strictest policies: credentials in `carriers` alone, long-lived ones not in the query; pages of
    /// all origins, nothing public.
    #[must_use]
    pub fn new(name: &str, upstream: &str, dialect: Dialect, paths: Paths, carriers: Carriers) -> Self {
        Self {
            name: name.into(),
            upstream: upstream.into(),
            dialect,
            paths,
            carriers,
            query: QueryPolicy::default(),
            sunset: None,
            lone_subprotocol: LoneSubprotocol::default(),
            origins: Origins::default(),
            tokens: MintRules::default(),
            public: Vec::new(),
        }
    }

    /// What it does with a credential in the query at this time: from its sunset on, a long-lived key is not taken.
    #[must_use]
    pub fn query_at(&self, now: UnixMillis) -> QueryPolicy {
        let is_over = self.sunset.is_some_and(|sunset| now >= sunset);
        if is_over && self.query.takes_keys() { QueryPolicy::Tokens } else { self.query }
    }

    /// Whether `path`, canonical and without query, needs no credential.
    #[must_use]
    pub fn is_public(&self, path: &str) -> bool {
        self.public.iter().any(|pattern| pattern.matches(path).is_some())
    }
}

/// The route whose paths are closest to the request's; of two that are equally close, the first.
#[must_use]
pub fn find<'a>(routes: &'a [Route], head: &Head) -> Option<&'a Route> {
    let mut closest: Option<(usize, &Route)> = None;
    for route in routes {
        let Some(closeness) = route.paths.matches(route.dialect, &head.path) else { continue };
        if closest.is_none_or(|(best, _)| closeness > best) {
            closest = Some((closeness, route));
        }
    }
    closest.map(|(_, route)| route)
}

/// Which paths a route takes.
#[derive(Clone, Debug)]
pub enum Paths {
    /// The dialect's own paths, below this prefix (empty, or `/gw/gemini` without a slash at the end).
    Dialect {
        /// What stands before the dialect's own path; it is removed.
        prefix: String,
    },
    /// Patterns: an exact path, or a prefix that ends in `/*`. The path goes upstream as it is.
    Patterns(Vec<Pattern>),
}

impl Paths {
    /// Whether `path`, canonical and without query, is taken, and how closely, in bytes of what had to be equal.
    #[must_use]
    pub fn matches(&self, dialect: Dialect, path: &str) -> Option<usize> {
        match self {
            Self::Patterns(patterns) => patterns.iter().filter_map(|pattern| pattern.matches(path)).max(),
            Self::Dialect { prefix } => {
                let own = path.strip_prefix(prefix.as_str()).filter(|own| own.starts_with('/'))?;
                match dialect {
                    Dialect::Gemini => Some(prefix.len() + gemini::closeness(own)?),
                    Dialect::OpenAi => Some(prefix.len() + openai::closeness(own)?),
                    // A dialect without paths of its own takes all of them.
                    Dialect::Generic => Some(prefix.len() + 1),
                }
            }
        }
    }
}

/// One pattern of a generic route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This path and no other.
    Exact(String),
    /// Every path that starts with this text, which ends in `/`; also the text without that slash.
    Below(String),
}

/// As the configuration writes it.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl Pattern {
    /// Reads `/api/events` or `/api/*`.
    ///
    /// # Errors
    /// [`UnknownWord`] when it does not start with `/` or has a `*` elsewhere than in a closing `/*`.
    pub fn parse(text: &str) -> Result<Self, UnknownWord> {
        let unknown = || UnknownWord { word: text.to_owned(), known: "`/exact/path`, `/prefix/*`" };
        let (below, star) = match text.strip_suffix("/*") {
            Some(below) => (below, true),
            None => (text, false),
        };
        if below.contains('*') || (!below.is_empty() && !below.starts_with('/')) || text.is_empty() {
            return Err(unknown());
        }
        Ok(if star { Self::Below(format!("{below}/")) } else { Self::Exact(below.to_owned()) })
    }

    /// Whether `path`, canonical and without query, is taken. The length tells which of two patterns is the closer.
    #[must_use]
    pub fn matches(&self, path: &str) -> Option<usize> {
        match self {
            Self::Exact(exact) => (path == exact).then_some(usize::MAX),
            Self::Below(prefix) => {
                let at_root = path.len() + 1 == prefix.len() && prefix.starts_with(path);
                (path.starts_with(prefix.as_str()) || at_root).then_some(prefix.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Transport;

    #[test]
    fn patterns_match_whole_segments() {
        let api = Pattern::parse("/api/*").expect("well formed");
        assert!(api.matches("/api/events").is_some());
        assert!(api.matches("/api").is_some());
        assert!(api.matches("/apix").is_none());
        assert!(api.matches("/").is_none());
        let all = Pattern::parse("/*").expect("well formed");
        assert!(all.matches("/").is_some());
        assert!(all.matches("/x").is_some());
        let exact = Pattern::parse("/ws/events").expect("well formed");
        assert!(exact.matches("/ws/events").is_some());
        assert!(exact.matches("/ws/events/").is_none());
    }

    #[test]
    fn an_exact_path_is_closer_than_a_prefix_and_a_long_prefix_than_a_short_one() {
        let path = "/a/b";
        let closeness = |text: &str| Pattern::parse(text).expect("well formed").matches(path);
        assert!(closeness("/a/b") > closeness("/a/*"));
        assert!(closeness("/a/*") > closeness("/*"));
    }

    fn route(name: &str, dialect: Dialect, paths: Paths) -> Route {
        Route::new(name, name, dialect, paths, Carriers::default())
    }

    fn found(routes: &[Route], target: &str) -> Option<String> {
        let request = http::Request::builder().uri(target).header("host", "gw.example").body(()).expect("well formed");
        let head = Head::read(request.into_parts().0, Transport::Http1, None).expect("well formed");
        find(routes, &head).map(|route| route.name.to_string())
    }

    #[test]
    fn the_closest_route_is_found_whatever_the_order_and_the_spelling() {
        let patterns = |list: &[&str]| {
            Paths::Patterns(list.iter().map(|text| Pattern::parse(text).expect("well formed")).collect())
        };
        let mut routes = vec![
            route("all", Dialect::Generic, patterns(&["/*"])),
            route("admin", Dialect::Generic, patterns(&["/api/admin:reset", "/api/admin/*"])),
            route("api", Dialect::Generic, patterns(&["/x", "/api/*"])),
            route("gemini", Dialect::Gemini, Paths::Dialect { prefix: String::new() }),
            route("below", Dialect::Generic, Paths::Dialect { prefix: String::from("/gw") }),
        ];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            for (target, name) in [
                ("/", "all"),
                ("/api/x", "api"),
                ("//api//x", "api"),
                ("/api/%61dmin/x", "admin"),
                ("/api/admin%3Areset", "admin"),
                ("/v1beta/models", "gemini"),
                ("//ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent", "gemini"),
                ("/v2/models", "all"),
                ("/gw/x", "below"),
            ] {
                assert_eq!(found(&routes, target).as_deref(), Some(name), "{target}");
            }
        }
        let only_api: Vec<_> = routes.into_iter().filter(|route| &*route.name == "api").collect();
        assert_eq!(found(&only_api, "/apix"), None);
    }

    #[test]
    fn from_its_sunset_on_a_route_takes_tokens_only_and_never_more_than_before() {
        let at = |query, now| {
            let paths = Paths::Dialect { prefix: String::new() };
            let sunset = Some(UnixMillis(1000));
            Route { query, sunset, ..route("a", Dialect::Generic, paths) }.query_at(UnixMillis(now))
        };
        for (query, after) in [
            (QueryPolicy::Allow, QueryPolicy::Tokens),
            (QueryPolicy::Warn, QueryPolicy::Tokens),
            (QueryPolicy::Tokens, QueryPolicy::Tokens),
            (QueryPolicy::Refuse, QueryPolicy::Refuse),
        ] {
            assert_eq!((at(query, 999), at(query, 1000), at(query, 5000)), (query, after, after));
            assert_eq!(query.word().parse(), Ok(query));
        }
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        for bad in ["", "api", "/a*", "/*/b", "*"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
