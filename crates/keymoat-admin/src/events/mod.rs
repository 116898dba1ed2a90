//! Takes every event, keeps it in the store, and hands it to whoever listens and to the sinks.
//!
//! ```text
//! record, act ──▶ queue ──▶ masked ──▶ store: number, counts ──▶ live subscriptions
//! begin ────────▶   │                      │                 └─▶ file · standard output · OTLP, a queue each
//!   ▲               ▼                      ▼
//!   └── "kept" or "not kept"          a loss is an event
//! ```
//! Nothing here is waited for by a request, except where every event has to be kept ([`Delivery::Required`]): there a
//! request waits until its beginning is durable.

mod masked;
mod sink;
mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use keymoat_core::event::{Event, Sink};
use keymoat_core::{Act, Record, UnixMillis};
use keymoat_redact::{KnownSecrets, Rules};
use keymoat_store::events::{Entry, Kept, Retention};
use keymoat_store::{EventStore, StoreError};
use tokio::sync::{broadcast, oneshot};

use crate::Acts;
use crate::queue::Queue;

use self::masked::Masker;

pub use self::sink::{LineSink, Told};

/// How many events may wait to be written.
pub const QUEUE_MAX: usize = 8_192;

/// How many of them may be beginnings that somebody waits for: the rest is for how requests end.
const BEGINNINGS_MAX: usize = QUEUE_MAX / 2;

/// How long a request waits for its beginning to be kept.
pub const BEGIN_WAIT: Duration = Duration::from_secs(1);

/// How many events a slow subscription may be behind before it misses some.
pub const BEHIND_MAX: usize = 1_024;

/// How long the end of the process waits for the last events.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// What becomes of events when there are too many, or the store does not take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// They are counted and dropped; requests go on.
    #[default]
    BestEffort,
    /// Nothing goes upstream before its beginning is kept.
    Required,
}

/// How events are kept.
#[derive(Debug)]
pub struct Options {
    /// What becomes of those that cannot be kept.
    pub delivery: Delivery,
    /// How long they are kept.
    pub retention: Retention,
    /// Secrets that stand in none of them.
    pub known: KnownSecrets,
    /// The rules by which they are masked.
    pub rules: Arc<ArcSwap<Rules>>,
    /// The file that gets a line for each.
    pub file: Option<PathBuf>,
    /// Whether standard output gets a line for each.
    pub stdout: bool,
    /// Further sinks, such as a collector.
    pub others: Vec<LineSink>,
    /// Where losses are counted: the one that the further sinks count at.
    pub lost: Arc<Losses>,
    /// The clock.
    pub clock: fn() -> UnixMillis,
}

/// A handle to the events of this process; cheap to clone. With the last one the thread writes what is left and ends.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
    // Dropped after `shared`, so that the thread sees the end before it is waited for.
    _thread: Arc<Thread>,
}

struct Shared {
    queue: Arc<Queue<Item>>,
    lost: Arc<Losses>,
    store: Arc<EventStore>,
    live: broadcast::Sender<Arc<Kept>>,
    sinks: Arc<[LineSink]>,
    delivery: Delivery,
}

/// Something for the writing thread.
enum Item {
    Event(Event),
    Awaited(Event, oneshot::Sender<Result<(), NotKept>>),
    Flush(SyncSender<()>),
}

/// An event could not be kept in time: whoever asked refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event could not be kept")]
pub struct NotKept;

/// Counts events that were lost, by where they could not be brought.
#[derive(Debug, Default)]
pub struct Losses([AtomicU64; Sink::ALL.len()]);

