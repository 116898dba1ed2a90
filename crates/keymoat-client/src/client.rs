//! The client: one endpoint, one credential, and requests that carry it in a header.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::credential::Credential;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::events::EventStream;
use crate::exchange::{self, Call};
use crate::gemini::{AuthTokens, Live};
use crate::limits::Limits;
use crate::transport::Transport;
use crate::websocket::{self, WebSocket};

/// Talks to one server with one credential. Clones are the same client.
///
/// ```no_run
/// # async fn run() -> Result<(), keymoat_client::Error> {
/// use keymoat_client::{Client, Credential, Secret};
/// let key = Secret::from(std::env::var("KEYMOAT_KEY").expect("the key is set"));
/// let client = Client::new("https://gateway.example".parse()?, Credential::keymoat(key))?;
/// let events: serde_json::Value = client.get("/api/events?limit=1").await?;
/// # Ok(())
/// # }
/// ```
///
/// A URL is no place for a credential, and a text is no endpoint before it was checked:
///
/// ```compile_fail,E0308
/// use keymoat_client::{Client, Credential};
/// Client::new("https://gateway.example/?key=x", Credential::none());
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) credential: Credential,
    pub(crate) transport: Transport,
}

/// Makes a [`Client`] with other limits or a private certificate authority.
#[derive(Debug)]
pub struct ClientBuilder {
    endpoint: Endpoint,
    credential: Credential,
    ca_file: Option<PathBuf>,
    limits: Limits,
}

impl Client {
    /// A client with the default limits that trusts the machine's certificate authorities (`SSL_CERT_FILE` names others).
    ///
    /// # Errors
    /// A credential that no header holds, and a machine without certificate authorities.
    pub fn new(endpoint: Endpoint, credential: Credential) -> Result<Self, Error> {
        Self::builder(endpoint, credential).build()
    }

    /// A client with more settings.
    #[must_use]
    pub fn builder(endpoint: Endpoint, credential: Credential) -> ClientBuilder {
        ClientBuilder { endpoint, credential, ca_file: None, limits: Limits::default() }
    }

    /// Gets JSON from a path below the endpoint. Redirects are not followed.
    ///
    /// # Errors
    /// Any [`Error`]; [`Error::Refused`] for every status other than success.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        exchange::json(&self.0, Call::Get(&self.0.endpoint.at(path)?)).await
    }

    /// Posts JSON to a path below the endpoint, and reads the JSON of the answer.
    ///
    /// # Errors
    /// As [`Client::get`], and for a body that is no JSON.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|cause| Error::Malformed { what: "the body of the request", cause: cause.to_string() })?;
        exchange::json(&self.0, Call::Post(&self.0.endpoint.at(path)?, body)).await
    }

    /// Opens a WebSocket at a path below the endpoint, with the subprotocols that the application speaks.
    ///
    /// # Errors
    /// Any [`Error`]; [`Error::Refused`] where the server does not switch. Keymoat and Google refuse a WebSocket by opening and closing it,
    /// so that is told by the first [`WebSocket::receive`].
    pub async fn websocket(&self, path: &str, protocols: &[&str]) -> Result<WebSocket, Error> {
        websocket::open(Arc::clone(&self.0), self.0.endpoint.at(path)?, protocols).await
    }

    /// Reads server-sent events at a path below the endpoint; connects with the first event that is asked for.
    ///
    /// # Errors
    /// [`Error::Endpoint`] for the path.
    pub fn events(&self, path: &str) -> Result<EventStream, Error> {
        Ok(EventStream::new(Arc::clone(&self.0), self.0.endpoint.at(path)?))
    }

    /// Gemini's auth tokens, of Google or of Keymoat.
    #[must_use]
    pub fn auth_tokens(&self) -> AuthTokens {
        AuthTokens::new(self.clone())
    }

    /// Gemini Live and Live Music.
    #[must_use]
    pub fn live(&self) -> Live {
        Live::new(self.clone())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl ClientBuilder {
    /// Trusts the certificate authorities in this PEM file, beside the machine's.
    #[must_use]
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.ca_file = Some(path.as_ref().to_owned());
        self
    }

    /// Sets all limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Makes the client. Reads certificates from the disk, connects to nobody.
    ///
    /// # Errors
    /// As [`Client::new`], and for a file without certificates.
    pub fn build(self) -> Result<Client, Error> {
        self.credential.check()?;
        let transport = Transport::new(&self.endpoint, self.ca_file.as_deref(), self.limits)?;
        Ok(Client(Arc::new(Shared { endpoint: self.endpoint, credential: self.credential, transport })))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.endpoint).field(&self.credential).finish()
    }
}
