//! The topology of `deploy/compose` with its own files and without containers: a load balancer, two nodes, PostgreSQL.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keymoat_core::Secret;
use keymoat_emulator::{Options, Running};
use keymoat_postgres_stand::{Durability, Postgres};
use rustix::process::Signal;

use super::{MASTER_KEY, count, minted_by, rush_by};
use crate::crashes::{REAL_KEY, Spending, Told, tell};
use crate::harness::{Folder, Keymoat, PATIENCE, open_websocket, told};
use crate::upgrade::line::ask;

const LIVE: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
const SETUP: &[u8] = br#"{"setup":{"model":"models/gemini-2.5-flash-native-audio"}}"#;

/// Where the containers have what a folder of the test has here.
const PLACES: [(&str, &str); 3] = [("/run/secrets/", "secrets/"), ("/etc/keymoat/", ""), ("/var/lib/keymoat", "state")];

/// HAProxy; killed on drop.
struct Balancer {
    address: String,
    child: Child,
    told: Arc<Mutex<String>>,
}

/// Everything that the file starts.
struct Deployment {
    balancer: Balancer,
    nodes: Vec<Keymoat>,
    folders: Vec<Arc<Folder>>,
    emulator: Running,
    _database: Postgres,
}

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/compose").join(name);
    std::fs::read_to_string(path).expect("it is in the repository")
}

/// The words of a `command:` of the file that start so; the file writes them as JSON.
fn command_of(compose: &str, start: &str) -> Vec<String> {
    let lines = compose.lines().filter_map(|line| line.trim().strip_prefix("command: "));
    let lists = lines.map(|list| serde_json::from_str::<Vec<String>>(list).expect("a list in JSON"));
    lists.into_iter().find(|list| list[0] == start).expect("such a command")
}

/// The text with each of these in place of what it says; each stands there exactly once.
fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "`{old}` in\n{text}");
        text.replace(old, new)
    })
}

fn in_folder(text: &str, folder: &Path) -> String {
    PLACES
        .iter()
        .fold(text.to_owned(), |text, (there, here)| text.replace(there, folder.join(here).to_str().expect("a text")))
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").to_string()
}

