//! Live sessions: who they are, and how each can be asked to end.

pub(crate) mod expiry;

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use keymoat_core::record::Protocol;
use keymoat_core::{Carrier, Code, Record, Refusal, UnixMillis};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::meter::{SharedPlace, TakenPlaces};

/// So many sessions of one token may wait to be granted: a token costs nothing until then, not even one that is used up.
pub const WAITING_MAX: u32 = 256;

/// What is known of a live session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its stable id, `ses_` and the digits of its record's id: safe to log, and what it is named by.
    pub id: Arc<str>,
    /// The key that it was opened with, or that minted the token that it was opened with.
    pub key_id: Option<Arc<str>>,
    /// Which of the key's secrets that was.
    pub secret_id: Option<Arc<str>>,
    /// The token that it was opened with.
    pub token_id: Option<Arc<str>>,
    /// The route that it came by.
    pub route: Arc<str>,
    /// The upstream that the route leads to.
    pub upstream: Arc<str>,
    /// The address of its client.
    pub client: IpAddr,
    /// Where its credential sat.
    pub carrier: Option<Carrier>,
    /// The origin of the page that opened it, if it named one.
    pub origin: Option<Arc<str>>,
    /// The client's own name for itself, where that is recorded.
    pub user_agent: Option<Arc<str>>,
    /// What is spoken with its client.
    pub protocol: Protocol,
    /// When it was opened.
    pub opened_at: UnixMillis,
}

impl SessionInfo {
    /// What `record` knows of a session that begins at `opened_at`.
    #[must_use]
    pub fn of(record: &Record, opened_at: UnixMillis) -> Self {
        let id = record.id.to_string();
        Self {
            id: format!("ses_{}", id.trim_start_matches("evt_")).into(),
            key_id: record.key_id.clone(),
            secret_id: record.secret_id.clone(),
            token_id: record.token_id.clone(),
            route: record.route.clone().unwrap_or_default(),
            upstream: record.upstream.clone().unwrap_or_default(),
            client: record.client,
            carrier: record.carrier.clone(),
            origin: record.origin.clone(),
            user_agent: record.user_agent.as_deref().map(Arc::from),
            protocol: record.protocol,
            opened_at,
        }
    }
}

/// A live session as it was when somebody looked.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// What is known of it.
    pub info: SessionInfo,
    /// The model that it asked for, where that is looked at.
    pub model: Option<Arc<str>>,
    /// What it was configured with, where that is looked at.
    pub setup: Option<Arc<Setup>>,
    /// Payload bytes from its client so far.
    pub bytes_in: u64,
    /// Payload bytes to its client so far.
    pub bytes_out: u64,
    /// It was asked to end, and is about to.
    pub is_ending: bool,
}

/// How a session is configured: JSON that was cut short, without handles of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// What its client asked for; absent where it has not said yet.
    pub asked: Option<String>,
    /// What went upstream in its place.
    pub effective: Option<String>,
}

/// All live sessions of this process, shared by its threads.
#[derive(Clone, Debug)]
pub struct Sessions {
    registry: Arc<Registry>,
}

#[derive(Debug)]
struct Registry {
    sessions_max: AtomicUsize,
    next_id: AtomicU64,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    live: HashMap<u64, Live>,
    /// How many of each token were not granted yet.
    waiting: HashMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct Live {
    info: SessionInfo,
    control: SessionControl,
    /// It was granted to its token.
    is_granted: bool,
}

impl Sessions {
    /// A registry that holds at most `sessions_max` at once.
    #[must_use]
    pub fn new(sessions_max: usize) -> Self {
        let places = Mutex::default();
        let sessions_max = AtomicUsize::new(sessions_max);
        Self { registry: Arc::new(Registry { sessions_max, next_id: AtomicU64::new(1), places }) }
    }

    /// Takes a session in; it is taken out again when the guard is dropped.
    ///
    /// A revocation that comes between the decision about a session and this call does not find it: decide again
    /// afterwards, by the snapshot that is current then.
    ///
    /// # Errors
    /// A [`Refusal`] with [`Code::Unavailable`] when the registry is full, or [`WAITING_MAX`] sessions of the token wait
    /// to be granted.
    pub fn insert(&self, info: SessionInfo) -> Result<SessionGuard, Refusal> {
        let mut places = self.registry.lock();
        if places.live.len() >= self.registry.sessions_max.load(Ordering::Relaxed) {
            return Err(full());
        }
        if let Some(token_id) = &info.token_id {
            let waiting = places.waiting.entry(token_id.clone()).or_default();
            if *waiting >= WAITING_MAX {
                let text = "too many connections of this token wait for their session";
                return Err(Refusal::new(Code::Unavailable, text).retry_after_secs(1));
            }
            *waiting += 1;
        }
        let id = self.registry.next_id.fetch_add(1, Ordering::Relaxed);
        let control = SessionControl::default();
        places.live.insert(id, Live { info, control: control.clone(), is_granted: false });
        drop(places);
        Ok(SessionGuard {
            id,
            control,
            registry: Arc::clone(&self.registry),
            timer: None,
            metered_places: None,
            known_as: None,
        })
    }

