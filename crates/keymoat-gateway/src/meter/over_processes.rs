//! Several processes on one store: together they use what one may.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use keymoat_core::limits::{self, DAY_MILLIS};
use keymoat_core::token::{Calls, TokenLimits, Uses};
use keymoat_core::{Code, Constraint, Key, KeyLimits, Scopes, Token, UnixMillis};
use keymoat_store::{Node, NodeAbout, PlaceAsked, PlaceKind, Placed, SessionId, Store, TokenDesk};
use tokio::task::JoinSet;

use super::of_key::OfKey;
use super::of_token::OfToken;
use super::{Commons, Meters};
use crate::session::SessionControl;

const NOON: UnixMillis = UnixMillis(20_000 * DAY_MILLIS + DAY_MILLIS / 2);

struct Process {
    store: Arc<Store>,
    desk: TokenDesk,
    meters: Meters,
    node: Node,
}

impl Process {
    fn on(dir: &std::path::Path) -> Self {
        let store = Arc::new(Store::open(dir).unwrap());
        let about = NodeAbout {
            name: "test".to_owned(),
            version: "1".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            started_at: NOON,
            closes_after: Duration::from_secs(60),
        };
        let node = store.join(about).unwrap();
        // Longer than a busy machine takes.
        let desk = TokenDesk::start_with(Arc::clone(&store), Duration::from_secs(30)).unwrap();
        let meters = Meters::default();
        meters.share(Arc::new(Commons::new(desk.clone(), &node)));
        Self { store, desk, meters, node }
    }

    fn of(&self, limits: KeyLimits) -> OfKey {
        self.meters.of(&Arc::new(Key { limits, ..Key::new("key_1", "one", UnixMillis(0)) })).unwrap()
    }

    fn of_token(&self, limits: TokenLimits) -> OfToken {
        let token = Token {
            id: "tok_1".into(),
            key_id: "key_1".into(),
            scopes: Scopes::All,
            calls: Calls::Any,
            uses: Uses::Unlimited,
            created_at: NOON,
            start_by: NOON,
            live_until: NOON,
            revoked_at: None,
            origins: Vec::new(),
            limits,
            bytes_used: 0,
            constraint: Constraint::None,
        };
        self.meters.of_token(&Arc::new(token)).unwrap()
    }

    async fn admitted(&self, requests_per_day: u64, times: usize) -> usize {
        let metered = self.of(KeyLimits { requests_per_day: Some(requests_per_day), ..KeyLimits::default() });
        let mut admitted = 0;
        for _ in 0..times {
            admitted += usize::from(admitted_one(&metered).await);
        }
        admitted
    }

    fn give_back(&self, all: bool) {
        let today = limits::day_of(NOON);
        self.store.give_back(&self.meters.unused(today, all), today).unwrap();
    }
}

/// Whether a request is let in. One for which there is no answer comes again.
async fn admitted_one(metered: &OfKey) -> bool {
    loop {
        match metered.take_request(NOON).await {
            Ok(()) => return true,
            Err(refusal) if refusal.code == Code::Unavailable => tokio::task::yield_now().await,
            Err(refusal) => {
                assert_eq!(refusal.code, Code::RateLimited);
                return false;
            }
        }
    }
}

