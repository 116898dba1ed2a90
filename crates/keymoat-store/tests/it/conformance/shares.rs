//! What nodes share beside uses: places for live sessions and parts of a day, never more together than there are.

use std::sync::Arc;
use std::time::Duration;

use keymoat_store::{
    Beat, Budget, DayUse, DeskError, Node, NodeAbout, NodeState, PartAsked, PlaceAsked, PlaceKind, Placed, Pulse,
    SessionId, Store, TokenDesk,
};
use tokio::task::JoinSet;

use super::Stand;
use crate::NOW;
use crate::stand::{PATIENCE, fresh_session};

const DAY: i64 = 20_000;

/// A gateway on the stand's store.
struct Gateway {
    store: Arc<Store>,
    desk: TokenDesk,
    node: Node,
}

pub(crate) fn about(name: &str) -> NodeAbout {
    NodeAbout {
        name: name.to_owned(),
        version: "1.2.3".to_owned(),
        address: "127.0.0.1:8787".to_owned(),
        started_at: NOW,
        closes_after: Duration::from_secs(60),
    }
}

pub(crate) fn beat() -> Beat {
    Beat { state: NodeState::Ready, change_seen: 0, now: NOW }
}

impl Gateway {
    fn on(stand: &Stand, name: &str) -> Self {
        let store = Arc::new(stand.again());
        let node = store.join(about(name)).unwrap();
        store.beat(&node, beat()).unwrap();
        assert_eq!(store.beat(&node, beat()).unwrap(), Pulse::Steady);
        let desk = TokenDesk::start_with(Arc::clone(&store), PATIENCE).unwrap();
        Self { store, desk, node }
    }

    fn asked(&self, holder: &str, kind: PlaceKind) -> PlaceAsked {
        PlaceAsked { session: fresh_session(), node: Arc::clone(self.node.id()), holder: holder.into(), kind }
    }
}

/// Takes a place at a desk at which others write, too.
async fn take(desk: &TokenDesk, asked: PlaceAsked) -> Option<SessionId> {
    loop {
        match desk.take_place(asked.clone()).await {
            Err(DeskError::Slow) => {}
            placed => return (placed.unwrap() == Placed::Taken).then_some(asked.session),
        }
    }
}

async fn take_part(desk: &TokenDesk, asked: PartAsked) -> u64 {
    loop {
        match desk.take_part(asked.clone()).await {
            Err(DeskError::Slow) => {}
            part => return part.unwrap(),
        }
    }
}

#[tokio::test]
async fn of_60_sessions_at_once_over_three_nodes_as_many_as_the_key_may_have_get_a_place() {
    let stand = Stand::new();
    let gateways = ["a", "b", "c"].map(|name| Gateway::on(&stand, name));
    for round in 0..3 {
        let mut all = JoinSet::new();
        for turn in 0..60 {
            let gateway = &gateways[turn % 3];
            let (desk, asked) = (gateway.desk.clone(), gateway.asked("key_five", PlaceKind::AtMost(5)));
            let other = gateway.asked("key_two", PlaceKind::AtMost(2));
            all.spawn(async move { (take(&desk, asked).await, take(&desk, other).await) });
        }
        let (five, two): (Vec<_>, Vec<_>) = all.join_all().await.into_iter().unzip();
        let places: Vec<SessionId> = five.into_iter().chain(two).flatten().collect();
        assert_eq!(places.len(), 7, "round {round}");
        let held: usize = gateways.iter().map(|gateway| gateway.store.places_of(&gateway.node).unwrap().len()).sum();
        assert_eq!(held, 7);
        let mut freed = JoinSet::new();
        for place in places {
            // One that is freed twice, by whomever, is free once.
            freed.spawn(gateways[0].desk.free_place(place));
            freed.spawn(gateways[1].desk.free_place(place));
        }
        assert!(freed.join_all().await.into_iter().all(|done| done.is_ok()));
    }
}

