//! The thread that writes: it takes what waits, does it in one transaction, and answers after the commit.
//!
//! ```text
//!            a group is committed                        sound
//!   open ────────────────────────▶ open      closed ─────────────────▶ open
//!     │  the disk fails                        ▲  │ not yet: again after `REOPEN_EVERY`
//!     └────────────────────────────────────────┘  └──▶ closed (everything is answered `Broken`)
//! ```
//! INVARIANT: nothing is granted but by an answer, and no answer is given before its commit was acknowledged. A commit
//! that failed may be found done later: what it consumed stays consumed, and was denied.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use keymoat_core::UnixMillis;
use rusqlite::Connection;

use super::job::Job;
use super::{DeskError, Reply};
use crate::Store;
use crate::error::StoreError;
use crate::sqlite::desk::{self, Group};

/// So many jobs share one commit.
const GROUP_MAX: usize = 128;

/// How soon a store that failed is tried again.
const REOPEN_EVERY: Duration = Duration::from_millis(500);

/// How often old rows are looked for, and how soon again while there are more of them.
const FORGET_EVERY: Duration = Duration::from_secs(10);
const FORGET_MORE_AFTER: Duration = Duration::from_millis(20);

/// Gives an answer once the outcome of its group is known.
type Told = Box<dyn FnOnce(Result<(), DeskError>)>;

/// The thread's state.
pub(super) struct Writer {
    store: Arc<Store>,
    connection: Option<Connection>,
    opened_at: Instant,
    reopen_at: Instant,
    forget_at: Instant,
    /// Whether the last group failed; that is told once, and its end too.
    is_failing: bool,
    /// Why it could not be opened anew, as it was told last: the same is not told twice a second.
    told_closed: Option<String>,
    /// The time as of the last job: the desk has no clock of its own.
    now: Option<UnixMillis>,
}

impl Writer {
    pub(super) fn open(store: Arc<Store>) -> Result<Self, StoreError> {
        let connection = Some(desk::writing(&store)?);
        let began = Instant::now();
        let forget_at = began + FORGET_EVERY;
        Ok(Self {
            store,
            connection,
            opened_at: began,
            reopen_at: began,
            forget_at,
            is_failing: false,
            told_closed: None,
            now: None,
        })
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let due = if self.connection.is_some() { self.forget_at } else { self.reopen_at };
            let mut is_last = false;
            match jobs.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Job::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(first) => {
                    let waiting = jobs.try_iter().take(GROUP_MAX - 1).take_while(|job| {
                        is_last = matches!(job, Job::End);
                        !is_last
                    });
                    let group: Vec<Job> = std::iter::once(first).chain(waiting).collect();
                    self.perform(group);
                }
            }
            if is_last {
                return;
            }
            self.look_after();
        }
    }

    /// Does a group of jobs in one transaction and gives each its answer.
    fn perform(&mut self, mut group: Vec<Job>) {
        // Whoever gave up while it waited must not make others wait as well.
        group.retain(|job| !job.is_given_up());
        if group.is_empty() {
            return;
        }
        let mut told: Vec<Told> = Vec::with_capacity(group.len());
        let done = self.write(group, &mut told);
        let outcome = done.as_ref().map_err(|error| match error {
            StoreError::Busy { .. } => DeskError::Slow,
            _ => DeskError::Broken,
        });
        for told in told {
            told(outcome.copied());
        }
        match done {
            Err(error) => self.note(&error),
            Ok(()) if self.is_failing => {
                tracing::info!("the store of tokens answers again");
                self.is_failing = false;
            }
            Ok(()) => {}
        }
    }

    /// Fills `told` with one entry for each job that somebody still waits for, whatever happens.
    fn write(&mut self, group: Vec<Job>, told: &mut Vec<Told>) -> Result<(), StoreError> {
        let begun = match &mut self.connection {
            Some(connection) => Group::begin(&self.store, connection),
            None => Err(StoreError::Unavailable),
        };
        let changes = match begun {
            Ok(changes) => changes,
            Err(error) => {
                told.extend(group.into_iter().map(refused));
                return Err(error);
            }
        };
        let mut failed = None;
        for job in group {
            self.now = job.now().or(self.now);
            match failed {
                Some(_) => told.push(refused(job)),
                // The lock may have taken its time.
                None if job.is_given_up() => {}
                None => failed = job.done_in(&changes, told).err(),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => changes.commit(),
        }
    }

    /// What comes of a failure: the connection is not trusted any more, unless there was only no room, or somebody else
    /// held the lock.
    fn note(&mut self, error: &StoreError) {
        if !self.is_failing {
            tracing::error!(%error, "the store of tokens fails: nothing is granted meanwhile");
        }
        self.is_failing = true;
        if self.connection.is_some() && !matches!(error, StoreError::Busy { .. } | StoreError::Full { .. }) {
            self.connection = None;
            // The check reads the whole database: not after every group.
            self.reopen_at = Instant::now().max(self.opened_at + REOPEN_EVERY);
        }
    }

    /// Opens what failed, and forgets what is old, each in its time.
    fn look_after(&mut self) {
        let began = Instant::now();
        if self.connection.is_none() && began >= self.reopen_at {
            self.opened_at = began;
            self.reopen_at = began + REOPEN_EVERY;
            match desk::writing_again(&self.store) {
                Ok(connection) => {
                    tracing::info!("the store of tokens was opened anew and is sound");
                    self.connection = Some(connection);
                    self.told_closed = None;
                }
                Err(error) if is_news(&mut self.told_closed, &error) => {
                    tracing::warn!(%error, "the store of tokens cannot be opened anew yet");
                }
                Err(_) => {}
            }
        }
        if began < self.forget_at {
            return;
        }
        let (Some(connection), Some(now)) = (&mut self.connection, self.now) else {
            self.forget_at = began + FORGET_EVERY;
            return;
        };
        let outcome = desk::forget(connection, now);
        let more = matches!(outcome, Ok(true));
        self.forget_at = Instant::now() + if more { FORGET_MORE_AFTER } else { FORGET_EVERY };
        if let Err(error) = outcome {
            self.note(&error);
        }
    }
}

