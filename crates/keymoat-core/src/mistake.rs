//! The mistakes that clients make with credentials: one table, from which refusals take their hints, `keymoat explain`
//! its answers, and the book a page.

mod page;
mod remedy;

use crate::route::Dialect;

pub use page::page;
pub use remedy::{Client, Remedy};

/// A mistake that can be told from what a client sends or reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mistake {
    /// A long-lived key in a query parameter.
    KeyInUrl,
    /// The same in a header and in the URL.
    KeyInUrlAndHeader,
    /// Live Music of an old SDK.
    MusicKeyInUrl,
    /// `https://user:key@host`.
    KeyInUserinfo,
    /// A credential in a WebSocket message.
    KeyInMessage,
    /// An option of a library that becomes a query parameter.
    KeyInLibraryUrl,
    /// `ws://` or `http://` beyond loopback.
    PlainText,
    /// `undefined`, `null`, an empty value.
    Undefined,
    /// `Authorization: KEY`.
    SchemeMissing,
    /// `Authorization: Basic …`.
    SchemeBasic,
    /// `Authorization: Other …`.
    SchemeOther,
    /// A header that another provider reads.
    HeaderOfAnother,
    /// Two different credentials in one request.
    TwoCredentials,
    /// A credential is the only subprotocol that is offered.
    LoneSubprotocol,
    /// A credential in a subprotocol that is no token string (RFC 9110 section 5.6.2).
    SubprotocolCharacters,
    /// `keymoat.token.` with something that is no base64url.
    SubprotocolNotBase64,
    /// The server selected none of the subprotocols.
    SubprotocolNotSelected,
    /// A page's `WebSocket` with headers.
    BrowserHeaders,
    /// An `EventSource` with headers.
    EventSourceHeaders,
    /// The checksum of a Keymoat credential fails.
    KeyChecksum,
    /// It is too short or too long.
    KeyLength,
    /// It has a character that none has.
    KeyAlphabet,
    /// A key in a token's spelling.
    KeyAsToken,
    /// An admin credential.
    AdminCredential,
    /// Percent-encoded once more than it should be.
    Encoded,
    /// `authTokens/…` or its like.
    TokenSpelling,
    /// A credential of Keymoat at the provider's own address.
    KeymoatAtProvider,
    /// Gemini: a token where an API key belongs.
    TokenAsKey,
    /// Gemini: a token on the method for keys.
    PlainMethod,
    /// Gemini: a key on the method for tokens.
    ConstrainedMethod,
    /// Gemini: `Bearer` at Google.
    BearerAtGoogle,
    /// Gemini: a version that serves no tokens, or another one than it was minted with.
    TokenVersion,
    /// Gemini: "unregistered callers".
    UnregisteredCallers,
    /// Gemini: "API key not valid".
    ApiKeyNotValid,
    /// OpenAI: a long-lived key in a page.
    InsecureApiKey,
    /// OpenAI: the old beta.
    RealtimeBeta,
    /// OpenAI: a key that is not known.
    IncorrectApiKey,
    /// OpenAI: no model in the URL.
    ModelMissing,
    /// The opening was answered with an HTTP status.
    HandshakeRefused,
    /// 1006.
    ClosedAbnormally,
    /// 1007.
    ClosedInvalid,
    /// 1008.
    ClosedPolicy,
    /// 1009.
    ClosedTooBig,
    /// 1011.
    ClosedInternal,
    /// 1012, 1013, 1014.
    ClosedTryAgain,
    /// 3000.
    ClosedUnauthorized,
    /// 4001, 4401.
    ClosedUnauthenticated,
    /// 4002.
    ClosedTokenOver,
    /// 4003, 4403.
    ClosedForbidden,
    /// 4008.
    ClosedReplaced,
    /// 4029, 4429.
    ClosedTooMany,
}

/// What to send instead: what fits the dialect, always the same, or nothing else.
enum Instead {
    ByDialect,
    Always(Remedy),
    Nothing,
}

/// One row of the table.
struct Row(&'static str, &'static str, Instead);

