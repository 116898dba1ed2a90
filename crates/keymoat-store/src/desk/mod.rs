//! The desk: where a gateway asks about tokens. With SQLite one thread writes, in groups, and another one reads; with
//! PostgreSQL a few connections take what waits, in groups too.
//!
//! ```text
//! claim, mint, … ──▶ queue ──▶ writer: BEGIN, each on its own, COMMIT ──▶ answers, all of them after the commit
//! find           ──▶ queue ──▶ reader
//! ```
//! Both queues are bounded, and nobody waits longer than a short time. What was given up while it waited is not done.

mod job;
mod reader;
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keymoat_core::{Digest, Token, UnixMillis};
use tokio::sync::oneshot;
use tokio::time::timeout;

pub(crate) use self::job::{Job, Lookup};
use crate::Store;
use crate::error::StoreError;
use crate::postgres::desk::Tasks;
use crate::share::{PartAsked, PlaceAsked, Placed};
use crate::token::{Claim, MintOrder, Minting, SessionId, Verdict};

/// How long somebody waits for an answer, unless the desk was opened with another time.
pub const WAIT: Duration = Duration::from_millis(250);

/// How many may wait, at each of the two queues.
pub const QUEUE_MAX: usize = 4096;

/// A handle to the desk of one store. Clones are handles to the same desk; with the last one it ends.
#[derive(Clone, Debug)]
pub struct TokenDesk {
    backend: Backend,
    wait: Duration,
}

/// Who does what is asked.
#[derive(Clone, Debug)]
enum Backend {
    /// Two threads with a connection to SQLite each.
    Threads(Arc<Threads>),
    /// Tasks with connections to PostgreSQL.
    Tasks(Arc<Tasks>),
}

/// Why there is no answer. Whoever asked refuses: `unavailable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// Too many are waiting.
    #[error("too many wait for the token store")]
    Full,
    /// There was no answer in time. What was asked may have been done or not, and is never granted later.
    #[error("the token store did not answer in time")]
    Slow,
    /// The disk is full or failed. What was asked may have been done or not.
    #[error("the token store failed")]
    Broken,
    /// The desk has ended.
    #[error("the token store is closed")]
    Stopped,
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, DeskError>>;

