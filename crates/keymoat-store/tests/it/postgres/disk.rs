//! Disks of PostgreSQL that are really full: no grant without room, and no harm.

use std::time::Instant;

use keymoat_postgres_stand::Postgres;
use keymoat_store::DeskError;
use keymoat_store::desk::WAIT;

use super::{GRANTED, desk_at, until};
use crate::NOW;
use crate::stand::{PATIENCE, claim};

/// A server with a part of its data on a disk of its own; none where that cannot be had, which is told.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn on_small_disk(test: &str, part: &str, size: &str) -> Option<Postgres> {
    let server = Postgres::start_on_small_disk(part, size);
    if server.is_none() {
        eprintln!("SKIPPED {test}: a small file system cannot be mounted here (it takes root and `unshare`)");
    }
    server
}

#[tokio::test]
async fn f75_on_a_full_disk_of_the_tables_tokens_are_refused_and_reading_goes_on() {
    let Some(mut server) = on_small_disk("f75", "base", "48m") else { return };
    let (store, desk, token, digest) = desk_at(&server.url(), PATIENCE);
    assert_eq!(desk.claim(claim(digest)).await, Ok(GRANTED));
    server.fill_disk();
    let give_up = Instant::now() + PATIENCE;
    // There is some room in the files that are there already.
    let mut refused = 0;
    while refused < 20 {
        assert!(Instant::now() < give_up, "the disk does not become full");
        refused = if desk.claim(claim(digest)).await == Err(DeskError::Broken) { refused + 1 } else { 0 };
    }
    let left = store.token(&token.id, NOW).unwrap().uses_left;
    for _ in 0..20 {
        assert_eq!(desk.claim(claim(digest)).await, Err(DeskError::Broken));
        assert_eq!(desk.find(digest).await.unwrap().unwrap().id, token.id);
        assert!(store.keys().unwrap().is_empty());
    }
    assert_eq!(store.token(&token.id, NOW).unwrap().uses_left, left);
    assert!(server.log().contains("No space left on device"), "{}", server.log());
    server.make_room();
    assert_eq!(desk.claim(claim(digest)).await, Ok(GRANTED));
    assert_eq!(store.token(&token.id, NOW).unwrap().uses_left, left.map(|left| left - 1));
}

#[tokio::test]
async fn f75_on_a_full_disk_of_the_log_nothing_is_granted_that_is_not_kept() {
    let Some(mut server) = on_small_disk("f75", "pg_wal", "24m") else { return };
    let (store, desk, token, digest) = desk_at(&server.url(), WAIT);
    let (mut granted, mut unknown, mut refused) = (0, 0, 0);
    server.fill_disk();
    let give_up = Instant::now() + PATIENCE;
    while refused < 5 {
        assert!(Instant::now() < give_up, "the disk does not become full");
        // On to the next file of the log, for which there is no room.
        let mut switching = server.begin_sql("SELECT pg_switch_wal()");
        if desk.claim(claim(digest)).await == Ok(GRANTED) {
            (granted, refused) = (granted + 1, 0);
        } else {
            (unknown, refused) = (unknown + 1, refused + 1);
        }
        switching.wait().unwrap();
    }
    assert!(server.log().contains("No space left on device"), "{}", server.log());
    server.make_room();
    // PostgreSQL gives itself up when it cannot write its log. Whether it has started itself again or not: once more.
    server.kill();
    server.restart();
    until("the store answers", || store.keys().is_ok());
    let give_up = Instant::now() + PATIENCE;
    while desk.claim(claim(digest)).await != Ok(GRANTED) {
        assert!(Instant::now() < give_up, "the desk does not come back");
        unknown += 1;
    }
    granted += 1;
    let consumed = 100_000 - store.token(&token.id, NOW).unwrap().uses_left.unwrap();
    assert!(granted <= consumed && consumed <= granted + unknown, "{granted} {consumed} {unknown}");
}
