//! `[upstream.NAME]` and `[key.NAME]`, the sections that refer to secrets.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::preset::WORDS;
use super::super::upstream::HTTP_VERSIONS;
use super::At;
use super::kinds::SecretReference;

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
}
