//! What the gateway makes of upstreams: TLS, HTTP versions, warm connections, and answers that cannot be passed on.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keymoat_core::record::Outcome;
use keymoat_core::route::QueryPolicy;
use keymoat_core::{Code, Secret, UnixMillis};
use keymoat_emulator::{Options, Recorder};
use keymoat_gateway::settings::{Limits, Origin, Upstream, UpstreamHttp};
use keymoat_gateway::tls::self_signed;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::scripted::{Scripted, Then, in_front_of, switch};
use crate::stand::{
    REAL_KEY, Stand, close_of, emulate, frame, generic, read_all_or_reset, read_frame, read_head, upstream, wait_until,
};

/// The real time, because a TLS handshake reads the real clock.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixMillis(i64::try_from(since.as_millis()).expect("before year 292 million"))
}

/// An emulator under TLS, and the authority that vouches for it.
struct Emulated {
    port: u16,
    ca_file: PathBuf,
    recorder: Recorder,
    _folder: TempDir,
    _running: oneshot::Sender<()>,
}

fn under_tls() -> Emulated {
    under_tls_at("127.0.0.1:0")
}

fn under_tls_at(address: &str) -> Emulated {
    under_tls_since(address, now())
}

/// With a certificate that was issued at `issued`.
fn under_tls_since(address: &str, issued: UnixMillis) -> Emulated {
    let folder = tempfile::tempdir().expect("a folder");
    let prepared = self_signed::prepare(folder.path(), issued).expect("a certificate");
    let mut options = Options::new(Secret::from(REAL_KEY));
    options.tls = Some(prepared.config);
    options.address = address.parse().expect("an address");
    let (address, recorder, running) = emulate(options);
    Emulated { port: address.port(), ca_file: prepared.ca_file, recorder, _folder: folder, _running: running }
}

/// A gateway whose `/demo/*` leads to `emulated`.
fn in_front_of_tls(emulated: &Emulated, change: impl FnOnce(&mut Upstream)) -> Stand {
    Stand::with(Limits::default(), |settings| {
        let demo = &mut settings.upstreams[0];
        demo.origin = Origin { tls: true, host: String::from("localhost"), port: emulated.port };
        demo.ca_file = Some(emulated.ca_file.clone());
        change(demo);
    })
}

fn key(stand: &Stand) -> String {
    format!("X-API-Key: {}\r\n", stand.key)
}

#[test]
fn an_upstream_under_tls_is_spoken_to_in_the_best_version_that_is_allowed() {
    let emulated = under_tls();
    for (http, version) in
        [(UpstreamHttp::Auto, "HTTP/2.0"), (UpstreamHttp::Http1, "HTTP/1.1"), (UpstreamHttp::Http2, "HTTP/2.0")]
    {
        emulated.recorder.clear();
        let stand = in_front_of_tls(&emulated, |upstream| upstream.http = http);
        for _ in 0..2 {
            let answer = stand.fetch("/demo/echo?a=1", &key(&stand));
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"credential\":\"valid\""), "{answer}");
        }
        let body = "x".repeat(500_000);
        let answer = stand.exchange(&format!(
            "POST /demo/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}Content-Length: 500000\r\n\r\n{body}",
            key(&stand)
        ));
        assert!(answer.contains(&body), "{}", answer.len());
        let seen = emulated.recorder.requests();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|request| request.version == version), "{}", seen[0].version);
        assert_eq!(seen[2].body_bytes, 500_000);
        // WebSockets use HTTP/1.1 whatever else is spoken.
        let (head, mut stream) = stand.open_websocket("/demo/ws", &key(&stand));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream.write_all(&frame(1, b"hello")).expect("sent");
        assert_eq!(read_frame(&mut stream), (1, b"hello".to_vec()));
        assert_eq!(emulated.recorder.requests()[3].version, "HTTP/1.1");
    }
}

