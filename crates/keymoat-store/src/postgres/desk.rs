//! The desk on PostgreSQL: each writer takes what waits and sends it as one statement, which is one commit.
//!
//! ```text
//!            ┌─▶ writer: claims in one statement, handles in another ─▶ answers, after the commit
//! queue ─────┼─▶ writer …      (while one waits for its commit, the next group grows)
//!            └─▶ revocations, and mints that may be repeated: a transaction each, by the pool
//! mints ───────▶ minters: all that wait in one transaction, by the pool
//! look-ups ────▶ readers: all that wait in one question
//! ```
//! INVARIANT: a claim is sent once. Whatever becomes of its group but an acknowledged commit is a denial, and the use may
//! be gone. A commit that was acknowledged without its standby counts as none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc as blocking};
use std::time::Duration;

use keymoat_core::Digest;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Statement};

use super::error::failed;
use super::link::{self, CONNECT_WAIT, Link};
use super::{ANSWER_WAIT, Shared, claims, parts, places, tokens};
use crate::Store;
use crate::desk::{DeskError, Job, Lookup, QUEUE_MAX, Reply};
use crate::error::StoreError;
use crate::share::{PartAsked, PlaceAsked, Placed};
use crate::token::{Claim, MintOrder, Minting, SessionId, Verdict};

/// So many groups may be on their way at once.
const WRITERS: usize = 2;
const READERS: usize = 2;

/// While one waits for another node that mints from the same key, those of other keys go on.
const MINTERS: usize = 2;

/// So many claims share one commit.
const GROUP_MAX: usize = 256;

/// So many mints, and so many revocations and repeatable mints, may wait for the pool.
const OTHERS_MAX: usize = 1024;

/// How much longer than anybody waits an answer may take before its connection is given up.
const GRACE: Duration = Duration::from_millis(250);

/// How often old rows are looked for, and how soon again while there are more of them.
const FORGET_EVERY: Duration = Duration::from_secs(10);
const FORGET_MORE_AFTER: Duration = Duration::from_millis(20);

/// How long the desk's end may take.
const END_WAIT: Duration = Duration::from_secs(3);

/// Index scans only: the planner may not know yet how many tokens there are.
const SESSION: &str = "
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
    SET application_name = 'keymoat desk'";

/// The tasks of a desk.
#[derive(Debug)]
pub(crate) struct Tasks {
    jobs: mpsc::Sender<Job>,
    mints: mpsc::Sender<Mint>,
    lookups: mpsc::Sender<Lookup>,
    stop: watch::Sender<bool>,
    /// The runtime lives as long as the store.
    _store: Arc<Store>,
    /// Disconnected when the last task has ended.
    running: std::sync::Mutex<blocking::Receiver<()>>,
}

/// An order that no other one repeats.
type Mint = (MintOrder, Reply<Minting>);

/// What each task is given.
struct Desk {
    shared: Arc<Shared>,
    jobs: Mutex<mpsc::Receiver<Job>>,
    mints: Mutex<mpsc::Receiver<Mint>>,
    lookups: Mutex<mpsc::Receiver<Lookup>>,
    others: Arc<Semaphore>,
    wait: Duration,
    stopped: watch::Receiver<bool>,
    /// Whether the last group failed; that is told once, and its end too.
    is_failing: AtomicBool,
}

/// A connection with its statements.
struct Line {
    client: Client,
    /// A commit was acknowledged that is not what it should be.
    is_unsure: Arc<AtomicBool>,
    consume: Statement,
    take_place: Statement,
    grant: Statement,
    find: Statement,
}

/// What of a group is asked for beside the uses of tokens.
#[derive(Default)]
struct Shares {
    places: Vec<(PlaceAsked, Reply<Placed>)>,
    freed: Vec<(SessionId, Reply<()>)>,
    parts: Vec<(PartAsked, Reply<u64>)>,
}

