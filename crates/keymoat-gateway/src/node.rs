//! This process as one of the nodes over a store: it says that it is there, gives back what it does not use, and ends the
//! sessions that have a place when it is not heard.
//!
//! ```text
//! beat, every second ──▶ the store: seen ─▶ what others may have taken, or superseded, ends
//! pulse, all the time ─▶ not heard for `closes_after` ─▶ whatever has a place ends, before others may take it
//! ```
//! Two threads, because the one that asks the store may have to wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keymoat_core::limits;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::token::told;
use keymoat_store::{BEAT_EVERY, Beat, Freshness, Node, NodeAbout, NodeState, Pulse, Store, StoreError, TokenDesk};
use tokio::sync::watch;

use crate::clock;
use crate::gateway::Running;
use crate::meter::Commons;
use crate::worker::{Phase, Shared};

/// How often it is looked whether the node is heard: part of the bound that [`keymoat_store::FREED_GRACE`] is made from.
const PULSE_LOOK: Duration = Duration::from_millis(250);
/// After so many beats what nobody uses is given back.
const GIVE_BACK_BEATS: u64 = 3;
/// After so many beats the store's places are compared with the sessions that there are.
const COMPARE_BEATS: u64 = 10;

/// So many tokens share one transaction.
const TOKENS_MAX: usize = 512;

/// A node that takes part. It leaves when this is dropped, after [`Running::join`].
#[derive(Debug)]
pub struct Membership {
    node_id: Arc<str>,
    running: Option<Threads>,
}

#[derive(Debug)]
struct Threads {
    stop: Vec<SyncSender<()>>,
    threads: Vec<JoinHandle<()>>,
}

/// When the store has heard of this node last.
#[derive(Clone, Debug)]
struct Heard {
    origin: Instant,
    /// When the last beat that was acknowledged began, in milliseconds since `origin`.
    millis: Arc<AtomicU64>,
}

impl Running {
    /// Takes part in `store` as one of its nodes: from now on days and sessions of keys are counted over all of them.
    /// `freshness` tells how far the view of the store is.
    ///
    /// Drop what is returned after [`Running::join`]: the node leaves then, and gives back what it has not used.
    ///
    /// # Errors
    /// What the store or the system refuses.
    pub fn take_part(
        &self,
        store: Arc<Store>,
        desk: TokenDesk,
        about: NodeAbout,
        freshness: Freshness,
    ) -> Result<Membership, StoreError> {
        let began = Instant::now();
        let node = Arc::new(store.join(about)?);
        let commons = Arc::new(Commons::new(desk, &node));
        let heard = Heard { origin: began, millis: Arc::default() };
        let mut member = Member {
            store,
            node,
            commons: Arc::clone(&commons),
            shared: Arc::clone(&self.shared),
            phase: self.phases(),
            freshness,
            heard: heard.clone(),
            beats: 0,
            is_failing: false,
        };
        // Without its first beat no place would be granted to it.
        member.say()?;
        let node_id = Arc::clone(member.node.id());
        let mut threads = Threads { stop: Vec::new(), threads: Vec::new() };
        if member.node.beats() {
            let (commons, closes_after) = (Arc::clone(&commons), member.node.about().closes_after);
            threads.start("node-pulse", PULSE_LOOK, move || end_unheard(&commons, heard.age(), closes_after))?;
        }
        self.shared.meters.share(commons);
        threads.start("node-beat", BEAT_EVERY, move || member.beat())?;
        Ok(Membership { node_id, running: Some(threads) })
    }
}

impl Threads {
    /// Calls `work` every so often, and drops it when it is stopped.
    fn start(&mut self, name: &str, every: Duration, work: impl FnMut() + Send + 'static) -> Result<(), StoreError> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let run = move || {
            let mut work = work;
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                work();
            }
        };
        self.threads.push(thread::Builder::new().name(name.into()).spawn(run).map_err(StoreError::Thread)?);
        self.stop.push(stop);
        Ok(())
    }
}

impl Membership {
    /// What the store knows it by.
    #[must_use]
    pub const fn node_id(&self) -> &Arc<str> {
        &self.node_id
    }
}

/// What people call this machine.
#[must_use]
pub fn host_name() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

impl Drop for Membership {
    fn drop(&mut self) {
        let Some(Threads { stop, threads }) = self.running.take() else { return };
        drop(stop);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of this node has panicked");
            }
        }
    }
}

impl Heard {
    fn age(&self) -> Duration {
        (self.origin + Duration::from_millis(self.millis.load(Ordering::Acquire))).elapsed()
    }

