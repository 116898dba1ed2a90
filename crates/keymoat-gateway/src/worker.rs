//! One serving thread: its links to the upstreams, and what it shares with the others.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use keymoat_core::record::RecordId;
use keymoat_core::refusal::Refusal;
use keymoat_core::token::told;
use keymoat_core::{Snapshot, UnixMillis};
use keymoat_store::{DeskError, TokenDesk};
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::claim;
use crate::ledger::{Beginnings, Records};
use crate::memory::{Memory, Pressure};
use crate::meter::Meters;
use crate::permits::Permits;
use crate::plan::Plan;
use crate::session::Sessions;
use crate::throttle::{Connections, Throttle};
use crate::upstream::Link;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The sockets listen, but nobody is accepted yet.
    #[default]
    Preparing,
    /// No shutdown.
    Serving,
    /// Another process accepts from the same sockets. What is open here is served as ever, and may end by itself.
    HandedOver,
    /// No new connections and no new requests; what runs may end by itself.
    Draining,
    /// Everything ends.
    Stopping,
}

/// What all threads share. Nothing in it is locked on the road of a request.
pub(crate) struct Shared {
    pub(crate) plan: ArcSwap<Plan>,
    pub(crate) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(crate) records: Records,
    pub(crate) permits: Arc<Permits>,
    pub(crate) turned_away: Arc<Permits>,
    pub(crate) turned_away_tls: Arc<Permits>,
    pub(crate) sessions: Sessions,
    pub(crate) meters: Meters,
    pub(crate) throttle: Throttle,
    /// Requests with keys of ours that are not known, or not yet.
    pub(crate) awaiting_news: Arc<Permits>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) memory: Memory,
    pub(crate) started_at: UnixMillis,
    /// What new work depends on, once it is known.
    pub(crate) ready: OnceLock<Ready>,
    /// Whether requests have a place in a trace.
    pub(crate) traces: AtomicBool,
    /// Where beginnings are kept, if they have to be.
    pub(crate) beginnings: OnceLock<Beginnings>,
    /// Where tokens are, once it is known.
    pub(crate) desk: OnceLock<TokenDesk>,
    /// The TLS settings of the listeners, in their order; `None` for plain text.
    pub(crate) tls: Vec<Option<ArcSwap<ServerConfig>>>,
    /// Whether the listening sockets were left to another process. It stays so when the shutdown begins.
    pub(crate) handed_over: AtomicBool,
    /// Whether the shutdown is about to begin: who asks is told, and everything is served as ever.
    pub(crate) ends_soon: AtomicBool,
    /// One permit for each socket that is still accepted from, by any thread.
    pub(crate) accepting: Arc<Permits>,
}

/// Whether new work can be taken.
pub(crate) type Ready = Box<dyn Fn() -> bool + Send + Sync>;

impl Shared {
    /// Whether new work can be taken: as long as nobody says otherwise.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.get().is_none_or(|ready| ready())
    }

    /// Where tokens are.
    pub(crate) fn desk(&self) -> Result<&TokenDesk, Refusal> {
        self.desk.get().ok_or_else(|| claim::no_answer(DeskError::Stopped))
    }

    /// Ends the sessions of a token that was revoked.
    pub(crate) fn end_sessions_of_token(&self, token_id: &str) {
        self.sessions.end_where(|_, info| info.token_id.as_deref() == Some(token_id), &told::revoked());
    }
}

/// One thread's own things.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    links: RefCell<HashMap<Arc<str>, Link>>,
    phase: watch::Receiver<Phase>,
    /// The rest of the next record's id: 48 bits drawn at the start, then a count.
    next_record: Cell<u128>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, phase: watch::Receiver<Phase>) -> Self {
        let mut drawn = [0; 6];
        aws_lc_rs::rand::fill(&mut drawn).expect("the system gives random bytes");
        let drawn = drawn.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        Self { shared, links: RefCell::default(), phase, next_record: Cell::new(drawn << 32) }
    }

    /// This thread's link to the upstream of that name in `plan`. It is made at the first use, and made anew when the
    /// upstream has changed: its connections belong to the old one.
    pub(crate) fn link(&self, plan: &Plan, upstream: &str) -> Option<Link> {
        let target = plan.target(upstream)?;
        let mut links = self.links.borrow_mut();
        if links.get(upstream).is_none_or(|link| !Arc::ptr_eq(&link.target, target)) {
            links.retain(|name, _| plan.target(name).is_some());
            links.insert(
                target.name().clone(),
                Link { target: target.clone(), pool: Rc::default(), limits: plan.limits },
            );
        }
        let mut link = links.get(upstream)?.clone();
        link.limits = plan.limits;
        Some(link)
    }

    /// An id that no other record has.
    pub(crate) fn record_id(&self, at: UnixMillis) -> RecordId {
        let rest = self.next_record.get();
        self.next_record.set(rest + 1);
        RecordId::new(at, rest)
    }

    /// A trace and a span that nobody else has.
    pub(crate) fn fresh_trace(&self) -> (u128, u64) {
        let mut drawn = [0; 24];
        aws_lc_rs::rand::fill(&mut drawn).expect("the system gives random bytes");
        let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let (trace, span) = drawn.split_at(16);
        (number(trace), u64::try_from(number(span)).unwrap_or(1))
    }

    /// How tight memory is.
    pub(crate) fn pressure(&self) -> Pressure {
        self.shared.memory.pressure()
    }

    /// Whether another process accepts from the same sockets.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.shared.handed_over.load(Ordering::Acquire)
    }

    /// Whether no connection is kept for its next request: another one should be opened, and will reach another process.
    pub(crate) fn is_left(&self) -> bool {
        self.is_handed_over() || self.shared.ends_soon.load(Ordering::Acquire)
    }

    /// Whether the shutdown has begun.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Waits until connections may be accepted.
    pub(crate) async fn serving(&self) {
        self.reached(Phase::Serving).await;
    }

    /// Waits until no more connections are accepted: another process does, or the shutdown begins.
    pub(crate) async fn leaving(&self) {
        self.reached(Phase::HandedOver).await;
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