impl Tasks {
    /// The store is one on PostgreSQL.
    pub(crate) fn start(store: Arc<Store>, wait: Duration) -> Result<Self, StoreError> {
        let Store::Postgres(postgres) = &*store else { return Err(StoreError::Unavailable) };
        let (jobs, queued_jobs) = mpsc::channel(QUEUE_MAX);
        let (mints, queued_mints) = mpsc::channel(OTHERS_MAX);
        let (lookups, queued_lookups) = mpsc::channel(QUEUE_MAX);
        let (stop, stopped) = watch::channel(false);
        let desk = Arc::new(Desk {
            shared: Arc::clone(&postgres.shared),
            jobs: Mutex::new(queued_jobs),
            mints: Mutex::new(queued_mints),
            lookups: Mutex::new(queued_lookups),
            others: Arc::new(Semaphore::new(OTHERS_MAX)),
            wait,
            stopped,
            is_failing: AtomicBool::new(false),
        });
        let (running, ended) = blocking::channel();
        for _ in 0..WRITERS {
            let (desk, running) = (Arc::clone(&desk), running.clone());
            postgres.handle.spawn(async move {
                desk.write().await;
                drop(running);
            });
        }
        for _ in 0..MINTERS {
            let (desk, running) = (Arc::clone(&desk), running.clone());
            postgres.handle.spawn(async move {
                desk.mint().await;
                drop(running);
            });
        }
        for _ in 0..READERS {
            let desk = Arc::clone(&desk);
            postgres.handle.spawn(async move { desk.read().await });
        }
        postgres.handle.spawn(async move { desk.forget().await });
        Ok(Self { jobs, mints, lookups, stop, _store: store, running: std::sync::Mutex::new(ended) })
    }

    pub(crate) fn ask(&self, job: Job) -> Result<(), DeskError> {
        match job {
            Job::Mint(order, reply) if order.token.idempotency_key.is_none() => self.send(&self.mints, (*order, reply)),
            job => self.send(&self.jobs, job),
        }
    }

    pub(crate) fn look(&self, lookup: Lookup) -> Result<(), DeskError> {
        self.send(&self.lookups, lookup)
    }

    /// Waits for the groups that are on their way.
    pub(crate) fn end(&self) {
        self.stop.send_replace(true);
        let running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Nothing is ever sent: it is over when the last task has let go.
        let _ = running.recv_timeout(END_WAIT);
    }

