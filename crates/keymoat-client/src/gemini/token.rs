//! Auth tokens: short-lived credentials for Live, minted with a key and handed to whoever must not have it.

use std::fmt;
use std::time::SystemTime;

use jiff::Timestamp;
use keymoat_core::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Version;
use super::setup::Setup;
use crate::client::Client;
use crate::credential::Credential;
use crate::error::Error;

/// Mints tokens. At Google the client needs an API key, at Keymoat a key with the scope `mint`.
#[derive(Debug, Clone)]
pub struct AuthTokens {
    client: Client,
    version: Version,
}

/// What a token is to be. Without anything: one use, 60 seconds to connect, 30 minutes to live, nothing locked.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use keymoat_client::gemini::{NewToken, Setup};
/// let token = NewToken::new()
///     .uses(5)
///     .expires(SystemTime::now() + Duration::from_secs(600))
///     .lock(&Setup::new("gemini-2.5-flash-native-audio"));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewToken {
    uses: Option<u32>,
    expires: Option<SystemTime>,
    sessions_until: Option<SystemTime>,
    locked: Option<Setup>,
    mask: Option<Vec<String>>,
}

/// A token that was minted. `Debug` shows nothing of it.
pub struct AuthToken(Secret);

#[derive(Deserialize)]
struct Minted {
    name: String,
}

impl AuthTokens {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, version: Version::V1Alpha }
    }

    /// Sets the version of the API. A token is used under the version that it was minted under.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Mints a token.
    ///
    /// # Errors
    /// Any [`Error`]; [`Error::Refused`] where a rule of the server does not allow it.
    pub async fn create(&self, token: NewToken) -> Result<AuthToken, Error> {
        let path = format!("/{}/auth_tokens", self.version.word());
        let minted: Minted = self.client.post(&path, &token.body()?).await?;
        if minted.name.is_empty() {
            return Err(Error::Malformed { what: "the answer", cause: "the token's name is empty".to_owned() });
        }
        Ok(AuthToken(Secret::from(minted.name)))
    }
}

impl NewToken {
    /// A token with the server's defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sessions it may begin; 0 for any number, where that is allowed. Resuming a session costs none.
    #[must_use]
    pub fn uses(mut self, uses: u32) -> Self {
        self.uses = Some(uses);
        self
    }

    /// When it and its sessions end, less than 20 hours ahead.
    #[must_use]
    pub fn expires(mut self, at: SystemTime) -> Self {
        self.expires = Some(at);
        self
    }

    /// Until when it may begin sessions, less than 20 hours ahead.
    #[must_use]
    pub fn sessions_until(mut self, at: SystemTime) -> Self {
        self.sessions_until = Some(at);
        self
    }

    /// Locks the whole setup: its sessions are this one, whatever they ask for.
    #[must_use]
    pub fn lock(mut self, setup: &Setup) -> Self {
        (self.locked, self.mask) = (Some(setup.clone()), None);
        self
    }

    /// Locks the fields that this setup has, and leaves the others to the session.
    #[must_use]
    pub fn lock_only(mut self, setup: &Setup) -> Self {
        (self.locked, self.mask) = (Some(setup.clone()), Some(setup.paths()));
        self
    }

    /// Locks more fields, which are thereby kept empty, such as `tools` or `generationConfig.topK`.
    #[must_use]
    pub fn lock_empty(mut self, fields: &[&str]) -> Self {
        if self.locked.is_none() || self.mask.is_some() {
            self.mask.get_or_insert_default().extend(fields.iter().map(|field| (*field).to_owned()));
        }
        self
    }

    fn body(&self) -> Result<Value, Error> {
        let mut body = Map::new();
        if let Some(uses) = self.uses {
            body.insert("uses".to_owned(), uses.into());
        }
        for (name, at) in [("expireTime", self.expires), ("newSessionExpireTime", self.sessions_until)] {
            if let Some(at) = at {
                let at = Timestamp::try_from(at)
                    .map_err(|cause| Error::Malformed { what: "the token's time", cause: cause.to_string() })?;
                body.insert(name.to_owned(), at.to_string().into());
            }
        }
        if let Some(setup) = &self.locked {
            body.insert("bidiGenerateContentSetup".to_owned(), setup.value());
        }
        if let Some(mask) = &self.mask {
            body.insert("fieldMask".to_owned(), json!(mask.join(",")));
        }
        Ok(Value::Object(body))
    }
}

impl AuthToken {
    /// The token itself, to be handed to its user: `auth_tokens/…`.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The same to be handed on by value.
    #[must_use]
    pub fn into_secret(self) -> Secret {
        self.0
    }

    /// To connect with it here.
    #[must_use]
    pub fn into_credential(self) -> Credential {
        Credential::token(self.0)
    }
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthToken([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bodies_are_those_of_google_s_sdks() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        let body = |token: NewToken| token.body().expect("a time that can be written");
        assert_eq!(body(NewToken::new()), json!({}));
        let times = NewToken::new().uses(10).expires(at).sessions_until(at);
        let expected =
            json!({"uses": 10, "expireTime": "2030-01-01T00:00:00Z", "newSessionExpireTime": "2030-01-01T00:00:00Z"});
        assert_eq!(body(times), expected);
        let setup = Setup::new("gemini-x");
        let whole = NewToken::new().lock(&setup).lock_empty(&["tools"]);
        assert_eq!(body(whole), json!({ "bidiGenerateContentSetup": setup.value() }), "all is locked anyway");
        let some = body(NewToken::new().lock_only(&setup).lock_empty(&["tools"]));
        assert_eq!(some["fieldMask"], "generationConfig.responseModalities,model,tools");
        assert_eq!(body(NewToken::new().lock_empty(&["tools"])), json!({"fieldMask": "tools"}));
    }

    #[test]
    fn debug_shows_nothing_of_a_token() {
        let token = AuthToken(Secret::from("auth_tokens/canary"));
        assert!(!format!("{token:?} {:?}", token.secret()).contains("canary"));
    }
}
