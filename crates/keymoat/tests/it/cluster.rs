//! Several nodes over one PostgreSQL: nothing is granted twice, a revocation reaches all, and a node that is cut off
//! refuses.

mod balanced;
mod failover;
mod upgrade;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keymoat_core::Secret;
use keymoat_emulator::{Options, Running};
use keymoat_postgres_stand::{Durability, Postgres, Proxy};
use keymoat_store::{MasterKey, Store};
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::crashes::{KEY, REAL_KEY, Spending, Told, configured_with, now, spend, tell};
use crate::harness::{Folder, Keymoat, PATIENCE, open_websocket, post, request, status, told};

const MASTER_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A database, the APIs behind, and the nodes.
struct Cluster {
    nodes: Vec<Keymoat>,
    emulator: Running,
    server: Postgres,
}

impl Cluster {
    async fn start(count: usize, durability: Durability) -> Self {
        let emulator = keymoat_emulator::start(Options::new(Secret::from(REAL_KEY))).await.expect("a free port");
        let server = Postgres::start_with(durability, &[]);
        let mut cluster = Self { nodes: Vec::new(), emulator, server };
        for _ in 0..count {
            let node = cluster.node(&cluster.server.url(), "");
            cluster.nodes.push(node);
        }
        cluster
    }

    /// One more node, which reaches the database at `url`.
    fn node(&self, url: &str, store: &str) -> Keymoat {
        Keymoat::in_folder(self.folder(url, store), &[], &[])
    }

    fn folder(&self, url: &str, store: &str) -> Arc<Folder> {
        let sections =
            format!("[admin]\nenabled = false\n[store]\nurl = \"{url}\"\nmaster_key = \"./master\"\n{store}");
        let folder = configured_with(&format!("http://{}", self.emulator.address()), &sections);
        folder.write("master", MASTER_KEY);
        folder
    }

    /// The same store, past the nodes.
    fn store(&self) -> Store {
        let given = MasterKey::Given { text: Secret::from(MASTER_KEY), place: "the test".to_owned() };
        Store::open_database(&Secret::from(self.server.url()), std::path::Path::new("/nowhere"), &given).expect("open")
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address().to_owned()).collect()
    }
}

fn minted(address: &str, uses: u32) -> (String, String) {
    minted_by(address, KEY, uses)
}

fn minted_by(address: &str, key: &str, uses: u32) -> (String, String) {
    let mint = || post(address, "/keymoat/v1/tokens", ("X-API-Key", key), &format!("{{\"uses\":{uses}}}"));
    let answer = std::iter::repeat_with(mint).take(20).find(|answer| status(answer) != 503).expect("in time");
    assert_eq!(status(&answer), 200, "{answer}");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON");
    let text = |field: &str| body[field].as_str().expect("a text").to_owned();
    (text("token"), text("id"))
}

/// Spends a token by so many clients at once over all nodes, and counts what they were told.
async fn rush(addresses: &[String], token: &str, clients: usize) -> BTreeMap<Told, u32> {
    rush_by(&[Spending::Http, Spending::DialFirst, Spending::FirstMessage], addresses, token, clients).await
}

async fn rush_by(ways: &[Spending], addresses: &[String], token: &str, clients: usize) -> BTreeMap<Told, u32> {
    let mut all = JoinSet::new();
    for client in 0..clients {
        let (address, token) = (addresses[client % addresses.len()].clone(), token.to_owned());
        let spending = ways[client / addresses.len() % ways.len()];
        all.spawn(async move {
            match timeout(PATIENCE, tokio::net::TcpStream::connect(address)).await.expect("in time") {
                Ok(mut stream) => spend(&mut stream, &token, spending).await,
                Err(_) => Told::Nothing,
            }
        });
    }
    let mut counts = BTreeMap::new();
    for told in all.join_all().await {
        *counts.entry(told).or_default() += 1;
    }
    counts
}