    fn send<Q>(&self, queue: &mpsc::Sender<Q>, question: Q) -> Result<(), DeskError> {
        if *self.stop.borrow() {
            return Err(DeskError::Stopped);
        }
        queue.try_send(question).map_err(|refused| match refused {
            TrySendError::Full(_) => DeskError::Full,
            TrySendError::Closed(_) => DeskError::Stopped,
        })
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Desk {
    async fn write(&self) {
        let (mut line, mut group) = (self.first_line().await, Vec::with_capacity(GROUP_MAX));
        while take(&self.jobs, &mut group, &self.stopped).await {
            let (mut claims, mut handles) = (Vec::new(), Vec::new());
            let mut shares = Shares::default();
            // Whoever gave up while it waited must not make others wait as well.
            for job in group.drain(..).filter(|job| !job.is_given_up()) {
                match job {
                    Job::Claim(claim, reply) => claims.push((claim, reply)),
                    Job::NoteHandle { token_id, handle, reply, .. } => handles.push((token_id, handle, reply)),
                    Job::TakePlace(asked, reply) => shares.places.push((asked, reply)),
                    Job::FreePlace(session, reply) => shares.freed.push((session, reply)),
                    Job::TakePart(asked, reply) => shares.parts.push((asked, reply)),
                    other => self.do_apart(other),
                }
            }
            if !claims.is_empty() {
                let asked: Vec<Claim> = claims.iter().map(|(claim, _)| *claim).collect();
                let told = self.on(&mut line, async |line| line.claim(&asked).await).await;
                answer_each(claims, told);
            }
            if !handles.is_empty() {
                let ids: Vec<&str> = handles.iter().map(|(id, ..)| &**id).collect();
                let digests: Vec<&[u8]> = handles.iter().map(|(_, handle, _)| &handle.0[..]).collect();
                let told = self.on(&mut line, async |line| line.note_handles(&ids, &digests).await).await;
                for (.., reply) in handles {
                    // Its session goes on, whoever waits.
                    let _ = reply.send(told);
                }
            }
            self.share(&mut line, shares).await;
        }
    }

    /// What is not the use of a token: a statement for each kind.
    async fn share(&self, line: &mut Option<Line>, shares: Shares) {
        let Shares { places, freed, parts } = shares;
        // What is freed may be taken by the same group.
        if !freed.is_empty() {
            let sessions: Vec<SessionId> = freed.iter().map(|(session, _)| *session).collect();
            let told = self.on(line, async |line| places::free(&line.client, &sessions).await).await;
            for (_, reply) in freed {
                // Mostly nobody waits.
                let _ = reply.send(told);
            }
        }
        if !places.is_empty() {
            let asked: Vec<PlaceAsked> = places.iter().map(|(asked, _)| asked.clone()).collect();
            let told = self.on(line, async |line| places::take(&line.client, &line.take_place, &asked).await).await;
            answer_each(places, told);
        }
        if !parts.is_empty() {
            let asked: Vec<PartAsked> = parts.iter().map(|(asked, _)| asked.clone()).collect();
            let told = self.on(line, async |line| parts::grant(&line.client, &line.grant, &asked).await).await;
            answer_each(parts, told);
        }
    }

    async fn mint(&self) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while take(&self.mints, &mut group, &self.stopped).await {
            let waiting = group.drain(..).filter(|(_, reply)| !reply.is_closed());
            let (orders, replies): (Vec<MintOrder>, Vec<Reply<Minting>>) = waiting.unzip();
            if orders.is_empty() {
                continue;
            }
            let told = timeout(ANSWER_WAIT, self.shared.mint_group(orders)).await;
            match told.unwrap_or(Err(StoreError::DatabaseLost)) {
                // Whoever asked may have given up meanwhile.
                Ok(mintings) => replies.into_iter().zip(mintings).for_each(|(reply, told)| drop(reply.send(Ok(told)))),
                Err(error) => {
                    let refusal = refused(&error);
                    replies.into_iter().for_each(|reply| drop(reply.send(Err(refusal))));
                }
            }
        }
    }

    async fn read(&self) {
        let (mut line, mut group) = (self.first_line().await, Vec::with_capacity(GROUP_MAX));
        while take(&self.lookups, &mut group, &self.stopped).await {
            let asked = group.drain(..).filter_map(|lookup| match lookup {
                Lookup::Find(digest, reply) if !reply.is_closed() => Some((digest, reply)),
                Lookup::Find(..) | Lookup::End => None,
            });
            let asked: Vec<_> = asked.collect();
            if asked.is_empty() {
                continue;
            }
            let digests: Vec<&[u8]> = asked.iter().map(|(digest, _)| &digest.0[..]).collect();
            let found = self
                .on(&mut line, async |line| tokens::by_digests(&line.client, &line.find, &digests).await)
                .await
                .map(|found| found.into_iter().collect::<HashMap<Digest, _>>());
            for (digest, reply) in asked {
                // Whoever asked may have given up meanwhile.
                let _ = reply.send(found.as_ref().map(|found| found.get(&digest).cloned()).map_err(|error| *error));
            }
        }
    }

    async fn forget(&self) {
        let mut due = Instant::now() + FORGET_EVERY;
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep_until(due) => {}
            }
            // What fails is tried again later: nobody waits for it.
            let more = timeout(FORGET_EVERY, self.shared.forget()).await.is_ok_and(|more| more.unwrap_or(false));
            due = Instant::now() + if more { FORGET_MORE_AFTER } else { FORGET_EVERY };
        }
    }

    /// Whoever asks first should not have to wait for a connection; one that fails is told of when it is needed.
    async fn first_line(&self) -> Option<Line> {
        Line::open(&self.shared.link, self.wait).await.ok()
    }

    /// Does work on a connection, which is made where there is none and given up when anything about it fails.
    async fn on<T>(
        &self,
        line: &mut Option<Line>,
        work: impl AsyncFnOnce(&Line) -> Result<T, StoreError>,
    ) -> Result<T, DeskError> {
        let outcome = timeout(self.wait + GRACE, async {
            if line.as_ref().is_none_or(|line| line.client.is_closed()) {
                *line = Some(Line::open(&self.shared.link, self.wait).await?);
            }
            let line = line.as_ref().ok_or(StoreError::Unavailable)?;
            let done = work(line).await?;
            if line.is_unsure.load(Ordering::Acquire) { Err(StoreError::DatabaseLost) } else { Ok(done) }
        });
        let outcome = outcome.await.unwrap_or(Err(StoreError::DatabaseLost));
        self.note(outcome.as_ref().err());
        outcome.map_err(|error| match error {
            // It was cancelled before its commit: nothing happened.
            StoreError::DatabaseBusy => DeskError::Slow,
            _ => {
                if let Some(line) = line.take().filter(|line| !line.client.is_closed()) {
                    let (link, token) = (self.shared.link.clone(), line.client.cancel_token());
                    tokio::spawn(async move { link.cancel(token).await });
                }
                DeskError::Broken
            }
        })
    }

    /// A transaction of its own for what is neither a claim nor a handle.
    fn do_apart(&self, job: Job) {
        let Ok(permit) = Arc::clone(&self.others).try_acquire_owned() else {
            match job {
                Job::Mint(_, reply) => drop(reply.send(Err(DeskError::Full))),
                Job::Revoke { reply, .. } => drop(reply.send(Err(DeskError::Full))),
                // Done in groups.
                _ => {}
            }
            return;
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            match job {
                Job::Mint(order, reply) => apart(reply, shared.mint(*order)).await,
                Job::Revoke { id, by_key, reply, .. } => {
                    apart(reply, shared.revoke_token(&id, by_key.as_deref())).await;
                }
                // Done in groups.
                _ => {}
            }
            drop(permit);
        });
    }

    fn note(&self, failure: Option<&StoreError>) {
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !was_failing => {
                tracing::error!(%error, "the store of tokens fails: nothing is granted meanwhile");
            }
            None if was_failing => tracing::info!("the store of tokens answers again"),
            _ => {}
        }
    }
}

