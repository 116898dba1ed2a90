//! What a client proves itself with, and the header or subprotocol that carries it.

use std::fmt;

use base64::prelude::*;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use keymoat_core::mask::Mask;
use keymoat_core::{Secret, subprotocol};
use keymoat_redact::Redactor;

use crate::endpoint::readings;

/// The longest credential, in bytes; Keymoat takes no longer one.
const BYTES_MAX: usize = 16 << 10;

/// A credential with the place where it is sent: a header, or for WebSockets a subprotocol. There is no other place.
///
/// It cannot be cloned, shown or compared, and is zeroized when it is dropped.
///
/// ```
/// use keymoat_client::Credential;
/// let key = Credential::keymoat("km_…");
/// assert_eq!(format!("{key:?}"), "Credential(header `authorization`)");
/// ```
///
/// ```compile_fail,E0599
/// keymoat_client::Credential::keymoat("km_…").clone();
/// ```
///
/// ```compile_fail,E0277
/// println!("{}", keymoat_client::Credential::keymoat("km_…"));
/// ```
pub struct Credential {
    carried: Option<Carried>,
    subprotocol: Option<Subprotocol>,
    mask: Mask,
}

struct Carried {
    header: HeaderName,
    scheme: &'static str,
    secret: Secret,
}

/// How a WebSocket's credential is written into `Sec-WebSocket-Protocol`, for servers and proxies that take no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subprotocol {
    /// `keymoat.v1` and `keymoat.token.<base64url>`: for Keymoat.
    Keymoat,
    /// `keymoat.v1` and `api-key.<credential>`.
    ApiKey,
    /// `realtime` and `openai-insecure-api-key.<credential>`.
    OpenAi,
}

/// Why a credential cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// There is nothing in it.
    #[error("the credential is empty")]
    Empty,
    /// It is far too long.
    #[error("the credential is longer than 16 KiB: is it the right file?")]
    TooLong,
    /// No header can hold it.
    #[error(
        "the credential has a space, a line end or another character that no header holds: was it copied whole, without a line end?"
    )]
    NoHeader,
    /// No subprotocol can hold it.
    #[error(
        "the credential has a character that no subprotocol holds: use `Subprotocol::Keymoat`, which encodes it, or a header"
    )]
    NoSubprotocol,
}

impl Credential {
    /// A key of Keymoat's, `km_…`: `Authorization: Bearer`.
    #[must_use]
    pub fn keymoat(key: impl Into<Secret>) -> Self {
        Self::in_authorization("Bearer ", key.into())
    }

    /// Any bearer token: `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self::in_authorization("Bearer ", token.into())
    }

    /// A short-lived token, of Google's (`auth_tokens/…`) or Keymoat's: `Authorization: Token`.
    #[must_use]
    pub fn token(token: impl Into<Secret>) -> Self {
        Self::in_authorization("Token ", token.into())
    }

    /// An API key of Google's: `x-goog-api-key`.
    #[must_use]
    pub fn api_key(key: impl Into<Secret>) -> Self {
        Self::header(HeaderName::from_static("x-goog-api-key"), key)
    }

    /// A credential in a header of another API, such as `x-api-key` or `xi-api-key`.
    #[must_use]
    pub fn header(name: HeaderName, value: impl Into<Secret>) -> Self {
        Self::new(name, "", value.into())
    }

    /// No credential at all, for public paths.
    #[must_use]
    pub fn none() -> Self {
        Self { carried: None, subprotocol: None, mask: Mask::NONE }
    }

    /// Carries it in `Sec-WebSocket-Protocol` when a WebSocket is opened; requests keep their header.
    #[must_use]
    pub fn in_subprotocol(mut self, form: Subprotocol) -> Self {
        self.subprotocol = Some(form);
        self
    }

    /// Whether Gemini Live takes it on its method for tokens.
    pub(crate) fn is_token(&self) -> bool {
        self.carried.as_ref().is_some_and(|carried| carried.scheme == "Token ")
    }

    /// Whether it can be sent at all.
    pub(crate) fn check(&self) -> Result<(), CredentialError> {
        let Some(carried) = &self.carried else { return Ok(()) };
        if carried.secret.is_empty() {
            return Err(CredentialError::Empty);
        }
        if carried.secret.len() > BYTES_MAX {
            return Err(CredentialError::TooLong);
        }
        // Its characters are looked at and forgotten.
        let whole = carried.secret.expose();
        if !whole.iter().all(u8::is_ascii_graphic) {
            return Err(CredentialError::NoHeader);
        }
        if matches!(self.subprotocol, Some(Subprotocol::ApiKey | Subprotocol::OpenAi)) && !whole.iter().all(is_token) {
            return Err(CredentialError::NoSubprotocol);
        }
        Ok(())
    }

    /// Puts it on as a header that is marked sensitive.
    pub(crate) fn put_on(&self, headers: &mut HeaderMap) -> Result<(), CredentialError> {
        let Some(carried) = &self.carried else { return Ok(()) };
        // Into the one header that is sent, which shows itself to nobody.
        let text = [carried.scheme.as_bytes(), carried.secret.expose()].concat();
        let mut value = HeaderValue::from_bytes(&text).map_err(|_| CredentialError::NoHeader)?;
        value.set_sensitive(true);
        headers.insert(carried.header.clone(), value);
        Ok(())
    }

    /// The entries of `Sec-WebSocket-Protocol` that carry it, the secret one last; none where a header does.
    pub(crate) fn entries(&self) -> Option<(&'static str, Secret)> {
        let (form, carried) = (self.subprotocol?, self.carried.as_ref()?);
        // Into the one entry that is offered.
        let secret = carried.secret.expose();
        let (label, prefix) = match form {
            Subprotocol::Keymoat => (subprotocol::MARKER, "keymoat.token."),
            Subprotocol::ApiKey => (subprotocol::MARKER, "api-key."),
            Subprotocol::OpenAi => ("realtime", "openai-insecure-api-key."),
        };
        let entry = match form {
            Subprotocol::Keymoat => [prefix.as_bytes(), BASE64_URL_SAFE_NO_PAD.encode(secret).as_bytes()].concat(),
            Subprotocol::ApiKey | Subprotocol::OpenAi => [prefix.as_bytes(), secret].concat(),
        };
        Some((label, Secret::new(entry)))
    }

    /// Whether a text holds it, as it is or encoded.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        readings(text).iter().any(|reading| self.mask.masked(reading).is_some())
    }

    /// A text of the server as it may be shown: this credential and everything that looks like one masked, on one line.
    pub(crate) fn shown(&self, text: &str) -> String {
        let one_line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let masked = self.mask.masked(one_line.as_bytes()).unwrap_or_else(|| one_line.into_bytes());
        String::from_utf8_lossy(&Redactor::default().redact(&masked)).into_owned()
    }

    fn in_authorization(scheme: &'static str, secret: Secret) -> Self {
        Self::new(AUTHORIZATION, scheme, secret)
    }

    fn new(header: HeaderName, scheme: &'static str, secret: Secret) -> Self {
        let mask = Mask::of(&secret);
        Self { carried: Some(Carried { header, scheme, secret }), subprotocol: None, mask }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.carried, self.subprotocol) {
            (None, _) => f.write_str("Credential(none)"),
            (Some(carried), None) => write!(f, "Credential(header `{}`)", carried.header),
            (Some(_), Some(form)) => write!(f, "Credential(subprotocol {form:?})"),
        }
    }
}

