//! Carries the record along the road and hands it over exactly once, also when the client vanishes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use keymoat_core::record::{Outcome, Record};
use keymoat_core::refusal::{Code, Refusal};

use crate::worker::Shared;

/// Where finished records go. Called on the serving threads: it must not block.
pub type Records = Arc<dyn Fn(&Record) + Send + Sync>;

/// Keeps the beginnings of requests and sessions, and says of each whether it was kept. Nothing of a request goes upstream
/// before that, and nothing at all without it. It gives up by itself in a bounded time.
pub type Beginnings = Arc<dyn Fn(Record) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// One record on its way. Dropping it writes it: with outcome `aborted` when no stage said otherwise.
pub(crate) struct Ledger {
    /// Boxed, because it goes from stage to stage by value.
    pub(crate) record: Box<Record>,
    /// A browser opens a page with it, and remembers the address.
    pub(crate) is_navigation: bool,
    started: Instant,
    records: Records,
}

impl Ledger {
    pub(crate) fn begin(record: Record, records: Records) -> Self {
        Self { record: Box::new(record), is_navigation: false, started: Instant::now(), records }
    }

    /// Milliseconds since the head had arrived.
    pub(crate) fn elapsed_millis(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// Has the beginning kept, where that is demanded.
    ///
    /// # Errors
    /// `unavailable` when it was not: nothing may go upstream then.
    pub(crate) async fn keep_beginning(&self, shared: &Shared) -> Result<(), Refusal> {
        let Some(beginnings) = shared.beginnings.get() else { return Ok(()) };
        if beginnings((*self.record).clone()).await {
            return Ok(());
        }
        Err(Refusal::new(Code::Unavailable, "what happens here cannot be written down, try again").retry_after_secs(1))
    }

    /// Notes that Keymoat or the upstream said no, and how it was answered.
    pub(crate) fn refused(&mut self, refusal: &Refusal, outcome: Outcome, status: u16) {
        self.record.outcome = outcome;
        self.record.code = Some(refusal.code);
        self.record.status = Some(status);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.record.duration_millis = self.elapsed_millis();
        (self.records)(&self.record);
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(f)
    }
}