/// What comes of it, as soon as something does.
async fn in_a_moment<T>(mut work: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    for _ in 0..50 {
        let done = work().await;
        if done.is_some() {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

#[tokio::test]
async fn of_300_requests_at_once_over_three_processes_as_many_are_let_in_as_the_day_has() {
    let dir = tempfile::tempdir().unwrap();
    let processes = [0, 1, 2].map(|_| Process::on(dir.path()));
    let mut all = JoinSet::new();
    for turn in 0..300 {
        let metered = processes[turn % 3].of(KeyLimits { requests_per_day: Some(100), ..KeyLimits::default() });
        all.spawn(async move { admitted_one(&metered).await });
    }
    let admitted = all.join_all().await.into_iter().filter(|admitted| *admitted).count();
    // What one of them has in advance at the end is taken by whoever comes there.
    let mut rest = 0;
    for process in &processes {
        rest += process.admitted(100, 100).await;
    }
    assert_eq!(admitted + rest, 100, "{admitted} at once");
}

#[tokio::test]
async fn what_a_process_does_not_use_is_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Process::on(dir.path()), Process::on(dir.path()));
    assert_eq!(one.admitted(1600, 10).await, 10);
    let granted = |process: &Process| process.store.day_use(limits::day_of(NOON)).unwrap()[0].requests;
    assert_eq!(granted(&one), 100, "a sixteenth");
    one.give_back(false);
    assert_eq!(granted(&one), 100, "somebody is using it");
    one.give_back(false);
    assert_eq!(granted(&one), 10);
    assert_eq!(other.admitted(1600, 2000).await, 1590);
    assert_eq!(one.admitted(1600, 5).await, 0);
}

#[tokio::test]
async fn what_was_used_survives_a_restart_and_a_process_that_is_killed_gives_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = Process::on(dir.path());
    assert_eq!(first.admitted(1600, 700).await, 700);
    first.give_back(true);
    drop(first);
    let killed = Process::on(dir.path());
    assert_eq!(killed.admitted(1600, 1).await, 1);
    drop(killed);
    let last = Process::on(dir.path());
    let admitted = last.admitted(1600, 2000).await;
    // A sixteenth of what was left had been taken in advance, and perhaps another one that the first was just asking for.
    assert!((900 - 3 * (900 / 16)..=900 - 900 / 16).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn a_limit_that_is_lowered_is_heeded_at_once_and_one_that_is_raised_too() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::on(dir.path());
    assert_eq!(process.admitted(1600, 5).await, 5);
    assert_eq!(process.admitted(20, 1).await, 0, "more was granted than there is");
    process.give_back(false);
    process.give_back(false);
    // The answer that there is no more stands for a second.
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1001)).await;
    tokio::time::resume();
    assert_eq!(process.admitted(20, 30).await, 15);
    assert_eq!(process.admitted(25, 30).await, 5);
}

#[tokio::test]
async fn bytes_are_granted_before_they_pass_and_never_more_than_the_day_has() {
    let dir = tempfile::tempdir().unwrap();
    let processes = [0, 1].map(|_| Process::on(dir.path()));
    let limits = || KeyLimits { bytes_per_day: Some(100_000), ..KeyLimits::default() };
    let mut all = JoinSet::new();
    for turn in 0..400 {
        let metered = processes[turn % 2].of(limits());
        // The day is the clock's here: what passes is not asked for a time of its own.
        all.spawn(async move { metered.take_bytes(700).done().await.is_ok() });
    }
    let passed = all.join_all().await.into_iter().filter(|passed| *passed).count() * 700;
    assert!(passed <= 100_000 && passed > 100_000 - 2 * (100_000 / 16), "{passed}");
}

#[tokio::test]
async fn places_are_taken_over_all_processes_and_free_when_their_sessions_end() {
    let dir = tempfile::tempdir().unwrap();
    let processes = [0, 1].map(|_| Process::on(dir.path()));
    let limits = || KeyLimits { sessions: Some(2), ..KeyLimits::default() };
    let metered = [0, 1].map(|at| processes[at].of(limits()));
    let control = SessionControl::default();
    let mut all = JoinSet::new();
    for turn in 0..60 {
        let (metered, control) = (metered[turn % 2].clone(), control.clone());
        all.spawn(async move { metered.take_place(&control).await });
    }
    let mut places: Vec<_> = all.join_all().await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(places.len(), 2);
    drop(places.pop());
    // It is free on the other process at once, or after a moment.
    let taken = in_a_moment(async || metered[0].take_place(&control).await.ok()).await;
    assert!(taken.is_some());
    assert_eq!(metered[1].take_place(&control).await.unwrap_err().code, Code::RateLimited);
}

#[tokio::test]
async fn a_token_s_own_sessions_are_counted_over_all_processes() {
    let dir = tempfile::tempdir().unwrap();
    let processes = [0, 1].map(|_| Process::on(dir.path()));
    let limits = || TokenLimits { sessions_max: Some(2), ..TokenLimits::default() };
    let control = SessionControl::default();
    let mut all = JoinSet::new();
    for turn in 0..60 {
        let (metered, control) = (processes[turn % 2].of_token(limits()), control.clone());
        all.spawn(async move { metered.take_place(&control).await });
    }
    let places: Vec<_> = all.join_all().await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(places.len(), 2);
    let refusal = processes[1].of_token(limits()).take_place(&control).await.unwrap_err();
    assert!(refusal.detail.starts_with("this token has 2 sessions"), "{refusal}");
    drop(places);
    let taken = in_a_moment(async || processes[1].of_token(limits()).take_place(&control).await.ok()).await;
    assert!(taken.is_some());
}