impl Line {
    async fn open(link: &Link, wait: Duration) -> Result<Self, StoreError> {
        let (client, wire) = timeout(CONNECT_WAIT, link.connect()).await.map_err(|_| StoreError::DatabaseLost)??;
        let is_unsure = Arc::new(AtomicBool::new(false));
        let of_task = Arc::clone(&is_unsure);
        // A commit whose wait for the standby was cancelled is told as a warning and nothing else.
        tokio::spawn(wire.carry(move || of_task.store(true, Ordering::Release)));
        link::introduce(&client).await?;
        client.batch_execute(SESSION).await.map_err(|error| failed(&error))?;
        // It is given up before those who wait give up, so that what they are refused for has cost nothing.
        let limit = format!("SET statement_timeout = {0}; SET lock_timeout = {0}", (wait * 4 / 5).as_millis());
        client.batch_execute(&limit).await.map_err(|error| failed(&error))?;
        let consume = client.prepare(claims::CONSUME).await.map_err(|error| failed(&error))?;
        let take_place = client.prepare(places::TAKE).await.map_err(|error| failed(&error))?;
        let grant = client.prepare(parts::GRANT).await.map_err(|error| failed(&error))?;
        let find = client.prepare(tokens::BY_DIGESTS).await.map_err(|error| failed(&error))?;
        is_unsure.store(false, Ordering::Release);
        Ok(Self { client, is_unsure, consume, take_place, grant, find })
    }

    async fn claim(&self, asked: &[Claim]) -> Result<Vec<Option<Verdict>>, StoreError> {
        claims::claim(&self.client, &self.consume, asked).await
    }

    async fn note_handles(&self, ids: &[&str], digests: &[&[u8]]) -> Result<(), StoreError> {
        let run = async {
            self.client.execute(tokens::NOTE_HANDLES, &[&ids, &digests]).await?;
            self.client.execute(tokens::FORGET_HANDLES, &[&ids, &tokens::HANDLES_KEPT]).await
        };
        run.await.map(drop).map_err(|error| failed(&error))
    }
}

/// Takes what waits, at least one; false when the desk has ended.
async fn take<Q>(queue: &Mutex<mpsc::Receiver<Q>>, group: &mut Vec<Q>, stopped: &watch::Receiver<bool>) -> bool {
    let mut stopped = stopped.clone();
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => false,
        // The lock is held while waiting: whoever is free next takes what comes next.
        count = async { queue.lock().await.recv_many(group, GROUP_MAX).await } => count > 0,
    }
}

/// Answers a group in its order. Whoever has no answer of its own lost a race.
fn answer_each<A, T>(asked: Vec<(A, Reply<T>)>, told: Result<Vec<Option<T>>, DeskError>) {
    match told {
        Ok(verdicts) => {
            for ((_, reply), verdict) in asked.into_iter().zip(verdicts) {
                // Whoever asked may have given up meanwhile; what was consumed stays consumed.
                let _ = reply.send(verdict.ok_or(DeskError::Slow));
            }
        }
        Err(error) => {
            for (_, reply) in asked {
                let _ = reply.send(Err(error));
            }
        }
    }
}

async fn apart<T>(reply: Reply<T>, work: impl Future<Output = Result<T, StoreError>>) {
    if reply.is_closed() {
        return;
    }
    let outcome = work.await.map_err(|error| refused(&error));
    let _ = reply.send(outcome);
}

fn refused(error: &StoreError) -> DeskError {
    tracing::error!(%error, "a change of a token failed");
    if matches!(error, StoreError::DatabaseBusy) { DeskError::Slow } else { DeskError::Broken }
}
