//! What `cargo xtask bench store` runs: `claims prepare|desk|raw|mint TARGET SECONDS`, where TARGET is a folder or a database.
//!
//! `desk` is one node: as many clients as wait at a busy gateway claim sessions at its desk. `raw` is the store without
//! Keymoat: the same statements on as many connections, in groups that hold as many claims at once, of the same tokens, with
//! the same settings. Sessions that are opened at the same time are mostly of different tokens, as at a gateway: of one token
//! they would wait for each other in any database. `mint` is one node as well, whose clients mint a token of one use each time and spend it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that fails says so by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keymoat_core::format::{Kind, generate};
use keymoat_core::token::{Calls, Constraint, NewToken, TokenLimits, Uses};
use keymoat_core::{Digest, Scopes, Secret, UnixMillis};
use keymoat_store::{
    CONSUME, Claim, MasterKey, MintOrder, Minting, OPEN_SESSION, SessionId, Store, TAKE_USE, TokenDesk, Verdict,
};
use tokio::task::JoinSet;

/// Sessions are spread over so many tokens.
const TOKENS: usize = 16_384;
const CLIENTS: usize = 512;
/// The most that SQLite's desk puts into one commit.
const FILE_GROUP: usize = 128;
/// As many as PostgreSQL's desk writes by, and all clients spread over them.
const CONNECTIONS: usize = 2;
const DATABASE_GROUP: usize = CLIENTS / CONNECTIONS;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, word, target, secs] = &arguments[..] else { panic!("claims prepare|desk|raw|mint TARGET SECONDS") };
    let time = Duration::from_secs(secs.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let count = match &**word {
        "prepare" => runtime.block_on(prepare(target)),
        "desk" => runtime.block_on(desk(target, time)),
        "mint" => runtime.block_on(mint(target, time)),
        "raw" if is_database(target) => runtime.block_on(raw_database(target, time)),
        "raw" => raw_file(target, time),
        other => panic!("{other}"),
    };
    println!("{}", count / time.as_secs().max(1));
}

fn is_database(target: &str) -> bool {
    target.starts_with("postgres")
}

fn open(target: &str) -> Store {
    let master_key = MasterKey::Given { text: Secret::from("5f".repeat(32)), place: "the measurement".to_owned() };
    match is_database(target) {
        true => Store::open_database(&Secret::from(target), Path::new("/nowhere"), &master_key).unwrap(),
        false => Store::open_with(Path::new(target), &master_key).unwrap(),
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    UnixMillis(i64::try_from(since).unwrap())
}

/// The same tokens in every process: their secrets are counted, not drawn.
fn secrets() -> impl Iterator<Item = Secret> {
    (0..TOKENS).map(|number| {
        let mut state = number as u64 * 0x9e37_79b9_7f4a_7c15 + 1;
        generate(Kind::Token, &mut |bytes| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
        })
    })
}

fn digests(store: &Store) -> Vec<Digest> {
    // The digest is what is asked by.
    secrets().map(|secret| store.pepper().digest(secret.expose())).collect()
}

async fn prepare(target: &str) -> u64 {
    let desk = TokenDesk::start_with(Arc::new(open(target)), Duration::from_secs(10)).unwrap();
    let mut minted = JoinSet::new();
    for secret in secrets() {
        while minted.len() >= CLIENTS {
            assert!(matches!(minted.join_next().await, Some(Ok(Ok(Minting::Made(_))))));
        }
        let desk = desk.clone();
        minted.spawn(async move { desk.mint(order("file_bench", secret, u32::MAX)).await });
    }
    assert!(minted.join_all().await.into_iter().all(|told| matches!(told, Ok(Minting::Made(_)))));
    0
}

fn order(key_id: &str, secret: Secret, uses: u32) -> MintOrder {
    let token = NewToken {
        key_id: key_id.into(),
        scopes: Scopes::All,
        calls: Calls::Any,
        uses: Uses::AtMost(uses),
        start_by: now().plus_millis(3_600_000),
        live_until: now().plus_millis(7_200_000),
        origins: Vec::new(),
        limits: TokenLimits::default(),
        constraint: Constraint::None,
        idempotency_key: None,
    };
    MintOrder { token, secret, live_tokens_max: u32::MAX, now: now() }
}

