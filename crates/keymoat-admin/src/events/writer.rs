//! The thread that keeps events: masks what waits, writes it in groups, then tells everybody.
//!
//! INVARIANT: nobody is told of an event before it is in the store, and in the order of the numbers; so a reader that
//! sees a gap can read what is missing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keymoat_core::UnixMillis;
use keymoat_core::event::{Event, Lost, Sink};
use keymoat_store::events::{Entry, Kept, Retention};
use keymoat_store::{EventStore, StoreError};
use tokio::sync::{broadcast, oneshot};

use super::masked::Masker;
use super::sink::{LineSink, Told};
use super::{Item, Losses, NotKept};
use crate::queue::Queue;

/// So many events share one commit.
const GROUP_MAX: usize = 2_048;

/// How often the thread looks around when there is nothing to write.
const LOOK: Duration = Duration::from_millis(250);

/// How often a store that is locked by others is tried again for one group; each time waits by itself.
const ATTEMPTS: usize = 4;

/// How often losses are told of.
const TELL_LOSSES: Duration = Duration::from_secs(1);

/// How often old events are looked for, and how soon again while there are more of them.
const FORGET_EVERY: Duration = Duration::from_secs(10);
const FORGET_MORE_AFTER: Duration = Duration::from_millis(20);

/// Where events go.
pub(super) struct Place {
    pub(super) store: Arc<EventStore>,
    pub(super) live: broadcast::Sender<Arc<Kept>>,
    pub(super) lost: Arc<Losses>,
}

/// The thread's state.
pub(super) struct Writer {
    place: Place,
    sinks: Arc<[LineSink]>,
    masker: Masker,
    retention: Retention,
    clock: fn() -> UnixMillis,
    /// The number of the last event that was told of.
    told: Option<u64>,
    /// What was told of losses, in the order of [`Sink::ALL`].
    losses_told: [u64; Sink::ALL.len()],
    tell_losses_at: Instant,
    forget_at: Instant,
    is_failing: bool,
}

/// Whoever waits for an event to be kept.
type Waiting = oneshot::Sender<Result<(), NotKept>>;

impl Writer {
    pub(super) fn new(
        place: Place,
        sinks: Arc<[LineSink]>,
        masker: Masker,
        (retention, clock): (Retention, fn() -> UnixMillis),
    ) -> Self {
        let now = Instant::now();
        Self {
            place,
            sinks,
            masker,
            retention,
            clock,
            told: None,
            losses_told: [0; Sink::ALL.len()],
            tell_losses_at: now,
            forget_at: now + FORGET_EVERY,
            is_failing: false,
        }
    }

    pub(super) fn run(mut self, queue: &Queue<Item>) {
        self.told = self.place.store.last_seq().ok();
        while let Some(items) = queue.take_within(LOOK) {
            self.write_all(items);
            self.tell_losses();
            self.look_after();
        }
        self.tell_losses_at = Instant::now();
        self.tell_losses();
    }