impl Losses {
    pub(crate) fn add(&self, sink: Sink, count: u64) {
        if let Some(place) = self.0.get(sink as usize) {
            place.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Forgets some that were counted.
    pub(crate) fn take_back(&self, sink: Sink, count: u64) {
        if let Some(place) = self.0.get(sink as usize) {
            place.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// How many were lost since the start.
    #[must_use]
    pub fn of(&self, sink: Sink) -> u64 {
        self.0.get(sink as usize).map_or(0, |place| place.load(Ordering::Relaxed))
    }
}

impl Events {
    /// Starts the thread that keeps events in `store`, and those of the sinks.
    ///
    /// # Errors
    /// A file that cannot be written or that others can read, and a system that gives no thread.
    pub fn start(store: Arc<EventStore>, options: Options) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(QUEUE_MAX));
        let lost = options.lost;
        let live = broadcast::Sender::new(BEHIND_MAX);
        let mut sinks = options.others;
        if let Some(path) = options.file {
            sinks.push(LineSink::file(path, Arc::clone(&lost))?);
        }
        if options.stdout {
            sinks.push(LineSink::stdout(Arc::clone(&lost))?);
        }
        let sinks: Arc<[LineSink]> = sinks.into();
        let writer = writer::Writer::new(
            writer::Place { store: Arc::clone(&store), live: live.clone(), lost: Arc::clone(&lost) },
            Arc::clone(&sinks),
            Masker::new(options.known, options.rules),
            (options.retention, options.clock),
        );
        let taken = Arc::clone(&queue);
        let thread = thread::Builder::new().name("events".into()).spawn(move || writer.run(&taken))?;
        let shared = Shared { queue, lost, store, live, sinks, delivery: options.delivery };
        Ok(Self { shared: Arc::new(shared), _thread: Arc::new(Thread(Mutex::new(Some(thread)))) })
    }

    /// Takes how a request or session ended. Never blocks; what does not fit is counted.
    pub fn record(&self, record: Arc<Record>) {
        self.send(Event::Decision(record));
    }

    /// Takes an act. Never blocks; what does not fit is counted.
    pub fn act(&self, act: Act) {
        self.send(Event::Act(Box::new(act)));
    }

    /// The place where acts go, for whoever lets people act.
    #[must_use]
    pub fn acts(&self) -> Acts {
        // Not a clone of the whole handle: the thread ends although somebody still holds this.
        let shared = Arc::downgrade(&self.shared);
        Arc::new(move |act| {
            if let Some(shared) = shared.upgrade() {
                shared.send(Event::Act(Box::new(act)));
            }
        })
    }

    /// Whether every request has to wait for [`Self::begin`].
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.shared.delivery
    }

    /// Keeps the beginning of a request or session, durably if the store was opened so.
    ///
    /// # Errors
    /// It was not kept within [`BEGIN_WAIT`].
    pub async fn begin(&self, record: Record) -> Result<(), NotKept> {
        self.keep(Event::Begun(Arc::new(record))).await
    }

    /// Keeps an act, durably if the store was opened so: what was made is given to nobody before.
    ///
    /// # Errors
    /// It was not kept within [`BEGIN_WAIT`].
    pub async fn keep_act(&self, act: Act) -> Result<(), NotKept> {
        self.keep(Event::Act(Box::new(act))).await
    }

    async fn keep(&self, event: Event) -> Result<(), NotKept> {
        let (tell, kept) = oneshot::channel();
        let item = Item::Awaited(event, tell);
        if self.shared.queue.send_urgently_below(BEGINNINGS_MAX, item).is_err() {
            self.shared.lost.add(Sink::Queue, 1);
            return Err(NotKept);
        }
        match tokio::time::timeout(BEGIN_WAIT, kept).await {
            Ok(Ok(kept)) => kept,
            Ok(Err(_)) | Err(_) => Err(NotKept),
        }
    }

    /// Every event that is kept from now on, in the order of its number. What another process keeps comes too.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { live: self.shared.live.subscribe() }
    }

    /// The store, for whoever reads events and counts. Its functions wait for the disk.
    #[must_use]
    pub fn store(&self) -> &Arc<EventStore> {
        &self.shared.store
    }

    /// How many events wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.len()
    }

    /// Sees how many events wait, without holding this handle's thread.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe(Arc::clone(&self.shared.queue))
    }

    /// How many were lost since the start.
    #[must_use]
    pub fn lost(&self) -> Arc<Losses> {
        Arc::clone(&self.shared.lost)
    }

    /// Opens files anew, for whoever has moved them away.
    pub fn reopen(&self) {
        self.shared.sinks.iter().for_each(LineSink::reopen);
    }

    /// Waits until everything that was taken is written, or gives up soon.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_WAIT;
        let (done, written) = mpsc::sync_channel(1);
        let mut item = Item::Flush(done);
        while let Err(refused) = self.shared.queue.send_urgently(item) {
            if Instant::now() >= deadline {
                return;
            }
            item = refused;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        for sink in &*self.shared.sinks {
            sink.flush(deadline);
        }
    }

    fn send(&self, event: Event) {
        self.shared.send(event);
    }
}

impl Shared {
    fn send(&self, event: Event) {
        if self.queue.send(Item::Event(event)).is_err() {
            self.lost.add(Sink::Queue, 1);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.end();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// Sees how many events wait.
pub struct Probe(Arc<Queue<Item>>);

impl Probe {
    /// How many events wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.len()
    }
}

/// Keeps what a command did, masked. A gateway that runs tells of it to its own readers.
///
/// # Errors
/// Whatever the disk refuses; then nothing of it is kept.
pub fn keep_acts(store: &EventStore, acts: impl IntoIterator<Item = Act>, now: UnixMillis) -> Result<(), StoreError> {
    let mut masker = Masker::new(KnownSecrets::default(), Arc::default());
    let events: Vec<Event> = acts.into_iter().map(|act| Event::Act(Box::new(act))).collect();
    let bodies: Vec<String> = events.iter().map(|event| masker.mask(event)).collect();
    let entries: Vec<Entry<'_>> =
        events.iter().zip(&bodies).map(|(event, body)| Entry { at: now, event, body }).collect();
    store.append(&entries).map(drop)
}

/// The writing thread; whoever drops it last waits for its end.
struct Thread(Mutex<Option<JoinHandle<()>>>);

impl Drop for Thread {
    fn drop(&mut self) {
        let thread = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Live events for one reader.
#[derive(Debug)]
pub struct Subscription {
    live: broadcast::Receiver<Arc<Kept>>,
}

/// What a subscription brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next event. Its number is one more than the last one's, or what lies between was missed.
    Event(Arc<Kept>),
    /// The reader was too slow and so many were missed: they can be read from the store, from the last number on.
    Missed(u64),
}

impl Subscription {
    /// Waits for the next event; nothing once the process ends.
    pub async fn next(&mut self) -> Option<Next> {
        match self.live.recv().await {
            Ok(event) => Some(Next::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Next::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
