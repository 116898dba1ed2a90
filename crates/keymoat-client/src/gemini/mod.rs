//! Gemini: auth tokens, Live and Live Music, at Google or through Keymoat.
//!
//! ```text
//! auth_tokens  POST /{version}/auth_tokens
//! Live         /ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent[Constrained]
//! Live Music   /ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateMusic
//! ```

mod audio;
mod event;
mod live;
mod music;
mod resumption;
mod session;
mod setup;
mod token;

use serde_json::{Value, json};

use crate::client::Client;
use crate::error::Error;
use crate::websocket::{Message, WebSocket};

pub use audio::Audio;
pub use event::{Event, FunctionCall, Usage};
pub use live::Live;
pub use music::{Music, MusicConfig, MusicEvent, MusicSession, WeightedPrompt};
pub use resumption::Handle;
pub use session::{FunctionResponse, Session};
pub use setup::{Modality, Setup};
pub use token::{AuthToken, AuthTokens, NewToken};

/// Where Google serves Gemini.
pub const GOOGLE: &str = "https://generativelanguage.googleapis.com";

/// A version of Google's API. Keymoat takes all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `v1alpha`: tokens and music.
    V1Alpha,
    /// `v1beta`: Live with an API key.
    V1Beta,
    /// `v1`, which Google does not serve Live under as of October 2026.
    V1,
}

impl Version {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::V1Alpha => "v1alpha",
            Self::V1Beta => "v1beta",
            Self::V1 => "v1",
        }
    }
}

/// Opens one of the WebSocket methods, sends the setup and waits until it is complete.
async fn open(client: &Client, version: Version, method: &str, setup: &Value) -> Result<WebSocket, Error> {
    let path = format!("/ws/google.ai.generativelanguage.{}.GenerativeService.{method}", version.word());
    let mut socket = client.websocket(&path, &[]).await?;
    let within = client.shared().transport.limits.answer;
    let opening = async {
        socket.send_text(json!({ "setup": setup }).to_string()).await?;
        let first = parse(&socket.receive().await?)?;
        match first.get("setupComplete") {
            Some(_) => Ok(()),
            None => Err(Error::Malformed { what: "the first message", cause: "it is no `setupComplete`".to_owned() }),
        }
    };
    match tokio::time::timeout(within, opening).await {
        Ok(opened) => opened.map(|()| socket),
        Err(_) => Err(Error::timeout(&client.shared().endpoint, "`setupComplete`", within)),
    }
}

/// Reads a message, whichever kind of frame it came in.
fn parse(message: &Message) -> Result<Value, Error> {
    let read = serde_json::from_slice(message.as_bytes());
    read.map_err(|cause| Error::Malformed { what: "a message of the server", cause: format!("{:?}", cause.classify()) })
}

/// A model's name as the API wants it.
fn model(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("models/{name}") }
}
