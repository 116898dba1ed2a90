//! How Live is connected to.

use super::Version;
use super::music::Music;
use super::session::{Opening, Session};
use super::setup::Setup;
use crate::backoff::Reconnect;
use crate::client::Client;
use crate::error::Error;

/// Gemini Live. A session does not reconnect unless [`Live::reconnecting`] says so.
#[derive(Debug, Clone)]
pub struct Live {
    client: Client,
    version: Option<Version>,
    reconnect: Option<Reconnect>,
}

impl Live {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, version: None, reconnect: None }
    }

    /// Sets the version of the API; without it `v1beta` with a key, and `v1alpha` with a token, which is minted there too.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Reconnects with the last resumption handle when the server says `goAway`, or ends the connection in a way that time helps
    /// with. Sessions become resumable. Without a handle nothing is reconnected: the context would be lost.
    #[must_use]
    pub fn reconnecting(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = Some(reconnect);
        self
    }

    /// Opens a session and waits until its setup is complete.
    ///
    /// # Errors
    /// Any [`Error`]. [`Error::Closed`] is how Google and Keymoat refuse: its reason says why.
    pub async fn connect(&self, setup: Setup) -> Result<Session, Error> {
        let setup = if self.reconnect.is_some() { setup.resumable() } else { setup };
        let is_token = self.client.shared().credential.is_token();
        let (usual, method) = match is_token {
            true => (Version::V1Alpha, "BidiGenerateContentConstrained"),
            false => (Version::V1Beta, "BidiGenerateContent"),
        };
        let opening = Opening { client: self.client.clone(), version: self.version.unwrap_or(usual), method, setup };
        Session::open(opening, self.reconnect).await
    }

    /// Live Music, with the same client.
    #[must_use]
    pub fn music(&self) -> Music {
        Music::new(self.client.clone(), self.version)
    }
}
