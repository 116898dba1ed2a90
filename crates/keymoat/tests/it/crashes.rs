//! The gateway killed with SIGKILL, again and again, in the middle of a rush of clients with one token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keymoat_core::{Secret, UnixMillis};
use keymoat_emulator::{Options, Recorder};
use keymoat_store::Store;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{Folder, Keymoat, PATIENCE, post, status};

pub(crate) const REAL_KEY: &str = "REAL-upstream-key-0123456789abcdef";
pub(crate) const KEY: &str = "the-key-of-the-backend-1";
const CLIENTS: u32 = 200;
const ROUNDS: u32 = 50;
const USES: u32 = 12;

/// How a client spends the token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spending {
    /// A request; a use is one 200.
    Http,
    /// A WebSocket whose upstream is dialled before it opens; a use is one echo, because a refused one opens as well.
    DialFirst,
    /// Gemini Live, which opens before its upstream is dialled; a use is one `setupComplete`.
    FirstMessage,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Admitted,
    UsedUp,
    /// The store did not answer in time, on a machine that has much to do: nobody is let in, and a use may be gone.
    Unavailable,
    /// The connection broke before it was told anything.
    Nothing,
}

#[tokio::test]
async fn d55_f77_a_gateway_that_is_killed_in_a_rush_never_lets_in_more_than_a_token_s_uses() {
    let emulator = keymoat_emulator::start(Options::new(Secret::from(REAL_KEY))).await.expect("a free port");
    let recorder = emulator.recorder();
    let folder = configured(&format!("http://{}", emulator.address()));
    let store = Store::open(&folder.path().join(".keymoat")).expect("a store");
    let mut keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    let (mut interrupted, mut burnt) = (0, 0);
    for round in 0..ROUNDS {
        let (token, id) = minted(&keymoat);
        recorder.clear();
        // Each round ends at another moment of the rush.
        let rushed = rush(&mut keymoat, &token, round * USES / ROUNDS).await;
        let dialled = dialled(&recorder);
        let consumed = USES - store.token(&id, now()).expect("it is kept").uses_left.expect("it is counted");
        let admitted = count(&rushed, Told::Admitted);
        assert!(admitted <= dialled, "round {round}: {admitted} admitted, {dialled} dialled");
        assert!(dialled <= consumed, "round {round}: {dialled} dialled, {consumed} consumed");
        interrupted += u32::from(count(&rushed, Told::Nothing) > 0);

        keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
        let (rest, unsure) = spend_the_rest(keymoat.address(), &token).await;
        assert!(consumed + rest <= USES, "round {round}: {consumed} were consumed, and {rest} more let in");
        assert!(consumed + rest + unsure >= USES, "round {round}: uses are lost that nobody consumed");
        burnt += consumed - admitted;
    }
    assert!(interrupted > ROUNDS / 5, "only {interrupted} of {ROUNDS} rounds were interrupted midway");
    tell(&format!("d55: {interrupted} of {ROUNDS} rounds were interrupted midway, {burnt} uses were burnt"));
}

fn configured(upstream: &str) -> Arc<Folder> {
    configured_with(upstream, "")
}

/// The same with further sections.
pub(crate) fn configured_with(upstream: &str, sections: &str) -> Arc<Folder> {
    let folder = Folder::new();
    folder.write("real", REAL_KEY);
    folder.write("backend", KEY);
    let text = format!(
        "[tls]\nmode = \"disabled\"\n\
         [upstream.gemini]\npreset = \"gemini\"\nurl = \"{upstream}\"\nsecret = \"${{file:real}}\"\n\
         [upstream.demo]\nurl = \"{upstream}\"\nsecret = \"${{file:real}}\"\ninject = \"header:X-API-Key\"\n\
         [route.gemini]\nupstream = \"gemini\"\n\
         [route.demo]\nupstream = \"demo\"\npaths = [\"/demo/*\"]\n\
         [key.backend]\nsecret = \"${{file:backend}}\"\nscopes = [\"*\"]\n{sections}"
    );
    folder.write("keymoat.toml", &text);
    folder.into()
}

fn minted(keymoat: &Keymoat) -> (String, String) {
    let order = format!("{{\"uses\":{USES}}}");
    let mint = || post(keymoat.address(), "/keymoat/v1/tokens", ("X-API-Key", KEY), &order);
    let answer = std::iter::repeat_with(mint).take(10).find(|answer| status(answer) != 503).expect("in time");
    assert_eq!(status(&answer), 200, "{answer}");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON");
    let text = |field: &str| body[field].as_str().expect("a text").to_owned();
    (text("token"), text("id"))
}