impl Balancer {
    fn start(nodes: &[String]) -> (Self, Folder) {
        let (folder, address) = (Folder::new(), free_address());
        let text = replaced(
            &shipped("haproxy.cfg"),
            &[
                // A machine that runs tests may give fewer descriptors than the file asks for.
                ("maxconn 20000", "maxconn 1000"),
                ("bind :8080", &format!("bind {address}")),
                ("server node-1 node-1:8080", &format!("server node-1 {}", nodes[0])),
                ("server node-2 node-2:8080", &format!("server node-2 {}", nodes[1])),
            ],
        );
        let file = folder.write("haproxy.cfg", &text);
        let program =
            ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("haproxy"));
        command.args(["-db", "-f"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("HAProxy is there: install the package haproxy");
        let told = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let of_thread = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                of_thread.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{line}\n"));
            }
        });
        let balancer = Self { address, child, told };
        balancer.until("it listens", || TcpStream::connect(&balancer.address).is_ok());
        (balancer, folder)
    }

    /// Waits until it has said of a node so often that it is up, or down.
    fn until_said(&self, node: usize, word: &str, times: usize) {
        let line = format!("Server nodes/node-{} is {word}", node + 1);
        self.until(&line, || self.told.lock().unwrap_or_else(PoisonError::into_inner).matches(&line).count() >= times);
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !done() {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(Instant::now() < give_up, "not `{what}`:\n{told}");
            drop(told);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Deployment {
    async fn start() -> Self {
        let compose = shipped("compose.yaml");
        assert!(
            compose.contains("ulimits: { nofile: 65536 }"),
            "HAProxy does not start with less than two for each maxconn"
        );
        let emulator = keymoat_emulator::start(Options::new(Secret::from(REAL_KEY))).await.expect("a free port");
        let settings = command_of(&compose, "postgres");
        let settings: Vec<&str> = settings[1..].iter().map(String::as_str).filter(|word| *word != "-c").collect();
        let database = Postgres::start_with(Durability::Full, &settings);
        database.sql("CREATE DATABASE keymoat");
        let url = "postgres://keymoat:%s@database/keymoat?sslmode=disable";
        assert!(compose.contains(&format!("printf '{url}'")), "how the file makes the URL");
        let host = format!("@127.0.0.1:{}/", database.port());
        let url = replaced(url, &[("%s", "a-password"), ("@database/", &host)]);
        let addresses = [free_address(), free_address()];
        let folders: Vec<_> = addresses.iter().map(|address| node_folder(address, &url, &emulator)).collect();
        let nodes = folders.iter().map(|folder| node(&compose, folder)).collect();
        let (balancer, _folder) = Balancer::start(&addresses);
        Self { balancer, nodes, folders, emulator, _database: database }
    }
}

/// What a container of a node is given.
fn node_folder(address: &str, url: &str, emulator: &Running) -> Arc<Folder> {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("secrets")).expect("made");
    for (name, content) in [("master.key", MASTER_KEY), ("database_url", url), ("upstream.key", REAL_KEY)] {
        folder.write(&format!("secrets/{name}"), content);
    }
    let behind = format!("preset = \"gemini\"\nurl = \"http://{}\"", emulator.address());
    let pairs = [("0.0.0.0:8080", address), ("preset = \"gemini\"", &behind)];
    let text = replaced(&in_folder(&shipped("keymoat.toml"), folder.path()), &pairs);
    folder.write("keymoat.toml", &text);
    folder.into()
}

fn master_key_file(compose: &str, folder: &Folder) -> PathBuf {
    let line = compose.lines().find_map(|line| line.trim().strip_prefix("KEYMOAT_MASTER_KEY_FILE: "));
    in_folder(line.expect("the variable"), folder.path()).into()
}

fn node(compose: &str, folder: &Arc<Folder>) -> Keymoat {
    let words: Vec<String> = command_of(compose, "serve").iter().map(|word| in_folder(word, folder.path())).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--json"]).collect();
    let mut command = folder.command(&words);
    command.env("KEYMOAT_MASTER_KEY_FILE", master_key_file(compose, folder));
    Keymoat::spawn(Arc::clone(folder), command)
}

/// Ends the load, also when an assertion fails: whoever waits for its threads would wait for ever.
pub(super) struct Ends<'a>(pub(super) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens a session that stays, and gives its connection.
fn live_session(address: &str, key: &str) -> TcpStream {
    let (head, mut stream) = open_websocket(address, LIVE, &[("x-goog-api-key", key)]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let length = u8::try_from(SETUP.len()).expect("short");
    stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0][..], SETUP].concat()).expect("sent");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).expect("a payload");
    assert!(String::from_utf8_lossy(&payload).contains("setupComplete"), "{}", String::from_utf8_lossy(&payload));
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compose_file_s_nodes_share_their_tokens_and_a_rolling_restart_under_load_drops_nothing() {
    const USES: u32 = 40;
    let compose = shipped("compose.yaml");
    let mut deployment = Deployment::start().await;
    let balanced = deployment.balancer.address.clone();
    let folder = &deployment.folders[0];
    let mut create = folder.command(&["key", "create", "app", "--scope", "voice", "--scope", "mint", "--config"]);
    create.arg(folder.path().join("keymoat.toml")).env("KEYMOAT_MASTER_KEY_FILE", master_key_file(&compose, folder));
    let (code, key, errors) = told(&create.output().expect("it runs"));
    assert_eq!(code, Some(0), "{errors}");
    let key = key.trim().to_owned();
    let ready = Instant::now() + PATIENCE;
    let is_served = || ask(&balanced, "/v1beta/models", ("x-goog-api-key", &key)).is_ok_and(|status| status == 200);
    // On both, one after the other.
    while (0..4).any(|_| !is_served()) {
        assert!(Instant::now() < ready, "{}", deployment.nodes[0].output());
        std::thread::sleep(Duration::from_millis(50));
    }

    let (is_over, served, failures) = (AtomicBool::new(false), AtomicU32::new(0), Mutex::new(Vec::new()));
    let load = || {
        while !is_over.load(Ordering::Relaxed) {
            match ask(&balanced, "/v1beta/models", ("x-goog-api-key", &key)) {
                Ok(200) => drop(served.fetch_add(1, Ordering::Relaxed)),
                other => failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{other:?}")),
            }
        }
    };
    std::thread::scope(|scope| {
        let ends = Ends(&is_over);
        (0..4).for_each(|_| drop(scope.spawn(load)));
        for number in 0..2 {
            let before = served.load(Ordering::Relaxed);
            deployment.nodes[number].signal(Signal::TERM);
            assert!(deployment.nodes[number].wait().success());
            deployment.balancer.until_said(number, "DOWN", 1);
            deployment.nodes[number] = node(&compose, &deployment.folders[number]);
            deployment.balancer.until_said(number, "UP", 1);
            deployment.balancer.until("clients are served", || served.load(Ordering::Relaxed) > before + 20);
        }
        drop(ends);
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "of {served:?}: {failures:?}");

    let (token, _) = minted_by(&balanced, &key, USES);
    deployment.emulator.recorder().clear();
    let counts = rush_by(&[Spending::FirstMessage], std::slice::from_ref(&balanced), &token, 100).await;
    let (admitted, unsure) = (count(&counts, Told::Admitted), count(&counts, Told::Unavailable));
    assert!(admitted <= USES && admitted + unsure >= USES, "{counts:?}");

    // Sessions stand on both nodes: with one that dies some end, and others go on.
    let mut sessions: Vec<_> = (0..8).map(|_| live_session(&balanced, &key)).collect();
    deployment.nodes[0].signal(Signal::KILL);
    deployment.nodes[0].wait();
    deployment.balancer.until_said(0, "DOWN", 2);
    let is_open = |session: &mut TcpStream| {
        session.set_read_timeout(Some(Duration::from_millis(20))).expect("a time");
        session.read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = sessions.iter_mut().map(is_open).filter(|is_open| *is_open).count();
    assert!((1..8).contains(&open), "{open} of 8 go on");
    drop(live_session(&balanced, &key));
    tell(&format!(
        "balanced: {} requests over a rolling restart, none dropped; {admitted} of {USES} uses",
        served.into_inner()
    ));
}
