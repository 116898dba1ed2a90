//! A standby that every commit waits for: without it nothing is granted, and nobody and nothing waits for ever.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keymoat_core::Digest;
use keymoat_core::token::Uses;
use keymoat_postgres_stand::{Durability, Postgres, Proxy};
use keymoat_store::DeskError;
use keymoat_store::desk::WAIT;
use tokio::task::JoinSet;

use super::{GRANTED, desk_at, until};
use crate::stand::{PATIENCE, claim, made, new_token, order};
use crate::{NOW, named, secret};

/// How long the standby is away.
const AWAY: Duration = Duration::from_secs(5);

/// What waits for the standby on the primary.
const WAITING: &str = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// A primary, its standby, and the network in between. Nothing can be committed before there is a standby.
struct Pair {
    standby: Postgres,
    between: Proxy,
    primary: Postgres,
}

impl Pair {
    fn start() -> Self {
        let primary = Postgres::start_with(Durability::Full, &["synchronous_standby_names=standby"]);
        let between = Proxy::to(primary.port());
        let standby = primary.start_standby(between.port());
        Self { standby, between, primary }
    }

    fn ask(&self, what: &str) -> u32 {
        self.primary.sql(&format!("SELECT count(*) {what}")).parse().unwrap()
    }
}

#[tokio::test]
async fn a_commit_whose_wait_for_the_standby_was_cancelled_is_denied_and_its_use_is_gone() {
    let mut pair = Pair::start();
    let (store, desk, token, digest) = desk_at(&pair.primary.url(), PATIENCE);
    assert_eq!(desk.claim(claim(digest)).await, Ok(GRANTED));
    pair.standby.stop();
    let waiting = tokio::spawn({
        let desk = desk.clone();
        async move { desk.claim(claim(digest)).await }
    });
    while pair.ask(WAITING) != 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.token(&token.id, NOW).unwrap().uses_left, Some(99_999), "nobody sees it yet");
    pair.primary.sql(&format!("SELECT pg_cancel_backend(pid) {WAITING}"));
    assert_eq!(waiting.await.unwrap(), Err(DeskError::Broken));
    assert_eq!(store.token(&token.id, NOW).unwrap().uses_left, Some(99_998), "it is committed on the primary alone");
    pair.standby.restart();
    assert_eq!(desk.claim(claim(digest)).await, Ok(GRANTED));
    assert_eq!(pair.standby.sql("SELECT count(*) FROM keymoat.token_session"), "3");
}

#[test]
fn a_revocation_whose_wait_for_the_standby_was_cancelled_is_not_acknowledged() {
    let mut pair = Pair::start();
    let (store, ..) = desk_at(&pair.primary.url(), PATIENCE);
    store.create_key(named("a"), &secret("a"), NOW).unwrap();
    pair.standby.stop();
    let revoking = std::thread::spawn({
        let store = Arc::clone(&store);
        move || store.revoke_key("a", NOW).map(drop)
    });
    until("it waits for the standby", || pair.ask(WAITING) == 1);
    pair.primary.sql(&format!("SELECT pg_cancel_backend(pid) {WAITING}"));
    let outcome = revoking.join().unwrap();
    assert!(outcome.is_err(), "a failover would forget it");
    // Repeated, it waits again; with the standby it is done.
    pair.standby.restart();
    until("it is revoked", || store.revoke_key("a", NOW).is_ok());
}

#[tokio::test]
async fn while_the_standby_is_away_nothing_is_granted_reading_goes_on_and_no_connections_pile_up() {
    let pair = Pair::start();
    let (store, desk, token, digest) = desk_at(&pair.primary.url(), WAIT);
    store.create_key(named("a"), &secret("a"), NOW).unwrap();
    let mut granted = 0;
    while granted < 5 {
        granted += u32::from(desk.claim(claim(digest)).await == Ok(GRANTED));
    }
    // Each claim is for another token: those of one would wait for its lock, and not for the standby.
    let mut minting = JoinSet::new();
    for _ in 0..300 {
        let (desk, order) = (desk.clone(), order(new_token("file_a", Uses::AtMost(1))));
        minting.spawn(async move { made(desk.mint(order).await.unwrap()).secret });
    }
    let secrets = minting.join_all().await;
    let digests: Vec<Digest> = secrets.iter().map(|secret| store.pepper().digest(secret.expose())).collect();
    let others = Arc::new(Mutex::new(digests));
    pair.between.fall_silent();
    let (began, mut most) = (Instant::now(), 0);
    let mut clients = JoinSet::new();
    for _ in 0..12 {
        let (desk, others) = (desk.clone(), Arc::clone(&others));
        clients.spawn(async move {
            let mut refused = 0_u32;
            while began.elapsed() < AWAY {
                let asked = Instant::now();
                let other = others.lock().unwrap().pop().unwrap_or(digest);
                let outcome = desk.claim(claim(other)).await;
                assert!(matches!(outcome, Err(DeskError::Slow | DeskError::Broken)), "{outcome:?}");
                assert!(asked.elapsed() < WAIT + Duration::from_secs(1), "{:?}", asked.elapsed());
                refused += 1;
            }
            refused
        });
    }
    while began.elapsed() < AWAY {
        most = most.max(pair.ask(WAITING));
        assert_eq!(desk.find(digest).await.unwrap().unwrap().id, token.id);
        assert_eq!(store.keys().unwrap().len(), 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused: u32 = clients.join_all().await.into_iter().sum();
    // Four that write, and as many that are just being given up.
    assert!((1..=8).contains(&most), "{most} wait in the database");
    pair.between.speak();
    let give_up = Instant::now() + PATIENCE;
    while desk.claim(claim(digest)).await != Ok(GRANTED) {
        assert!(Instant::now() < give_up, "it does not come back");
    }
    granted += 1;
    let consumed = 100_000 - store.token(&token.id, NOW).unwrap().uses_left.unwrap();
    assert!(granted <= consumed && consumed <= granted + refused, "{granted} {consumed} {refused}");
    until("nothing waits any more", || pair.ask(WAITING) == 0);
}
