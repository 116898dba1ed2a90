//! The one table of rules: every name, header, prefix and subprotocol that the engine knows, each with what it is.
//!
//! `docs/src/redaction.md` and the tests are made from it. Names are normalised: lower case, without `_ - .`, brackets
//! and spaces, after decoding. Prefixes and lengths are facts of their makers; the page that says so is named.

use crate::finding::Kind;

/// Where a name means a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere that a value follows.
    Anywhere,
    /// In a URL's query, fragment or matrix and in forms; elsewhere only with a value of secret shape.
    Shaped,
    /// In a URL's query, fragment or matrix and in forms only.
    Query,
}

/// A name, or the end of names.
#[derive(Clone, Copy, Debug)]
pub struct NameRule {
    /// The normalised name.
    pub name: &'static str,
    /// Whether longer names that end so are meant too.
    pub suffix: bool,
    /// Where.
    pub scope: Scope,
    /// What its value is.
    pub kind: Kind,
}

const fn suffix(name: &'static str, kind: Kind) -> NameRule {
    NameRule { name, suffix: true, scope: Scope::Anywhere, kind }
}

const fn exact(name: &'static str, scope: Scope, kind: Kind) -> NameRule {
    NameRule { name, suffix: false, scope, kind }
}

/// Every name. Of several that fit, the first one counts.
pub const NAMES: [NameRule; 29] = [
    exact("token", Scope::Shaped, Kind::Token),
    exact("key", Scope::Query, Kind::ApiKey),
    exact("auth", Scope::Query, Kind::Authorization),
    exact("sig", Scope::Query, Kind::Signature),
    exact("ticket", Scope::Query, Kind::Token),
    suffix("apikey", Kind::ApiKey),
    suffix("accesskey", Kind::AccessKey),
    suffix("secretkey", Kind::AccessKey),
    suffix("privatekey", Kind::PrivateKey),
    suffix("authkey", Kind::ApiKey),
    suffix("signingkey", Kind::AccessKey),
    suffix("encryptionkey", Kind::AccessKey),
    suffix("accountkey", Kind::AccessKey),
    suffix("subscriptionkey", Kind::ApiKey),
    suffix("functionskey", Kind::ApiKey),
    suffix("masterkey", Kind::AccessKey),
    suffix("accesskeyid", Kind::AccessKeyId),
    suffix("token", Kind::Token),
    suffix("secret", Kind::Secret),
    suffix("password", Kind::Password),
    suffix("passwd", Kind::Password),
    suffix("passphrase", Kind::Password),
    suffix("signature", Kind::Signature),
    suffix("credential", Kind::Credential),
    suffix("credentials", Kind::Credential),
    suffix("authorization", Kind::Authorization),
    suffix("clientassertion", Kind::Credential),
    suffix("jwt", Kind::Jwt),
    suffix("secretaccesskey", Kind::AccessKey),
];

/// What is done with the value of a header that is more than one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRule {
    /// A scheme word, which stays, and a credential or parameters.
    Authorization,
    /// Pairs; those that hold a session, and long random values.
    Cookie,
    /// The first pair's value; the attributes stay.
    SetCookie,
    /// Entries; those that hold a credential.
    Subprotocol,
}

/// The headers with a rule of their own, normalised. Other headers are found by [`NAMES`].
pub const HEADERS: [(&str, HeaderRule); 5] = [
    ("authorization", HeaderRule::Authorization),
    ("proxyauthorization", HeaderRule::Authorization),
    ("cookie", HeaderRule::Cookie),
    ("setcookie", HeaderRule::SetCookie),
    ("secwebsocketprotocol", HeaderRule::Subprotocol),
];

/// The scheme words in front of a credential, in lower case; they stay.
pub const SCHEMES: [&str; 24] = [
    "bearer",
    "basic",
    "token",
    "digest",
    "apikey",
    "api-key",
    "key",
    "negotiate",
    "ntlm",
    "aws4-hmac-sha256",
    "hawk",
    "oauth",
    "dpop",
    "bot",
    "jwt",
    "splunk",
    "snowflake",
    "geniekey",
    "ssws",
    "mac",
    "sharedaccesssignature",
    "googlelogin",
    "hmac",
    "sapisidhash",
];

/// The letters of a value behind a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    /// `0-9A-Za-z`
    Base62,
    /// `0-9A-Z`
    Upper,
    /// `0-9A-Za-z_-`
    Base64Url,
    /// `0-9A-Za-z_.-`
    Dotted,
}

/// What can be computed from a value to see whether it was mistyped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing.
    None,
    /// The last 6 digits are the CRC-32 of what stands before them with the prefix, in decimal or base62.
    CrcWithPrefix,
    /// The last 6 digits are the CRC-32 of what stands between them and the prefix, in base62.
    CrcWithoutPrefix,
}

/// A prefix that gives a value away.
#[derive(Clone, Copy, Debug)]
pub struct PrefixRule {
    /// The prefix, exactly.
    pub prefix: &'static str,
    /// What follows it.
    pub letters: Letters,
    /// How much of it at least, in bytes. Cut values are meant too.
    pub least: usize,
    /// Whether a digit must be in it, for prefixes that ordinary words have too.
    pub digit: bool,
    /// What it is.
    pub kind: Kind,
    /// What can be computed.
    pub check: Check,
    /// Who gives it out, and where that is written.
    pub source: &'static str,
}

const fn prefix(prefix: &'static str, letters: Letters, least: usize, kind: Kind, source: &'static str) -> PrefixRule {
    PrefixRule { prefix, letters, least, digit: false, kind, check: Check::None, source }
}

impl PrefixRule {
    const fn checked(self, check: Check) -> Self {
        Self { check, ..self }
    }