impl Mistake {
    /// All of them, in the order of the documentation: what is sent, then what is read.
    pub const ALL: [Self; 51] = [
        Self::KeyInUrl,
        Self::KeyInUrlAndHeader,
        Self::MusicKeyInUrl,
        Self::KeyInUserinfo,
        Self::KeyInMessage,
        Self::KeyInLibraryUrl,
        Self::PlainText,
        Self::Undefined,
        Self::SchemeMissing,
        Self::SchemeBasic,
        Self::SchemeOther,
        Self::HeaderOfAnother,
        Self::TwoCredentials,
        Self::LoneSubprotocol,
        Self::SubprotocolCharacters,
        Self::SubprotocolNotBase64,
        Self::SubprotocolNotSelected,
        Self::BrowserHeaders,
        Self::EventSourceHeaders,
        Self::KeyChecksum,
        Self::KeyLength,
        Self::KeyAlphabet,
        Self::KeyAsToken,
        Self::AdminCredential,
        Self::Encoded,
        Self::TokenSpelling,
        Self::KeymoatAtProvider,
        Self::TokenAsKey,
        Self::PlainMethod,
        Self::ConstrainedMethod,
        Self::BearerAtGoogle,
        Self::TokenVersion,
        Self::UnregisteredCallers,
        Self::ApiKeyNotValid,
        Self::InsecureApiKey,
        Self::RealtimeBeta,
        Self::IncorrectApiKey,
        Self::ModelMissing,
        Self::HandshakeRefused,
        Self::ClosedAbnormally,
        Self::ClosedInvalid,
        Self::ClosedPolicy,
        Self::ClosedTooBig,
        Self::ClosedInternal,
        Self::ClosedTryAgain,
        Self::ClosedUnauthorized,
        Self::ClosedUnauthenticated,
        Self::ClosedTokenOver,
        Self::ClosedForbidden,
        Self::ClosedReplaced,
        Self::ClosedTooMany,
    ];

