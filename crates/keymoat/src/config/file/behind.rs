//! `[upstream.NAME]` and `[key.NAME]`, the sections that refer to secrets.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::value::Datetime;

use super::super::preset::WORDS;
use super::super::upstream::HTTP_VERSIONS;
use super::kinds::{Day, Duration, SecretReference, Size};
use super::{At, Quantity};

/// One API behind.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Upstream {
    /// Chooses what is known of a provider: the place of the key, dialect, paths, carriers, and the address where there is
    /// one for all. `"events"` is the home-security backend.
    #[schemars(extend("enum" = WORDS))]
    pub(crate) preset: Option<At<String>>,
    /// Names the address: `https://HOST`, `https://HOST:PORT` or `https://HOST/PREFIX`. Required where the preset has none.
    pub(crate) url: Option<At<String>>,
    /// Refers to the real key, as `"${file:/path}"` or `"${env:NAME}"`; it is never the secret itself. Where nothing is
    /// said it is the secret that is sealed in the store, if there is one.
    #[schemars(with = "Option<SecretReference>")]
    pub(crate) secret: Option<At<String>>,
    /// Says where the real key is put on: `"header:NAME"`, where `authorization` gets `Bearer`, or `"query:NAME"`. Where
    /// nothing is said it is the preset's place.
    #[schemars(regex(pattern = "^(header|query):."))]
    pub(crate) inject: Option<At<String>>,
    /// Names a PEM file of further authorities to trust.
    pub(crate) ca: Option<At<String>>,
    /// Fixes the version of HTTP; WebSockets always use 1.1.
    #[schemars(extend("enum" = HTTP_VERSIONS))]
    pub(crate) http: Option<At<String>>,
    /// Says whether the name may lead to an address that is not public: loopback, private, link-local and the like. Where
    /// nothing is said it is `true` for `localhost` and for addresses. A name of no public zone (one label, `….internal`,
    /// `….local`, `….svc` and their kin) may lead to a private address anyway.
    pub(crate) allow_private: Option<At<bool>>,
}

/// A key that is kept beside the file, for platforms without a disk. It is digested like every other and never stored;
/// taking it out of the file refuses it and ends its sessions. In records it is `file_NAME`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Key {
    /// Refers to the key, as `"${file:/path}"` or `"${env:NAME}"`. Required.
    #[schemars(with = "Option<SecretReference>")]
    pub(crate) secret: Option<At<String>>,
    /// Names the routes on which it may be used; `"mint"` lets it mint tokens, `"*"` is every route.
    pub(crate) scopes: Option<Vec<At<String>>>,
    /// Refers to the key that `secret` replaces, which works beside it for as long as it stands here.
    #[schemars(with = "Option<SecretReference>")]
    pub(crate) previous_secret: Option<At<String>>,
    /// Ends `previous_secret`, at a time or at the beginning of a day, UTC.
    #[schemars(with = "Option<Day>")]
    pub(crate) previous_until: Option<At<Datetime>>,
    /// Says when the key should be replaced, of which one is reminded from then on until another date stands here: a day or a time.
    #[schemars(with = "Option<Day>")]
    pub(crate) rotate_after: Option<At<Datetime>>,
    /// Bounds what may be done with the key, and with all tokens that are minted from it, together.
    pub(crate) limits: Option<At<KeyLimits>>,
}

/// The limits of one key.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyLimits {
    /// Bounds requests per second, on average; opening a WebSocket is one. Beyond it they are answered 429.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) requests_per_second: Option<At<i64>>,
    /// Bounds requests at once after a pause. Where nothing is said it is `requests_per_second`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) burst: Option<At<i64>>,
    /// Bounds requests per day (UTC).
    #[schemars(range(min = 1, max = 281_474_976_710_655_i64))]
    pub(crate) requests_per_day: Option<At<i64>>,
    /// Bounds payload bytes of both directions per day (UTC), as a size.
    #[schemars(with = "Option<Size>")]
    pub(crate) bytes_per_day: Option<At<Quantity>>,
    /// Bounds WebSockets and event streams at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) sessions: Option<At<i64>>,
    /// Bounds how long one of them may last, up to 7 days.
    #[schemars(with = "Option<Duration>")]
    pub(crate) session_duration: Option<At<Quantity>>,
    /// Bounds payload bytes of both directions of one of them, or of one request with its answer, as a size.
    #[schemars(with = "Option<Size>")]
    pub(crate) session_bytes: Option<At<Quantity>>,
    /// Names the models that may be asked for. Such a key has no generic route in its scopes: no model can be read there.
    pub(crate) models: Option<At<Vec<At<String>>>>,
}
