//! Faults under the desk: processes that are killed, disks that fail or are full, rows and schemas that are damaged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use keymoat_core::token::Uses;
use keymoat_core::{Digest, NewToken, Token};
use keymoat_store::{DeskError, Minted, Store, StoreError, TokenDesk, Verdict};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::stand::{PATIENCE, Stand, claim, made, new_token, order};
use crate::{NOW, files, forget_the_life_of_keys, named, secret};

/// Where the second process finds the store; absent in an ordinary test run.
const FOLDER: &str = "KEYMOAT_TEST_DESK_PROCESS";
/// The digests that it spends, in hexadecimal digits, with spaces in between.
const TOKENS: &str = "KEYMOAT_TEST_DESK_TOKENS";

const GRANTED: Verdict = Verdict::Granted { resumed: false };

#[tokio::test]
async fn d55_f77_a_gateway_that_is_killed_again_and_again_never_grants_a_use_twice() {
    const ROUNDS: u32 = 50;
    const TOKENS_A_ROUND: u32 = 40;
    const USES: u32 = 20;
    let stand = Stand::new();
    let (mut interrupted, mut burnt) = (0, 0);
    for round in 0..ROUNDS {
        let tokens = minted(&stand, TOKENS_A_ROUND, USES).await;
        let digests: Vec<Digest> = tokens.iter().map(|(_, digest)| *digest).collect();
        let mut gateway = second_process("desk_faults::as_second_process_spends", &stand, &digests).spawn().unwrap();
        let mut lines = BufReader::new(gateway.stdout.take().unwrap()).lines();
        let mut granted: BTreeMap<usize, u32> = BTreeMap::new();
        let mut note = |line: &str| {
            let token = line.strip_prefix("granted ")?.parse().unwrap();
            *granted.entry(token).or_default() += 1;
            Some(())
        };
        // Each round ends at another moment of the rush.
        let mut awaited = round * TOKENS_A_ROUND * USES / ROUNDS;
        assert!(lines.by_ref().any(|line| line.unwrap() == "spending"), "it begins");
        while awaited > 0 {
            awaited -= u32::from(note(&lines.next().unwrap().unwrap()).is_some());
        }
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(&line);
        }

        let before: u32 = granted.values().sum();
        interrupted += u32::from(before > 0 && before < USES * TOKENS_A_ROUND);
        let consumed: Vec<u32> = tokens.iter().map(|(token, _)| USES - stand.uses_left(token).unwrap()).collect();
        let rest = spend_the_rest(&stand.desk, &digests).await;
        for (number, consumed) in consumed.into_iter().enumerate() {
            let before = granted.get(&number).copied().unwrap_or_default();
            assert!(before <= consumed, "round {round}: {before} granted, {consumed} consumed");
            let all = before + rest[&number];
            assert!(all <= USES, "round {round}: {all} granted of {USES}");
            burnt += USES - all;
        }
    }
    assert!(interrupted > ROUNDS / 4, "only {interrupted} of {ROUNDS} rounds were interrupted midway");
    tell(&format!("f77: {interrupted} of {ROUNDS} rounds were interrupted midway, {burnt} uses were burnt"));
}

async fn minted(stand: &Stand, count: u32, uses: u32) -> Vec<(Arc<Token>, Digest)> {
    let mut minting = JoinSet::new();
    for _ in 0..count {
        let (desk, order) = (stand.desk.clone(), order(stand.new_token(Uses::AtMost(uses))));
        minting.spawn(async move { made(desk.mint(order).await.unwrap()) });
    }
    let minted = minting.join_all().await;
    minted.into_iter().map(|Minted { token, secret }| (token, stand.digest(&secret))).collect()
}

/// Spends all tokens to their ends and counts what each still granted.
async fn spend_the_rest(desk: &TokenDesk, tokens: &[Digest]) -> BTreeMap<usize, u32> {
    let mut spending = JoinSet::new();
    for (number, token) in tokens.iter().copied().enumerate() {
        let desk = desk.clone();
        spending.spawn(async move {
            let mut granted = 0;
            while desk.claim(claim(token)).await.unwrap() == GRANTED {
                granted += 1;
            }
            (number, granted)
        });
    }
    spending.join_all().await.into_iter().collect()
}

#[tokio::test]
async fn as_second_process_spends() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let desk = TokenDesk::start_with(Arc::new(Store::open(Path::new(&folder)).unwrap()), PATIENCE).unwrap();
    let tokens = tokens_to_spend();
    say("spending");
    let mut clients = JoinSet::new();
    for client in 0..200 {
        let (desk, tokens) = (desk.clone(), tokens.clone());
        clients.spawn(async move {
            for step in 0..tokens.len() {
                let number = (client + step) % tokens.len();
                if desk.claim(claim(tokens[number])).await == Ok(GRANTED) {
                    say(&format!("granted {number}"));
                }
            }
        });
    }
    clients.join_all().await;
}