/// A token character (RFC 9110 section 5.6.2).
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-b7d41e90";

    fn carried(credential: &Credential) -> (String, String) {
        let mut headers = HeaderMap::new();
        credential.put_on(&mut headers).expect("a header holds it");
        assert!(!format!("{headers:?}").contains(CANARY), "{headers:?}");
        let (name, value) = headers.iter().next().expect("one header");
        (name.to_string(), value.to_str().expect("text").to_owned())
    }

    #[test]
    fn every_kind_goes_into_its_own_header() {
        for (credential, name, value) in [
            (Credential::keymoat(CANARY), "authorization", "Bearer canary-b7d41e90"),
            (Credential::bearer(CANARY), "authorization", "Bearer canary-b7d41e90"),
            (Credential::token(CANARY), "authorization", "Token canary-b7d41e90"),
            (Credential::api_key(CANARY), "x-goog-api-key", CANARY),
            (Credential::header(HeaderName::from_static("x-api-key"), CANARY), "x-api-key", CANARY),
        ] {
            assert_eq!(carried(&credential), (name.to_owned(), value.to_owned()));
            assert!(credential.entries().is_none());
            assert!(!format!("{credential:?}").contains(CANARY));
        }
        let mut headers = HeaderMap::new();
        Credential::none().put_on(&mut headers).expect("nothing to put on");
        assert!(headers.is_empty());
    }

    #[test]
    fn a_subprotocol_stands_beside_a_label() {
        let entries = |form| {
            let credential = Credential::keymoat("a/b").in_subprotocol(form);
            let (label, entry) = credential.entries().expect("a form was named");
            (label, String::from_utf8(entry.expose().to_vec()).expect("text"), credential.check())
        };
        assert_eq!(entries(Subprotocol::Keymoat), ("keymoat.v1", "keymoat.token.YS9i".to_owned(), Ok(())));
        let refused = Err(CredentialError::NoSubprotocol);
        assert_eq!(entries(Subprotocol::ApiKey), ("keymoat.v1", "api-key.a/b".to_owned(), refused));
        assert_eq!(entries(Subprotocol::OpenAi), ("realtime", "openai-insecure-api-key.a/b".to_owned(), refused));
    }

    #[test]
    fn what_no_header_holds_is_refused() {
        for (text, error) in [
            ("", CredentialError::Empty),
            ("key\n", CredentialError::NoHeader),
            ("a b", CredentialError::NoHeader),
            ("a\r\nHost: evil", CredentialError::NoHeader),
            ("ä", CredentialError::NoHeader),
        ] {
            assert_eq!(Credential::api_key(text).check(), Err(error), "{text:?}");
        }
        assert_eq!(Credential::api_key("a".repeat(BYTES_MAX + 1)).check(), Err(CredentialError::TooLong));
    }

    #[test]
    fn what_a_server_repeats_is_masked() {
        let credential = Credential::api_key(CANARY);
        let encoded = BASE64_STANDARD.encode(CANARY);
        let shown = credential.shown(&format!("bad key {CANARY}\r\n{encoded} km_TestVector0TestVector0"));
        assert!(!shown.contains(CANARY) && !shown.contains("TestVector0") && !shown.contains('\n'), "{shown}");
        assert!(!shown.contains(encoded.trim_end_matches('=').get(..16).expect("long enough")), "{shown}");
        assert!(shown.starts_with("bad key [redacted]"), "{shown}");
    }
}