#[tokio::test]
async fn a_token_s_bytes_are_granted_before_they_pass_whatever_process_its_sessions_are_on() {
    const PIECE: u64 = 700;
    let dir = tempfile::tempdir().unwrap();
    let processes = [0, 1].map(|_| Process::on(dir.path()));
    let limits = || TokenLimits { total_bytes_max: Some(100_000), ..TokenLimits::default() };
    let mut all = JoinSet::new();
    for turn in 0..400 {
        let metered = processes[turn % 2].of_token(limits());
        all.spawn(async move { metered.take_bytes(PIECE).done().await.is_ok() });
    }
    let passed = all.join_all().await.into_iter().filter(|passed| *passed).count() as u64 * PIECE;
    assert!(passed <= 100_000 && passed > 100_000 - 2 * (100_000 / 16), "{passed}");
    // What they had in advance is another one's, once it is given back, and not one byte more.
    for process in &processes {
        process.give_back(true);
        process.meters.forget_idle_tokens();
    }
    let last = Process::on(dir.path());
    let (mut rest, metered) = (0, last.of_token(limits()));
    while metered.take_bytes(PIECE).done().await.is_ok() {
        rest += PIECE;
    }
    assert_eq!(passed + rest, 100_000 / PIECE * PIECE);
    assert_eq!(metered.take_bytes(100_000 % PIECE).done().await, Ok(()));
    assert_eq!(metered.take_bytes(1).done().await.unwrap_err().code, Code::TokenUsedUp);
    assert_eq!(processes[0].of_token(limits()).take_request(0).await.unwrap_err().code, Code::TokenUsedUp);
}

#[tokio::test]
async fn a_store_that_does_not_answer_lets_nothing_in_and_what_has_a_place_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::on(dir.path());
    let limits =
        KeyLimits { sessions: Some(5), requests_per_day: Some(5), bytes_per_day: Some(5), ..KeyLimits::default() };
    let (metered, control) = (process.of(limits), SessionControl::default());
    let place = metered.take_place(&control).await.unwrap();
    process.desk.clone().stop();
    assert_eq!(metered.take_place(&control).await.unwrap_err().code, Code::Unavailable);
    assert_eq!(metered.take_request(NOON).await.unwrap_err().code, Code::Unavailable);
    assert_eq!(metered.take_bytes(1).done().await.unwrap_err().code, Code::Unavailable);
    let commons = process.meters.commons().unwrap();
    let bound = Duration::from_secs(60);
    crate::node::end_unheard(commons, bound, bound);
    assert!(!control.is_asked());
    crate::node::end_unheard(commons, bound + Duration::from_millis(1), bound);
    assert!(control.is_asked());
    drop(place);
}

#[tokio::test]
async fn a_place_whose_answer_was_lost_is_found_because_no_session_knows_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::on(dir.path());
    let (metered, control) =
        (process.of(KeyLimits { sessions: Some(2), ..KeyLimits::default() }), SessionControl::default());
    let _held = metered.take_place(&control).await.unwrap();
    let lost = SessionId([7; 16]);
    let (node, holder, kind) = (Arc::clone(process.node.id()), "key_1".into(), PlaceKind::AtMost(2));
    let asked = PlaceAsked { session: lost, node, holder, kind };
    assert_eq!(process.desk.take_place(asked).await, Ok(Placed::Taken));
    assert_eq!(metered.take_place(&control).await.unwrap_err().code, Code::RateLimited);
    let commons = process.meters.commons().unwrap();
    let places = process.store.places_of(&process.node).unwrap();
    assert_eq!(places.len(), 2);
    let unknown = commons.unknown(places);
    assert_eq!(unknown, [lost], "and not the one that lives");
    process.store.free_places(&unknown).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(101)).await;
    tokio::time::resume();
    assert!(metered.take_place(&control).await.is_ok());
}