/// Tokens of one use, each minted and spent: what a backend does that gives each of its clients one.
async fn mint(target: &str, time: Duration) -> u64 {
    let store = Arc::new(open(target));
    let desk = TokenDesk::start_with(Arc::clone(&store), Duration::from_secs(10)).unwrap();
    let (granted, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + time);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (store, desk, granted) = (Arc::clone(&store), desk.clone(), Arc::clone(&granted));
        clients.spawn(async move {
            while Instant::now() < end {
                let secret = generate(Kind::Token, &mut |bytes| aws_lc_rs::rand::fill(bytes).unwrap());
                let Ok(Minting::Made(minted)) = desk.mint(order("file_mint", secret, 1)).await else { continue };
                // The digest is what is asked by.
                let token = store.pepper().digest(minted.secret.expose());
                let claim = Claim { session: SessionId(session()), token, resumes: None, now: now() };
                if desk.claim(claim).await == Ok(Verdict::Granted { resumed: false }) {
                    granted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    clients.join_all().await;
    granted.load(Ordering::Relaxed)
}

/// Which token comes next: all in turn, from anywhere on, so that what runs at once, here and in other processes, mostly
/// asks for different ones, as the clients of a gateway do.
fn first_turn() -> usize {
    usize::from(u16::from_ne_bytes([session()[0], session()[1]]))
}

fn session() -> [u8; 16] {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).unwrap();
    id
}

async fn desk(target: &str, time: Duration) -> u64 {
    let store = Arc::new(open(target));
    let digests = Arc::new(digests(&store));
    let desk = TokenDesk::start_with(Arc::clone(&store), Duration::from_secs(10)).unwrap();
    let (granted, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + time);
    let turn = Arc::new(AtomicUsize::new(first_turn()));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (desk, digests, granted) = (desk.clone(), Arc::clone(&digests), Arc::clone(&granted));
        let turn = Arc::clone(&turn);
        clients.spawn(async move {
            while Instant::now() < end {
                let token = digests[turn.fetch_add(1, Ordering::Relaxed) % TOKENS];
                let claim = Claim { session: SessionId(session()), token, resumes: None, now: now() };
                if desk.claim(claim).await == Ok(Verdict::Granted { resumed: false }) {
                    granted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    clients.join_all().await;
    granted.load(Ordering::Relaxed)
}

async fn raw_database(target: &str, time: Duration) -> u64 {
    let digests = Arc::new(digests(&open(target)));
    let (end, turn) = (Instant::now() + time, Arc::new(AtomicUsize::new(first_turn())));
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (target, digests, turn) = (target.to_owned(), Arc::clone(&digests), Arc::clone(&turn));
        connections.spawn(async move {
            let (client, connection) = tokio_postgres::connect(&target, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client
                .batch_execute(
                    "SET search_path = keymoat; SET enable_seqscan = off; SET enable_hashjoin = off;
                                  SET enable_mergejoin = off; SET jit = off",
                )
                .await
                .unwrap();
            let consume = client.prepare(CONSUME).await.unwrap();
            let mut granted = 0;
            while Instant::now() < end {
                let sids: Vec<[u8; 16]> = (0..DATABASE_GROUP).map(|_| session()).collect();
                let sids: Vec<&[u8]> = sids.iter().map(|sid| &sid[..]).collect();
                let first = turn.fetch_add(DATABASE_GROUP, Ordering::Relaxed);
                let tokens: Vec<&[u8]> =
                    (0..DATABASE_GROUP).map(|place| &digests[(first + place) % TOKENS].0[..]).collect();
                let handles: Vec<Option<&[u8]>> = vec![None; DATABASE_GROUP];
                granted += client.query(&consume, &[&sids, &tokens, &handles]).await.unwrap().len() as u64;
            }
            granted
        });
    }
    connections.join_all().await.into_iter().sum()
}

fn raw_file(target: &str, time: Duration) -> u64 {
    let digests = digests(&open(target));
    let mut database = rusqlite::Connection::open(Path::new(target).join("keymoat.db")).unwrap();
    database.pragma_update(None, "synchronous", "full").unwrap();
    database.pragma_update_and_check(None, "secure_delete", true, |_| Ok(())).unwrap();
    database.pragma_update(None, "foreign_keys", true).unwrap();
    database.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    let (end, mut granted, mut turn) = (Instant::now() + time, 0, first_turn());
    while Instant::now() < end {
        let change = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        for _ in 0..FILE_GROUP {
            let now = now().0;
            let token = digests[turn % TOKENS].0;
            let number: i64 = change
                .prepare_cached(OPEN_SESSION)
                .unwrap()
                .query_row(rusqlite::params![token, now, session()], |row| row.get(0))
                .unwrap();
            change.prepare_cached(TAKE_USE).unwrap().execute([number]).unwrap();
            turn += 1;
        }
        change.commit().unwrap();
        granted += FILE_GROUP as u64;
    }
    granted
}
