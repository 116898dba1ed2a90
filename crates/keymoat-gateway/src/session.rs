//! Live sessions: who they are, and how each can be asked to end.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use keymoat_core::{Code, Refusal, UnixMillis};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// So many sessions of one token may wait to be granted: a token costs nothing until then, not even one that is used up.
pub const WAITING_MAX: u32 = 256;

/// What is known of a live session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The key that it was opened with, or that minted the token that it was opened with.
    pub key_id: Option<Arc<str>>,
    /// The token that it was opened with.
    pub token_id: Option<Arc<str>>,
    /// The route that it came by.
    pub route: Arc<str>,
    /// When it was opened.
    pub opened_at: UnixMillis,
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
        Ok(SessionGuard { id, control, registry: Arc::clone(&self.registry), timer: None })
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

    use super::*;

    fn info(key_id: &str) -> SessionInfo {
        let key_id = Some(key_id.into());
        SessionInfo { key_id, token_id: None, route: "voice".into(), opened_at: UnixMillis(0) }
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
