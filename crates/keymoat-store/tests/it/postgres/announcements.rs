//! Announcements of changes that are lost, late or doubled, and connections that are cut: the feed sees every change.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use keymoat_postgres_stand::Proxy;
use keymoat_store::{Feed, StoreError};

use super::until;
use crate::on_postgres::Scenario;
use crate::stand::PATIENCE;
use crate::{NOW, named, secret};

/// A feed by way of `port` that tells how many keys each snapshot has.
fn feed(scenario: &Scenario, port: u16, every: Duration) -> Result<(Feed, mpsc::Receiver<usize>), StoreError> {
    let store = Arc::new(scenario.dir.open_at(&scenario.dir.server.url_at(port)));
    let (into, changes) = mpsc::channel();
    let feed = Feed::start(store, every, move |change| {
        // The test may have ended.
        let _ = into.send(change.snapshot.keys.len());
    })?;
    Ok((feed, changes))
}

fn listening(scenario: &Scenario) -> usize {
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN keymoat_change' OR query = ''";
    scenario.dir.server.sql(listening).parse().unwrap()
}

#[test]
fn f84_announcements_that_come_late_or_all_at_once_lead_to_the_last_change_and_never_back() {
    let scenario = Scenario::new();
    let network = Proxy::to(scenario.dir.server.port());
    // Nobody looks but at an announcement.
    let (_feed, changes) = feed(&scenario, network.port(), Duration::from_secs(3600)).unwrap();
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(0));
    until("both listen", || listening(&scenario) >= 2);
    let mut seen = 0;
    for round in 1..=3 {
        network.fall_silent();
        for number in 0..5 {
            let name = format!("r{round}n{number}");
            scenario.store.create_key(named(&name), &secret(&name), NOW).unwrap();
        }
        assert!(changes.recv_timeout(Duration::from_millis(200)).is_err(), "nothing comes through");
        network.speak();
        while seen < round * 5 {
            let now = changes.recv_timeout(PATIENCE).expect("what was held back arrives");
            assert!(now > seen, "{now} after {seen}");
            seen = now;
        }
    }
}

#[test]
fn a_feed_whose_connections_are_cut_again_and_again_sees_every_change_and_never_goes_back() {
    const CHANGES: usize = 60;
    let scenario = Scenario::new();
    let network = Proxy::to(scenario.dir.server.port());
    let (_feed, changes) = feed(&scenario, network.port(), Duration::from_millis(100)).unwrap();
    assert_eq!(changes.recv_timeout(PATIENCE), Ok(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..CHANGES {
                let name = format!("n{number}");
                scenario.store.create_key(named(&name), &secret(&name), NOW).unwrap();
                if number % 4 == 0 {
                    network.break_all();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            // The last change is one that nobody hears of.
            network.break_all();
        });
        let mut seen = 0;
        while seen < CHANGES {
            let now = changes.recv_timeout(PATIENCE).expect("the feed goes on");
            assert!(now > seen, "{now} after {seen}");
            seen = now;
        }
    });
}