#[tokio::test]
async fn a_place_that_was_freed_is_another_one_s() {
    let stand = Stand::new();
    let gateways = ["a", "b"].map(|name| Gateway::on(&stand, name));
    let one = PlaceKind::AtMost(1);
    let first = gateways[0].asked("key_a", one);
    assert_eq!(gateways[0].desk.take_place(first.clone()).await, Ok(Placed::Taken));
    assert_eq!(gateways[1].desk.take_place(gateways[1].asked("key_a", one)).await, Ok(Placed::Full));
    assert_eq!(gateways[1].desk.take_place(gateways[1].asked("key_b", one)).await, Ok(Placed::Taken));
    gateways[0].store.free_places(&[first.session, first.session, fresh_session()]).unwrap();
    assert_eq!(gateways[1].desk.take_place(gateways[1].asked("key_a", one)).await, Ok(Placed::Taken));
    assert_eq!(gateways[0].desk.take_place(gateways[0].asked("key_a", one)).await, Ok(Placed::Full));
    // A node that leaves leaves nothing behind.
    gateways[1].store.leave(&gateways[1].node).unwrap();
    assert_eq!(gateways[0].desk.take_place(gateways[0].asked("key_a", one)).await, Ok(Placed::Taken));
    let names: Vec<String> = stand.again().nodes(NOW).unwrap().into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["a"]);
}

#[tokio::test]
async fn of_a_token_s_sessions_the_newest_live_whatever_node_they_are_on() {
    let stand = Stand::new();
    let gateways = ["a", "b"].map(|name| Gateway::on(&stand, name));
    let mut asked = Vec::new();
    for (turn, gateway) in [0, 1, 0].into_iter().map(|at| &gateways[at]).enumerate() {
        let place = gateway.asked("tok_a", PlaceKind::Newest(2));
        assert_eq!(gateway.desk.take_place(place.clone()).await, Ok(Placed::Taken), "{turn}");
        asked.push(place.session);
    }
    let superseded = |gateway: &Gateway| gateway.store.superseded(&gateway.node).unwrap();
    assert_eq!((superseded(&gateways[0]), superseded(&gateways[1])), (vec![asked[0]], vec![]));
    // The places of a limit of its own are counted apart: they end none, and none of these takes one of theirs.
    for _ in 0..2 {
        let counted = gateways[1].asked("tok_a", PlaceKind::AtMost(2));
        assert_eq!(gateways[1].desk.take_place(counted).await, Ok(Placed::Taken));
    }
    let beyond = gateways[0].asked("tok_a", PlaceKind::AtMost(2));
    assert_eq!(gateways[0].desk.take_place(beyond).await, Ok(Placed::Full));
    assert_eq!((superseded(&gateways[0]), superseded(&gateways[1])), (vec![asked[0]], vec![]));
    // Also if the newer one has ended before anybody looked: a provider may refuse it while the older one lives.
    gateways[0].store.free_places(&asked[2..]).unwrap();
    assert_eq!((superseded(&gateways[0]), superseded(&gateways[1])), (vec![asked[0]], vec![]));
    gateways[0].store.free_places(&asked[..1]).unwrap();
    assert_eq!((superseded(&gateways[0]), superseded(&gateways[1])), (vec![], vec![]));
}

fn part(most: u64, least: u64, plenty: u64) -> PartAsked {
    PartAsked { key_id: "key_a".into(), day: DAY, of: Budget::Requests, most, least, plenty }
}

#[tokio::test]
async fn of_300_requests_over_three_nodes_as_many_are_granted_as_the_day_has() {
    let stand = Stand::new();
    let gateways = ["a", "b", "c"].map(|name| Gateway::on(&stand, name));
    let mut all = JoinSet::new();
    for turn in 0..300 {
        let desk = gateways[turn % 3].desk.clone();
        all.spawn(async move { take_part(&desk, part(100, 1, 1)).await });
    }
    assert_eq!(all.join_all().await.into_iter().sum::<u64>(), 100);
}