/// Whether another reason was told last, or none.
fn is_news(told: &mut Option<String>, error: &StoreError) -> bool {
    let now = Some(error.to_string());
    let is_news = *told != now;
    *told = now;
    is_news
}

impl Job {
    fn now(&self) -> Option<UnixMillis> {
        match self {
            Self::Claim(claim, _) => Some(claim.now),
            Self::Mint(order, _) => Some(order.now),
            Self::Revoke { now, .. } | Self::NoteHandle { now, .. } => Some(*now),
            Self::TakePlace(..) | Self::FreePlace(..) | Self::TakePart(..) | Self::End => None,
        }
    }

    /// Does the job. What is wrong with this job alone is its own answer; any other error is the group's.
    fn done_in(self, group: &Group<'_>, told: &mut Vec<Told>) -> Result<(), StoreError> {
        match self {
            Self::Claim(claim, reply) => answer(reply, told, || group.claim(&claim)),
            Self::Mint(order, reply) => answer(reply, told, || group.mint(*order)),
            Self::Revoke { id, by_key, now, reply } => {
                answer(reply, told, || group.revoke(&id, by_key.as_deref(), now))
            }
            Self::NoteHandle { token_id, handle, now, reply } => {
                answer(reply, told, || group.note_handle(&token_id, &handle, now))
            }
            Self::TakePlace(asked, reply) => answer(reply, told, || group.take_place(&asked)),
            Self::FreePlace(session, reply) => answer(reply, told, || group.free_place(session)),
            Self::TakePart(asked, reply) => answer(reply, told, || group.take_part(&asked)),
            Self::End => Ok(()),
        }
    }
}

fn answer<T: 'static>(
    reply: Reply<T>,
    told: &mut Vec<Told>,
    work: impl FnOnce() -> Result<Result<T, StoreError>, StoreError>,
) -> Result<(), StoreError> {
    let (own, failed) = match work() {
        Ok(Ok(done)) => (Ok(done), None),
        Ok(Err(error)) => {
            tracing::error!(%error, "a change of a token failed");
            (Err(DeskError::Broken), None)
        }
        Err(error) => (Err(DeskError::Broken), Some(error)),
    };
    // Whoever asked may have given up meanwhile; what was done stays done.
    told.push(Box::new(move |outcome| drop(reply.send(outcome.and(own)))));
    failed.map_or(Ok(()), Err)
}

/// The answer to a job that was not begun.
fn refused(job: Job) -> Told {
    fn no<T: 'static>(reply: Reply<T>) -> Told {
        Box::new(move |outcome| drop(reply.send(Err(outcome.err().unwrap_or(DeskError::Broken)))))
    }
    match job {
        Job::Claim(_, reply) => no(reply),
        Job::Mint(_, reply) => no(reply),
        Job::Revoke { reply, .. } => no(reply),
        Job::NoteHandle { reply, .. } => no(reply),
        Job::TakePlace(_, reply) => no(reply),
        Job::FreePlace(_, reply) => no(reply),
        Job::TakePart(_, reply) => no(reply),
        Job::End => Box::new(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_until_it_changes() {
        let mut told = None;
        let (one, other) = (StoreError::Unavailable, StoreError::NameInvalid);
        let told_of = [&one, &one, &other, &one].map(|error| is_news(&mut told, error));
        assert_eq!(told_of, [true, false, true, true]);
    }
}
