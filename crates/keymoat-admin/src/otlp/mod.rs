//! Tells a collector of OpenTelemetry: events as logs, requests as spans, and the metrics (OTLP over HTTP, protobuf).
//!
//! The messages are OpenTelemetry's own; how they travel is ours, because nothing may wait for a collector, and what it
//! does not take is counted.

mod encode;
mod endpoint;
mod post;
mod sample;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http::HeaderName;
use keymoat_core::event::Sink;
use keymoat_core::{Secret, UnixMillis};

use self::post::Collector;
use crate::events::{LineSink, Losses};

pub use self::endpoint::Endpoint;
pub use self::post::PostError;

/// So many events are told in one message.
const EVENTS_MAX: usize = 512;

/// How often metrics are told.
pub const METRICS_EVERY: Duration = Duration::from_secs(30);

/// What a collector can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// A span for each request.
    Traces,
    /// The metrics.
    Metrics,
    /// A log record for each event.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The signal with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.word() == word)
    }
}

/// A collector, and what goes along with each message.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub endpoint: Endpoint,
    /// What is sent along.
    pub headers: Arc<[(HeaderName, Secret)]>,
}

/// The sink that tells a collector of events: as logs, as spans, or as both.
///
/// # Errors
/// The machine trusts nobody, or gives no thread.
pub fn sink(target: &Target, signals: &[Signal], lost: Arc<Losses>) -> io::Result<LineSink> {
    let signals = signals.to_vec();
    let mut teller = Teller::new(target)?;
    LineSink::start(Sink::Otlp, lost, move |group, _| {
        let mut not_told = 0;
        for part in group.chunks(EVENTS_MAX) {
            let messages = messages(part.iter().map(|told| told.line.as_str()), &signals);
            // Each event is lost once, whatever of it did not arrive.
            let arrived = messages.into_iter().all(|(path, message)| teller.tell(path, message));
            not_told += if arrived { 0 } else { part.len() as u64 };
        }
        not_told
    })
}

/// The messages that a collector is sent of these events, each one masked JSON object, with the path of each: as logs, as
/// spans, or as both. Nothing of no events.
#[must_use]
pub fn messages<'e>(events: impl IntoIterator<Item = &'e str>, signals: &[Signal]) -> Vec<(&'static str, Vec<u8>)> {
    let events: Vec<_> = events.into_iter().filter_map(encode::fields).collect();
    if events.is_empty() {
        return Vec::new();
    }
    let logs = signals.contains(&Signal::Logs).then(|| ("/v1/logs", encode::logs(&events)));
    let spans = signals.contains(&Signal::Traces).then(|| encode::spans(&events)).flatten();
    logs.into_iter().chain(spans.map(|spans| ("/v1/traces", spans))).collect()
}

/// Tells a collector of the metrics, again and again until it is dropped.
#[derive(Debug)]
pub struct MetricsTeller {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsTeller {
    /// Starts with the text that `render` gives, in the form of OpenMetrics; the last time is at the end.
    ///
    /// # Errors
    /// The machine trusts nobody, or gives no thread.
    pub fn start(
        target: &Target,
        every: Duration,
        render: impl Fn() -> String + Send + 'static,
        clock: fn() -> UnixMillis,
    ) -> io::Result<Self> {
        let mut teller = Teller::new(target)?;
        let (end, ended) = mpsc::channel();
        let nanos = |at: UnixMillis| u64::try_from(at.0).unwrap_or_default().saturating_mul(1_000_000);
        let began = nanos(clock());
        let thread = thread::Builder::new().name("metrics".into()).spawn(move || {
            loop {
                let waited = ended.recv_timeout(every);
                teller.tell("/v1/metrics", sample::metrics(&render(), began, nanos(clock())));
                if waited != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for MetricsTeller {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One thread's way to the collector.
struct Teller {
    runtime: tokio::runtime::Runtime,
    collector: Collector,
    is_failing: bool,
}

impl Teller {
    fn new(target: &Target) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let collector = Collector::new(target.endpoint.clone(), Arc::clone(&target.headers));
        Ok(Self { runtime, collector: collector.map_err(io::Error::other)?, is_failing: false })
    }

    /// Says whether it arrived.
    fn tell(&mut self, path: &str, message: Vec<u8>) -> bool {
        let told = self.runtime.block_on(self.collector.post(path, message));
        match &told {
            Err(error) if !self.is_failing => tracing::warn!(%error, "telemetry is lost"),
            Ok(()) if self.is_failing => tracing::info!("telemetry arrives again"),
            _ => {}
        }
        self.is_failing = told.is_err();
        told.is_ok()
    }
}
