//! Limits over several nodes on one PostgreSQL: never more together than one may, also when a node is killed or cut off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use keymoat_core::Secret;
use keymoat_emulator::{Options, Running};
use keymoat_postgres_stand::{Durability, Postgres, Proxy};
use keymoat_store::FREED_GRACE;
use rustix::process::Signal;
use serde_json::Value;

use crate::crashes::{REAL_KEY, configured_with, tell};
use crate::harness::{Folder, Keymoat, PATIENCE, open_websocket, post, request, status, told};

const MASTER_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const LIVE: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
/// Keys of the file: one with five sessions, one with a hundred requests a day.
const SESSIONS_KEY: &str = "the-key-with-five-sessions";
const REQUESTS_KEY: &str = "the-key-with-100-requests";
const BYTES_KEY: &str = "the-key-with-50000-bytes-1";
/// The bound of every node here, and the least that there may be.
const CLOSE_AFTER: Duration = Duration::from_secs(5);

struct Cluster {
    nodes: Vec<Keymoat>,
    emulator: Running,
    server: Postgres,
}

impl Cluster {
    async fn start(count: usize) -> Self {
        let emulator = keymoat_emulator::start(Options::new(Secret::from(REAL_KEY))).await.expect("a free port");
        let server = Postgres::start_with(Durability::Process, &[]);
        let mut cluster = Self { nodes: Vec::new(), emulator, server };
        for _ in 0..count {
            let node = cluster.node(&cluster.server.url());
            cluster.nodes.push(node);
        }
        cluster
    }

    /// One more node, which reaches the database at `url`.
    fn node(&self, url: &str) -> Keymoat {
        Keymoat::in_folder(self.folder(url), &[], &[])
    }

    fn folder(&self, url: &str) -> Arc<Folder> {
        let sections = format!(
            "[key.five]\nsecret = \"${{file:five}}\"\nscopes = [\"*\"]\n[key.five.limits]\nsessions = 5\n\
             [key.hundred]\nsecret = \"${{file:hundred}}\"\nscopes = [\"*\"]\n[key.hundred.limits]\nrequests_per_day = 100\n\
             [key.bytes]\nsecret = \"${{file:bytes}}\"\nscopes = [\"*\"]\n[key.bytes.limits]\nbytes_per_day = 50000\n\
             [admin]\nenabled = false\n\
             [store]\nurl = \"{url}\"\nmaster_key = \"./master\"\nrefuse_after = \"2s\"\nclose_after = \"5s\"\n"
        );
        let folder = configured_with(&format!("http://{}", self.emulator.address()), &sections);
        for (name, content) in
            [("master", MASTER_KEY), ("five", SESSIONS_KEY), ("hundred", REQUESTS_KEY), ("bytes", BYTES_KEY)]
        {
            folder.write(name, content);
        }
        folder
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address().to_owned()).collect()
    }
}

/// What became of a WebSocket.
enum Opened {
    /// It echoes.
    Live(TcpStream),
    /// All places are taken.
    Full,
    /// The store does not say, or the view of it is too old.
    Unavailable,
}