    const fn row(self) -> Row {
        use Instead::{Always, ByDialect, Nothing};
        match self {
            Self::KeyInUrl => Row(
                "key-in-url",
                "a key stands in the URL, and so in access logs, browser histories, `Referer` headers and proxies: \
                 send it in a header, or from a browser as a subprotocol, and replace it, because it has been shown",
                ByDialect,
            ),
            Self::KeyInUrlAndHeader => Row(
                "key-in-url-and-header",
                "the credential is sent in a header and in the URL as well: the header is enough, leave the parameter out",
                ByDialect,
            ),
            Self::MusicKeyInUrl => Row(
                "music-key-in-url",
                "Live Music of google-genai before 2.9.0 puts the key into the URL although the header is sent, and \
                 @google/genai always does: update the Python package, and replace the key",
                Always(Remedy::GeminiKey),
            ),
            Self::KeyInUserinfo => Row(
                "key-in-userinfo",
                "a credential stands in front of the host in the URL: send it in a header",
                ByDialect,
            ),
            Self::KeyInMessage => Row(
                "key-in-message",
                "a credential stands in a message, where whatever records messages sees it, and Soniox takes none there from \
                 2027-01-15 on: send it with the opening, in a header or as a subprotocol, where the provider reads one; \
                 Keymoat reads none from messages",
                ByDialect,
            ),
            Self::KeyInLibraryUrl => Row(
                "key-in-library-url",
                "the library makes a query parameter of it: with Socket.IO give it in `auth` and not in `query`, with Phoenix \
                 in `authToken` and not in `params`",
                ByDialect,
            ),
            Self::PlainText => Row(
                "plain-text",
                "`ws://` and `http://` show the credential to everyone on the way: use `wss://` or `https://` for all \
                 but this machine",
                ByDialect,
            ),
            Self::Undefined => Row(
                "undefined-credential",
                "the credential is `undefined`, `null` or empty: the variable was not set where this code ran",
                ByDialect,
            ),
            Self::SchemeMissing => {
                Row("scheme-missing", "the scheme is missing: write `Authorization: Bearer …`", ByDialect)
            }
            Self::SchemeBasic => Row("scheme-basic", "`Basic` is not read: write `Authorization: Bearer …`", ByDialect),
            Self::SchemeOther => {
                Row("scheme-other", "the scheme is not read: write `Authorization: Bearer …`", ByDialect)
            }
            Self::HeaderOfAnother => Row(
                "header-of-another",
                "this provider reads its key from another header: Anthropic `x-api-key`, ElevenLabs `xi-api-key`, Deepgram \
                 `Authorization: Token …` (`Bearer` for its tokens only), AssemblyAI `Authorization` without a scheme, \
                 Gladia `x-gladia-key`",
                Nothing,
            ),
            Self::TwoCredentials => Row(
                "two-credentials",
                "one request carries two different credentials, and nobody can tell which is meant: send one",
                ByDialect,
            ),
            Self::LoneSubprotocol => Row(
                "lone-subprotocol",
                "the credential is the only subprotocol: offer `keymoat.v1` beside it",
                ByDialect,
            ),
            Self::SubprotocolCharacters => Row(
                "subprotocol-characters",
                "a subprotocol has no `/`, `=`, space or comma, so a browser throws a SyntaxError: leave `auth_tokens/` \
                 out, or write the credential as base64url without padding behind `keymoat.token.`",
                ByDialect,
            ),
            Self::SubprotocolNotBase64 => Row(
                "subprotocol-not-base64url",
                "the subprotocol's credential is not base64url without padding",
                ByDialect,
            ),
            Self::SubprotocolNotSelected => Row(
                "subprotocol-not-selected",
                "the server selected none of the subprotocols that were offered, and a browser then gives up with 1006: \
                 offer one beside the credential that the server knows",
                ByDialect,
            ),
            Self::BrowserHeaders => Row(
                "browser-headers",
                "a browser's `WebSocket` takes no headers and ignores a third argument or refuses the second: offer \
                 subprotocols there; React Native and the `ws` package of Node do take headers",
                ByDialect,
            ),
            Self::EventSourceHeaders => Row(
                "eventsource-headers",
                "a browser's `EventSource` takes no headers: read the stream with `fetch`, which does",
                ByDialect,
            ),
            Self::KeyChecksum => Row("key-checksum", "the checksum does not match: was it copied whole?", ByDialect),
            Self::KeyLength => Row("key-length", "the length does not match: was it copied whole?", ByDialect),
            Self::KeyAlphabet => {
                Row("key-alphabet", "it has a character that no key has: was it copied whole?", ByDialect)
            }
            Self::KeyAsToken => {
                Row("key-as-token", "`auth_tokens/` and `ek_` are for tokens: write a key without them", ByDialect)
            }
            Self::AdminCredential => Row(
                "admin-credential",
                "this is an admin credential: it is taken by the admin listener only",
                ByDialect,
            ),
            Self::Encoded => {
                Row("encoded-twice", "it is still percent-encoded: encode once in a URL, never in a header", ByDialect)
            }
            Self::TokenSpelling => {
                Row("token-spelling", "write `auth_tokens/` in front of a token", Always(Remedy::GeminiToken))
            }
            Self::KeymoatAtProvider => Row(
                "keymoat-at-provider",
                "a key or token of Keymoat was sent to the provider's own address, which does not know it: connect to \
                 the gateway's address",
                ByDialect,
            ),
            Self::TokenAsKey => Row(
                "token-as-key",
                "an ephemeral token is sent where an API key belongs: Google reads tokens from `Authorization: Token` \
                 or `?access_token=` only",
                Always(Remedy::GeminiToken),
            ),
            Self::PlainMethod => Row(
                "plain-method",
                "`BidiGenerateContent` takes API keys only: a token needs the method `BidiGenerateContentConstrained`",
                Always(Remedy::GeminiToken),
            ),
            Self::ConstrainedMethod => Row(
                "constrained-method",
                "`BidiGenerateContentConstrained` takes ephemeral tokens only: with an API key call \
                 `BidiGenerateContent`",
                Always(Remedy::GeminiKey),
            ),
            Self::BearerAtGoogle => Row(
                "bearer-at-google",
                "Google reads `Authorization: Bearer` as OAuth: a token goes behind the word `Token`, an API key into \
                 `x-goog-api-key`",
                Always(Remedy::GeminiToken),
            ),
            Self::TokenVersion => Row(
                "token-version",
                "tokens are served in `v1alpha`, and a connection must name the version that its token was minted with; \
                 `v1` serves none",
                Always(Remedy::GeminiToken),
            ),
            Self::UnregisteredCallers => Row(
                "unregistered-callers",
                "\"unregistered callers\" means that no credential stood where this method looks for one: a token needs \
                 `BidiGenerateContentConstrained` with `Authorization: Token`, a key the header `x-goog-api-key`",
                Always(Remedy::GeminiToken),
            ),
            Self::ApiKeyNotValid => Row(
                "api-key-not-valid",
                "\"API key not valid\" means that something stood where the API key belongs and is none: an ephemeral \
                 token, a key that was not copied whole, or one that was deleted",
                Always(Remedy::GeminiToken),
            ),
            Self::InsecureApiKey => Row(
                "insecure-api-key",
                "`openai-insecure-api-key.` with a long-lived key gives the key to everybody who opens the page: let a \
                 backend mint a token and offer that",
                Always(Remedy::OpenAi),
            ),
            Self::RealtimeBeta => Row(
                "realtime-beta",
                "the beta of the Realtime API is switched off and asking for it is fatal: leave out `OpenAI-Beta` and \
                 `openai-beta.realtime-v1`",
                Always(Remedy::OpenAi),
            ),
            Self::IncorrectApiKey => Row(
                "incorrect-api-key",
                "OpenAI does not know the key: it was not copied whole, was revoked, or is a client secret whose time is \
                 over",
                Always(Remedy::OpenAi),
            ),
            Self::ModelMissing => Row(
                "model-missing",
                "the Realtime API wants the model in the URL: `/v1/realtime?model=…`",
                Always(Remedy::OpenAi),
            ),
            Self::HandshakeRefused => Row(
                "handshake-refused",
                "the server answered the opening of the WebSocket with an HTTP status, which a browser shows as 1006 \
                 only: 401 says that it found no credential that it takes, 403 that this one may not, 404 that the path \
                 is not served",
                ByDialect,
            ),
            Self::ClosedAbnormally => Row(
                "closed-1006",
                "1006 is never sent: the browser writes it when the opening was refused over HTTP, none of the \
                 subprotocols was selected, TLS failed or the connection broke. `keymoat ws URL` shows which",
                ByDialect,
            ),
            Self::ClosedInvalid => Row(
                "closed-1007",
                "1007 is how Gemini refuses a wrong key or token and a message that it cannot read: the reason tells \
                 which",
                Always(Remedy::GeminiToken),
            ),
            Self::ClosedPolicy => Row(
                "closed-1008",
                "1008 is a refusal by policy: no credential, a token that is over, a model that does not exist or may \
                 not be used, or authentication that failed at an older server; the reason tells which",
                ByDialect,
            ),
            Self::ClosedTooBig => {
                Row("closed-1009", "1009 says that a message was larger than the other side takes", Nothing)
            }
            Self::ClosedInternal => Row(
                "closed-1011",
                "1011 is a failure of the server, or a quota: nothing is known of the credential, so try again later",
                Nothing,
            ),
            Self::ClosedTryAgain => Row(
                "closed-1012-1014",
                "1012 says that the server restarts, 1013 that it has too much to do, 1014 that what is behind it \
                 failed: connect again after a while, with some jitter",
                Nothing,
            ),
            Self::ClosedUnauthorized => Row(
                "closed-3000",
                "3000 is how OpenAI refuses a key; the `error` event before it has the reason",
                Always(Remedy::OpenAi),
            ),
            Self::ClosedUnauthenticated => Row(
                "closed-4001",
                "4001 (with some servers 4401) says that the credential is missing or not accepted: connecting again with \
                 the same one does not help",
                ByDialect,
            ),
            Self::ClosedTokenOver => Row(
                "closed-4002",
                "4002 says that the token was genuine, but is expired or used up: mint a new one and connect again at once",
                Nothing,
            ),
            Self::ClosedForbidden => Row(
                "closed-4003",
                "4003 (with some servers 4403) says that the credential is known, but may not do this: its scopes, the \
                 page's origin or what the token locks do not allow it",
                Nothing,
            ),
            Self::ClosedReplaced => Row(
                "closed-4008",
                "4008 says that a newer connection took this one's place, that there are too many, or, with AssemblyAI and \
                 some others, that the session's time is over: connecting again at once would only repeat it",
                Nothing,
            ),
            Self::ClosedTooMany => Row(
                "closed-4029",
                "4029 (with some servers 4429) says that too much was asked for in too short a time: wait as long as the \
                 reason says, with some jitter",
                Nothing,
            ),
        }
    }

    /// The stable word for it, such as `key-in-url`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.row().0
    }

    /// What is wrong and what to do, lower case, no full stop.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.row().1
    }

    /// What to send instead to an API of this dialect, where that is the cure.
    #[must_use]
    pub const fn remedy(self, dialect: Dialect) -> Option<Remedy> {
        match self.row().2 {
            Instead::Nothing => None,
            Instead::Always(remedy) => Some(remedy),
            Instead::ByDialect => Some(Remedy::of(dialect)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_listed_once_and_in_order() {
        assert!(Mistake::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        let ids: std::collections::HashSet<_> = Mistake::ALL.iter().map(|mistake| mistake.id()).collect();
        assert_eq!(ids.len(), Mistake::ALL.len());
    }

    #[test]
    fn texts_are_of_the_form_of_refusals() {
        for mistake in Mistake::ALL {
            let text = mistake.text();
            assert!(!text.ends_with('.') && !text.contains("  ") && !text.contains('\n'), "{text}");
        }
    }
}