/// Lets all clients loose, kills the gateway once so many of them were let in, and gives what all were told.
async fn rush(keymoat: &mut Keymoat, token: &str, admitted_before_the_end: u32) -> BTreeMap<Told, u32> {
    let mut clients = JoinSet::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    for client in 0..CLIENTS {
        let (address, token, tell) = (keymoat.address().to_owned(), token.to_owned(), tell.clone());
        let spending = [Spending::Http, Spending::DialFirst, Spending::FirstMessage][client as usize % 3];
        clients.spawn(async move {
            let connected = timeout(PATIENCE, TcpStream::connect(address)).await.expect("in time");
            let was_told = match connected {
                Ok(mut stream) => spend(&mut stream, &token, spending).await,
                Err(_) => Told::Nothing,
            };
            let _ = tell.send(was_told);
        });
    }
    drop(tell);
    let mut counts = BTreeMap::new();
    let mut note = |told| *counts.entry(told).or_default() += 1;
    let mut awaited = admitted_before_the_end;
    while awaited > 0 {
        let Some(was_told) = told.recv().await else { break };
        awaited -= u32::from(was_told == Told::Admitted);
        note(was_told);
    }
    if admitted_before_the_end == 0 {
        // Somewhere between the first bytes and the first answer.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    keymoat.signal(Signal::KILL);
    keymoat.wait();
    while let Some(was_told) = told.recv().await {
        note(was_told);
    }
    clients.join_all().await;
    counts
}

/// Spends the token one client after the other, to its end: how many were let in, and how many may have cost a use.
async fn spend_the_rest(address: &str, token: &str) -> (u32, u32) {
    let (mut admitted, mut unsure) = (0, 0);
    for spending in [Spending::Http, Spending::DialFirst, Spending::FirstMessage].into_iter().cycle().take(100) {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        match spend(&mut stream, token, spending).await {
            Told::Admitted => admitted += 1,
            Told::Unavailable => unsure += 1,
            Told::UsedUp => return (admitted, unsure),
            Told::Nothing => panic!("{spending:?}: a gateway that runs says something"),
        }
    }
    panic!("the token has no end");
}

pub(crate) async fn spend(stream: &mut TcpStream, token: &str, spending: Spending) -> Told {
    timeout(PATIENCE, tried(stream, token, spending)).await.expect("in time").unwrap_or(Told::Nothing)
}

/// `None` for a connection that broke off.
async fn tried(stream: &mut TcpStream, token: &str, spending: Spending) -> Option<Told> {
    const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (target, headers) = match spending {
        Spending::Http => ("/demo/echo", "Connection: close\r\n"),
        Spending::DialFirst => ("/demo/ws", UPGRADE),
        Spending::FirstMessage => {
            ("/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", UPGRADE)
        }
    };
    let request = format!("GET {target} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let message: &[u8] = match spending {
        Spending::Http => {
            let mut body = String::new();
            stream.read_to_string(&mut body).await.ok()?;
            return match status(&head) {
                200 => Some(Told::Admitted),
                _ => Some(refused(&body)),
            };
        }
        Spending::DialFirst => b"hello",
        Spending::FirstMessage => br#"{"setup":{"model":"models/gemini-2.5-flash-native-audio"}}"#,
    };
    assert_eq!(status(&head), 101, "{head}");
    let length = u8::try_from(message.len()).expect("short");
    stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0][..], message].concat()).await.ok()?;
    let opcode = stream.read_u8().await.ok()? & 15;
    let mut payload = vec![0; stream.read_u8().await.ok()?.into()];
    stream.read_exact(&mut payload).await.ok()?;
    let text = String::from_utf8_lossy(&payload);
    match opcode {
        8 => Some(refused(&text)),
        _ => {
            assert!(text.contains("hello") || text.contains("setupComplete"), "{text}");
            Some(Told::Admitted)
        }
    }
}

fn refused(told: &str) -> Told {
    if told.contains("unavailable") {
        return Told::Unavailable;
    }
    assert!(told.contains("token_used_up"), "{told}");
    Told::UsedUp
}

fn dialled(recorder: &Recorder) -> u32 {
    u32::try_from(recorder.requests().len()).expect("few")
}

fn count(counts: &BTreeMap<Told, u32>, told: Told) -> u32 {
    counts.get(&told).copied().unwrap_or_default()
}

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    UnixMillis(i64::try_from(since).expect("a time"))
}

#[expect(clippy::print_stderr, reason = "what the rounds came to is worth reading")]
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}
