//! Group H of the bad inputs and faults: caps, the memory budget, and too few file descriptors.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keymoat_core::Code;
use keymoat_gateway::settings::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::scripted::{Scripted, Then, header, in_front_of};
use crate::stand::{Stand, close_of, frame, read_all, read_frame, read_head, wait_until};

/// Set for the process that [`h94_too_few_descriptors_do_not_make_it_spin`] starts.
const CHILD: &str = "KEYMOAT_TEST_FEW_DESCRIPTORS";

fn key(stand: &Stand) -> String {
    format!("X-API-Key: {}\r\n", stand.key)
}

#[test]
fn h92_one_session_too_many_is_refused_before_its_credential_is_looked_at() {
    let stand = Stand::with(Limits { sessions_max: 1, ..Limits::default() }, |_| {});
    let (_, mut held) = stand.open_websocket("/demo/ws", &key(&stand));
    held.write_all(&frame(1, b"x")).expect("sent");
    assert_eq!(read_frame(&mut held).0, 1);
    for credential in [key(&stand), String::from("X-API-Key: wrong\r\n"), String::new()] {
        let (_, mut stream) = stand.open_websocket("/demo/ws", &credential);
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 1013);
        assert!(reason.starts_with("unavailable: retry_after=1"), "{reason}");
    }
    // Events without an end are a session, too; other requests are none.
    let answer = stand.fetch("/demo/sse?count=2", &key(&stand));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(stand.fetch("/demo/echo", &key(&stand)).starts_with("HTTP/1.1 200 "));
    held.write_all(&frame(8, &1000_u16.to_be_bytes())).expect("sent");
    wait_until(|| {
        let (_, mut stream) = stand.open_websocket("/demo/ws", &key(&stand));
        let _ = stream.write_all(&frame(1, b"x"));
        read_frame(&mut stream).0 == 1
    });
}

#[test]
fn the_size_of_heads_is_a_setting() {
    let scripted = Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Then::KeepAlive
    });
    let limits = Limits { head_bytes_max: 40_000, head_fields_max: 150, url_bytes_max: 12_000, ..Limits::default() };
    let (larger, usual) = (in_front_of(&scripted, limits), in_front_of(&scripted, Limits::default()));
    let status = |stand: &Stand, path: &str, headers: &str| {
        let answer = stand.fetch(path, &format!("{headers}{}", key(stand)));
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    let url = |bytes: usize| format!("/x/{}", "a".repeat(bytes - 3));
    let fields = |count: usize| (0..count).map(|number| format!("X-{number}: a\r\n")).collect::<String>();
    let padding = |bytes: usize| format!("X-Padding: {}\r\n", "a".repeat(bytes));
    for (path, headers, with_larger, with_usual) in [
        (url(8192), String::new(), "200", "200"),
        (url(12_000), String::new(), "200", "414"),
        (url(12_001), String::new(), "414", "414"),
        // `Host`, `Connection` and the key are three more.
        (url(5), fields(97), "200", "200"),
        (url(5), fields(147), "200", "431"),
        (url(5), fields(148), "431", "431"),
        (url(5), padding(16_000), "200", "200"),
        (url(5), padding(39_000), "200", "431"),
        (url(5), padding(40_000), "431", "431"),
    ] {
        let size = format!("{} and {} bytes", path.len(), headers.len());
        assert_eq!(status(&larger, &path, &headers), with_larger, "{size}");
        assert_eq!(status(&usual, &path, &headers), with_usual, "{size}");
    }
}