#[test]
fn f76_f80_a_disk_that_fails_at_a_commit_grants_nothing_until_the_store_was_opened_anew_and_checked() {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !traced.is_ok_and(|status| status.success()) {
        return tell("SKIPPED f76: strace is missing or may not trace (Debian: `apt-get install strace`)");
    }
    let stand = Stand::new();
    let (token, digest) = stand.minted(Uses::AtMost(1000));
    let itself = second_process("desk_faults::as_second_process_meets_a_bad_disk", &stand, &[digest]);
    let mut traced = Command::new("strace");
    // Each thread is counted by itself: the writer's commits fail after some that succeed.
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]);
    traced.args(["-e", "inject=fdatasync,fsync:error=EIO:when=11..12"]);
    traced.arg(itself.get_program()).args(itself.get_args());
    traced.envs(itself.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = traced.stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let count = |word: &str| text.lines().filter(|line| *line == word).count() as u32;
    let (granted, unknown) = (count("granted"), count("broken"));
    let consumed = 1000 - stand.uses_left(&token).unwrap();
    assert!(unknown > 0 && granted > 10, "{granted} granted, {unknown} broken");
    assert!(granted <= consumed && consumed <= granted + unknown, "{granted}, {consumed}, {unknown}");
    let after = text.lines().skip_while(|line| *line != "broken").filter(|line| *line == "granted").count();
    assert!(after >= 20, "it goes on afterwards");
    tell(&format!("f76: {granted} granted, {unknown} denied with an unknown outcome, {consumed} consumed"));
}

#[tokio::test]
async fn as_second_process_meets_a_bad_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let desk = TokenDesk::start_with(Arc::new(Store::open(Path::new(&folder)).unwrap()), PATIENCE).unwrap();
    let token = tokens_to_spend()[0];
    let give_up = Instant::now() + PATIENCE;
    let (mut was_broken, mut granted_since) = (false, 0);
    while granted_since < 20 {
        assert!(Instant::now() < give_up, "the desk does not come back");
        match desk.claim(claim(token)).await {
            Ok(GRANTED) => {
                granted_since += u32::from(was_broken);
                say("granted");
            }
            Err(DeskError::Broken) => {
                was_broken = true;
                say("broken");
            }
            other => panic!("{other:?}"),
        }
        assert!(desk.find(token).await.unwrap().is_some(), "reading goes on");
    }
}

#[test]
fn f75_on_a_full_disk_tokens_are_refused_and_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let may_mount = format!("mount -t tmpfs -o size=2m none '{}'", dir.path().display());
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    if !private(&may_mount).status().is_ok_and(|status| status.success()) {
        return tell("SKIPPED f75: a small file system cannot be mounted here (it takes root and `unshare`)");
    }
    let binary = std::env::current_exe().unwrap();
    let itself = "desk_faults::as_second_process_fills_its_disk";
    let mut command = private(&format!("{may_mount} && exec '{}' {itself} --exact --nocapture", binary.display()));
    let output = command.env(FOLDER, dir.path()).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success() && told.contains("room again"), "{told}");
}

#[tokio::test]
async fn as_second_process_fills_its_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let store = Arc::new(Store::open(&folder.join("store")).unwrap());
    let key = store.create_key(named("parent"), &secret("parent"), NOW).unwrap();
    let desk = TokenDesk::start_with(Arc::clone(&store), PATIENCE).unwrap();
    let minted = made(desk.mint(order(new_token(&key.id, Uses::AtMost(100_000)))).await.unwrap());
    let digest = store.pepper().digest(minted.secret.expose());
    assert_eq!(desk.claim(claim(digest)).await, Ok(GRANTED));

    let mut ballast = std::fs::File::create(folder.join("ballast")).unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
    let give_up = Instant::now() + PATIENCE;
    while desk.claim(claim(digest)).await != Err(DeskError::Broken) {
        assert!(Instant::now() < give_up, "the disk does not become full");
    }
    let left = store.token(&minted.token.id, NOW).unwrap().uses_left;
    for _ in 0..20 {
        assert_eq!(desk.claim(claim(digest)).await, Err(DeskError::Broken));
        assert_eq!(desk.find(digest).await.unwrap().unwrap().id, minted.token.id);
        assert_eq!(store.keys().unwrap().len(), 1);
    }
    assert_eq!(store.token(&minted.token.id, NOW).unwrap().uses_left, left);
    std::fs::remove_file(folder.join("ballast")).unwrap();
    drop(ballast);
    while desk.claim(claim(digest)).await != Ok(GRANTED) {
        assert!(Instant::now() < give_up, "the desk does not come back");
        tokio::task::yield_now().await;
    }
    say("room again");
}

