//! Honest local stand-ins for the provider APIs: as strict as the real thing about credentials and methods.
//!
//! One emulator serves every surface, told apart by path:
//!
//! | surface | paths |
//! |---|---|
//! | Gemini Live and Live Music | `/ws/google.ai.generativelanguage.{version}.GenerativeService.{method}` |
//! | Gemini REST | `/{version}/models…`, `/{version}/auth_tokens`, `/upload/{version}/files`, `/{version}/files/…` |
//! | OpenAI Realtime | `/v1/realtime` |
//! | OpenAI REST | `/v1/models` (with `Authorization`), `/v1/chat/completions`, `/v1/responses`, `/v1/realtime/client_secrets` |
//! | home-security events | `/api/events`, `/ws/events` |
//! | demo | `/demo/echo`, `/demo/sse`, `/demo/ws` |
//!
//! Everything it says is derived from what it was sent and from counters, so that a test can assert on it. What it
//! was sent is kept by a [`Recorder`], credentials included: this is a test tool, never give it a key that matters.

mod answer;
mod credential;
mod demo;
mod emulator;
mod events;
mod gemini;
mod openai;
mod options;
mod pong;
mod recorder;
mod serve;
mod sound;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use gemini::music::FILTERED_WORD;
pub use options::{Credentials, EventsOptions, Frames, GeminiOptions, OpenAiOptions, Options};
pub use recorder::{Close, Found, Recorded, RecordedMessage, Recorder};

use emulator::{CONNECTIONS_MAX, Emulator};

/// How long [`Running::stop`] waits for open connections to end.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Binds the address and serves it on the caller's tokio runtime until it is stopped.
///
/// # Errors
/// The address cannot be bound.
pub async fn start(options: Options) -> io::Result<Running> {
    let listener = TcpListener::bind(options.address).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let tls = options.tls.clone();
    let emulator = Arc::new(Emulator::new(options, address, stopped));
    let accepting = tokio::spawn(serve::accept(listener, tls, Arc::clone(&emulator)));
    Ok(Running { address, emulator, stop, accepting })
}

/// An emulator that is being served. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    emulator: Arc<Emulator>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Running {
    /// The address that is listened on, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the emulator was sent so far.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        self.emulator.recorder.clone()
    }

    /// Ends every connection and session, and returns when they are gone (after five seconds at most).
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.accepting.await;
        let all_gone = self.emulator.permits.acquire_many(CONNECTIONS_MAX);
        let _ = tokio::time::timeout(STOP_WAIT, all_gone).await;
    }
}
