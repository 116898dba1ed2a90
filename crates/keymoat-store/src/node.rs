//! The nodes over one store: who they are, when they were seen, and what happens to what they hold when they are gone.
//!
//! With PostgreSQL a node says every second that it is there ([`Store::beat`]). What it holds is free again once it was not
//! seen for longer than [`NodeAbout::closes_after`] and [`FREED_GRACE`]. With the embedded store all are processes of
//! one machine, and each holds a lock for as long as it lives.

use std::time::Duration;

use keymoat_core::UnixMillis;

use crate::Store;
use crate::error::StoreError;
use crate::token::SessionId;

/// How often a node is to say that it is there.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How much longer than a node's own bound its places stay taken.
///
/// A node counts from before it asks: with `b` the moment before a beat that was acknowledged, and `s >= b` the moment
/// that the database has written down for it,
///
/// ```text
/// the node asks its sessions to end   at most at b + closes_after + 0.25 s   (how often it looks)
/// their streams are shut down         at most 1.5 s later                    (what a session has for its close)
/// others may take their places        at least at s + closes_after + 5 s
/// ```
///
/// so that the places of a node are never taken while a session of it lives, as long as the database's clock does not gain
/// more than 3 s in `closes_after`. A beat whose answer was lost has only moved `s` on. A machine that was suspended is told
/// by its first beat ([`Pulse::Lapsed`]), and a process that was stopped finds its own time passed.
pub const FREED_GRACE: Duration = Duration::from_secs(5);

/// A node that was not seen for so long is not shown any more.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// What a node says of itself when it starts.
#[derive(Clone, Debug)]
pub struct NodeAbout {
    /// What people call it: the host's name.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// Where it serves.
    pub address: String,
    /// When it started, by its own clock.
    pub started_at: UnixMillis,
    /// Its sessions that have a place are asked to end when the store has not heard of it for so long.
    pub closes_after: Duration,
}

/// Whether a node takes new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It does.
    Ready,
    /// It does not: it is about to end.
    Draining,
}

/// A node's name in the store, for as long as its process lives.
#[derive(Debug)]
pub struct Node {
    pub(crate) id: std::sync::Arc<str>,
    pub(crate) about: NodeAbout,
    /// Held while the process lives, with the embedded store.
    pub(crate) lock: Option<std::fs::File>,
}

/// What a node says with each beat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// Whether it takes new work.
    pub state: NodeState,
    /// The count of changes that its view of the store shows.
    pub change_seen: i64,
    /// Its own clock.
    pub now: UnixMillis,
}

/// What the store says to a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// The node was seen in time.
    Steady,
    /// It was not seen for so long that its places may be others'. Its sessions that have one must end.
    Lapsed,
}

/// A node as the store has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Such as `node_…`, drawn when its process started.
    pub id: String,
    /// See [`NodeAbout::name`].
    pub name: String,
    /// See [`NodeAbout::version`].
    pub version: String,
    /// See [`NodeAbout::address`].
    pub address: String,
    /// See [`NodeAbout::started_at`].
    pub started_at: UnixMillis,
    /// Whether it takes new work, as it said last.
    pub state: NodeState,
    /// When it was seen last, by the store's clock.
    pub seen_at: UnixMillis,
    /// How long ago that was, in milliseconds.
    pub unseen_millis: i64,
    /// How many changes its view of the store had not shown, as of then.
    pub changes_behind: i64,
    /// How far its clock was ahead of the store's, in milliseconds.
    pub clock_ahead_millis: i64,
}

impl NodeState {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    pub(crate) fn of_word(word: &str) -> Result<Self, StoreError> {
        match word {
            "ready" => Ok(Self::Ready),
            "draining" => Ok(Self::Draining),
            _ => Err(StoreError::DatabaseDamaged),
        }
    }
}

impl Node {
    /// Such as `node_…`.
    #[must_use]
    pub const fn id(&self) -> &std::sync::Arc<str> {
        &self.id
    }

    /// What it has said of itself.
    #[must_use]
    pub const fn about(&self) -> &NodeAbout {
        &self.about
    }

    /// Whether it has to be heard of to keep what it holds.
    #[must_use]
    pub const fn beats(&self) -> bool {
        self.lock.is_none()
    }
}

impl Store {
    /// Takes this process in as a node of the store.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn join(&self, about: NodeAbout) -> Result<Node, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.join(about),
            Self::Postgres(postgres) => postgres.join(about),
        }
    }

    /// Says that a node is there. Those that were not heard of for too long lose their places by it.
    ///
    /// # Errors
    /// Whatever the disk refuses: then it is not known whether it was heard.
    pub fn beat(&self, node: &Node, beat: Beat) -> Result<Pulse, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.beat(node, beat),
            Self::Postgres(postgres) => postgres.beat(node, beat),
        }
    }

    /// Takes a node out that ends, with the places that it has.
    ///
    /// # Errors
    /// Whatever the disk refuses: then others do it in their time.
    pub fn leave(&self, node: &Node) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.leave(node),
            Self::Postgres(postgres) => postgres.leave(node),
        }
    }

    /// The nodes that were seen lately, by name. `now` is what the embedded store goes by; a database has a clock of its own.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn nodes(&self, now: UnixMillis) -> Result<Vec<NodeSeen>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.nodes(now),
            Self::Postgres(postgres) => postgres.nodes(),
        }
    }

    /// The places that a node has.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn places_of(&self, node: &Node) -> Result<Vec<SessionId>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.places_of(node),
            Self::Postgres(postgres) => postgres.places_of(node),
        }
    }

    /// The sessions of a node whose token has as many newer ones as it may have at once, on whatever node.
    ///
    /// # Errors
    /// Whatever the disk refuses.
    pub fn superseded(&self, node: &Node) -> Result<Vec<SessionId>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.superseded(node),
            Self::Postgres(postgres) => postgres.superseded(node),
        }
    }

    /// Frees places, durably. One that is free already is no error.
    ///
    /// # Errors
    /// Whatever the disk refuses: repeat it.
    pub fn free_places(&self, places: &[SessionId]) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.free_places(places),
            Self::Postgres(postgres) => postgres.free_places(places),
        }
    }
}