#[tokio::test]
async fn f81_a_damaged_row_refuses_its_token_without_repeating_it() {
    let stand = Stand::new();
    let ((token, digest), (_, good)) = (stand.minted(Uses::AtMost(1)), stand.minted(Uses::AtMost(1)));
    let other = Connection::open(stand.dir.path().join("store/keymoat.db")).unwrap();
    let damage = |sql: &str| other.execute(sql, [&*token.id]).unwrap();
    for sql in [
        "UPDATE token_terms SET constraints = '{\"canary\":' WHERE token = (SELECT number FROM token WHERE id = ?1)",
        "UPDATE token_terms SET constraints = '{}', origins = 'canary' WHERE token = (SELECT number FROM token WHERE id = ?1)",
        "UPDATE token_terms SET origins = NULL, constraints = '{\"gemini\":{\"canary\":1}}'
         WHERE token = (SELECT number FROM token WHERE id = ?1)",
    ] {
        assert_eq!(damage(sql), 1);
        assert_eq!(stand.desk.find(digest).await, Err(DeskError::Broken), "{sql}");
        let error = stand.store.token(&token.id, NOW).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }) && !error.to_string().contains("canary"), "{error}");
        assert!(stand.desk.find(good).await.unwrap().is_some(), "other tokens are as good as before");
    }
}

#[test]
fn f82_a_migration_that_is_interrupted_leaves_the_old_schema() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Store::open(&path).unwrap();
    let key = store.create_key(named("a"), &secret("a"), NOW).unwrap();
    drop(store);
    let database = Connection::open(path.join("keymoat.db")).unwrap();
    let tables = ["token_order", "token_handle", "token_session", "token_terms", "token"];
    for table in tables {
        database.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    forget_the_life_of_keys(&database);
    // In the way of the last table that the migration makes.
    database.execute_batch("PRAGMA user_version = 2; CREATE TABLE token_order (a)").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Sqlite { .. })));
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let half = "SELECT count(*) FROM sqlite_schema WHERE name = 'token'";
    let half: i64 = database.query_row(half, [], |row| row.get(0)).unwrap();
    assert_eq!((version, half), (2, 0));
    database.execute_batch("DROP TABLE token_order").unwrap();
    let store = Store::open(&path).unwrap();
    made(store.mint_token(order(new_token(&key.id, Uses::AtMost(1)))).unwrap());
}

#[tokio::test]
async fn no_token_handle_or_idempotency_key_is_found_in_the_files() {
    let stand = Stand::new();
    let mut needles: Vec<Vec<u8>> = vec![b"handle-canary".to_vec(), b"idempotency-canary".to_vec()];
    for idempotency_key in [None, Some("idempotency-canary".into())] {
        let new = NewToken { idempotency_key, ..stand.new_token(Uses::AtMost(5)) };
        let minted = made(stand.desk.mint(order(new)).await.unwrap());
        let handle = stand.handle("handle-canary");
        stand.desk.note_handle(Arc::clone(&minted.token.id), handle, NOW).await.unwrap();
        stand.desk.claim(claim(stand.digest(&minted.secret))).await.unwrap();
        needles.push(minted.secret.expose()[4..].to_vec());
    }
    let files = files(&stand.dir.path().join("store"));
    assert!(files.iter().any(|(name, content)| name == "keymoat.db-wal" && !content.is_empty()));
    for (name, content) in files {
        for needle in &needles {
            assert!(!content.windows(needle.len()).any(|window| window == needle), "{name}");
        }
    }
}

fn second_process(test: &str, stand: &Stand, tokens: &[Digest]) -> Command {
    let hex = |digest: &Digest| digest.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let tokens: Vec<String> = tokens.iter().map(hex).collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(FOLDER, stand.dir.path().join("store"));
    command.env(TOKENS, tokens.join(" ")).stdout(Stdio::piped());
    command
}

fn tokens_to_spend() -> Vec<Digest> {
    let text = std::env::var(TOKENS).unwrap();
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    let digest = |hex: &str| hex.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>().try_into().unwrap();
    text.split(' ').map(|hex| Digest(digest(hex))).collect()
}

/// Writes a line at once and in one piece: it survives this process. The test runner may have begun one before it.
fn say(line: &str) {
    std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

#[expect(clippy::print_stderr, reason = "what was measured or skipped is told to whoever runs the tests")]
fn tell(text: &str) {
    eprintln!("{text}");
}
