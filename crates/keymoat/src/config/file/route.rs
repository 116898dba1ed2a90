//! `[route.NAME]`: which requests go where, under which policy.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::value::Datetime;

use super::super::route::{DIALECTS, LONE_SUBPROTOCOLS, QUERY_POLICIES};
use super::kinds::{Day, Duration};
use super::{At, Quantity};

/// Which requests go to which upstream, under which policy.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Route {
    /// Names the upstream. Required.
    pub(crate) upstream: Option<At<String>>,
    /// Chooses what the provider's SDKs expect. Where nothing is said it is the preset's dialect.
    #[schemars(extend("enum" = DIALECTS))]
    pub(crate) dialect: Option<At<String>>,
    /// Lists exact paths and `"/prefix/*"`. Required for the generic dialect, where no preset lists them.
    pub(crate) paths: Option<At<Vec<At<String>>>>,
    /// Names what stands before the dialect's own paths; excludes `paths`.
    pub(crate) prefix: Option<At<String>>,
    /// Lists where the credential may sit: `"header:NAME"`, `"subprotocol"`, `"query:NAME"`. Where nothing is said it is
    /// the preset's list, or the [dialect's](carriers.md).
    #[schemars(inner(regex(pattern = "^((header|query):.|subprotocol$)")))]
    pub(crate) carriers: Option<Vec<At<String>>>,
    /// Decides on credentials in URLs, see [query policy](carriers.md#query-policy).
    #[schemars(extend("enum" = QUERY_POLICIES))]
    pub(crate) query: Option<At<String>>,
    /// Decides on WebSockets that offer nothing but a credential, see
    /// [a lone credential](subprotocols.md#a-lone-credential). Where nothing is said it is as the preset has it.
    #[schemars(extend("enum" = LONE_SUBPROTOCOLS))]
    pub(crate) lone_subprotocol: Option<At<String>>,
    /// Lists paths that need no credential; the real key is not put on there. Where nothing is said it is the preset's list.
    pub(crate) public: Option<Vec<At<String>>>,
    /// Lists the web pages that may use it, such as `["https://app.example"]`. Where nothing is said no origin is checked.
    pub(crate) origins: Option<At<Vec<At<String>>>>,
    /// Bounds the [tokens](tokens.md) that are minted for it.
    pub(crate) tokens: Option<At<Tokens>>,
    /// Names the day from which on long-lived keys in URLs are refused, such as `2027-03-01`; told to their clients where
    /// `query = "warn"` (RFC 8594), see [the way off URL keys](sunset.md).
    #[schemars(with = "Option<Day>")]
    pub(crate) sunset: Option<At<Datetime>>,
}

/// The bounds of the tokens that are minted for a route.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tokens {
    /// Bounds how often one token may be used. Where nothing is said a token may be without a bound.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) uses_max: Option<At<i64>>,
    /// Bounds how long one token may live; `"20h"` where nothing is said.
    #[schemars(with = "Option<Duration>")]
    pub(crate) live_max: Option<At<Quantity>>,
    /// Bounds how many tokens of one key may be alive at once; 10000 where nothing is said.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) per_key_max: Option<At<i64>>,
}