    /// Says whether there is room, before anything is done for a session. Others may take it meanwhile.
    ///
    /// # Errors
    /// The same as [`Self::insert`].
    pub fn check_room(&self) -> Result<(), Refusal> {
        if self.count() < self.registry.sessions_max.load(Ordering::Relaxed) { Ok(()) } else { Err(full()) }
    }

    /// Changes how many there may be at once. Those that are live stay.
    pub fn allow(&self, sessions_max: usize) {
        self.registry.sessions_max.store(sessions_max, Ordering::Relaxed);
    }

    /// How many are live.
    #[must_use]
    pub fn count(&self) -> usize {
        self.registry.lock().live.len()
    }

    /// How many are live on each route that has any.
    #[must_use]
    pub fn count_by_route(&self) -> HashMap<Arc<str>, usize> {
        let mut counts = HashMap::new();
        for live in self.registry.lock().live.values() {
            *counts.entry(live.info.route.clone()).or_default() += 1;
        }
        counts
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<LiveSession> {
        let mut live: Vec<(u64, SessionInfo, SessionControl)> = {
            let places = self.registry.lock();
            places.live.iter().map(|(id, live)| (*id, live.info.clone(), live.control.clone())).collect()
        };
        live.sort_unstable_by_key(|(id, _, _)| *id);
        live.into_iter().map(|(_, info, control)| control.seen(info)).collect()
    }

    /// Asks the session with this id to end with `refusal`, and tells whether there is one.
    pub fn end(&self, id: &str, refusal: &Refusal) -> bool {
        self.end_where(|_, info| *info.id == *id, refusal) > 0
    }

    /// Asks every session of which `matches` says so to end with `refusal`, and tells how many were asked.
    pub fn end_where(&self, matches: impl Fn(u64, &SessionInfo) -> bool, refusal: &Refusal) -> usize {
        let asked: Vec<SessionControl> = self
            .registry
            .lock()
            .live
            .iter()
            .filter(|&(&id, live)| matches(id, &live.info))
            .map(|(_, live)| live.control.clone())
            .collect();
        // The lock is free again: waking a task may take long.
        for control in &asked {
            control.end(refusal.clone());
        }
        asked.len()
    }
}

fn full() -> Refusal {
    Refusal::new(Code::Unavailable, "too many sessions at once").retry_after_secs(1)
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Notes that a session of the token waits no longer.
    fn one_less(&mut self, token_id: &Arc<str>) {
        let Some(waiting) = self.waiting.get_mut(token_id) else { return };
        *waiting = waiting.saturating_sub(1);
        if *waiting == 0 {
            self.waiting.remove(token_id);
        }
    }
}

/// Keeps a session in the registry for as long as it lives.
#[derive(Debug)]
pub struct SessionGuard {
    id: u64,
    control: SessionControl,
    registry: Arc<Registry>,
    timer: Option<AbortHandle>,
    /// Its places among those of its key and its token.
    metered_places: Option<TakenPlaces>,
    /// What other nodes know it by.
    known_as: Option<SharedPlace>,
}

impl SessionGuard {
    /// The session's number, distinct within this process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The handle by which the session is asked to end.
    #[must_use]
    pub const fn control(&self) -> &SessionControl {
        &self.control
    }

    /// Notes that the session was granted to its token, of which `at_once_max` may live at once: the oldest ones beyond
    /// that are asked to end with `refusal`. A resumption costs no use, so without this one handle could open any
    /// number of sessions.
    pub fn take_the_place_of_older(&self, at_once_max: usize, refusal: &Refusal) {
        let mut places = self.registry.lock();
        let Some(own) = places.live.get_mut(&self.id) else { return };
        let was_granted = std::mem::replace(&mut own.is_granted, true);
        let Some(token_id) = own.info.token_id.clone() else { return };
        if !was_granted {
            places.one_less(&token_id);
        }
        let is_one = |live: &Live| live.is_granted && live.info.token_id.as_ref() == Some(&token_id);
        let of_token =
            places.live.iter().filter(|(id, live)| **id != self.id && is_one(live) && !live.control.is_asked());
        let mut others: Vec<(u64, SessionControl)> = of_token.map(|(id, live)| (*id, live.control.clone())).collect();
        drop(places);
        others.sort_unstable_by_key(|(id, _)| *id);
        let beyond = (others.len() + 1).saturating_sub(at_once_max);
        for (_, control) in others.iter().take(beyond) {
            control.end(refusal.clone());
        }
    }

