//! The feed and what it is made of: changes are seen, nothing else is, and age is told.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use keymoat_store::{Feed, Watch};

use super::Scenario;
use crate::{NOW, named, secret};

/// Far longer than a change takes, so that only a lost one fails.
const PATIENCE: Duration = Duration::from_secs(20);
const OFTEN: Duration = Duration::from_millis(5);

#[test]
fn a_watch_sees_each_change_once_whoever_made_it() {
    let scenario = Scenario::new();
    let other = scenario.again();
    let mut watch = Watch::default();
    let mut seen = || scenario.store.changed_since(&mut watch).unwrap().map(|change| change.snapshot.keys.len());
    assert_eq!(seen(), Some(0));
    assert_eq!(seen(), None);
    scenario.store.create_key(named("own"), &secret("own"), NOW).unwrap();
    assert_eq!(seen(), Some(1));
    assert_eq!(seen(), None);
    other.create_key(named("other"), &secret("other"), NOW).unwrap();
    assert_eq!(seen(), Some(2));
    assert_eq!(seen(), None);
    other.revoke_key("own", NOW).unwrap();
    assert_eq!(seen(), Some(2));
    other.revoke_key("own", NOW).unwrap();
    assert_eq!(seen(), None, "nothing changed");
}

#[test]
fn the_feed_gives_the_first_snapshot_before_it_returns_and_later_ones_as_they_come() {
    let scenario = Scenario::new();
    scenario.store.create_key(named("a"), &secret("a"), NOW).unwrap();
    let other = scenario.again();
    let (into, snapshots) = mpsc::channel();
    let feed = Feed::start(Arc::new(scenario.store), OFTEN, move |change| into.send(change.snapshot).unwrap()).unwrap();
    let first = snapshots.try_recv().unwrap();
    let digest = first.pepper.digest(secret("a").expose());
    assert_eq!(first.keys[&digest].key.revoked_at, None);

    other.revoke_key("a", NOW).unwrap();
    let second = snapshots.recv_timeout(PATIENCE).unwrap();
    assert_eq!(second.keys[&digest].key.revoked_at, Some(NOW));

    feed.stop();
    assert!(matches!(snapshots.try_recv(), Err(mpsc::TryRecvError::Disconnected)), "the thread has ended");
}

#[test]
fn the_view_stays_young_while_the_feed_runs() {
    let scenario = Scenario::new();
    let feed = Feed::start(Arc::new(scenario.store), OFTEN, drop).unwrap();
    let freshness = feed.freshness();
    let started = Instant::now();
    let give_up = started + PATIENCE;
    let looked_after = |moment: Instant| {
        let now = Instant::now();
        now.checked_sub(freshness.age(now)).is_some_and(|looked| looked > moment)
    };
    while !looked_after(started + 2 * OFTEN) {
        assert!(Instant::now() < give_up, "the feed does not look");
        std::thread::yield_now();
    }
    drop(feed);
    let later = Instant::now() + Duration::from_secs(60);
    assert!(freshness.age(later) >= Duration::from_secs(60), "a feed that ended ages");
}
