//! Who may connect or call: the API key, or an ephemeral token where the method takes one.
//!
//! The three things that must change together for a token (method, carrier, version) and the mistakes that people
//! make are refused in the provider's own words.

use http::{HeaderMap, Uri};

use super::token::Token;
use super::{Method, invalid};
use crate::emulator::Emulator;
use crate::websocket::End;
use crate::{Found, credential};

/// What the provider says to a caller without a credential. A close reason holds its first 123 bytes.
pub(crate) const UNREGISTERED: &str = "Method doesn't allow unregistered callers (callers without established \
     identity). Please use API Key or other form of API consumer identity to call this API.";
/// What the provider says to a caller with a wrong key.
pub(crate) const BAD_KEY: &str = "API key not valid. Please pass a valid API key.";
/// What the constrained method says to a caller without a token.
const NO_TOKEN: &str = "Request is missing the access_token parameter or an Authorization: Token header.";
/// What it says to a wrong, used up or expired token.
const BAD_TOKEN: &str = "Invalid or expired ephemeral token in the access_token parameter.";

/// Who was let in.
#[derive(Debug)]
pub(crate) enum Caller {
    /// The holder of the API key.
    Key,
    /// The holder of an ephemeral token, with what it locks.
    Token(Token),
}

/// Why a caller is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No credential that this method takes.
    Unregistered,
    /// A key that is not valid.
    BadKey,
    /// A credential in the URL, where the emulator is strict; the text names the place.
    InUrl(String),
}

/// Decides about a WebSocket.
pub(crate) fn socket(emulator: &Emulator, headers: &HeaderMap, uri: &Uri, method: Method) -> Result<Caller, End> {
    let found = credential::find(headers, uri.query());
    if method == Method::Constrained {
        refuse_url(emulator, &found, uri).map_err(end)?;
        return constrained(emulator, &found);
    }
    key(emulator, &found, uri).map_err(end)?;
    Ok(Caller::Key)
}

/// Decides about a call that takes the API key only: the plain WebSocket methods and REST.
pub(crate) fn key(emulator: &Emulator, found: &[Found], uri: &Uri) -> Result<(), Refused> {
    refuse_url(emulator, found, uri)?;
    let in_header = credential::at(found, "header:x-goog-api-key");
    let in_query = credential::at(found, "query:key");
    // Old Python SDKs send the key in both places: every copy has to be right.
    let copies: Vec<_> = in_header.into_iter().chain(in_query).collect();
    if copies.is_empty() {
        return Err(Refused::Unregistered);
    }
    match copies.iter().all(|copy| emulator.is_key(copy)) {
        true => Ok(()),
        false => Err(Refused::BadKey),
    }
}

fn constrained(emulator: &Emulator, found: &[Found]) -> Result<Caller, End> {
    let in_header = credential::at(found, "header:authorization");
    let in_header = in_header.and_then(|value| value.strip_prefix("Token ")).map(str::trim);
    let Some(name) = in_header.or(credential::at(found, "query:access_token")) else {
        return Err(invalid(NO_TOKEN));
    };
    let token = emulator.tokens.open(name, super::token::now());
    token.map(Caller::Token).ok_or_else(|| invalid(BAD_TOKEN))
}

/// Refuses a credential in the URL where the emulator is strict.
pub(crate) fn refuse_url(emulator: &Emulator, found: &[Found], uri: &Uri) -> Result<(), Refused> {
    if !emulator.is_strict() {
        return Ok(());
    }
    if let Some(place) = credential::in_url(found) {
        return Err(Refused::InUrl(place.to_owned()));
    }
    match emulator.holds_key(&uri.to_string()) {
        true => Err(Refused::InUrl("path or query".to_owned())),
        false => Ok(()),
    }
}

impl Refused {
    /// What is said to the caller.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unregistered => UNREGISTERED.to_owned(),
            Self::BadKey => BAD_KEY.to_owned(),
            Self::InUrl(place) => {
                format!("credential in the URL ({place}): this emulator is strict, send it as a header")
            }
        }
    }
}

fn end(refused: Refused) -> End {
    let code = match refused {
        Refused::Unregistered | Refused::InUrl(_) => 1008,
        Refused::BadKey => 1007,
    };
    End::Close(code, refused.message())
}
