//! What is known of a provider, so that nobody has to write it down: its address, where its key goes, its carriers.

use http::HeaderName;
use keymoat_core::Dialect;
use keymoat_gateway::settings::Inject;

/// A provider's ordinary configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    /// The word that `preset = "…"` takes.
    pub(crate) word: &'static str,
    /// The base URL.
    pub(crate) url: &'static str,
    /// What its SDKs speak.
    pub(crate) dialect: Dialect,
    /// The header that takes the real key.
    header: &'static str,
}

/// Every preset.
pub(crate) const PRESETS: [Preset; 1] = [Preset {
    word: "gemini",
    url: "https://generativelanguage.googleapis.com",
    dialect: Dialect::Gemini,
    header: "x-goog-api-key",
}];

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