#[derive(Debug)]
struct Threads {
    jobs: SyncSender<Job>,
    lookups: SyncSender<Lookup>,
    is_stopped: AtomicBool,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl TokenDesk {
    /// Opens the desk of `store`.
    ///
    /// # Errors
    /// What the disk or the system refuses.
    pub fn start(store: Arc<Store>) -> Result<Self, StoreError> {
        Self::start_with(store, WAIT)
    }

    /// Opens the desk of `store`, at which nobody waits longer than `wait`.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_with(store: Arc<Store>, wait: Duration) -> Result<Self, StoreError> {
        if matches!(*store, Store::Postgres(_)) {
            let tasks = Arc::new(Tasks::start(store, wait)?);
            return Ok(Self { backend: Backend::Tasks(tasks), wait });
        }
        let (jobs, queued_jobs) = mpsc::sync_channel(QUEUE_MAX);
        let (lookups, queued_lookups) = mpsc::sync_channel(QUEUE_MAX);
        let writer = writer::Writer::open(Arc::clone(&store))?;
        let reader = reader::Reader::open(store)?;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).spawn(run).map_err(StoreError::Thread)
        };
        let writing = spawn("token-writer", Box::new(move || writer.run(&queued_jobs)))?;
        // Should the second thread not start, the first one ends when `jobs` is dropped here.
        let reading = spawn("token-reader", Box::new(move || reader.run(&queued_lookups)))?;
        let running = Mutex::new(vec![writing, reading]);
        let threads = Arc::new(Threads { jobs, lookups, is_stopped: AtomicBool::new(false), running });
        Ok(Self { backend: Backend::Threads(threads), wait })
    }

    /// The token with this digest, if there is one; also one that another process minted just now.
    ///
    /// # Errors
    /// No answer.
    pub async fn find(&self, digest: Digest) -> Result<Option<Arc<Token>>, DeskError> {
        self.look(|reply| Lookup::Find(digest, reply)).await
    }

    /// Consumes a use for a session, or none for one that resumes another, durably.
    ///
    /// A claim that is repeated under its session's id costs no second use.
    ///
    /// # Errors
    /// No answer: the session must not be opened.
    pub async fn claim(&self, claim: Claim) -> Result<Verdict, DeskError> {
        self.ask(|reply| Job::Claim(claim, reply)).await
    }

    /// Mints a token, durably.
    ///
    /// # Errors
    /// No answer.
    pub async fn mint(&self, order: MintOrder) -> Result<Minting, DeskError> {
        self.ask(|reply| Job::Mint(Box::new(order), reply)).await
    }

    /// Revokes the token with this id, durably, and gives it; none when there is none, or not of the key `by_key`.
    ///
    /// # Errors
    /// No answer: repeat it.
    pub async fn revoke(
        &self,
        id: &str,
        by_key: Option<&str>,
        now: UnixMillis,
    ) -> Result<Option<Arc<Token>>, DeskError> {
        let (id, by_key) = (id.to_owned(), by_key.map(str::to_owned));
        self.ask(|reply| Job::Revoke { id, by_key, now, reply }).await
    }

    /// Remembers a resumption handle that a session of the token was given. Only the last 256 of a token are known.
    ///
    /// # Errors
    /// No answer: the handle may not resume anything.
    pub async fn note_handle(&self, token_id: Arc<str>, handle: Digest, now: UnixMillis) -> Result<(), DeskError> {
        self.ask(|reply| Job::NoteHandle { token_id, handle, now, reply }).await
    }

    /// Takes a place for a live session, durably.
    ///
    /// # Errors
    /// No answer: the session must not be opened, and its place may be taken: free it.
    pub async fn take_place(&self, asked: PlaceAsked) -> Result<Placed, DeskError> {
        self.ask(|reply| Job::TakePlace(asked, reply)).await
    }

    /// Frees a place. It is done when the answer comes, which nobody has to wait for.
    ///
    /// # Errors
    /// No answer: repeat it.
    pub fn free_place(&self, session: SessionId) -> impl Future<Output = Result<(), DeskError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let sent = self.send(Job::FreePlace(session, reply));
        async move {
            sent?;
            // Whoever was to answer has ended.
            answer.await.unwrap_or(Err(DeskError::Stopped))
        }
    }

    /// Takes a part of what a key has for a day, durably, and gives how much that is; nothing where all is taken.
    ///
    /// # Errors
    /// No answer: nothing is granted, and a part may be lost.
    pub async fn take_part(&self, asked: PartAsked) -> Result<u64, DeskError> {
        self.ask(|reply| Job::TakePart(asked, reply)).await
    }

    /// Ends the desk and waits for what is being written. All other handles answer [`DeskError::Stopped`] from then on.
    pub fn stop(self) {
        match &self.backend {
            Backend::Threads(threads) => threads.end(),
            Backend::Tasks(tasks) => tasks.end(),
        }
    }

    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Job) -> Result<T, DeskError> {
        let (reply, answer) = oneshot::channel();
        self.send(question(reply))?;
        self.answer(answer).await
    }

    fn send(&self, job: Job) -> Result<(), DeskError> {
        match &self.backend {
            Backend::Threads(threads) => threads.send(&threads.jobs, job),
            Backend::Tasks(tasks) => tasks.ask(job),
        }
    }

    async fn look<T>(&self, question: impl FnOnce(Reply<T>) -> Lookup) -> Result<T, DeskError> {
        let (reply, answer) = oneshot::channel();
        let lookup = question(reply);
        match &self.backend {
            Backend::Threads(threads) => threads.send(&threads.lookups, lookup)?,
            Backend::Tasks(tasks) => tasks.look(lookup)?,
        }
        self.answer(answer).await
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, DeskError>>) -> Result<T, DeskError> {
        match timeout(self.wait, answer).await {
            Err(_) => Err(DeskError::Slow),
            // Whoever was to answer has ended.
            Ok(Err(_)) => Err(DeskError::Stopped),
            Ok(Ok(answer)) => answer,
        }
    }
}

impl Threads {
    fn send<Q>(&self, queue: &SyncSender<Q>, question: Q) -> Result<(), DeskError> {
        if self.is_stopped.load(Ordering::Acquire) {
            return Err(DeskError::Stopped);
        }
        queue.try_send(question).map_err(|refused| match refused {
            TrySendError::Full(_) => DeskError::Full,
            TrySendError::Disconnected(_) => DeskError::Stopped,
        })
    }

    fn end(&self) {
        self.is_stopped.store(true, Ordering::Release);
        // Both wait for a place in their queues; a thread that is gone needs no telling.
        let _ = self.jobs.send(Job::End);
        let _ = self.lookups.send(Lookup::End);
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in running {
            if thread.join().is_err() {
                tracing::error!("a thread of the token store has panicked");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}
