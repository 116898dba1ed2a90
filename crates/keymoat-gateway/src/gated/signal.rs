//! What the gate of a connection tells its service, and the service the gate.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use keymoat_core::gate::GateError;

/// What kind of request went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Anything but an upgrade. It must not be answered with 101: the gate has gone on to the next head.
    Request,
    /// A WebSocket upgrade. Nothing more is read before [`GateSignal::tunnel`]; every answer but 101 must say
    /// `Connection: close`, because the next request is never read.
    Upgrade,
}

/// By this the service of one connection hears what its gate decided, and tells it of a 101.
#[derive(Clone, Debug, Default)]
pub struct GateSignal(Arc<Mutex<Signal>>);

#[derive(Debug, Default)]
struct Signal {
    /// How many requests the service has asked about.
    asked: u64,
    rejected: Option<(u64, GateError)>,
    broken: Option<(u64, GateError)>,
    upgrade: Option<u64>,
    tunnel: bool,
    reader: Option<Waker>,
}

impl GateSignal {
    /// Says what the next request is; the service asks once for each request, before anything else.
    ///
    /// # Errors
    ///
    /// The request that hyper gave the service is not the client's: the client's was refused, for this reason. The
    /// answer must say `Connection: close`.
    pub fn next_request(&self) -> Result<Passed, GateError> {
        let mut signal = self.lock();
        signal.asked += 1;
        let asked = signal.asked;
        match (signal.rejected, signal.upgrade) {
            (Some((number, error)), _) if number <= asked => Err(error),
            (_, Some(number)) if number == asked => Ok(Passed::Upgrade),
            _ => Ok(Passed::Request),
        }
    }

    /// Says why the body of the request that was last asked about broke, if the gate broke it. hyper's error carries
    /// the same [`GateError`] as its innermost source.
    #[must_use]
    pub fn body_error(&self) -> Option<GateError> {
        let signal = self.lock();
        signal.broken.filter(|(number, _)| *number == signal.asked).map(|(_, error)| error)
    }

    /// Opens the gate for good, because the upgrade was answered with 101.
    pub fn tunnel(&self) {
        let reader = {
            let mut signal = self.lock();
            signal.tunnel = true;
            signal.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Request `number` is refused: hyper was given another one in its place.
    pub(super) fn set_rejected(&self, number: u64, error: GateError) {
        self.lock().rejected = Some((number, error));
    }

    /// The body of request `number` broke.
    pub(super) fn set_broken(&self, number: u64, error: GateError) {
        self.lock().broken = Some((number, error));
    }

    /// Request `number` is an upgrade, and the last one.
    pub(super) fn set_upgrade(&self, number: u64) {
        self.lock().upgrade = Some(number);
    }

    /// Waits for [`Self::tunnel`].
    pub(super) fn poll_tunnel(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut signal = self.lock();
        if signal.tunnel {
            return Poll::Ready(());
        }
        signal.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Signal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
