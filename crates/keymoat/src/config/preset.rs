//! What is known of a provider, so that nobody has to write it down: its address, where its key goes, its carriers.

use http::HeaderName;
use keymoat_core::Dialect;
use keymoat_core::route::LoneSubprotocol;
use keymoat_gateway::settings::Inject;

/// A provider's ordinary configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    /// The word that `preset = "…"` takes.
    pub(crate) word: &'static str,
    /// The base URL; `None` for a service that everybody runs themselves.
    pub(crate) url: Option<&'static str>,
    /// What its SDKs speak.
    pub(crate) dialect: Dialect,
    /// Which paths a route takes; empty for the dialect's own.
    pub(crate) paths: &'static [&'static str],
    /// Where clients put their credentials; empty for the dialect's own.
    pub(crate) carriers: &'static [&'static str],
    /// What a WebSocket gets whose only offered subprotocol is its credential.
    pub(crate) lone_subprotocol: LoneSubprotocol,
    /// Paths that need no credential.
    pub(crate) public: &'static [&'static str],
    /// The header that takes the real key.
    header: &'static str,
}

/// Every preset.
pub(crate) const PRESETS: [Preset; 3] = [
    Preset {
        word: "gemini",
        url: Some("https://generativelanguage.googleapis.com"),
        dialect: Dialect::Gemini,
        paths: &[],
        carriers: &[],
        lone_subprotocol: LoneSubprotocol::Refuse,
        public: &[],
        header: "x-goog-api-key",
    },
    Preset {
        word: "openai",
        url: Some("https://api.openai.com"),
        dialect: Dialect::OpenAi,
        paths: &[],
        carriers: &[],
        lone_subprotocol: LoneSubprotocol::Refuse,
        public: &[],
        header: "authorization",
    },
    // The home-security backend: its health pages, its set-up and its login take no key.
    Preset {
        word: "events",
        url: None,
        dialect: Dialect::Generic,
        paths: &["/api/*", "/ws/*", "/health", "/ready"],
        carriers: &["header:x-api-key", "subprotocol", "query:api_key"],
        lone_subprotocol: LoneSubprotocol::Echo,
        public: &[
            "/health",
            "/ready",
            "/api/system/health",
            "/api/system/health/ready",
            "/api/auth/setup-status",
            "/api/auth/register",
            "/api/auth/login",
            "/api/auth/logout",
        ],
        header: "x-api-key",
    },
];

/// What `preset` takes.
pub(crate) const WORDS: [&str; PRESETS.len()] = [PRESETS[0].word, PRESETS[1].word, PRESETS[2].word];

impl Preset {
    /// The preset that `word` names.
    pub(crate) fn named(word: &str) -> Option<Self> {
        PRESETS.into_iter().find(|preset| preset.word == word)
    }

    /// Where the real key is put on.
    pub(crate) fn inject(self) -> Inject {
        Inject::Header(HeaderName::from_static(self.header))
    }
}

/// The carriers of a route that lists none.
///
/// A generic route leaves `key` and `token` in the query alone: there they are often names of things, not credentials.
pub(crate) const fn default_carriers(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Generic => {
            &["header:authorization", "header:x-api-key", "subprotocol", "query:api_key", "query:access_token"]
        }
        Dialect::OpenAi => {
            &["header:authorization", "header:api-key", "subprotocol", "query:api_key", "query:access_token"]
        }
        Dialect::Gemini => {
            &["header:x-goog-api-key", "header:authorization", "subprotocol", "query:key", "query:access_token"]
        }
    }
}

/// Every carrier that is known: what the built-in routes list.
pub(crate) const EVERY_CARRIER: [&str; 9] = [
    "header:authorization",
    "header:x-api-key",
    "header:x-goog-api-key",
    "header:api-key",
    "subprotocol",
    "query:key",
    "query:api_key",
    "query:access_token",
    "query:token",
];
