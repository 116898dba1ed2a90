//! The gate in front of a real hyper server: every probe gets its answer, and the service never sees what it held.

#[path = "../../../keymoat-core/src/gate/probes.rs"]
mod probes;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use keymoat_core::gate::{GateError, Limits};
use keymoat_gateway::gated::{GateSignal, Gated, Passed};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};

use crate::differential::check;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

type Served = Arc<Mutex<Vec<String>>>;

fn refusal(error: GateError) -> Response<Full<Bytes>> {
    Response::builder()
        .status(error.code().status())
        .header("connection", "close")
        .body(Full::from(error.to_string()))
        .expect("a response")
}

/// Answers 200 to every request that the gate passed and whose body came, and notes its path.
async fn answer(request: Request<Incoming>, signal: GateSignal, served: Served) -> Response<Full<Bytes>> {
    let passed = match signal.next_request() {
        Ok(passed) => passed,
        Err(error) => return refusal(error),
    };
    let path = request.uri().path().to_owned();
    if request.into_body().collect().await.is_err() {
        return refusal(signal.body_error().expect("only the gate breaks bodies here"));
    }
    served.lock().expect("no panic").push(path);
    let response = Response::builder();
    let response = if passed == Passed::Upgrade { response.header("connection", "close") } else { response };
    response.body(Full::from("fine")).expect("a response")
}

