//! Live events for one reader, in the order of their numbers: what was missed is read from the store.

use std::collections::VecDeque;
use std::sync::Arc;

use keymoat_store::events::Kept;

use crate::events::{Events, Next, Subscription};

/// So many are read from the store at once.
const PAGE: usize = 500;

/// A reader that is further behind gets the newest of them and is told of the gap.
pub(super) const BEHIND_MAX: u64 = 5_000;

/// What comes next.
#[derive(Debug)]
pub(super) enum Item {
    /// An event.
    Event(Arc<Kept>),
    /// The events behind `after` and before `next` are not told: there were too many.
    Gap { after: u64, next: u64 },
}

/// Events behind a number.
#[derive(Debug)]
pub(super) struct Feed {
    events: Events,
    live: Subscription,
    /// The number of the last event that was given.
    pub(super) last: u64,
    waiting: VecDeque<Arc<Kept>>,
    /// The store may hold events that were not read.
    is_behind: bool,
}

impl Feed {
    /// Everything behind the number `after`, or from now on.
    pub(super) async fn start(events: Events, after: Option<u64>) -> Option<Self> {
        // Subscribed before the store is read, so that nothing falls in between.
        let live = events.subscribe();
        let newest = read(&events, |store| store.last_seq().ok()).await?;
        let last = after.unwrap_or(newest).min(newest);
        Some(Self { events, live, last, waiting: VecDeque::new(), is_behind: last < newest })
    }

    /// Begins anew behind another number. One that nothing has yet is taken for that of the newest.
    pub(super) fn resume(&mut self, after: u64) {
        self.last = after.min(self.last);
        self.waiting.clear();
        self.is_behind = true;
    }

    /// Waits for the next one; nothing once the process ends. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                if event.seq <= self.last {
                    continue;
                }
                self.last = event.seq;
                return Some(Item::Event(event));
            }
            if self.is_behind {
                if let Some(gap) = self.catch_up().await {
                    return Some(gap);
                }
                continue;
            }
            match self.live.next().await? {
                Next::Event(event) if event.seq > self.last + 1 => self.is_behind = true,
                Next::Event(event) => self.waiting.push_back(event),
                Next::Missed(_) => self.is_behind = true,
            }
        }
    }

    async fn catch_up(&mut self) -> Option<Item> {
        let after = self.last;
        let newest = read(&self.events, |store| store.last_seq().ok()).await.unwrap_or(after);
        if newest.saturating_sub(after) > BEHIND_MAX {
            self.last = newest - BEHIND_MAX;
            return Some(Item::Gap { after, next: self.last + 1 });
        }
        let page = read(&self.events, move |store| store.since(after, PAGE).ok()).await.unwrap_or_default();
        self.is_behind = page.len() >= PAGE;
        let first = page.first().map(|event| event.seq);
        self.waiting.extend(page.into_iter().map(Arc::new));
        match first {
            // What was forgotten by its age is a gap, too.
            Some(first) if first > after + 1 => {
                self.last = first - 1;
                Some(Item::Gap { after, next: first })
            }
            _ => None,
        }
    }
}

async fn read<T: Send + 'static>(
    events: &Events,
    ask: impl FnOnce(&keymoat_store::EventStore) -> Option<T> + Send + 'static,
) -> Option<T> {
    let store = Arc::clone(events.store());
    tokio::task::spawn_blocking(move || ask(&store)).await.ok().flatten()
}