#[test]
fn g89_an_upstream_that_nobody_vouches_for_does_not_get_the_key() {
    let emulated = under_tls();
    let another = under_tls();
    for ca_file in [None, Some(another.ca_file.clone())] {
        let stand = in_front_of_tls(&emulated, |upstream| upstream.ca_file = ca_file);
        let answer = stand.fetch("/demo/echo", &key(&stand));
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_failed"), "{answer}");
        let (head, mut stream) = stand.open_websocket("/demo/ws", &key(&stand));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 1014);
        assert!(reason.starts_with("upstream_failed"), "{reason}");
        let records = stand.records(2);
        for record in &records {
            assert_eq!((record.outcome, record.code), (Outcome::Failed, Some(Code::UpstreamFailed)));
            assert!(record.cause.as_deref().is_some_and(|cause| cause.contains("ertificate")), "{record:?}");
        }
    }
    assert!(emulated.recorder.requests().is_empty(), "nothing was sent");
}

#[test]
fn g89_an_expired_certificate_is_not_taken() {
    let emulated = under_tls_since("127.0.0.1:0", UnixMillis(now().0 - 3 * 365 * 24 * 3600 * 1000));
    let stand = in_front_of_tls(&emulated, |_| {});
    let answer = stand.fetch("/demo/echo", &key(&stand));
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let cause = stand.records(1)[0].cause.clone().unwrap_or_default();
    assert!(cause.to_lowercase().contains("expired"), "{cause}");
    assert!(emulated.recorder.requests().is_empty(), "the key was not sent");
}

#[test]
fn g89_a_certificate_for_another_name_is_not_taken() {
    // An address that no interface has by name, so that no certificate is good for it.
    let emulated = under_tls_at("127.0.0.2:0");
    let stand = in_front_of_tls(&emulated, |upstream| upstream.origin.host = String::from("127.0.0.2"));
    let answer = stand.fetch("/demo/echo", &key(&stand));
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(emulated.recorder.requests().is_empty());
}

#[test]
fn an_upstream_that_is_down_is_503_with_a_time_to_come_back() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let stand = Stand::with(Limits::default(), |settings| {
        settings.routes.push(generic("x", "x", &["/x/*"], QueryPolicy::Tokens));
        settings.upstreams.push(upstream("x", gone, "x-api-key"));
    });
    let answer = stand.fetch("/x/y", &key(&stand));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    let (_, mut stream) = stand.open_websocket("/x/y", &key(&stand));
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1013);
    assert!(reason.starts_with("unavailable: retry_after=1"), "{reason}");
}

#[test]
fn http_2_with_prior_knowledge_is_one_connection_for_all() {
    let stand = Stand::with(Limits::default(), |settings| settings.upstreams[0].http = UpstreamHttp::Http2);
    for _ in 0..3 {
        assert!(stand.fetch("/demo/echo", &key(&stand)).starts_with("HTTP/1.1 200 "));
    }
    let seen = stand.recorder.requests();
    assert!(seen.iter().all(|request| request.version == "HTTP/2.0"));
    assert_eq!(seen[0].header("x-api-key"), Some(REAL_KEY));
    assert_eq!(seen[0].header("connection"), None);
}

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_warm_connection_is_used_again() {
    let scripted = Scripted::start(|stream, _| {
        let _ = stream.write_all(GOOD);
        Then::KeepAlive
    });
    let stand = in_front_of(&scripted, Limits::default());
    for _ in 0..10 {
        assert!(stand.fetch("/x/y", &key(&stand)).ends_with("ok"));
    }
    assert_eq!((scripted.accepted(), scripted.heads().len()), (1, 10));
}

#[test]
fn a_warm_connection_that_was_closed_meanwhile_is_not_the_client_s_trouble() {
    let scripted = Scripted::answering(GOOD);
    let stand = in_front_of(&scripted, Limits::default());
    for _ in 0..50 {
        let answer = stand.fetch("/x/y", &key(&stand));
        assert!(answer.ends_with("ok"), "{answer}");
    }
    assert_eq!(scripted.heads().len(), 50, "each request was seen once");
}