    /// Has it keep `places` for as long as it lives.
    pub fn keep(&mut self, places: TakenPlaces) {
        self.metered_places = Some(places);
    }

    /// Has other nodes know it by `place` for as long as it lives.
    pub(crate) fn be_known_as(&mut self, place: SharedPlace) {
        self.known_as = Some(place);
    }

    /// Has the session asked to end at a moment of the monotonic clock. Call it within a runtime.
    pub fn end_at(&mut self, moment: Instant, refusal: Refusal) {
        let control = self.control.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(moment).await;
            control.end(refusal);
        });
        if let Some(before) = self.timer.replace(timer.abort_handle()) {
            before.abort();
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
        drop((self.metered_places.take(), self.known_as.take()));
        let mut places = self.registry.lock();
        if let Some(Live { info: SessionInfo { token_id: Some(token_id), .. }, is_granted: false, .. }) =
            places.live.remove(&self.id)
        {
            places.one_less(&token_id);
        }
    }
}

/// By this one session is asked to end, from any thread. Clones are the same handle.
#[derive(Clone, Debug, Default)]
pub struct SessionControl {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    asked: AtomicBool,
    slot: Mutex<Slot>,
    /// Written by the one task that relays.
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    model: OnceLock<Arc<str>>,
    setup: Mutex<Option<Arc<Setup>>>,
}

#[derive(Debug, Default)]
struct Slot {
    refusal: Option<Refusal>,
    waker: Option<Waker>,
}

impl SessionControl {
    /// Asks the session to end with what `refusal` says, and wakes it. The first one asked for stands.
    pub fn end(&self, refusal: Refusal) {
        let mut slot = self.slot();
        slot.refusal.get_or_insert(refusal);
        self.shared.asked.store(true, Ordering::Release);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Notes how many payload bytes it has carried so far, from and to its client. Costs two plain writes.
    pub fn note_bytes(&self, bytes_in: u64, bytes_out: u64) {
        self.shared.bytes_in.store(bytes_in, Ordering::Relaxed);
        self.shared.bytes_out.store(bytes_out, Ordering::Relaxed);
    }

    /// Notes the model that it asked for. The first one stands.
    pub fn note_model(&self, model: &str) {
        self.shared.model.get_or_init(|| model.into());
    }

    /// Notes how it is configured; what is not given stays as it was noted before.
    pub fn note_setup(&self, setup: Setup) {
        let mut noted = self.setup();
        let before = noted.take();
        let asked = setup.asked.or_else(|| before.as_ref()?.asked.clone());
        let effective = setup.effective.or_else(|| before.as_ref()?.effective.clone());
        *noted = Some(Arc::new(Setup { asked, effective }));
    }

    fn setup(&self) -> MutexGuard<'_, Option<Arc<Setup>>> {
        self.shared.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self, info: SessionInfo) -> LiveSession {
        LiveSession {
            info,
            model: self.shared.model.get().cloned(),
            setup: self.setup().clone(),
            bytes_in: self.shared.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.shared.bytes_out.load(Ordering::Relaxed),
            is_ending: self.is_asked(),
        }
    }

    /// Whether the session was asked to end; one atomic read.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Acquire)
    }