fn count(counts: &BTreeMap<Told, u32>, told: Told) -> u32 {
    counts.get(&told).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_parallel_uses_of_one_use_over_three_nodes_one_is_admitted_100_rounds() {
    const ROUNDS: u32 = 100;
    let cluster = Cluster::start(3, Durability::Process).await;
    let addresses = cluster.addresses();
    let mut exact = 0;
    for round in 0..ROUNDS {
        let (token, _) = minted(&addresses[round as usize % 3], 1);
        cluster.emulator.recorder().clear();
        let counts = rush(&addresses, &token, 200).await;
        let (admitted, unsure) = (count(&counts, Told::Admitted), count(&counts, Told::Unavailable));
        let dialled = cluster.emulator.recorder().requests().len();
        assert!(admitted <= 1 && dialled <= 1, "round {round}: {counts:?}, {dialled} dialled");
        assert!(admitted == 1 || unsure > 0, "round {round}: a use is lost that nobody may have consumed: {counts:?}");
        exact += admitted;
    }
    // On a machine that has too much to do a use may be gone with an answer that came too late.
    assert!(exact >= ROUNDS * 9 / 10, "{exact} of {ROUNDS}");
    tell(&format!("three nodes: {exact} of {ROUNDS} rounds admitted exactly one of 200, none more"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_the_database_killed_in_a_loop_never_grant_more_than_the_uses() {
    const ROUNDS: u32 = 24;
    const USES: u32 = 30;
    let mut cluster = Cluster::start(3, Durability::Full).await;
    let (mut interrupted, mut burnt) = (0, 0);
    for round in 0..ROUNDS {
        let (token, id) = minted(cluster.nodes[0].address(), USES);
        cluster.emulator.recorder().clear();
        let addresses = cluster.addresses();
        let rushing = tokio::spawn({
            let (addresses, token) = (addresses.clone(), token.clone());
            async move { rush(&addresses, &token, 120).await }
        });
        tokio::time::sleep(Duration::from_millis(u64::from(5 + round * 7 % 90))).await;
        let is_database = round % 3 == 0;
        let victim = 1 + round as usize % 2;
        if is_database {
            cluster.server.kill();
            cluster.server.restart();
        } else {
            cluster.nodes[victim].signal(Signal::KILL);
            cluster.nodes[victim].wait();
        }
        let counts = rushing.await.expect("no panic");
        if !is_database {
            cluster.nodes[victim] = cluster.node(&cluster.server.url(), "");
        }
        let (admitted, dialled) = (count(&counts, Told::Admitted), cluster.emulator.recorder().requests().len());
        let left = cluster.store().token(&id, now()).expect("it is kept").uses_left.expect("it is counted");
        let (consumed, dialled) = (USES - left, u32::try_from(dialled).expect("few"));
        assert!(admitted <= dialled, "round {round}: {admitted} admitted, {dialled} dialled");
        assert!(dialled <= consumed, "round {round}: {dialled} dialled, {consumed} consumed");
        // Everybody comes once more: in sum never more than the uses.
        let rest = wait_until_it_works(&cluster, &token).await;
        assert!(consumed + rest <= USES, "round {round}: {consumed} consumed and {rest} more");
        interrupted += u32::from(count(&counts, Told::Nothing) + count(&counts, Told::Unavailable) > 0);
        burnt += consumed - dialled;
    }
    assert!(interrupted > ROUNDS / 4, "only {interrupted} of {ROUNDS} rounds were interrupted");
    tell(&format!("kill -9: {interrupted} of {ROUNDS} rounds interrupted, {burnt} uses burnt, none granted twice"));
}

/// Spends the token to its end on all nodes, and counts how often that still worked.
async fn wait_until_it_works(cluster: &Cluster, token: &str) -> u32 {
    let mut admitted = 0;
    let give_up = Instant::now() + PATIENCE;
    for address in cluster.addresses() {
        loop {
            assert!(Instant::now() < give_up, "a node does not come back");
            let mut stream = tokio::net::TcpStream::connect(&address).await.expect("it listens");
            match spend(&mut stream, token, Spending::Http).await {
                Told::Admitted => admitted += 1,
                Told::UsedUp => break,
                Told::Unavailable | Told::Nothing => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    admitted
}

/// The rest of a WebSocket until its close frame: the code and the reason.
fn close_of(stream: &mut TcpStream) -> (u16, String) {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; usize::from(head[1] & 127)];
        stream.read_exact(&mut payload).expect("a payload");
        if head[0] & 15 == 8 {
            let code = u16::from_be_bytes([payload[0], payload[1]]);
            return (code, String::from_utf8_lossy(&payload[2..]).into_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_on_one_node_closes_the_sockets_on_the_others_and_admits_nobody_within_the_bounds() {
    let cluster = Cluster::start(3, Durability::Process).await;
    let node = &cluster.nodes[0];
    let create = node.folder.run(&["key", "create", "mobile", "--json"]);
    let (code, output, errors) = told(&create);
    assert_eq!(code, Some(0), "{errors}");
    let made: Value = serde_json::from_str(&output).expect("JSON");
    let key = made["secret"].as_str().or_else(|| made["key"].as_str()).expect("the key").to_owned();
    let give_up = Instant::now() + PATIENCE;
    let mut sockets: Vec<TcpStream> = Vec::new();
    for address in cluster.addresses() {
        // It is known on every node once its feed has looked.
        let (head, socket) = loop {
            let (head, socket) = open_websocket(&address, "/demo/ws", &[("X-API-Key", &key)]);
            let works = status(&request(&address, "GET", "/demo/echo", &[("X-API-Key", &key)])) == 200;
            if works {
                let (head, socket) = open_websocket(&address, "/demo/ws", &[("X-API-Key", &key)]);
                break (head, socket);
            }
            assert!(Instant::now() < give_up, "{head}");
            drop(socket);
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        sockets.push(socket);
    }
    let (code, _, errors) = told(&node.folder.run(&["key", "revoke", "mobile"]));
    assert_eq!(code, Some(0), "{errors}");
    let revoked_at = Instant::now();
    for socket in &mut sockets {
        let (code, reason) = close_of(socket);
        assert!(reason.starts_with("credential_revoked"), "{code} {reason}");
    }
    let closed_after = revoked_at.elapsed();
    assert!(closed_after < Duration::from_secs(2), "{closed_after:?}");
    for address in cluster.addresses() {
        assert_eq!(status(&request(&address, "GET", "/demo/echo", &[("X-API-Key", &key)])), 401);
    }
    assert!(revoked_at.elapsed() < Duration::from_secs(3));
    // What happened on one node is seen from every other.
    let events = loop {
        let (code, events, errors) = told(&cluster.nodes[2].folder.run(&["audit", "tail", "--json", "--lines", "500"]));
        assert_eq!(code, Some(0), "{errors}");
        // The ends of the sessions are written down a moment after them.
        if events.matches("credential_revoked").count() >= 3 {
            break events;
        }
        assert!(Instant::now() < give_up, "the sessions of three nodes: {events}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(events.contains("key.revoked"), "{events}");
    assert!(!events.contains(&key[3..40]));
    // Nothing of it is in the database in the clear.
    let dump = cluster.server.dump();
    for canary in [&key[3..], &key[3..40], REAL_KEY, KEY, MASTER_KEY] {
        assert!(!dump.windows(canary.len()).any(|window| window == canary.as_bytes()));
    }
    assert!(String::from_utf8_lossy(&dump).contains("mobile"), "the search finds what is there");
    tell(&format!("a revocation closed a socket on each of three nodes within {closed_after:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_refuses_then_closes_what_can_be_revoked_and_recovers() {
    let mut cluster = Cluster::start(1, Durability::Process).await;
    let proxy = Proxy::to(cluster.server.port());
    let cut = cluster.node(&cluster.server.url_at(proxy.port()), "refuse_after = \"2s\"\nclose_after = \"6s\"\n");
    cluster.nodes.push(cut);
    let (whole, cut) = (cluster.nodes[0].address(), cluster.nodes[1].address());
    let (token, _) = minted(cut, 5);
    let authorization = format!("Bearer {token}");
    let by_token = [("Authorization", authorization.as_str())];
    let (head, mut of_token) = open_websocket(cut, "/demo/ws", &by_token);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (head, mut of_file) = open_websocket(cut, "/demo/ws", &[("X-API-Key", KEY)]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");

    proxy.fall_silent();
    let cut_at = Instant::now();
    // A token needs the store at once; a key of the file is refused once the view is too old.
    let mut answer = String::new();
    while cut_at.elapsed() < PATIENCE {
        answer = request(cut, "GET", "/demo/echo", &[("X-API-Key", KEY)]);
        if status(&answer) == 503 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused_after = cut_at.elapsed();
    assert!(status(&answer) == 503 && answer.contains("retry-after"), "{answer}");
    assert!(refused_after > Duration::from_millis(1200) && refused_after < Duration::from_secs(4), "{refused_after:?}");
    assert_eq!(status(&request(cut, "GET", "/keymoat/readyz", &[])), 503);
    assert_eq!(status(&request(cut, "GET", "/demo/echo", &by_token)), 503);
    assert_eq!(status(&request(whole, "GET", "/demo/echo", &by_token)), 200, "the other node goes on");

    let (code, reason) = close_of(&mut of_token);
    let closed_after = cut_at.elapsed();
    assert!(code == 1013 && reason.contains("revocation"), "{code} {reason}");
    assert!(closed_after > Duration::from_secs(5) && closed_after < Duration::from_secs(9), "{closed_after:?}");
    // What the store cannot revoke goes on.
    of_file.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
    assert!(of_file.read(&mut [0; 1]).is_err(), "it says nothing and is open");

    proxy.speak();
    let spoke_at = Instant::now();
    while status(&request(cut, "GET", "/demo/echo", &by_token)) != 200 {
        assert!(spoke_at.elapsed() < PATIENCE, "it does not recover: {}", cluster.nodes[1].output());
        std::thread::sleep(Duration::from_millis(100));
    }
    tell(&format!(
        "cut off: refused after {refused_after:?}, closed after {closed_after:?}, recovered in {:?}",
        spoke_at.elapsed()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_drops_nothing() {
    let mut cluster = Cluster::start(3, Durability::Process).await;
    // A load balancer that takes a node out first: nobody who still goes there is on the way when it is told to end.
    let backends = Arc::new(std::sync::RwLock::new(cluster.addresses()));
    let (is_over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut clients = JoinSet::new();
    for client in 0..8_usize {
        let (backends, is_over, served) = (Arc::clone(&backends), Arc::clone(&is_over), Arc::clone(&served));
        clients.spawn_blocking(move || {
            for turn in client.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let addresses = backends.read().expect("no panic");
                assert_eq!(ask(&addresses[turn % addresses.len()]), Some(200), "a request was dropped");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for node in 0..3 {
        let before = served.load(Ordering::Relaxed);
        let gone = cluster.nodes[node].address().to_owned();
        let (head, mut session) = open_websocket(&gone, "/demo/ws", &[("X-API-Key", KEY)]);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        backends.write().expect("no panic").retain(|address| *address != gone);
        cluster.nodes[node].signal(Signal::TERM);
        cluster.nodes[node].wait_for_line("draining");
        // A session that is live goes on until its own end.
        session.write_all(b"\x81\x85\0\0\0\0hello").expect("sent");
        let mut echo = [0; 2];
        session.read_exact(&mut echo).expect("an echo");
        assert_eq!(echo[0] & 15, 1);
        drop(session);
        assert!(cluster.nodes[node].wait().success());
        cluster.nodes[node] = cluster.node(&cluster.server.url(), "");
        backends.write().expect("no panic").push(cluster.nodes[node].address().to_owned());
        let give_up = Instant::now() + PATIENCE;
        while served.load(Ordering::Relaxed) < before + 50 {
            assert!(Instant::now() < give_up, "the load has stopped");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    tell(&format!("rolling restart: {} requests, none dropped", served.load(Ordering::Relaxed)));
}

/// The status of a request; none where the connection was refused or broke before an answer.
fn ask(address: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let text = format!("GET /demo/echo HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nX-API-Key: {KEY}\r\n\r\n");
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(status(&String::from_utf8_lossy(&answer)))
}