/// Serves one connection until it ends.
async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, served: Served) {
    let gated = Gated::new(io, Vec::new(), Limits::default(), Duration::from_secs(10));
    let signal = gated.signal();
    let service = service_fn(move |request| {
        let answer = answer(request, signal.clone(), Arc::clone(&served));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new().max_buf_size(32 << 10).serve_connection(TokioIo::new(gated), service);
    // How it ended is seen in the answers.
    let _ = connection.with_upgrades().await;
}

/// Sends `bytes` and returns all answers and the paths that were served.
async fn exchange(bytes: Vec<u8>) -> (String, Vec<String>) {
    let (client, server) = duplex(1 << 20);
    let served = Served::default();
    let server = tokio::spawn(serve(server, Arc::clone(&served)));
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut answers = String::new();
    let sent = async {
        let _ = writer.write_all(&bytes).await;
    };
    let (read, ()) = tokio::join!(reader.read_to_string(&mut answers), sent);
    read.expect("text");
    drop((reader, writer));
    server.await.expect("the server does not panic");
    let served = std::mem::take(&mut *served.lock().expect("no panic"));
    (answers, served)
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| answer.get(..3).unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_probe_gets_its_status_and_its_reason_and_is_not_served() {
    for probe in probes::bad() {
        let place = if probe.in_body { "body" } else { "head" };
        let (answers, served) = exchange(probe.bytes).await;
        let status = probe.error.code().status().to_string();
        assert_eq!(statuses(&answers), [status], "{} in the {place}: {answers}", probe.name);
        assert!(answers.ends_with(&probe.error.to_string()), "{}: {answers}", probe.name);
        assert!(answers.contains("connection: close\r\n"), "{}: {answers}", probe.name);
        assert_eq!(served, Vec::<String>::new(), "{}", probe.name);
    }
}

#[tokio::test(start_paused = true)]
async fn good_streams_are_served_and_answered() {
    for (name, stream, heads) in probes::good() {
        // A bad head at the end makes the server close the connection.
        let (answers, served) = exchange([&stream[..], b"\r\n"].concat()).await;
        assert_eq!(served.len() as u64, heads, "{name}: {answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_the_order_of_the_requests() {
    let (answers, served) = exchange([GET, GET, b"GET / HTTP/1.1\r\n\r\n", GET].concat()).await;
    assert_eq!(statuses(&answers), ["200", "200", "400"]);
    assert!(answers.ends_with(&GateError::HostMissing.to_string()));
    assert_eq!(served, ["/", "/"]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_answered_408() {
    let (mut client, server) = duplex(1024);
    let server = tokio::spawn(serve(server, Served::default()));
    client.write_all(&[GET, b"GET / HT"].concat()).await.expect("written");
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.expect("text");
    assert_eq!(statuses(&answers), ["200", "408"]);
    drop(client);
    server.await.expect("the server does not panic");
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_a_refused_upgrade_is_not_served() {
    let (answers, served) = exchange([UPGRADE, GET].concat()).await;
    assert_eq!(statuses(&answers), ["200"]);
    assert_eq!(served, ["/ws"]);
}

#[tokio::test]
async fn the_answer_survives_input_that_nobody_reads() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
    let (server, _) = listener.accept().await.expect("accepted");
    let server = tokio::spawn(serve(server, Served::default()));
    let (mut reader, mut writer) = client.split();
    let flood = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(200_000));
    let mut answers = Vec::new();
    let sent = async {
        writer.write_all(flood.as_bytes()).await.expect("written");
        writer.shutdown().await.expect("shut down");
    };
    let (read, ()) = tokio::join!(reader.read_to_end(&mut answers), sent);
    read.expect("no reset");
    assert!(answers.starts_with(b"HTTP/1.1 431 "), "{}", answers.escape_ascii());
    server.await.expect("the server does not panic");
}

#[tokio::test]
async fn an_upgrade_gives_back_the_stream_and_the_early_bytes() {
    let (mut client, server) = duplex(1024);
    let gated = Gated::new(server, Vec::new(), Limits::default(), Duration::from_secs(10));
    let signal = gated.signal();
    let (hand_over, upgrade) = tokio::sync::oneshot::channel();
    let hand_over = Mutex::new(Some(hand_over));
    let service = service_fn(move |mut request: Request<Incoming>| {
        assert_eq!(signal.next_request(), Ok(Passed::Upgrade));
        let hand_over = hand_over.lock().expect("no panic").take().expect("one request");
        let _ = hand_over.send(hyper::upgrade::on(&mut request));
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        async move { Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).expect("a response")) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(gated), service).with_upgrades();
    let server = tokio::spawn(connection);
    client.write_all(&[UPGRADE, b"early"].concat()).await.expect("written");
    let upgraded = upgrade.await.expect("served").await.expect("upgraded");
    let parts = upgraded.downcast::<TokioIo<Gated<tokio::io::DuplexStream>>>().expect("our stream");
    assert!(parts.read_buf.is_empty(), "hyper has read nothing behind the head");
    let (mut io, early) = parts.io.into_inner().into_parts();
    assert_eq!(early, b"early");
    client.write_all(b"later").await.expect("written");
    let mut later = [0; 5];
    io.read_exact(&mut later).await.expect("read");
    assert_eq!(&later, b"later");
    server.await.expect("the server does not panic").expect("served");
}

#[test]
fn hyper_reads_every_probe_as_the_gate_does() {
    let bad = probes::bad().into_iter().map(|probe| probe.bytes);
    for stream in bad.chain(probes::good().into_iter().map(|(_, stream, _)| stream)) {
        let stream = [GET, &stream].concat();
        for cut in [1, 7, 100, 1 << 20] {
            check(&stream, cut);
        }
    }
}

#[test]
fn hyper_agrees_with_the_gate_about_every_byte_in_every_place() {
    let stream = b"PUT http://h:1/p?q HTTP/1.1\r\nHost: h:1\r\nN: v\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: v\r\n\r\n";
    let other = b"GET /p?q HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhiG";
    for stream in [&stream[..], other] {
        for at in 0..stream.len() {
            for byte in 0..=255 {
                let mut changed = stream.to_vec();
                changed[at] = byte;
                check(&[&changed, GET].concat(), 64);
            }
        }
    }
}

/// Streams made of probes and good requests, with a few bytes changed, removed or put in.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let bad = probes::bad().into_iter().map(|probe| probe.bytes);
    let good = probes::good().into_iter().map(|(_, stream, _)| stream);
    let corpus: Vec<Vec<u8>> =
        bad.chain(good.clone()).chain(good).chain([UPGRADE.to_vec()]).filter(|bytes| bytes.len() < 1000).collect();
    let parts = proptest::collection::vec(proptest::sample::select(corpus), 1..4);
    let odd = prop_oneof![any::<u8>(), proptest::sample::select(b"\r\n \t:;,0/?#@%\"\\".to_vec())];
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), odd, 0..3), 0..3);
    (parts, changes).prop_map(|(parts, changes)| {
        let mut stream = parts.concat();
        for (at, byte, how) in changes {
            let at = at.index(stream.len());
            match how {
                0 => stream[at] = byte,
                1 => stream.insert(at, byte),
                _ => drop(stream.remove(at)),
            }
        }
        stream
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hyper_reads_what_the_gate_passes_as_the_gate_does(stream in streams(), cut in 1_usize..200) {
        check(&stream, cut);
    }
}