    /// What the session was asked to end with, or the current task is woken once it is. One task at a time.
    pub fn poll_asked(&self, cx: &Context<'_>) -> Poll<Refusal> {
        let mut slot = self.slot();
        if let Some(refusal) = &slot.refusal {
            return Poll::Ready(refusal.clone());
        }
        if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            slot.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the session is asked to end.
    pub async fn asked(&self) -> Refusal {
        poll_fn(|cx| self.poll_asked(cx)).await
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keymoat_core::record::RecordId;

    use super::*;

    fn info(key_id: &str) -> SessionInfo {
        let mut record = Record::begin(UnixMillis(0), IpAddr::from([127, 0, 0, 1]), Protocol::WebSocket);
        record.id = RecordId::new(UnixMillis(0), u128::from(key_id.len() as u64));
        (record.key_id, record.route) = (Some(key_id.into()), Some("voice".into()));
        SessionInfo::of(&record, UnixMillis(0))
    }

    fn revoked() -> Refusal {
        Refusal::new(Code::CredentialRevoked, "the key was revoked")
    }

    #[test]
    fn a_session_is_live_until_its_guard_is_dropped() {
        let sessions = Sessions::new(10);
        let one = sessions.insert(info("a")).expect("room");
        let two = sessions.insert(info("a")).expect("room");
        assert_ne!(one.id(), two.id());
        assert_eq!(sessions.count(), 2);
        drop(one);
        assert_eq!(sessions.count(), 1);
        drop(two);
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn a_full_registry_refuses() {
        let sessions = Sessions::new(1);
        let guard = sessions.insert(info("a")).expect("room");
        assert_eq!(sessions.insert(info("b")).expect_err("no room").code, Code::Unavailable);
        drop(guard);
        assert!(sessions.insert(info("b")).is_ok());
    }

    #[test]
    fn only_the_sessions_of_the_revoked_key_are_asked_to_end() {
        let sessions = Sessions::new(10);
        let of_a = sessions.insert(info("a")).expect("room");
        let of_b = sessions.insert(info("b")).expect("room");
        let asked = sessions.end_where(|_, info| info.key_id.as_deref() == Some("a"), &revoked());
        assert_eq!(asked, 1);
        assert!(of_a.control().is_asked());
        assert!(!of_b.control().is_asked());
    }

    #[test]
    fn a_token_s_sessions_make_room_for_its_newest_one() {
        let sessions = Sessions::new(10);
        let of = |token_id: &str| sessions.insert(SessionInfo { token_id: Some(token_id.into()), ..info("a") });
        let other = of("tok_other").expect("room");
        other.take_the_place_of_older(2, &revoked());
        let waiting = of("tok_a").expect("room");
        let granted: Vec<SessionGuard> = (0..4).map(|_| of("tok_a").expect("room")).collect();
        for session in &granted {
            session.take_the_place_of_older(2, &revoked());
        }
        let asked: Vec<bool> = granted.iter().map(|session| session.control().is_asked()).collect();
        assert_eq!(asked, [true, true, false, false]);
        assert!(!waiting.control().is_asked() && !other.control().is_asked());
    }

    #[test]
    fn sessions_that_wait_to_be_granted_are_few_for_each_token() {
        let sessions = Sessions::new(100_000);
        let of = |token_id: &str| sessions.insert(SessionInfo { token_id: Some(token_id.into()), ..info("a") });
        let mut waiting: Vec<SessionGuard> = (0..WAITING_MAX).map(|_| of("tok_a").expect("room")).collect();
        assert_eq!(of("tok_a").expect_err("too many").code, Code::Unavailable);
        assert!(of("tok_b").is_ok() && sessions.insert(info("a")).is_ok(), "others have room");
        waiting.pop();
        let granted = of("tok_a").expect("one has gone");
        granted.take_the_place_of_older(usize::MAX, &revoked());
        granted.take_the_place_of_older(usize::MAX, &revoked());
        let last = of("tok_a").expect("one was granted");
        assert!(of("tok_a").is_err());
        drop((granted, waiting, last));
        assert!(sessions.registry.lock().waiting.is_empty());
    }

    #[test]
    fn what_is_live_is_listed_oldest_first_and_ended_by_its_id() {
        let sessions = Sessions::new(10);
        let older = sessions.insert(info("a")).expect("room");
        let newer = sessions.insert(info("bb")).expect("room");
        older.control().note_bytes(10, 20);
        older.control().note_model("models/a");
        let list = sessions.list();
        let ids: Vec<&str> = list.iter().map(|live| &*live.info.id).collect();
        assert_eq!(ids, ["ses_00000000000000000000000001", "ses_00000000000000000000000002"]);
        let first = list.first().expect("two");
        assert_eq!((first.bytes_in, first.bytes_out, first.model.as_deref()), (10, 20, Some("models/a")));
        assert!(sessions.end("ses_00000000000000000000000002", &revoked()));
        assert!(!sessions.end("ses_00000000000000000000000003", &revoked()));
        assert!(newer.control().is_asked() && !older.control().is_asked());
        assert!(sessions.list().last().is_some_and(|live| live.is_ending));
    }

    #[test]
    fn the_first_reason_stands() {
        let control = SessionControl::default();
        control.end(revoked());
        control.end(Refusal::new(Code::Draining, "restart"));
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(control.poll_asked(&cx), Poll::Ready(revoked()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_session_is_woken_from_another_thread() {
        let sessions = Sessions::new(10);
        let guard = sessions.insert(info("a")).expect("room");
        let control = guard.control().clone();
        let waiting = tokio::spawn(async move { control.asked().await });
        tokio::task::yield_now().await;
        std::thread::spawn({
            let sessions = sessions.clone();
            move || sessions.end_where(|_, _| true, &revoked())
        })
        .join()
        .expect("no panic");
        let refusal = tokio::time::timeout(Duration::from_secs(1), waiting).await.expect("woken").expect("no panic");
        assert_eq!(refusal, revoked());
    }
}
