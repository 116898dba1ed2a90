//! Keeps what was counted of a day, and the bytes of tokens, in the store, so that a restart does not give it back.
//!
//! A thread adds what was counted since it last did, and takes over what other processes on the same store have counted.
//! So a process that is killed forgets at most one interval, and two processes see each other's counts one interval late. An
//! orderly end forgets nothing.

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use keymoat_core::{Snapshot, UnixMillis, limits};
use keymoat_store::{DayUse, Store, StoreError, TokenBytes};

use super::{Meter, Meters};
use crate::clock;

/// So many tokens share one transaction.
const TOKENS_MAX: usize = 512;

/// A running keeper. Adds what is left, and waits for its thread, on drop.
#[derive(Debug)]
pub struct Keeper {
    running: Option<(SyncSender<()>, JoinHandle<()>)>,
}

impl Keeper {
    /// Takes over what the store has of today, and then adds to it `every` so often.
    ///
    /// # Errors
    /// Whatever the first look at the store meets, or the system's refusal of a thread.
    pub(crate) fn start(
        store: Arc<Store>,
        meters: Meters,
        snapshots: Arc<ArcSwap<Snapshot>>,
        every: Duration,
    ) -> Result<Self, StoreError> {
        let mut ledger = Ledger { meters, store, snapshots, kept: HashMap::new() };
        ledger.begin(clock::now())?;
        let (stop, stopped) = mpsc::sync_channel(0);
        let run = move || {
            let mut is_failing = false;
            loop {
                let is_last = stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
                let of_tokens = ledger.keep_tokens();
                let kept = ledger.keep(clock::now()).and(of_tokens);
                match &kept {
                    Err(error) if !is_failing => {
                        tracing::warn!(%error, "cannot keep what was counted towards the limits of keys");
                    }
                    Ok(()) if is_failing => tracing::info!("what is counted towards the limits of keys is kept again"),
                    _ => {}
                }
                is_failing = kept.is_err();
                if is_last {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("limit-keeper".into()).spawn(run).map_err(StoreError::Thread)?;
        Ok(Self { running: Some((stop, thread)) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some((stop, thread)) = self.running.take() else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the thread that keeps the counts of limits has panicked");
        }
    }
}

/// What the thread works with.
struct Ledger {
    meters: Meters,
    store: Arc<Store>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    /// How far each meter is known to the store.
    kept: HashMap<Arc<str>, DayUse>,
}

impl Ledger {
    fn begin(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        let today = limits::day_of(now);
        for held in self.store.day_use(today)? {
            let meter = {
                let mut by_key = self.meters.by_key.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(by_key.entry(Arc::clone(&held.key_id)).or_default())
            };
            self.take_over(&meter, held);
        }
        Ok(())
    }

    /// Adds to the store what was counted since it was last told, and to the meters what others have counted.
    fn keep(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        let today = limits::day_of(now);
        let meters: HashMap<Arc<str>, Arc<Meter>> = self.meters.all().into_iter().collect();
        let mut more = Vec::new();
        for (id, meter) in &meters {
            // What was counted since the last look and before midnight is yesterday's; nobody asks for it any more.
            let counted = meter.counted(id, today);
            let kept = self.kept.get(id).filter(|kept| kept.day == today);
            let kept = kept.map_or((0, 0), |kept| (kept.requests, kept.bytes));
            let (requests, bytes) = (counted.requests.saturating_sub(kept.0), counted.bytes.saturating_sub(kept.1));
            if requests > 0 || bytes > 0 {
                more.push(DayUse { requests, bytes, ..counted });
            }
        }
        if meters.is_empty() {
            self.kept.clear();
            return Ok(());
        }
        let totals = if more.is_empty() { self.store.day_use(today)? } else { self.store.add_day_use(&more, today)? };
        for counted in more {
            // Known to the store from now on, whatever becomes of the totals.
            let kept = self.kept.entry(Arc::clone(&counted.key_id)).or_default();
            let before = if kept.day == today { (kept.requests, kept.bytes) } else { (0, 0) };
            let (requests, bytes) = (before.0 + counted.requests, before.1 + counted.bytes);
            *kept = DayUse { requests, bytes, ..counted };
        }
        for total in totals {
            if let Some(meter) = meters.get(&total.key_id) {
                self.take_over(meter, total);
            }
        }
        drop(meters);
        let snapshot = self.snapshots.load();
        self.meters.retain(|id| snapshot.key_by_id(id).is_some());
        self.kept.retain(|id, _| snapshot.key_by_id(id).is_some());
        Ok(())
    }

    /// Adds to the store the bytes of tokens that it does not know of, and takes over those of other processes.
    fn keep_tokens(&self) -> Result<(), StoreError> {
        for some in self.meters.tokens_with_news().chunks(TOKENS_MAX) {
            let fresh: Vec<TokenBytes> =
                some.iter().map(|(id, meter)| TokenBytes { token_id: Arc::clone(id), bytes: meter.fresh() }).collect();
            let all = self.store.add_token_bytes(&fresh)?;
            let all: HashMap<&str, u64> = all.iter().map(|all| (&*all.token_id, all.bytes)).collect();
            for ((id, meter), fresh) in some.iter().zip(&fresh) {
                // Of a token that is forgotten nobody asks any more.
                meter.told(fresh.bytes, all.get(&**id).copied().unwrap_or(0));
            }
        }
        self.meters.forget_idle_tokens();
        Ok(())
    }

    /// Adds what others have counted, so that the meter stands at the total and whatever it has counted meanwhile.
    fn take_over(&mut self, meter: &Meter, total: DayUse) {
        let kept = self.kept.get(&total.key_id).filter(|kept| kept.day == total.day);
        let (requests, bytes) = kept.map_or((0, 0), |kept| (kept.requests, kept.bytes));
        meter.requests.add(total.requests.saturating_sub(requests), total.day);
        meter.bytes.add(total.bytes.saturating_sub(bytes), total.day);
        let (requests, bytes) = (total.requests.max(requests), total.bytes.max(bytes));
        self.kept.insert(Arc::clone(&total.key_id), DayUse { requests, bytes, ..total });
    }
}

impl Meter {
    fn counted(&self, key_id: &Arc<str>, day: i64) -> DayUse {
        DayUse { key_id: Arc::clone(key_id), day, requests: self.requests.of(day), bytes: self.bytes.of(day) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use keymoat_core::limits::DAY_MILLIS;
    use keymoat_core::{Held, Key, KeyLimits};

    use super::*;

    const NOON: UnixMillis = UnixMillis(20_000 * DAY_MILLIS + DAY_MILLIS / 2);

    /// A process with one key of a thousand requests a day.
    struct Process {
        ledger: Ledger,
        key: Arc<Key>,
    }

    impl Process {
        fn on(dir: &std::path::Path) -> Self {
            let store = Arc::new(Store::open(dir).unwrap());
            let limits = KeyLimits { requests_per_day: Some(1000), ..KeyLimits::default() };
            let key = Arc::new(Key { limits, ..Key::new("key_1", "one", UnixMillis(0)) });
            let pepper = Arc::clone(store.pepper());
            let keys = HashMap::from([(pepper.digest(b"k"), Held::newest(Arc::clone(&key)))]);
            let snapshots = Arc::new(ArcSwap::from_pointee(Snapshot::new(pepper, keys)));
            let mut ledger = Ledger { meters: Meters::default(), store, snapshots, kept: HashMap::new() };
            ledger.begin(NOON).unwrap();
            Self { ledger, key }
        }

        fn count(&self, times: usize, now: UnixMillis) -> usize {
            let metered = self.ledger.meters.of(&self.key).unwrap();
            (0..times).filter(|_| metered.meter.take_request(&self.key.limits, 0, now).is_ok()).count()
        }
    }

    #[tokio::test]
    async fn what_was_counted_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Process::on(dir.path());
        assert_eq!(first.count(700, NOON), 700);
        first.ledger.keep(NOON).unwrap();
        assert_eq!(first.count(100, NOON), 100);
        first.ledger.keep(NOON).unwrap();
        first.ledger.keep(NOON).unwrap();
        drop(first);
        let mut second = Process::on(dir.path());
        assert_eq!(second.count(700, NOON), 200);
        second.ledger.keep(NOON).unwrap();
        assert_eq!(Process::on(dir.path()).count(1, NOON), 0);
        assert_eq!(Process::on(dir.path()).count(1, NOON.plus_millis(DAY_MILLIS)), 1);
    }

    #[tokio::test]
    async fn two_processes_come_to_one_count() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (Process::on(dir.path()), Process::on(dir.path()));
        assert_eq!((one.count(300, NOON), other.count(500, NOON)), (300, 500));
        one.ledger.keep(NOON).unwrap();
        other.ledger.keep(NOON).unwrap();
        one.ledger.keep(NOON).unwrap();
        assert_eq!(one.count(1000, NOON), 200);
        one.ledger.keep(NOON).unwrap();
        other.ledger.keep(NOON).unwrap();
        assert_eq!(other.count(1, NOON), 0);
        one.ledger.keep(NOON).unwrap();
        let day = limits::day_of(NOON);
        assert_eq!(one.ledger.store.day_use(day).unwrap()[0].requests, 1000);
    }

    #[tokio::test]
    async fn what_a_store_does_not_take_is_given_to_it_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut process = Process::on(&path);
        process.count(10, NOON);
        std::fs::rename(path.join("keymoat.db"), path.join("away")).unwrap();
        assert!(process.ledger.keep(NOON).is_err());
        process.count(5, NOON);
        std::fs::rename(path.join("away"), path.join("keymoat.db")).unwrap();
        process.ledger.keep(NOON).unwrap();
        assert_eq!(process.ledger.store.day_use(limits::day_of(NOON)).unwrap()[0].requests, 15);
    }
}
