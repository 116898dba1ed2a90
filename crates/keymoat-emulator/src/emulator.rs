//! What all connections of one emulator share.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keymoat_core::Secret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::gemini::resumption::Resumptions;
use crate::gemini::token::Tokens;
use crate::gemini::upload::Uploads;
use crate::openai::secret::ClientSecrets;
use crate::{Credentials, EventsOptions, GeminiOptions, OpenAiOptions, Options, Recorder};

/// How many connections and WebSocket sessions there may be at once.
pub(crate) const CONNECTIONS_MAX: u32 = 2048;

/// The shared part: the options, what was recorded, and what outlives a connection.
pub(crate) struct Emulator {
    pub(crate) key: Secret,
    pub(crate) credentials: Credentials,
    pub(crate) gemini: GeminiOptions,
    pub(crate) openai: OpenAiOptions,
    pub(crate) events: EventsOptions,
    pub(crate) sse_pause: Duration,
    pub(crate) pong_delay: Duration,
    pub(crate) record_endpoint: bool,
    pub(crate) recorder: Recorder,
    pub(crate) resumptions: Resumptions,
    pub(crate) tokens: Tokens,
    pub(crate) client_secrets: ClientSecrets,
    pub(crate) uploads: Uploads,
    pub(crate) upload_origin: String,
    pub(crate) permits: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    counter: AtomicU64,
}

impl Emulator {
    pub(crate) fn new(options: Options, address: SocketAddr, stopped: watch::Receiver<bool>) -> Self {
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let upload_origin = options.gemini.upload_origin.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
        Self {
            key: options.key,
            credentials: options.credentials,
            gemini: options.gemini,
            openai: options.openai,
            events: options.events,
            sse_pause: options.sse_pause,
            pong_delay: options.pong_delay,
            record_endpoint: options.record_endpoint,
            recorder: Recorder::default(),
            resumptions: Resumptions::default(),
            tokens: Tokens::default(),
            client_secrets: ClientSecrets::default(),
            uploads: Uploads::default(),
            upload_origin,
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
            stopped,
            counter: AtomicU64::new(1),
        }
    }

    /// The next number of a counter that makes every id.
    pub(crate) fn next_id(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether credentials in URLs are refused.
    pub(crate) fn is_strict(&self) -> bool {
        self.credentials == Credentials::Strict
    }

    /// Whether `value` is the one real key.
    pub(crate) fn is_key(&self, value: &str) -> bool {
        Secret::from(value).matches(&self.key)
    }

    /// Whether the real key stands in `text`, as it is or percent-encoded.
    pub(crate) fn holds_key(&self, text: &str) -> bool {
        if self.key.is_empty() {
            return false;
        }
        // Exposed to search for itself: this emulator's whole purpose is to notice where its key turns up.
        let key = self.key.expose();
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
        let found = |bytes: &[u8]| bytes.windows(key.len()).any(|window| window == key);
        found(text.as_bytes()) || found(&decoded)
    }

    /// A permit for one more connection or session, unless there are too many.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Runs `work` on its own task until it ends or the emulator stops.
    pub(crate) fn spawn(&self, permit: OwnedSemaphorePermit, work: impl Future<Output = ()> + Send + 'static) {
        let mut stopped = self.stopped.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
            drop(permit);
        });
    }

    /// Returns when the emulator is being stopped.
    pub(crate) async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}