    /// `began` is read before the beat, because a slow answer must not sound fresh.
    fn note(&self, began: Instant) {
        let millis = began.saturating_duration_since(self.origin).as_millis();
        self.millis.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// Ends what has a place when the store has not heard of the node for too long: soon others may take it.
pub(crate) fn end_unheard(commons: &Commons, age: Duration, closes_after: Duration) {
    if age <= closes_after {
        return;
    }
    // Again and again: a session that was granted before the bound may appear after it.
    let sessions = commons.end_all(&unheard());
    if sessions > 0 {
        tracing::error!(sessions, "the store has not heard of this node for too long: sessions that are counted end");
    }
}

fn unheard() -> Refusal {
    let text = "the store cannot be reached, and this session's place may be another's: connect again";
    Refusal::new(Code::Unavailable, text)
}

/// What the thread that beats works with.
struct Member {
    store: Arc<Store>,
    node: Arc<Node>,
    commons: Arc<Commons>,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
    freshness: Freshness,
    heard: Heard,
    beats: u64,
    is_failing: bool,
}

impl Member {
    fn beat(&mut self) {
        self.beats += 1;
        let outcome = self.say().and_then(|()| self.look_after());
        match &outcome {
            Err(error) if !self.is_failing => tracing::warn!(%error, "the store does not hear of this node"),
            Ok(()) if self.is_failing => tracing::info!("the store hears of this node again"),
            _ => {}
        }
        self.is_failing = outcome.is_err();
    }

    /// Says that the node is there, and ends what it may have lost meanwhile.
    fn say(&mut self) -> Result<(), StoreError> {
        let state = match *self.phase.borrow() {
            Phase::Preparing | Phase::Serving => NodeState::Ready,
            Phase::HandedOver | Phase::Draining | Phase::Stopping => NodeState::Draining,
        };
        let began = Instant::now();
        let beat = Beat { state, change_seen: self.freshness.changes(), now: clock::now() };
        if self.store.beat(&self.node, beat)? == Pulse::Lapsed {
            let sessions = self.commons.end_all(&unheard());
            if sessions > 0 {
                tracing::warn!(sessions, "sessions end whose places may be others' by now");
            }
        }
        self.heard.note(began);
        Ok(())
    }

    fn look_after(&self) -> Result<(), StoreError> {
        if self.node.beats() {
            let superseded = self.store.superseded(&self.node)?;
            self.commons.end(&superseded, &told::resumed_elsewhere());
        }
        if self.beats.is_multiple_of(GIVE_BACK_BEATS) {
            self.give_back(false)?;
            self.keep_bytes_of_tokens()?;
            let snapshot = self.shared.snapshots.load();
            self.shared.meters.retain(|id| snapshot.key_by_id(id).is_some());
        }
        if self.beats.is_multiple_of(COMPARE_BEATS) {
            // Asked for first: whatever is there and known to no session here was given up.
            let unknown = self.commons.unknown(self.store.places_of(&self.node)?);
            if !unknown.is_empty() {
                self.store.free_places(&unknown)?;
            }
        }
        Ok(())
    }

    /// Adds to the store the bytes of tokens that it does not know of, and takes over those that other processes have counted.
    fn keep_bytes_of_tokens(&self) -> Result<(), StoreError> {
        let meters = &self.shared.meters;
        for some in meters.fresh_bytes().chunks(TOKENS_MAX) {
            meters.bytes_kept(some, &self.store.add_token_bytes(some)?);
        }
        meters.forget_idle_tokens();
        Ok(())
    }

    fn give_back(&self, all: bool) -> Result<(), StoreError> {
        let today = limits::day_of(clock::now());
        let unused = self.shared.meters.unused(today, all);
        if unused.is_empty() { Ok(()) } else { self.store.give_back(&unused, today) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let kept = self.keep_bytes_of_tokens().and(self.give_back(true));
        let left = kept.and_then(|()| self.store.leave(&self.node));
        if let Err(error) = left {
            tracing::warn!(%error, "this node leaves without a word: others free in their time what it held");
        }
    }
}

#[cfg(test)]
mod tests {
    use keymoat_store::FREED_GRACE;

    use super::*;
    use crate::relay::websocket::ASKED_WAIT_MAX;

    #[test]
    fn a_node_s_sessions_are_over_before_its_places_are_free() {
        // What a session has for its close frames, and as long for the shutdown of its streams.
        let ended_after = PULSE_LOOK + 2 * ASKED_WAIT_MAX;
        let of_clocks = Duration::from_secs(3);
        assert!(ended_after + of_clocks < FREED_GRACE, "{ended_after:?}");
    }
}