/// Opens a WebSocket, and sees whether it echoes or is closed.
fn open(address: &str) -> Opened {
    let (head, mut stream) = open_websocket(address, "/demo/ws", &[("X-API-Key", SESSIONS_KEY)]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // A close that has come is read whatever becomes of this.
    let _ = stream.write_all(b"\x81\x85\0\0\0\0hello");
    let (opcode, payload) = frame(&mut stream);
    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
    match opcode {
        8 if reason.starts_with("rate_limited") => Opened::Full,
        8 if reason.starts_with("unavailable") => Opened::Unavailable,
        8 => panic!("{reason}"),
        _ => Opened::Live(stream),
    }
}

/// The next frame of a server: its opcode and payload.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut length = usize::from(head[1] & 127);
    if length == 126 {
        let mut longer = [0; 2];
        stream.read_exact(&mut longer).expect("a length");
        length = usize::from(u16::from_be_bytes(longer));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("a payload");
    (head[0] & 15, payload)
}

/// Comes again until a place is free, and says when that was.
fn open_at_last(address: &str) -> (TcpStream, Instant) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match open(address) {
            Opened::Live(stream) => return (stream, Instant::now()),
            Opened::Full | Opened::Unavailable => assert!(Instant::now() < give_up, "no place comes free"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Opens so many at once over all nodes, and gives those that live with their nodes.
fn rush(addresses: &[String], clients: usize) -> Vec<(usize, TcpStream)> {
    let one = |client: usize| {
        let node = client % addresses.len();
        let give_up = Instant::now() + PATIENCE;
        loop {
            match open(&addresses[node]) {
                Opened::Live(stream) => return Some((node, stream)),
                Opened::Full => return None,
                // A machine that has too much to do: nobody is let in, and a place may be taken for a while.
                Opened::Unavailable => assert!(Instant::now() < give_up, "no answer"),
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || one(client))).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_60_sessions_at_once_over_three_nodes_five_live_and_a_killed_node_s_places_are_free_after_its_bound() {
    let mut cluster = Cluster::start(3).await;
    let addresses = cluster.addresses();
    let mut live = rush(&addresses, 60);
    // Nobody has too much; a place that an unanswered question has taken is found by its node within some seconds.
    assert!(live.len() <= 5, "{}", live.len());
    while live.len() < 5 {
        live.push((0, open_at_last(&addresses[0]).0));
    }
    for address in &addresses {
        assert!(matches!(open(address), Opened::Full));
    }
    // A session that ends gives its place to one on another node.
    let (node, ended) = live.pop().expect("five");
    drop(ended);
    let other = (node + 1) % 3;
    live.push((other, open_at_last(&addresses[other]).0));

    let victim = live[0].0;
    let lost = live.iter().filter(|(node, _)| *node == victim).count();
    cluster.nodes[victim].signal(Signal::KILL);
    cluster.nodes[victim].wait();
    let killed_at = Instant::now();
    live.retain(|(node, _)| *node != victim);
    let other = (victim + 1) % 3;
    let (first, freed_at) = open_at_last(&addresses[other]);
    live.push((other, first));
    let freed_after = freed_at - killed_at;
    // It was heard of a second before its end at most.
    let bound = CLOSE_AFTER + FREED_GRACE;
    assert!(freed_after > bound.saturating_sub(Duration::from_millis(1500)), "{freed_after:?}");
    assert!(freed_after < bound + Duration::from_secs(6), "{freed_after:?}");
    for _ in 1..lost {
        live.push((other, open_at_last(&addresses[other]).0));
    }
    assert!(matches!(open(&addresses[other]), Opened::Full), "as many as it had, and no more");
    tell(&format!("five sessions over three nodes: {lost} places of a killed node were free after {freed_after:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_300_requests_over_three_nodes_as_many_are_let_in_as_the_day_has() {
    let cluster = Cluster::start(3).await;
    let addresses = cluster.addresses();
    let ask = |client: usize| {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let answer = request(&addresses[client % 3], "GET", "/demo/echo", &[("X-API-Key", REQUESTS_KEY)]);
            match status(&answer) {
                503 => assert!(Instant::now() < give_up, "no answer"),
                200 => return true,
                429 => return false,
                _ => panic!("{answer}"),
            }
        }
    };
    let ask = &ask;
    let rush = || -> usize {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..30)
                .map(|first| scope.spawn(move || (0..10).filter(|turn| ask(first + turn * 30)).count()))
                .collect();
            clients.into_iter().map(|client| client.join().expect("no panic")).sum()
        })
    };
    let admitted = rush();
    let reached = cluster.emulator.recorder().requests().len();
    assert_eq!((admitted, reached), (100, 100));
    assert_eq!(rush(), 0, "the day is over");
    tell("300 requests over three nodes: exactly 100 were let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_a_day_pass_over_all_nodes_together_and_no_more() {
    let cluster = Cluster::start(3).await;
    let (mut passed, mut refused) = (0, 0);
    let text = "x".repeat(700);
    for turn in 0..90 {
        let address = &cluster.addresses()[turn % 3];
        let answer = post(address, "/demo/echo", ("X-API-Key", BYTES_KEY), &text);
        match (status(&answer), answer.split_once("\r\n\r\n")) {
            (200, Some((_, body))) => passed += text.len() + body.len(),
            _ => refused += 1,
        }
    }
    assert!(passed <= 50_000, "{passed}");
    // What is left is less than a request and its answer, and what nodes have in advance.
    assert!(passed > 35_000 && refused > 0, "{passed}, {refused} refused");
    tell(&format!("50000 bytes over three nodes: {passed} passed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_has_ended_its_sessions_before_others_take_their_places() {
    let mut cluster = Cluster::start(1).await;
    let proxy = Proxy::to(cluster.server.port());
    let cut = cluster.node(&cluster.server.url_at(proxy.port()));
    cluster.nodes.push(cut);
    let (whole, cut) = (cluster.nodes[0].address().to_owned(), cluster.nodes[1].address().to_owned());
    let held: Vec<TcpStream> = (0..5).map(|_| open_at_last(&cut).0).collect();
    assert!(matches!(open(&whole), Opened::Full));

    proxy.fall_silent();
    let cut_at = Instant::now();
    let ends: Vec<_> = held
        .into_iter()
        .map(|mut session| {
            thread::spawn(move || {
                let (opcode, payload) = frame(&mut session);
                (opcode, String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned(), Instant::now())
            })
        })
        .collect();
    let (_taken, taken_at) = open_at_last(&whole);
    let mut last = cut_at;
    for end in ends {
        let (opcode, reason, ended_at) = end.join().expect("no panic");
        assert!(opcode == 8 && reason.starts_with("unavailable"), "{opcode} {reason}");
        assert!(ended_at - cut_at > CLOSE_AFTER - Duration::from_millis(1500), "{:?}", ended_at - cut_at);
        last = last.max(ended_at);
    }
    assert!(last < taken_at, "a place was taken while its session lived");
    assert!(taken_at - cut_at < CLOSE_AFTER + FREED_GRACE + Duration::from_secs(6));
    tell(&format!(
        "cut off: the last session ended after {:?}, its place was taken after {:?}",
        last - cut_at,
        taken_at - cut_at
    ));

    // It comes back, and takes part again.
    proxy.speak();
    for _ in 0..4 {
        drop(open_at_last(&cut));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_resumed_on_another_node_ends_the_one_before() {
    let cluster = Cluster::start(2).await;
    let addresses = cluster.addresses();
    let backend = crate::crashes::KEY;
    let mint = || post(&addresses[0], "/keymoat/v1/tokens", ("X-API-Key", backend), "{\"uses\":1}");
    let answer = std::iter::repeat_with(mint).take(20).find(|answer| status(answer) == 200).expect("in time");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON");
    let authorization = format!("Bearer {}", body["token"].as_str().expect("a token"));
    let live = |address: &str, resumption: &str| {
        let (head, mut stream) = open_websocket(address, LIVE, &[("Authorization", &authorization)]);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        say(
            &mut stream,
            &format!(
                "{{\"setup\":{{\"model\":\"models/gemini-2.5-flash-native-audio\",\"sessionResumption\":{resumption}}}}}"
            ),
        );
        let told = heard(&mut stream, "setupComplete");
        told.contains("setupComplete").then_some(stream).ok_or(told)
    };
    let mut first = live(&addresses[0], "{}").expect("a session");
    say(
        &mut first,
        "{\"clientContent\":{\"turns\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hello\"}]}],\"turnComplete\":true}}",
    );
    let update = heard(&mut first, "newHandle");
    let update: Value = serde_json::from_str(&update).expect("JSON");
    let handle = update["sessionResumptionUpdate"]["newHandle"].as_str().expect("a handle").to_owned();
    let resumed_at = Instant::now();
    // The API behind refuses it for as long as the session before is open there: this ends that.
    let second = thread::scope(|scope| {
        let second = scope.spawn(|| {
            let resumption = format!("{{\"handle\":\"{handle}\"}}");
            let attempts = std::iter::repeat_with(|| {
                thread::sleep(Duration::from_millis(250));
                live(&addresses[1], &resumption)
            });
            attempts.take(40).find_map(Result::ok).expect("it is resumed")
        });
        let told = heard(&mut first, "no such words");
        assert!(told.contains("token_used_up"), "{told}");
        let ended_after = resumed_at.elapsed();
        assert!(ended_after < Duration::from_secs(8), "{ended_after:?}");
        tell(&format!("resumed on another node: the session before ended after {ended_after:?}"));
        second.join().expect("no panic")
    });
    drop(second);
}

fn say(stream: &mut TcpStream, text: &str) {
    let length = u16::try_from(text.len()).expect("short");
    let mut frame = match u8::try_from(length) {
        Ok(length @ ..126) => vec![0x81, 0x80 | length],
        _ => [&[0x81, 0x80 | 126], &length.to_be_bytes()[..]].concat(),
    };
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).expect("sent");
}

/// The first message that says `words`, or the reason of the close.
fn heard(stream: &mut TcpStream, words: &str) -> String {
    loop {
        let (opcode, payload) = frame(stream);
        let text = String::from_utf8_lossy(&payload).into_owned();
        if opcode == 8 || text.contains(words) {
            return text;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_seen_and_one_that_is_gone_is_warned_of() {
    let mut cluster = Cluster::start(3).await;
    let status_of = |cluster: &Cluster| -> Value {
        let (code, output, errors) = told(&cluster.nodes[0].folder.run(&["store", "status", "--json"]));
        assert_eq!(code, Some(0), "{errors}");
        serde_json::from_str(&output).expect("JSON")
    };
    let shown = status_of(&cluster);
    let nodes = shown["nodes"].as_array().expect("nodes");
    let mut seen: Vec<&str> = nodes.iter().filter_map(|node| node["address"].as_str()).collect();
    let mut addresses = cluster.addresses();
    seen.sort_unstable();
    addresses.sort_unstable();
    assert_eq!(seen, addresses, "{shown:#}");
    assert!(nodes.iter().all(|node| node["state"] == "ready" && node["unseen_millis"].as_i64() < Some(5000)));
    let doctor = |cluster: &Cluster| -> Value {
        let (_, output, errors) = told(&cluster.nodes[0].folder.run(&["doctor", "--json", "--only", "D116"]));
        serde_json::from_str::<Value>(&output).unwrap_or_else(|_| panic!("{output}{errors}"))["checks"][0].clone()
    };
    assert_eq!(doctor(&cluster)["outcome"], "ok");
    // One that leaves is seen no more, and one that is killed is missed.
    cluster.nodes[2].signal(Signal::TERM);
    assert!(cluster.nodes[2].wait().success());
    assert_eq!(status_of(&cluster)["nodes"].as_array().map(Vec::len), Some(2));
    let gone = cluster.nodes[1].address().to_owned();
    cluster.nodes[1].signal(Signal::KILL);
    cluster.nodes[1].wait();
    let give_up = Instant::now() + PATIENCE;
    let finding = loop {
        let finding = doctor(&cluster);
        if finding["outcome"] == "warn" {
            break finding;
        }
        assert!(Instant::now() < give_up, "{finding:#}");
        thread::sleep(Duration::from_millis(200));
    };
    assert!(finding["seen"].as_str().is_some_and(|seen| seen.contains(&gone)), "{finding:#}");
    let dump = cluster.server.dump();
    for canary in [REAL_KEY, SESSIONS_KEY, REQUESTS_KEY, MASTER_KEY] {
        assert!(!dump.windows(canary.len()).any(|window| window == canary.as_bytes()));
    }
    assert!(String::from_utf8_lossy(&dump).contains(&gone), "the search finds what is there");
}
