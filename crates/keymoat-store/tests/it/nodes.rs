//! What becomes of what a node holds when it is gone: on PostgreSQL when it was not seen for longer than its own bound, on
//! the embedded store when its process has ended.

use std::sync::Arc;

use keymoat_core::UnixMillis;
use keymoat_store::{Beat, FORGOTTEN_AFTER, FREED_GRACE, Node, PlaceAsked, PlaceKind, Placed, Pulse, Store, TokenDesk};

use crate::on_postgres::{Stand, conformance::shares};
use crate::stand::{PATIENCE, fresh_session};
use crate::{NOW, stand};

const CLOSES_AFTER: i64 = 60_000;

fn asked(node: &Node) -> PlaceAsked {
    let (session, kind) = (fresh_session(), PlaceKind::AtMost(2));
    PlaceAsked { session, node: Arc::clone(node.id()), holder: "key_a".into(), kind }
}

fn beat(store: &Store, node: &Node) -> Pulse {
    store.beat(node, shares::beat()).unwrap()
}

#[tokio::test]
async fn the_places_of_a_node_that_is_gone_are_free_after_its_own_bound_and_not_before() {
    let stand = Stand::new();
    let (gone, lives) =
        (stand.store.join(shares::about("gone")).unwrap(), stand.store.join(shares::about("lives")).unwrap());
    for node in [&gone, &lives] {
        assert_eq!(beat(&stand.store, node), Pulse::Lapsed, "nobody knows it yet");
        assert_eq!(beat(&stand.store, node), Pulse::Steady);
    }
    let held = asked(&gone);
    assert_eq!(stand.desk.take_place(held.clone()).await, Ok(Placed::Taken));
    assert_eq!(stand.desk.take_place(asked(&lives)).await, Ok(Placed::Taken));
    let grace = i64::try_from(FREED_GRACE.as_millis()).unwrap();
    // The bound itself, and all of what a node may be late by.
    for millis in [CLOSES_AFTER, CLOSES_AFTER + 1, CLOSES_AFTER + grace] {
        stand.at(NOW.plus_millis(millis));
        beat(&stand.store, &lives);
        assert_eq!(stand.desk.take_place(asked(&lives)).await, Ok(Placed::Full), "{millis}");
        // Nothing new is granted to it meanwhile, although its places are still its own.
        assert_eq!(stand.desk.take_place(asked(&gone)).await, Ok(Placed::NodeLapsed), "{millis}");
    }
    stand.at(NOW.plus_millis(CLOSES_AFTER + grace + 1));
    beat(&stand.store, &lives);
    assert_eq!(stand.desk.take_place(asked(&lives)).await, Ok(Placed::Taken));
    assert_eq!(stand.desk.take_place(asked(&lives)).await, Ok(Placed::Full));
    // It comes back, is told, and has nothing any more; what it frees late is free already.
    assert_eq!(beat(&stand.store, &gone), Pulse::Lapsed);
    assert_eq!(beat(&stand.store, &gone), Pulse::Steady);
    assert_eq!(stand.store.places_of(&gone).unwrap(), []);
    stand.store.free_places(&[held.session]).unwrap();
    assert_eq!(stand.desk.take_place(asked(&gone)).await, Ok(Placed::Full));
    let count = stand.dir.server.sql("SELECT taken FROM keymoat.holder WHERE id = 'key_a'");
    assert_eq!(count.trim(), "2");
}

#[tokio::test]
async fn a_node_is_seen_with_its_age_its_clock_and_how_far_behind_it_is() {
    let stand = Stand::new();
    let node = stand.store.join(shares::about("one")).unwrap();
    let changes: i64 = stand.dir.server.sql("SELECT seq FROM keymoat.change").trim().parse().unwrap();
    let now = UnixMillis(NOW.0 + 1500);
    stand.store.beat(&node, Beat { change_seen: changes, now, ..shares::beat() }).unwrap();
    stand.store.create_key(crate::named("later"), &crate::secret("later"), NOW).unwrap();
    stand.at(NOW.plus_millis(7000));
    let seen = stand.store.nodes(NOW).unwrap().remove(0);
    assert_eq!((seen.seen_at, seen.unseen_millis, seen.changes_behind), (NOW, 7000, 1));
    assert_eq!(seen.clock_ahead_millis, 1500);
    // One that is gone for long is shown no more, and its row goes, too.
    let long = i64::try_from(FORGOTTEN_AFTER.as_millis()).unwrap();
    stand.at(NOW.plus_millis(long + 1));
    assert_eq!(stand.store.nodes(NOW).unwrap(), []);
    let other = stand.store.join(shares::about("other")).unwrap();
    for _ in 0..3 {
        beat(&stand.store, &other);
    }
    assert_eq!(stand.dir.server.sql("SELECT name FROM keymoat.node").trim(), "other");
}

#[tokio::test]
async fn on_the_embedded_store_places_are_free_as_soon_as_their_process_has_ended() {
    let stand = stand::Stand::new();
    let (gone, lives) =
        (stand.store.join(shares::about("gone")).unwrap(), stand.store.join(shares::about("lives")).unwrap());
    let other = TokenDesk::start_with(Arc::new(stand.again()), PATIENCE).unwrap();
    for _ in 0..2 {
        assert_eq!(stand.desk.take_place(asked(&gone)).await, Ok(Placed::Taken));
    }
    assert_eq!(other.take_place(asked(&lives)).await, Ok(Placed::Full));
    assert_eq!(stand.store.nodes(NOW).unwrap().len(), 2);
    // As when it is killed: the kernel takes the lock back, and nothing is written.
    drop(gone);
    assert_eq!(stand.store.nodes(NOW).unwrap().len(), 1);
    assert_eq!(other.take_place(asked(&lives)).await, Ok(Placed::Taken));
    let files = crate::files(&stand.dir.path().join("store"));
    let locks = files.iter().filter(|(name, _)| name.ends_with(".lock")).count();
    assert_eq!(locks, 1, "the file of the one that lives");
}