#[test]
fn a_request_that_may_not_be_repeated_is_sent_once() {
    let scripted = Scripted::start(|stream, head| {
        if head.contains("POST") {
            return Then::Close;
        }
        let _ = stream.write_all(GOOD);
        Then::KeepAlive
    });
    let stand = in_front_of(&scripted, Limits::default());
    for method in ["GET", "POST", "PUT"] {
        let request = format!(
            "{method} /x/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n{}\r\n",
            key(&stand)
        );
        let answer = stand.exchange(&request);
        let status = if method == "POST" { 502 } else { 200 };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(scripted.heads().len(), 3);
}

#[test]
fn a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again() {
    let scripted = Scripted::start(|stream, head| {
        if head.contains("/first") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsecret-of-the-first-client");
            read_all_or_reset(stream);
            return Then::Close;
        }
        let _ = stream.write_all(GOOD);
        Then::KeepAlive
    });
    let stand = in_front_of(&scripted, Limits::default());
    let mut first = stand.connect();
    let request = format!("GET /x/first HTTP/1.1\r\nHost: a\r\n{}\r\n", key(&stand));
    first.write_all(request.as_bytes()).expect("sent");
    assert!(read_head(&mut first).starts_with("HTTP/1.1 200 "));
    drop(first);
    let answer = stand.fetch("/x/second", &key(&stand));
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert_eq!(scripted.accepted(), 2);
}

#[test]
fn bytes_behind_an_answer_do_not_become_another_client_s_answer() {
    let scripted = Scripted::start(|stream, _| {
        let _ = stream.write_all(&[GOOD, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"].concat());
        Then::KeepAlive
    });
    let stand = in_front_of(&scripted, Limits::default());
    for _ in 0..5 {
        let answer = stand.fetch("/x/y", &key(&stand));
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    }
}

#[test]
fn an_answer_that_is_none_is_502() {
    let rubbish: &[&[u8]] = &[
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX",
        b"\x16\x03\x01\x00\x05hello",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        // A switch that nobody asked for must not reach the client.
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi",
    ];
    for bytes in rubbish {
        let scripted = Scripted::answering(*bytes);
        let stand = in_front_of(&scripted, Limits::default());
        let answer = stand.fetch("/x/y", &key(&stand));
        let sent = String::from_utf8_lossy(bytes);
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_failed"), "{sent:?}: {answer:?}");
        assert_eq!(scripted.heads().len(), 1);
        let record = &stand.records(1)[0];
        assert_eq!((record.outcome, record.status), (Outcome::Failed, Some(502)), "{sent:?}");
    }
}

#[test]
fn informational_answers_are_not_final_ones() {
    let scripted =
        Scripted::answering([&b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"[..], GOOD].concat());
    let stand = in_front_of(&scripted, Limits::default());
    let answer = stand.fetch("/x/y", &key(&stand));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
}

#[test]
fn a_redirect_is_passed_on_and_not_followed_and_cookies_stay_behind() {
    let scripted = Scripted::answering(
        "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nSet-Cookie: a=b\r\nWWW-Authenticate: Basic\r\n\
         Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let stand = in_front_of(&scripted, Limits::default());
    let answer = stand.fetch("/x/y", &key(&stand)).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 302 ") && answer.contains("location: http://elsewhere.example/"), "{answer}");
    for name in ["set-cookie", "www-authenticate", "x-hop"] {
        assert!(!answer.contains(name), "{answer}");
    }
    assert_eq!(scripted.accepted(), 1);
}

#[test]
fn answers_without_a_body_stay_so() {
    let answers = Mutex::new(vec![
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ]);
    let scripted = Scripted::start(move |stream, _| {
        let answer = answers.lock().expect("no panic").pop().expect("one more");
        let _ = stream.write_all(answer.as_bytes());
        Then::KeepAlive
    });
    let stand = in_front_of(&scripted, Limits::default());
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200)] {
        let request = format!("{method} /x/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", key(&stand));
        let answer = stand.exchange(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.ends_with("\r\n\r\n") && answer.matches("\r\n\r\n").count() == 1, "{answer:?}");
        assert_eq!(answer.contains("content-length: 5"), method == "HEAD", "{answer}");
    }
}

#[test]
fn an_upstream_that_does_not_answer_is_504() {
    let scripted = Scripted::start(|stream, _| {
        read_all_or_reset(stream);
        Then::Close
    });
    let limits =
        Limits { response_head: Duration::from_millis(100), connect: Duration::from_millis(100), ..Limits::default() };
    let stand = in_front_of(&scripted, limits);
    let answer = stand.fetch("/x/y", &key(&stand));
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("upstream_timeout"), "{answer}");
    let (head, mut stream) = stand.open_websocket("/x/y", &key(&stand));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1014);
    assert!(reason.starts_with("upstream_timeout"), "{reason}");
    drop(stream);
    assert!(stand.records(2).iter().all(|record| record.code == Some(Code::UpstreamTimeout)));
}

#[test]
fn an_invalid_101_is_the_upstream_s_failure() {
    let cases: &[fn(&str) -> String] = &[
        |_| switch("Sec-WebSocket-Key: another\r\n", ""),
        |head| switch(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        |head| switch(head, "Sec-WebSocket-Protocol: unoffered\r\n"),
        |head| switch(head, "").replace("Upgrade: websocket", "Upgrade: h2c"),
        |head| switch(head, "").replace("Connection: Upgrade\r\n", ""),
        |head| switch(head, "").replace("101 Switching Protocols", "200 OK"),
        |_| "HTTP/1.1 101 Switching Protocols\r\n\r\n".into(),
        |_| "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".into(),
        |_| "rubbish\r\n\r\n".into(),
        |_| String::new(),
    ];
    for case in cases {
        let scripted = Scripted::start(move |stream, head| {
            let _ = stream.write_all(case(head).as_bytes());
            Then::Close
        });
        let stand = in_front_of(&scripted, Limits::default());
        let (head, mut stream) = stand.open_websocket("/x/y", &key(&stand));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(!head.to_ascii_lowercase().contains("sec-websocket-protocol"), "{head}");
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 1014, "{}", case("Sec-WebSocket-Key: x\r\n"));
        assert!(reason.starts_with("upstream_failed"), "{reason}");
        drop(stream);
        assert_eq!(stand.records(1)[0].outcome, Outcome::Failed);
    }
}

#[test]
fn an_answer_that_comes_before_the_body_has_ended_is_passed_on() {
    let scripted = Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        read_all_or_reset(stream);
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits::default());
    let mut stream = stand.connect();
    let mut sending = stream.try_clone().expect("a second handle");
    let head = format!("POST /x/y HTTP/1.1\r\nHost: a\r\n{}Content-Length: 5000000\r\n\r\n", key(&stand));
    let sender = std::thread::spawn(move || {
        let _ = sending.write_all(head.as_bytes());
        // The gateway may stop reading before all is sent.
        std::iter::repeat_n([b'x'; 10_000], 500).all(|part| sending.write_all(&part).is_ok());
    });
    let answer = read_head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    drop(stream);
    sender.join().expect("no panic");
}

