//! A primary that is killed, and its synchronous standby in its place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keymoat_core::Secret;
use keymoat_emulator::Options;
use keymoat_postgres_stand::{Durability, Postgres, Proxy};
use keymoat_store::{MasterKey, Store};

use super::{Cluster, MASTER_KEY, count, minted, rush, wait_until_it_works};
use crate::crashes::{KEY, REAL_KEY, Told, now, tell};
use crate::harness::{Folder, PATIENCE, request, status, told};

/// Nodes that know both servers, and the network between these.
struct Pair {
    cluster: Cluster,
    standby: Postgres,
    between: Proxy,
    url: String,
}

impl Pair {
    async fn start(nodes: usize) -> Self {
        let emulator = keymoat_emulator::start(Options::new(Secret::from(REAL_KEY))).await.expect("a free port");
        let server = Postgres::start_with(Durability::Full, &["synchronous_standby_names=standby"]);
        let between = Proxy::to(server.port());
        let standby = server.start_standby(between.port());
        let ports = (server.port(), standby.port());
        let url = format!("postgres://keymoat@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable", ports.0, ports.1);
        let mut pair = Self { cluster: Cluster { nodes: Vec::new(), emulator, server }, standby, between, url };
        for _ in 0..nodes {
            let node = pair.cluster.node(&pair.url, "");
            pair.cluster.nodes.push(node);
        }
        pair
    }

    fn store(&self) -> Store {
        let given = MasterKey::Given { text: Secret::from(MASTER_KEY), place: "the test".to_owned() };
        Store::open_database(&Secret::from(&*self.url), std::path::Path::new("/nowhere"), &given).expect("open")
    }
}

fn well_done(folder: &Arc<Folder>, arguments: &[&str]) -> String {
    let (code, output, errors) = told(&folder.run(arguments));
    assert_eq!(code, Some(0), "{arguments:?}: {errors}");
    output.trim().to_owned()
}

fn until_status(address: &str, header: (&str, &str), expected: u16) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let answer = request(address, "GET", "/demo/echo", &[header]);
        if status(&answer) == expected {
            return;
        }
        assert!(Instant::now() < give_up, "no {expected}: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f79_a_failover_in_a_rush_gives_no_use_back_and_forgets_no_revocation() {
    const USES: u32 = 120;
    let mut pair = Pair::start(2).await;
    let (addresses, folder) = (pair.cluster.addresses(), Arc::clone(&pair.cluster.nodes[0].folder));
    let key = well_done(&folder, &["key", "create", "mobile", "--scope", "*"]);
    addresses.iter().for_each(|address| until_status(address, ("X-API-Key", &key), 200));
    let (revoked, revoked_id) = minted(&addresses[1], 1_000);
    let revoked = format!("Bearer {revoked}");
    until_status(&addresses[0], ("Authorization", &revoked), 200);
    let (token, id) = minted(&addresses[0], USES);
    well_done(&folder, &["token", "revoke", &revoked_id]);
    well_done(&folder, &["key", "revoke", "mobile"]);

    pair.cluster.emulator.recorder().clear();
    let rushing = tokio::spawn({
        let (addresses, token) = (addresses.clone(), token.clone());
        async move { rush(&addresses, &token, 300).await }
    });
    let give_up = Instant::now() + PATIENCE;
    while pair.cluster.emulator.recorder().requests().len() < 5 {
        assert!(Instant::now() < give_up, "nobody is let in");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    pair.cluster.server.kill();
    let killed_at = Instant::now();
    pair.standby.promote();
    let counts = rushing.await.expect("no panic");

    // Everybody comes once more: in sum never more than the uses.
    let rest = wait_until_it_works(&pair.cluster, &token).await;
    let recovered_after = killed_at.elapsed();
    let dialled = u32::try_from(pair.cluster.emulator.recorder().requests().len()).expect("few");
    let admitted = count(&counts, Told::Admitted);
    assert!(admitted + rest <= dialled && dialled <= USES, "{counts:?}, {rest} more, {dialled} dialled of {USES}");
    assert!(count(&counts, Told::Unavailable) + count(&counts, Told::Nothing) > 0, "nobody noticed it: {counts:?}");
    let left = pair.store().token(&id, now()).expect("it is kept").uses_left;
    assert_eq!(left, Some(0));
    // On the nodes that were there, and on one that knows only what the new primary knows.
    let fresh = pair.cluster.node(&pair.url, "");
    pair.cluster.nodes.push(fresh);
    for address in pair.cluster.addresses() {
        for header in [("X-API-Key", key.as_str()), ("Authorization", revoked.as_str())] {
            let answer = request(&address, "GET", "/demo/echo", &[header]);
            assert_eq!(status(&answer), 401, "{answer}");
        }
        assert_eq!(status(&request(&address, "GET", "/demo/echo", &[("X-API-Key", KEY)])), 200);
    }
    tell(&format!(
        "failover: {admitted} admitted in the rush, {rest} after it, of {USES}; {} told nothing or 503; {recovered_after:?}",
        count(&counts, Told::Unavailable) + count(&counts, Told::Nothing),
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_standby_is_away_tokens_are_refused_in_time_and_come_back_with_it() {
    let pair = Pair::start(1).await;
    let address = pair.cluster.nodes[0].address();
    let (token, _) = minted(address, 100);
    let by_token = ("Authorization", &*format!("Bearer {token}"));
    until_status(address, by_token, 200);
    pair.between.fall_silent();
    pair.cluster.emulator.recorder().clear();
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let asked = Instant::now();
        let answer = request(address, "GET", "/demo/echo", &[by_token]);
        assert!(status(&answer) == 503 && answer.contains("retry-after"), "{answer}");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(pair.cluster.emulator.recorder().requests().is_empty(), "nobody was let in");
    // The view of the store is read from the primary, which answers.
    assert_eq!(status(&request(address, "GET", "/demo/echo", &[("X-API-Key", KEY)])), 200);
    assert_eq!(status(&request(address, "GET", "/keymoat/readyz", &[])), 200);
    pair.between.speak();
    until_status(address, by_token, 200);
    tell(&format!("without the standby: 503 within {slowest:?}"));
}
