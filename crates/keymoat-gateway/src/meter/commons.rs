//! What the processes over one store have in common beside its uses: the places of live sessions, and the days of keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keymoat_core::Refusal;
use keymoat_store::{DeskError, Node, PlaceAsked, PlaceKind, Placed, SessionId, TokenDesk};

use crate::session::SessionControl;

/// The desk at which this process asks for its share, under its node's name.
#[derive(Debug)]
pub(crate) struct Commons {
    pub(super) desk: TokenDesk,
    node: Arc<str>,
    /// Other nodes may have sessions of the same tokens.
    has_other_nodes: bool,
    /// The sessions that have a place here, or have asked for one.
    live: Mutex<HashMap<SessionId, SessionControl>>,
}

/// A session's place among those of all processes. It is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct SharedPlace {
    session: SessionId,
    commons: Arc<Commons>,
}

impl Commons {
    pub(crate) fn new(desk: TokenDesk, node: &Node) -> Self {
        Self { desk, node: Arc::clone(node.id()), has_other_nodes: node.beats(), live: Mutex::default() }
    }

    /// Whether sessions of one token may be on several nodes, which have to know of each other.
    pub(crate) const fn has_other_nodes(&self) -> bool {
        self.has_other_nodes
    }

    /// Takes a place for the session that `control` ends. None when all are taken.
    ///
    /// # Errors
    /// No answer: it is not known whether a place was taken, and nobody has it.
    pub(super) async fn take_place(
        self: &Arc<Self>,
        holder: &Arc<str>,
        most: u32,
        control: &SessionControl,
    ) -> Result<Option<SharedPlace>, DeskError> {
        // Known before it is asked for, and freed whatever the answer is, unless it is handed on.
        let place = self.begin(control);
        let asked = self.asked(&place, holder, PlaceKind::AtMost(most));
        match self.desk.take_place(asked).await? {
            Placed::Taken => Ok(Some(place)),
            Placed::Full => Ok(None),
            Placed::NodeLapsed => Err(DeskError::Stopped),
        }
    }

    /// Notes a session of a token, of which the newest `most` live on all nodes. Nobody waits for it.
    pub(crate) fn note_newest(
        self: &Arc<Self>,
        token_id: &Arc<str>,
        most: u32,
        control: &SessionControl,
    ) -> SharedPlace {
        let place = self.begin(control);
        let asked = self.asked(&place, token_id, PlaceKind::Newest(most));
        let (commons, session) = (Arc::clone(self), place.session);
        tokio::spawn(async move {
            if let Err(error) = commons.desk.take_place(asked).await {
                tracing::debug!(%error, "the other nodes do not know of a session of a token");
            }
            if !commons.lock().contains_key(&session) {
                // It ended meanwhile, and may have been freed before it was noted.
                drop(commons.desk.free_place(session));
            }
        });
        place
    }

    /// Those of `places` that are none of a session here.
    pub(crate) fn unknown(&self, places: Vec<SessionId>) -> Vec<SessionId> {
        let live = self.lock();
        places.into_iter().filter(|session| !live.contains_key(session)).collect()
    }

    /// Asks sessions to end with `refusal`.
    pub(crate) fn end(&self, sessions: &[SessionId], refusal: &Refusal) {
        let controls: Vec<SessionControl> = {
            let live = self.lock();
            sessions.iter().filter_map(|session| live.get(session).cloned()).collect()
        };
        // The lock is free again: waking a task may take long.
        controls.iter().for_each(|control| control.end(refusal.clone()));
    }

    /// Asks all sessions that have a place to end with `refusal`, and tells how many were not asked before.
    pub(crate) fn end_all(&self, refusal: &Refusal) -> usize {
        let controls: Vec<SessionControl> =
            self.lock().values().filter(|control| !control.is_asked()).cloned().collect();
        controls.iter().for_each(|control| control.end(refusal.clone()));
        controls.len()
    }

    fn begin(self: &Arc<Self>, control: &SessionControl) -> SharedPlace {
        let mut drawn = [0; 16];
        aws_lc_rs::rand::fill(&mut drawn).expect("the system gives random bytes");
        let session = SessionId(drawn);
        self.lock().insert(session, control.clone());
        SharedPlace { session, commons: Arc::clone(self) }
    }

    fn asked(&self, place: &SharedPlace, holder: &Arc<str>, kind: PlaceKind) -> PlaceAsked {
        let (node, holder) = (Arc::clone(&self.node), Arc::clone(holder));
        PlaceAsked { session: place.session, node, holder, kind }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, SessionControl>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        self.commons.lock().remove(&self.session);
        // What is not freed by this is found later: the store knows of it, and no session here does.
        drop(self.commons.desk.free_place(self.session));
    }
}