#[test]
fn an_upload_may_take_longer_than_the_wait_for_an_answer() {
    let limits = Limits { response_head: Duration::from_millis(300), ..Limits::default() };
    let stand = Stand::with(limits, |_| {});
    let mut stream = stand.connect();
    let head = format!("POST /demo/echo HTTP/1.1\r\nHost: a\r\n{}Content-Length: 30\r\n\r\n", key(&stand));
    stream.write_all(head.as_bytes()).expect("sent");
    for _ in 0..30 {
        // The pace of the upload is what is tested.
        std::thread::sleep(Duration::from_millis(30));
        stream.write_all(b"x").expect("sent");
    }
    let answer = read_head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_client_that_goes_away_while_the_upstream_thinks_is_recorded_and_the_upstream_let_go() {
    let (told, gone) = std::sync::mpsc::channel();
    let told = Mutex::new(told);
    let scripted = Scripted::start(move |stream, _| {
        let rest = read_all_or_reset(stream);
        let _ = told.lock().expect("no panic").send(rest);
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits::default());
    let mut stream = stand.connect();
    let request = format!("GET /x/y HTTP/1.1\r\nHost: a\r\n{}\r\n", key(&stand));
    stream.write_all(request.as_bytes()).expect("sent");
    wait_until(|| scripted.heads().len() == 1);
    drop(stream);
    assert_eq!(gone.recv_timeout(Duration::from_secs(5)).as_deref(), Ok(""));
    assert_eq!(stand.records(1)[0].outcome, Outcome::Aborted);
}
