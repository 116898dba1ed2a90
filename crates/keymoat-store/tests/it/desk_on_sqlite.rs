//! The desk over SQLite: its file is locked, moved away and copied back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keymoat_core::token::Uses;
use keymoat_store::desk::WAIT;
use keymoat_store::{Denial, DeskError, TokenDesk, Verdict};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::NOW;
use crate::stand::{LIVE_MILLIS, PATIENCE, START_MILLIS, Stand, claim, claim_at, made, order};

const GRANTED: Verdict = Verdict::Granted { resumed: false };

fn no(denial: Denial) -> Verdict {
    Verdict::Denied(denial)
}

#[tokio::test]
async fn f78_a_store_that_does_not_answer_is_waited_for_no_longer_than_said_and_nothing_is_granted_later() {
    let stand = Stand::impatient();
    let (token, digest) = stand.minted(Uses::AtMost(100));
    let other = Connection::open(stand.dir.path().join("store/keymoat.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let desk = stand.desk.clone();
        all.spawn(async move { desk.claim(claim(digest)).await });
    }
    let answers = all.join_all().await;
    assert!(answers.iter().all(|answer| *answer == Err(DeskError::Slow)), "{answers:?}");
    assert!(began.elapsed() < WAIT + Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(stand.desk.find(digest).await.unwrap().is_some(), "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    // The desk goes on by itself, and what nobody waited for was not done.
    let mut later = 1;
    while stand.desk.claim(claim(digest)).await != Ok(GRANTED) {
        later += 1;
    }
    let consumed = 100 - stand.uses_left(&token).unwrap();
    assert!((1..=later).contains(&consumed), "{consumed} of {later}");
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_at_once() {
    let stand = Stand::impatient();
    let (_, digest) = stand.minted(Uses::Unlimited);
    let other = Connection::open(stand.dir.path().join("store/keymoat.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut all = JoinSet::new();
    for _ in 0..keymoat_store::desk::QUEUE_MAX + 200 {
        let desk = stand.desk.clone();
        all.spawn(async move { desk.claim(claim(digest)).await });
    }
    let answers = all.join_all().await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(DeskError::Slow | DeskError::Full))));
    assert!(answers.contains(&Err(DeskError::Full)));
    other.execute_batch("ROLLBACK").unwrap();
}

#[tokio::test]
async fn f74_a_store_that_goes_away_closes_the_desk_and_one_that_comes_back_opens_it() {
    let stand = Stand::new();
    let (_, digest) = stand.minted(Uses::Unlimited);
    let (file, moved) = (stand.dir.path().join("store/keymoat.db"), stand.dir.path().join("moved.db"));
    for _ in 0..3 {
        assert_eq!(stand.desk.claim(claim(digest)).await, Ok(GRANTED));
        std::fs::rename(&file, &moved).unwrap();
        assert_eq!(stand.desk.claim(claim(digest)).await, Err(DeskError::Broken));
        assert_eq!(stand.desk.claim(claim(digest)).await, Err(DeskError::Broken));
        std::fs::rename(&moved, &file).unwrap();
        let give_up = Instant::now() + Duration::from_secs(20);
        while stand.desk.claim(claim(digest)).await != Ok(GRANTED) {
            assert!(Instant::now() < give_up, "it does not come back");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten_and_nothing_else() {
    let stand = Stand::new();
    let file = stand.dir.path().join("store/keymoat.db");
    let count = |table: &str| -> i64 {
        let connection = Connection::open(&file).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let (old, digest) = stand.minted(Uses::AtMost(9));
    stand.desk.note_handle(Arc::clone(&old.id), stand.handle("a"), NOW).await.unwrap();
    stand.desk.claim(claim(digest)).await.unwrap();
    let long_after = NOW.plus_millis(LIVE_MILLIS + 3 * 3_600_000);
    let mut young = order(stand.new_token(Uses::AtMost(9)));
    young.now = long_after;
    young.token.start_by = long_after.plus_millis(START_MILLIS);
    young.token.live_until = long_after.plus_millis(LIVE_MILLIS);
    let young = made(stand.desk.mint(young).await.unwrap());
    stand.desk.claim(claim_at(stand.digest(&young.secret), long_after)).await.unwrap();
    assert_eq!((count("token"), count("token_session"), count("token_handle")), (2, 2, 1));
    let mut more = true;
    while more {
        more = stand.store.forget_tokens(long_after).unwrap();
    }
    assert_eq!((count("token"), count("token_terms")), (1, 1));
    assert_eq!((count("token_session"), count("token_handle")), (1, 0));
    assert_eq!(stand.store.tokens(None, NOW).unwrap()[0].token.id, young.token.id);
}

#[tokio::test]
async fn f79_a_restored_backup_gives_no_use_back() {
    let stand = Stand::new();
    let (token, digest) = stand.minted(Uses::AtMost(1));
    let repeatable =
        || order(keymoat_core::NewToken { idempotency_key: Some("a".into()), ..stand.new_token(Uses::AtMost(1)) });
    made(stand.desk.mint(repeatable()).await.unwrap());
    let backup = stand.dir.path().join("backup");
    stand.store.back_up(&backup, NOW).unwrap();
    assert_eq!(stand.desk.claim(claim(digest)).await, Ok(GRANTED), "the store itself goes on");

    std::fs::copy(stand.dir.path().join("store/master.key"), backup.join("master.key")).unwrap();
    let restored = Arc::new(keymoat_store::Store::open(&backup).unwrap());
    let desk = TokenDesk::start_with(Arc::clone(&restored), PATIENCE).unwrap();
    assert_eq!(desk.claim(claim(digest)).await, Ok(no(Denial::Revoked)));
    assert_eq!(restored.token(&token.id, NOW).unwrap().denial, Some(Denial::Revoked));
    made(desk.mint(repeatable()).await.unwrap());
    assert_eq!(restored.keys().unwrap().len(), 1, "keys are as they were");
}

/// `cargo test --release -p keymoat-store -- --ignored --nocapture measures`
#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "it is what was asked for")]
async fn measures_claims_in_groups() {
    const CLIENTS: u32 = 200;
    const CLAIMS: u32 = 100;
    let stand = Stand::new();
    let (_, digest) = stand.minted(Uses::AtMost(CLIENTS * CLAIMS));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let desk = stand.desk.clone();
        clients.spawn(async move {
            for _ in 0..CLAIMS {
                assert_eq!(desk.claim(claim(digest)).await, Ok(GRANTED));
            }
        });
    }
    clients.join_all().await;
    let each_second = f64::from(CLIENTS * CLAIMS) / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for _ in 0..1000 {
        stand.desk.find(digest).await.unwrap();
    }
    let find = began.elapsed() / 1000;
    eprintln!("{each_second:.0} claims a second from {CLIENTS} clients; a find takes {find:?}");
}