    const fn with_digit(self) -> Self {
        Self { digit: true, ..self }
    }
}

const GITHUB: &str = "GitHub, docs.github.com/authentication: token formats";
const AWS: &str = "AWS, IAM user guide: unique identifiers";
const STRIPE: &str = "Stripe, docs.stripe.com/keys";
const SLACK: &str = "Slack, api.slack.com/authentication/token-types";
const KEYMOAT: &str = "Keymoat, formats of keys and tokens";

/// Every prefix. Of several that fit at one place, the longest counts.
pub const PREFIXES: [PrefixRule; 31] = [
    prefix("km_", Letters::Base62, 16, Kind::Keymoat, KEYMOAT).with_digit().checked(Check::CrcWithPrefix),
    prefix("kmt_", Letters::Base62, 16, Kind::Keymoat, KEYMOAT).with_digit().checked(Check::CrcWithPrefix),
    prefix("kma_", Letters::Base62, 16, Kind::Keymoat, KEYMOAT).with_digit().checked(Check::CrcWithPrefix),
    prefix("ghp_", Letters::Base62, 16, Kind::Token, GITHUB).checked(Check::CrcWithoutPrefix),
    prefix("gho_", Letters::Base62, 16, Kind::Token, GITHUB).checked(Check::CrcWithoutPrefix),
    prefix("ghu_", Letters::Base62, 16, Kind::Token, GITHUB).checked(Check::CrcWithoutPrefix),
    prefix("ghs_", Letters::Base64Url, 16, Kind::Token, GITHUB).checked(Check::CrcWithoutPrefix),
    prefix("ghr_", Letters::Base62, 16, Kind::Token, GITHUB).checked(Check::CrcWithoutPrefix),
    prefix("github_pat_", Letters::Base64Url, 16, Kind::Token, GITHUB),
    prefix("npm_", Letters::Base62, 20, Kind::Token, "npm, docs.npmjs.com: about access tokens")
        .with_digit()
        .checked(Check::CrcWithoutPrefix),
    prefix("AIza", Letters::Base64Url, 20, Kind::ApiKey, "Google, cloud.google.com/docs/authentication/api-keys"),
    prefix("AKIA", Letters::Upper, 12, Kind::AccessKeyId, AWS),
    prefix("ASIA", Letters::Upper, 12, Kind::AccessKeyId, AWS).with_digit(),
    prefix("sk-", Letters::Base64Url, 20, Kind::ApiKey, "OpenAI, platform.openai.com; Anthropic, docs.anthropic.com")
        .with_digit(),
    prefix("sk_live_", Letters::Base62, 12, Kind::ApiKey, STRIPE),
    prefix("rk_live_", Letters::Base62, 12, Kind::ApiKey, STRIPE),
    prefix("sk_test_", Letters::Base62, 12, Kind::ApiKey, STRIPE),
    prefix("rk_test_", Letters::Base62, 12, Kind::ApiKey, STRIPE),
    prefix("whsec_", Letters::Base62, 16, Kind::Secret, STRIPE).with_digit(),
    prefix("xoxb-", Letters::Base64Url, 12, Kind::Token, SLACK),
    prefix("xoxp-", Letters::Base64Url, 12, Kind::Token, SLACK),
    prefix("xoxa-", Letters::Base64Url, 12, Kind::Token, SLACK),
    prefix("xoxr-", Letters::Base64Url, 12, Kind::Token, SLACK),
    prefix("xoxs-", Letters::Base64Url, 12, Kind::Token, SLACK),
    prefix("xoxe-", Letters::Base64Url, 12, Kind::Token, SLACK),
    prefix("xapp-", Letters::Base64Url, 12, Kind::Token, SLACK).with_digit(),
    prefix("ek_", Letters::Base62, 20, Kind::Token, "OpenAI, Realtime API: client secrets").with_digit(),
    prefix("rt_", Letters::Base62, 24, Kind::Token, "OpenAI: refresh tokens").with_digit(),
    prefix("hf_", Letters::Base62, 20, Kind::Token, "Hugging Face, huggingface.co/docs/hub/security-tokens"),
    prefix("glpat-", Letters::Dotted, 16, Kind::Token, "GitLab, docs.gitlab.com: token overview").with_digit(),
    prefix("ya29.", Letters::Base64Url, 20, Kind::Token, "Google, developers.google.com/identity/protocols/oauth2"),
];

/// What an entry of `Sec-WebSocket-Protocol` starts with when a credential follows, and its carrier is plain.
pub const MARKERS: [&str; 12] = [
    "base64url.bearer.authorization.k8s.io.",
    "base64url.bearer.phx.",
    "base64url.bearer.",
    "v1.token.websocket.jupyter.org.",
    "openai-insecure-api-key.",
    "xai-client-secret.",
    "cf-aig-authorization.",
    "ai-gateway-auth.",
    "keymoat.token.",
    "api-key.",
    "bearer.",
    "token.",
];

/// Long subprotocols that are no credentials.
pub const LABELS: [&str; 11] = [
    "graphql-transport-ws",
    "actioncable-v1-json",
    "actioncable-unsupported",
    "v4.base64.channel.k8s.io",
    "v5.base64.channel.k8s.io",
    "base64.channel.k8s.io",
    "v1.kernel.websocket.jupyter.org",
    "openai-beta.realtime-v1",
    "v12.stomp",
    "io.ws-discovery.channel",
    "json.webpubsub.azure.v1",
];

/// Parts of a cookie's normalised name that say that it holds a session or a credential.
pub const COOKIE_WORDS: [&str; 12] =
    ["sess", "sid", "auth", "token", "jwt", "csrf", "xsrf", "secret", "passw", "login", "remember", "apikey"];
