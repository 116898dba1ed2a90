//! The feed: a thread that looks for changes at a steady pace and hands each of them over.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Store;
use crate::error::StoreError;
use crate::sqlite::Watch;
use crate::upstream_secret::Change;

/// A running feed. Stops, and waits for its thread, on [`Feed::stop`] or drop.
#[derive(Debug)]
pub struct Feed {
    freshness: Freshness,
    running: Option<(SyncSender<Word>, JoinHandle<()>)>,
}

/// What the feed's thread is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Something may have changed: look now.
    Look,
    /// It is over.
    End,
}

/// Tells how old the view of the store is. Cheap to clone and to ask on every request.
#[derive(Clone)]
pub struct Freshness {
    origin: Instant,
    /// When the last successful look began, in milliseconds since `origin`.
    seen_millis: Arc<AtomicU64>,
    /// How many changes the view shows.
    changes: Arc<AtomicI64>,
}

impl Feed {
    /// Looks at the store at once, gives the first [`Change`] to `into` before it returns, and then looks again `every` so often,
    /// and earlier when the store announces a change. Announcements are hints: the intervals are what is relied on.
    ///
    /// The first one holds every sealed secret of an upstream; later ones only those that were sealed, replaced or
    /// removed since. `into` is called on the feed's own thread, only when something changed. While looks fail, the last
    /// snapshot stays and [`Freshness::age`] grows: whoever decides refuses when it is too old. A sealed secret that
    /// does not open is no failed look: it is told in its place, and revocations go on.
    ///
    /// # Errors
    /// Whatever the first look meets, or the system's refusal of a thread.
    pub fn start(
        store: Arc<Store>,
        every: Duration,
        into: impl Fn(Change) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let began = Instant::now();
        let freshness = Freshness::since(began);
        let mut lookout = Lookout { store, watch: Watch::default(), freshness: freshness.clone() };
        lookout.look(began, &into)?;
        // One word that waits is as good as many.
        let (words, told) = mpsc::sync_channel(1);
        let hint = words.clone();
        lookout.store.on_hint(move || hint.try_send(Word::Look) != Err(TrySendError::Disconnected(Word::Look)));
        let run = move || {
            let mut failing = false;
            while matches!(told.recv_timeout(every), Ok(Word::Look) | Err(RecvTimeoutError::Timeout)) {
                let outcome = lookout.look(Instant::now(), &into);
                match &outcome {
                    Err(error) if !failing => tracing::warn!(%error, "cannot look for changes in the store"),
                    Ok(()) if failing => tracing::info!("the store can be read again"),
                    _ => {}
                }
                failing = outcome.is_err();
            }
        };
        let thread = thread::Builder::new().name("store-feed".into()).spawn(run).map_err(StoreError::Thread)?;
        Ok(Self { freshness, running: Some((words, thread)) })
    }

    /// A handle that tells how old the view is, also after the feed has ended.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.freshness.clone()
    }

    /// Stops looking and waits for the thread: at most one look long, which [`crate::BUSY_WAIT`] bounds for locks.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some((words, thread)) = self.running.take() else { return };
        // It waits for its place behind a hint; a thread that is gone needs no telling.
        let _ = words.send(Word::End);
        if thread.join().is_err() {
            tracing::error!("the thread that watches the store has panicked");
        }
    }
}

/// What one look needs and leaves behind.
struct Lookout {
    store: Arc<Store>,
    watch: Watch,
    freshness: Freshness,
}

impl Lookout {
    /// Looks once. `began` is read before the question, because a slow answer must not look fresh.
    fn look(&mut self, began: Instant, into: impl Fn(Change)) -> Result<(), StoreError> {
        if let Some(change) = self.store.changed_since(&mut self.watch)? {
            into(change);
        }
        self.freshness.changes.store(self.watch.changes(), Ordering::Release);
        self.freshness.note(began);
        Ok(())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end();
    }
}

impl Freshness {
    fn since(origin: Instant) -> Self {
        Self { origin, seen_millis: Arc::default(), changes: Arc::default() }
    }

    /// How many changes of the store the view shows. The store counts them in the order of their commits.
    #[must_use]
    pub fn changes(&self) -> i64 {
        self.changes.load(Ordering::Acquire)
    }

    /// How long ago the last successful look at the store began.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        let seen = self.origin + Duration::from_millis(self.seen_millis.load(Ordering::Acquire));
        now.saturating_duration_since(seen)
    }

    fn note(&self, began: Instant) {
        let millis = began.saturating_duration_since(self.origin).as_millis();
        self.seen_millis.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Release);
    }
}

impl fmt::Debug for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Freshness({:?})", self.age(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_view_is_as_old_as_the_last_look_that_succeeded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let origin = Instant::now();
        let at = |secs| origin + Duration::from_secs(secs);
        let freshness = Freshness::since(origin);
        let mut lookout = Lookout { store, watch: Watch::default(), freshness: freshness.clone() };
        assert_eq!(freshness.age(at(3)), Duration::from_secs(3));

        lookout.look(at(1), drop).unwrap();
        assert_eq!(freshness.age(at(3)), Duration::from_secs(2));
        lookout.look(at(2), |_| panic!("nothing changed")).unwrap();
        assert_eq!(freshness.age(at(3)), Duration::from_secs(1));

        let (file, moved) = (dir.path().join("keymoat.db"), dir.path().join("moved.db"));
        std::fs::rename(&file, &moved).unwrap();
        assert!(lookout.look(at(3), drop).is_err());
        assert_eq!(freshness.age(at(3)), Duration::from_secs(1));

        std::fs::rename(&moved, &file).unwrap();
        lookout.look(at(4), drop).unwrap();
        assert_eq!(freshness.age(at(4)), Duration::ZERO);
    }
}