#[test]
fn h95_a_budget_that_is_spent_sheds_new_work_before_it_is_looked_at() {
    let stand = Stand::with(Limits::default(), |_| {});
    let (_, mut session) = stand.open_websocket("/demo/ws", &key(&stand));
    let mut kept = stand.connect();
    let get = format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\n{}\r\n", key(&stand));
    kept.write_all(get.as_bytes()).expect("sent");
    assert!(read_answer(&mut kept).starts_with("HTTP/1.1 200 "));
    set_budget(&stand, Some(1));
    wait_until(|| {
        let mut stream = stand.connect();
        let _ = stream.write_all(get.as_bytes());
        read_head(&mut stream).starts_with("HTTP/1.1 503 ")
    });
    // A connection that is there already is told the same, without regard to its credential, and closed.
    stand.records.lock().expect("no panic").clear();
    kept.write_all(get.replace("X-API-Key: ", "X-API-Key: x").as_bytes()).expect("sent");
    let answer = read_all(&mut kept);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    let record = &stand.records(1)[0];
    assert_eq!((record.code, &record.carrier), (Some(Code::Unavailable), &None));
    // What is under way goes on.
    session.write_all(&frame(1, b"still there")).expect("sent");
    assert_eq!(read_frame(&mut session), (1, b"still there".to_vec()));
    set_budget(&stand, None);
    wait_until(|| stand.fetch("/demo/echo", &key(&stand)).starts_with("HTTP/1.1 200 "));
}

#[test]
fn h95_near_the_budget_connections_are_not_kept() {
    // So much that what the test itself takes does not matter.
    let ballast = vec![1_u8; 400 << 20];
    let stand = Stand::with(Limits::default(), |_| {});
    assert!(stand.fetch("/demo/echo", &key(&stand)).starts_with("HTTP/1.1 200 "));
    set_budget(&stand, Some(resident_bytes() * 1000 / 935));
    let get = format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\n{}\r\n", key(&stand));
    wait_until(|| {
        let mut stream = stand.connect();
        stream.write_all(get.as_bytes()).expect("sent");
        let head = read_answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        header(&head, "connection").as_deref() == Some("close") && read_all(&mut stream).is_empty()
    });
    assert!(ballast.iter().step_by(4096).all(|byte| *byte == 1));
}

/// Reloads with another budget; the routes are the ones that `/demo/echo` needs.
pub(crate) fn set_budget(stand: &Stand, memory_bytes_max: Option<u64>) {
    let limits = Limits { memory_bytes_max, ..Limits::default() };
    stand.running.as_ref().expect("it runs").reload(crate::reload::settings_with(stand, limits)).expect("it fits");
}

/// What this process holds.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * rustix::param::page_size() as u64
}

fn read_answer(stream: &mut TcpStream) -> String {
    let head = read_head(stream);
    let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    head
}

#[test]
fn h94_too_few_descriptors_do_not_make_it_spin() {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "group_h_overload::with_few_descriptors", "--ignored", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the same program");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let address =
        lines.by_ref().map_while(Result::ok).find_map(|line| line.split_once("at ")?.1.parse::<SocketAddr>().ok());
    let address = address.expect("the child says where it listens");
    let held: Vec<_> = (0..60).map(|_| TcpStream::connect(address).expect("the kernel takes it")).collect();
    std::thread::sleep(Duration::from_millis(200));
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).expect("it runs").count();
    assert!(open < held.len(), "{open}: it could take them all");
    let before = ticks(child.id());
    std::thread::sleep(Duration::from_secs(1));
    let spent = ticks(child.id()) - before;
    assert!(spent < 30, "{spent} hundredths of a second of work in one second of nothing");
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut stream = TcpStream::connect(address).expect("the kernel takes it");
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        let request = b"GET /keymoat/livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        if stream.write_all(request).is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(" 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "it serves again once there are descriptors");
    }
    drop(child.stdin.take());
    lines.for_each(drop);
    assert!(child.wait().expect("it ends").success());
}

/// User and system time of a process, in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The child of [`h94_too_few_descriptors_do_not_make_it_spin`]; it ends when its input does.
#[test]
#[ignore = "a process of its own, which the test above starts"]
fn with_few_descriptors() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stand = Stand::with(Limits::default(), |settings| settings.threads = 1);
    let open = std::fs::read_dir("/proc/self/fd").expect("Linux").count() as u64;
    let limit = Rlimit { current: Some(open + 8), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, limit).expect("fewer are always allowed");
    write_line(&format!("at {}", stand.address));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The test harness captures what is printed, not what is written.
fn write_line(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{text}").and_then(|()| out.flush()).expect("the parent reads");
}
