//! One serving thread: its links to the upstreams, and what it shares with the others.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use keymoat_core::record::RecordId;
use keymoat_core::{Route, Snapshot, UnixMillis};
use tokio::sync::watch;

use crate::ledger::Records;
use crate::permits::Permits;
use crate::session::Sessions;
use crate::settings::Limits;
use crate::upstream::{Link, Pool, Target};

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// No shutdown.
    #[default]
    Serving,
    /// No new connections; what is open may end by itself.
    Draining,
    /// Everything ends.
    Stopping,
}

/// What all threads share. Nothing in it is locked on the road of a request.
pub(crate) struct Shared {
    pub(crate) routes: Vec<Route>,
    pub(crate) targets: Vec<Arc<Target>>,
    pub(crate) limits: Limits,
    pub(crate) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(crate) records: Records,
    pub(crate) permits: Arc<Permits>,
    pub(crate) turned_away: Arc<Permits>,
    pub(crate) sessions: Sessions,
    pub(crate) started_at: UnixMillis,
}

/// One thread's own things.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    links: HashMap<Arc<str>, Link>,
    phase: watch::Receiver<Phase>,
    /// The rest of the next record's id: 48 bits drawn at the start, then a count.
    next_record: Cell<u128>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, phase: watch::Receiver<Phase>) -> Self {
        let link = |target: &Arc<Target>| Link {
            target: target.clone(),
            pool: Rc::new(Pool::default()),
            limits: shared.limits,
        };
        let links = shared.targets.iter().map(|target| (target.name().clone(), link(target))).collect();
        let mut drawn = [0; 6];
        aws_lc_rs::rand::fill(&mut drawn).expect("the system gives random bytes");
        let drawn = drawn.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        Self { shared, links, phase, next_record: Cell::new(drawn << 32) }
    }

    /// The link to the upstream of that name; the start has checked that every route's upstream exists.
    pub(crate) fn link(&self, upstream: &str) -> Option<&Link> {
        self.links.get(upstream)
    }

    /// An id that no other record has.
    pub(crate) fn record_id(&self, at: UnixMillis) -> RecordId {
        let rest = self.next_record.get();
        self.next_record.set(rest + 1);
        RecordId::new(at, rest)
    }

    /// Whether the shutdown has begun.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Waits until the shutdown begins.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until everything has to end.
    pub(crate) async fn stopping(&self) {
        self.reached(Phase::Stopping).await;
    }

    async fn reached(&self, phase: Phase) {
        let mut receiver = self.phase.clone();
        // The sender lives as long as the gateway; without one there is nothing to serve for.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }
}