#[tokio::test]
async fn parts_that_are_taken_in_advance_never_come_to_more_than_the_day_has_and_what_is_given_back_is_there_again() {
    let stand = Stand::new();
    let gateways = ["a", "b", "c"].map(|name| Gateway::on(&stand, name));
    let mut all = JoinSet::new();
    for turn in 0..600 {
        let desk = gateways[turn % 3].desk.clone();
        let asked =
            PartAsked { of: if turn % 2 == 0 { Budget::Requests } else { Budget::Bytes }, ..part(5000, 3, 1000) };
        all.spawn(async move { (asked.of, take_part(&desk, asked).await) });
    }
    let (mut requests, mut bytes, mut largest) = (0, 0, 0);
    for (of, part) in all.join_all().await {
        *(if of == Budget::Requests { &mut requests } else { &mut bytes }) += part;
        largest = largest.max(part);
    }
    assert_eq!((requests, bytes, largest), (5000, 5000, 5000 / 16));
    let desk = &gateways[0].desk;
    assert_eq!(desk.take_part(part(5000, 1, 1)).await, Ok(0));
    let unused = DayUse { key_id: "key_a".into(), day: DAY, requests: 40, bytes: 7 };
    gateways[1].store.give_back(&[unused], DAY).unwrap();
    assert_eq!(desk.take_part(part(5000, 100, 1)).await, Ok(40));
    assert_eq!(desk.take_part(PartAsked { of: Budget::Bytes, ..part(5000, 1, 1) }).await, Ok(1));
    // Another key and another day have theirs.
    assert_eq!(desk.take_part(PartAsked { day: DAY + 1, ..part(5000, 1, 1) }).await, Ok(1));
    assert_eq!(desk.take_part(PartAsked { key_id: "key_b".into(), ..part(5000, 1, 1) }).await, Ok(1));
    // A limit that was lowered grants nothing, and takes nothing back.
    assert_eq!(desk.take_part(part(10, 1, 1)).await, Ok(0));
    // What is older than two days is forgotten.
    gateways[1].store.give_back(&[], DAY + 3).unwrap();
    assert_eq!(gateways[1].store.day_use(DAY).unwrap(), []);
}

#[tokio::test]
async fn what_several_nodes_take_of_a_day_comes_together_and_is_forgotten() {
    let stand = Stand::new();
    let gateways = ["a", "b"].map(|name| Gateway::on(&stand, name));
    let of = |day, requests, bytes| DayUse { key_id: "key_a".into(), day, requests, bytes };
    for (at, DayUse { day, requests, bytes, .. }) in [(0, of(10, 5, 100)), (1, of(10, 1, 1)), (1, of(9, 7, 7))] {
        for (of, least) in [(Budget::Requests, requests), (Budget::Bytes, bytes)] {
            let taken = take_part(&gateways[at].desk, PartAsked { of, day, ..part(5000, least, 1) }).await;
            assert_eq!(taken, least);
        }
        if (at, day) == (0, 10) {
            assert_eq!(gateways[at].store.day_use(10).unwrap(), [of(10, 5, 100)]);
        }
    }
    for gateway in &gateways {
        assert_eq!(gateway.store.day_use(10).unwrap(), [of(10, 6, 101)]);
    }
    assert_eq!(gateways[0].store.day_use(9).unwrap(), [of(9, 7, 7)]);
    gateways[0].store.give_back(&[], 12).unwrap();
    let left = [9, 10].map(|day| gateways[1].store.day_use(day).unwrap().len());
    assert_eq!(left, [0, 1]);
}

#[test]
fn nodes_are_told_with_what_they_say_of_themselves() {
    let stand = Stand::new();
    let (one, other) = (Gateway::on(&stand, "one"), Gateway::on(&stand, "other"));
    other.store.beat(&other.node, Beat { state: NodeState::Draining, ..beat() }).unwrap();
    let nodes = one.store.nodes(NOW).unwrap();
    let told: Vec<_> = nodes.iter().map(|node| (&*node.name, &*node.version, &*node.address, node.state)).collect();
    let address = "127.0.0.1:8787";
    assert_eq!(told, [("one", "1.2.3", address, NodeState::Ready), ("other", "1.2.3", address, NodeState::Draining)]);
    assert!(nodes.iter().all(|node| node.started_at == NOW && node.seen_at == NOW && node.unseen_millis == 0));
    assert!(nodes.iter().all(|node| node.id.starts_with("node_")) && nodes[0].id != nodes[1].id);
}
