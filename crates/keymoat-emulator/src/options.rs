//! What an emulator can be told before it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keymoat_core::Secret;

/// How an emulator is served and how strict it is.
#[derive(Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Serve TLS with this configuration, its ALPN included; plain text without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The one real API key that is accepted.
    pub key: Secret,
    /// Whether credentials in URLs are refused.
    pub credentials: Credentials,
    /// How the Gemini surface behaves.
    pub gemini: GeminiOptions,
    /// How the OpenAI surface behaves.
    pub openai: OpenAiOptions,
    /// How the home-security surface behaves.
    pub events: EventsOptions,
    /// The pause between two events of `/demo/sse`.
    pub sse_pause: Duration,
    /// How long a WebSocket ping waits for its pong (Google's pongs were measured at 8 to 30 seconds).
    pub pong_delay: Duration,
    /// Serve `GET` and `DELETE /emulator/record`, which show and forget what was received, credentials included.
    pub record_endpoint: bool,
}

impl Options {
    /// Loopback, a free port, plain text, strict, everything else by default.
    #[must_use]
    pub fn new(key: Secret) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            key,
            credentials: Credentials::default(),
            gemini: GeminiOptions::default(),
            openai: OpenAiOptions::default(),
            events: EventsOptions::default(),
            sse_pause: Duration::from_millis(200),
            pong_delay: Duration::ZERO,
            record_endpoint: false,
        }
    }
}

/// Where a credential may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Headers only: a credential in the URL is refused, so that a leak upstream fails a test.
    #[default]
    Strict,
    /// Wherever the real provider takes it: `?key=`, `?access_token=`, `?api_key=`, `api-key.<key>` too.
    Provider,
}

/// The kind of WebSocket frame that answers are sent in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Frames {
    /// JSON in binary frames, as Google sends it.
    #[default]
    Binary,
    /// JSON in text frames.
    Text,
}

/// How the Gemini surface behaves.
#[derive(Debug, Clone)]
pub struct GeminiOptions {
    /// The frames that answers are sent in.
    pub answers: Frames,
    /// Serve Live and token minting under `v1` too; Google answers 404 there.
    pub v1: bool,
    /// How long one Live connection lasts.
    pub connection_life: Duration,
    /// How long before its end a Live connection is told to go away.
    pub go_away_before: Duration,
    /// How much speech is in one Live message.
    pub audio_chunk: Duration,
    /// How much music is in one Live Music message.
    pub music_chunk: Duration,
    /// The pause between two pieces of text, in Live and in `streamGenerateContent`.
    pub text_pause: Duration,
    /// How many times faster than real time sound and text are sent; 1 is real time.
    pub speed: u32,
    /// The origin of the URL that a resumable upload is told to go on at; its own address without.
    pub upload_origin: Option<String>,
    /// A token that locks the whole setup also hides the client's resumption handle, as Google's does.
    pub lock_hides_handle: bool,
}

impl Default for GeminiOptions {
    fn default() -> Self {
        Self {
            answers: Frames::default(),
            v1: false,
            connection_life: Duration::from_secs(600),
            go_away_before: Duration::from_secs(10),
            audio_chunk: Duration::from_millis(40),
            music_chunk: Duration::from_secs(1),
            text_pause: Duration::from_millis(100),
            speed: 1,
            upload_origin: None,
            lock_hides_handle: true,
        }
    }
}

impl GeminiOptions {
    /// The pause after something that takes `length` to say or play.
    pub(crate) fn paced(&self, length: Duration) -> Duration {
        length / self.speed.max(1)
    }
}

/// How the OpenAI surface behaves.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// How long one Realtime session lasts.
    pub session_life: Duration,
    /// How much speech is in one Realtime event.
    pub audio_chunk: Duration,
    /// The pause between two pieces of text, in Realtime and in event streams.
    pub text_pause: Duration,
    /// How many times faster than real time sound and text are sent; 1 is real time.
    pub speed: u32,
}

impl Default for OpenAiOptions {
    fn default() -> Self {
        Self {
            session_life: Duration::from_secs(3600),
            audio_chunk: Duration::from_millis(200),
            text_pause: Duration::from_millis(100),
            speed: 1,
        }
    }
}

impl OpenAiOptions {
    /// The pause after something that takes `length` to say.
    pub(crate) fn paced(&self, length: Duration) -> Duration {
        length / self.speed.max(1)
    }
}

/// How the home-security surface behaves.
#[derive(Debug, Clone)]
pub struct EventsOptions {
    /// The pause between two events on `/ws/events`.
    pub interval: Duration,
    /// The pause between two pings of the server.
    pub ping: Duration,
    /// How long a client may say nothing before it is closed with 1000.
    pub idle: Duration,
}

impl Default for EventsOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(2), ping: Duration::from_secs(30), idle: Duration::from_secs(300) }
    }
}