    fn write_all(&mut self, items: VecDeque<Item>) {
        let (mut events, mut waiting) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::Event(event) => events.push(event),
                // Whoever gave up is not told, and nothing has gone upstream.
                Item::Awaited(_, tell) if tell.is_closed() => {}
                Item::Awaited(event, tell) => {
                    events.push(event);
                    waiting.push(tell);
                }
                Item::Flush(done) => {
                    self.write(&mut events, &mut waiting);
                    let _ = done.try_send(());
                }
            }
            if events.len() >= GROUP_MAX {
                self.write(&mut events, &mut waiting);
            }
        }
        self.write(&mut events, &mut waiting);
    }

    /// Keeps a group and tells of it.
    fn write(&mut self, events: &mut Vec<Event>, waiting: &mut Vec<Waiting>) {
        if events.is_empty() {
            return;
        }
        let at = (self.clock)();
        let bodies: Vec<String> = events.iter().map(|event| self.masker.mask(event)).collect();
        let entries: Vec<Entry<'_>> =
            events.iter().zip(&bodies).map(|(event, body)| Entry { at, event, body }).collect();
        let first = self.append(&entries);
        let kept = first.as_ref().map(drop).map_err(|_| NotKept);
        for tell in waiting.drain(..) {
            let _ = tell.send(kept);
        }
        match first {
            Ok(first) => {
                self.tell_of_others(first);
                for ((seq, event), body) in (first..).zip(events.drain(..)).zip(bodies) {
                    self.tell(Kept {
                        seq,
                        at,
                        kind: event.kind(),
                        word: event.word().into(),
                        severity: event.severity(),
                        body: body.into(),
                    });
                }
            }
            Err(error) => {
                self.note(&error);
                self.place.lost.add(Sink::Store, events.len() as u64);
                for (event, body) in events.drain(..).zip(bodies) {
                    let told = Arc::new(Told { kind: event.kind(), at, line: body });
                    self.sinks.iter().for_each(|sink| sink.send(&told, &self.place.lost));
                }
            }
        }
    }

    fn append(&mut self, entries: &[Entry<'_>]) -> Result<u64, StoreError> {
        let mut attempt = 1;
        loop {
            match self.place.store.append(entries) {
                Err(StoreError::Busy { .. }) if attempt < ATTEMPTS => attempt += 1,
                Ok(first) => {
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!("events are kept again");
                    }
                    return Ok(first);
                }
                failed => return failed,
            }
        }
    }

    fn note(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::error!(%error, "events cannot be kept: they are counted as lost");
        }
    }

    /// Tells of an event that is in the store.
    fn tell(&mut self, kept: Kept) {
        self.told = Some(kept.seq);
        if !self.sinks.is_empty() {
            let told = Arc::new(Told { kind: kept.kind, at: kept.at, line: kept.json() });
            self.sinks.iter().for_each(|sink| sink.send(&told, &self.place.lost));
        }
        // Nobody may listen.
        let _ = self.place.live.send(Arc::new(kept));
    }

    /// Tells whoever listens of what other processes have kept before the number `before`. It went to their own sinks.
    fn tell_of_others(&mut self, before: u64) {
        while let Some(told) = self.told.filter(|told| told + 1 < before) {
            let room = usize::try_from(before - told - 1).unwrap_or(GROUP_MAX).min(GROUP_MAX);
            let others = self.place.store.since(told, room).unwrap_or_default();
            if others.is_empty() {
                return;
            }
            for other in others.into_iter().filter(|other| other.seq < before) {
                self.told = Some(other.seq);
                let _ = self.place.live.send(Arc::new(other));
            }
        }
    }

    /// A loss is an event too, once there is room for it.
    fn tell_losses(&mut self) {
        if Instant::now() < self.tell_losses_at || self.is_failing && self.place.store.last_seq().is_err() {
            return;
        }
        self.tell_losses_at = Instant::now() + TELL_LOSSES;
        let at = (self.clock)();
        let mut events = Vec::new();
        let mut told = self.losses_told;
        for (sink, told) in Sink::ALL.into_iter().zip(&mut told) {
            let lost = self.place.lost.of(sink);
            let count = lost - *told;
            if count > 0 {
                events.push(Event::Lost(Lost { at, sink, count }));
                *told = lost;
            }
        }
        if events.is_empty() {
            return;
        }
        let of_store = |lost: &Losses| lost.of(Sink::Store);
        let before = of_store(&self.place.lost);
        self.write(&mut events, &mut Vec::new());
        if of_store(&self.place.lost) == before {
            self.losses_told = told;
        } else {
            // The word of a loss that was lost itself is given again, and is not counted.
            self.place.lost.take_back(Sink::Store, of_store(&self.place.lost) - before);
        }
    }

    /// Tells of what other processes keep while this one has nothing to say, and forgets what is old.
    fn look_after(&mut self) {
        if self.place.live.receiver_count() > 0 && self.place.store.has_grown().unwrap_or(false) {
            self.tell_of_others(self.place.store.last_seq().map_or(0, |last| last + 1));
        }
        let began = Instant::now();
        if began < self.forget_at {
            return;
        }
        let outcome = self.place.store.forget(self.retention, (self.clock)());
        let more = matches!(outcome, Ok(true));
        self.forget_at = Instant::now() + if more { FORGET_MORE_AFTER } else { FORGET_EVERY };
        if let Err(error) = outcome {
            tracing::debug!(%error, "old events cannot be deleted yet");
        }
    }
}
