//! The front under TLS and over HTTP/2: versions, WebSockets by extended CONNECT (RFC 8441), and misdirected requests.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::ext::Protocol as ExtendedConnect;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keymoat_core::Code;
use keymoat_core::record::{Outcome, Protocol};
use keymoat_core::route::QueryPolicy;
use keymoat_gateway::settings::{Limits, Listener, UpstreamHttp};
use keymoat_gateway::tls::client::{self, Alpn};
use keymoat_gateway::tls::self_signed;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::behind::now;
use crate::stand::{Stand, close_of, frame, generic, read_all_or_reset, read_head, upstream, wait_until};

type Sender = http2::SendRequest<Full<Bytes>>;

/// A gateway that also listens under TLS.
struct Front {
    stand: Stand,
    tls: SocketAddr,
    ca_file: PathBuf,
    _folder: TempDir,
}

fn front() -> Front {
    front_with(Limits::default())
}

fn front_with(limits: Limits) -> Front {
    let folder = tempfile::tempdir().expect("a folder");
    let prepared = self_signed::prepare(folder.path(), now()).expect("a certificate");
    let stand = Stand::with(limits, |settings| {
        let address = "127.0.0.1:0".parse().expect("an address");
        settings.listeners.push(Listener { address, tls: Some(prepared.config) });
    });
    let tls = stand.running.as_ref().expect("running").addresses()[1];
    Front { stand, tls, ca_file: prepared.ca_file, _folder: folder }
}

impl Front {
    async fn shake_hands(&self, alpn: Alpn, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let config = client::config(Some(&self.ca_file), alpn).expect("a configuration");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        TlsConnector::from(config).connect(name, TcpStream::connect(self.tls).await?).await
    }

    /// An HTTP/2 connection under TLS.
    async fn connect(&self) -> Sender {
        over_http2(self.shake_hands(Alpn::Both, "localhost").await.expect("trusted")).await
    }
}

async fn over_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    sender
}

/// A request of `method` with further headers.
fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::default()).expect("well formed")
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Opens a WebSocket by extended CONNECT; nobody may do so before the server's settings have come.
async fn open_websocket(
    sender: &mut Sender,
    path: &str,
    headers: &[(&str, &str)],
) -> (Response<()>, TokioIo<hyper::upgrade::Upgraded>) {
    let ready = request(Method::GET, "https://localhost/keymoat/readyz", &[]);
    assert_eq!(sender.send_request(ready).await.expect("an answer").status(), 200);
    let mut opening = request(Method::CONNECT, &format!("https://localhost{path}"), headers);
    opening.headers_mut().insert("sec-websocket-version", http::HeaderValue::from_static("13"));
    opening.extensions_mut().insert(ExtendedConnect::from_static("websocket"));
    let mut response = sender.send_request(opening).await.expect("an answer");
    let upgraded = hyper::upgrade::on(&mut response).await.expect("a stream");
    (response.map(drop), TokioIo::new(upgraded))
}

/// Reads one short unmasked frame.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.expect("a frame");
    assert!(head[1] < 126, "a short one");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).await.expect("its payload");
    (head[0] & 0x0f, payload)
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(8, &[&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

#[tokio::test]
async fn both_versions_are_spoken_under_tls() {
    let front = front();
    let key = front.stand.key.clone();
    let stream = front.shake_hands(Alpn::Both, "localhost").await.expect("trusted");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = over_http2(stream).await;
    let get = || request(Method::GET, "https://localhost/demo/echo?a=1", &[("x-api-key", &key)]);
    let answer = sender.send_request(get()).await.expect("an answer");
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
    assert!(text(answer).await.contains("\"credential\":\"valid\""));

    let stream = front.shake_hands(Alpn::Http1, "localhost").await.expect("trusted");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1 is spoken");
    tokio::spawn(connection);
    let mut get = get();
    get.headers_mut().insert("host", http::HeaderValue::from_static("localhost"));
    *get.uri_mut() = http::Uri::from_static("/demo/echo?a=1");
    let answer = sender.send_request(get).await.expect("an answer");
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_11));
    drop(text(answer).await);

    let seen = front.stand.recorder.requests();
    assert!(seen.iter().all(|request| request.header("x-forwarded-proto") == Some("https")));
    let records = front.stand.records(2);
    assert_eq!(records.iter().map(|record| record.protocol).collect::<Vec<_>>(), [Protocol::Http2, Protocol::Http1]);
    assert!(front.stand.recorder.places_of(&key).is_empty());
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_spoken_on_the_plain_port() {
    let front = front();
    let mut sender = over_http2(TcpStream::connect(front.stand.address).await.expect("it listens")).await;
    let key = front.stand.key.clone();
    let echo = |key: &str| request(Method::POST, "http://a.example/demo/echo", &[("x-api-key", key)]);
    let answer = sender.send_request(echo(&key)).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let refused = sender.send_request(echo("wrong")).await.expect("an answer");
    assert_eq!(refused.status(), 401);
    assert!(text(refused).await.contains("credential_invalid"));
    // Many at once on one connection.
    let answers = (0..50).map(|n| {
        let uri = format!("http://a.example/demo/echo?n={n}");
        sender.send_request(request(Method::GET, &uri, &[("x-api-key", &key)]))
    });
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(answer.await.expect("an answer").status(), 200);
    }
    assert_eq!(front.stand.recorder.requests().len(), 51);
}

#[tokio::test]
async fn a_websocket_under_tls_carries_messages() {
    let front = front();
    let mut stream = front.shake_hands(Alpn::Http1, "localhost").await.expect("trusted");
    let request = format!(
        "GET /demo/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: keymoat.v1, api-key.{}\r\n\r\n",
        front.stand.key
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-protocol: keymoat.v1"), "{head}");
    stream.write_all(&frame(1, b"hello")).await.expect("sent");
    assert_eq!(read_frame(&mut stream).await, (1, b"hello".to_vec()));
    stream.write_all(&close(4242, "bye")).await.expect("sent");
    assert_eq!(close_of(&read_frame(&mut stream).await), (4242, "bye".to_owned()));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("an end with close_notify");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_websocket_over_http_2_carries_messages_and_the_client_s_close() {
    let front = front();
    let mut sender = front.connect().await;
    let offer = format!("keymoat.v1, api-key.{}", front.stand.key);
    let (head, mut stream) = open_websocket(&mut sender, "/demo/ws", &[("sec-websocket-protocol", &offer)]).await;
    assert_eq!(head.status(), StatusCode::OK, "success is 200, not 101");
    assert_eq!(head.headers()["sec-websocket-protocol"], "keymoat.v1");
    for absent in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!head.headers().contains_key(absent), "{head:?}");
    }
    stream.write_all(&frame(1, b"hello")).await.expect("sent");
    assert_eq!(read_frame(&mut stream).await, (1, b"hello".to_vec()));
    let long = vec![b'x'; 60_000];
    stream.write_all(&frame(2, &long)).await.expect("sent");
    let mut echoed = vec![0; 4 + long.len()];
    stream.read_exact(&mut echoed).await.expect("the echo");
    assert!(echoed.ends_with(&long));
    stream.write_all(&close(4242, "bye")).await.expect("sent");
    assert_eq!(close_of(&read_frame(&mut stream).await), (4242, "bye".to_owned()));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the stream ends");
    assert!(rest.is_empty());
    // The connection goes on.
    let again = request(Method::GET, "https://localhost/keymoat/livez", &[]);
    assert_eq!(sender.send_request(again).await.expect("an answer").status(), 200);
    let records = front.stand.records(3);
    let record = records.iter().find(|record| record.protocol == Protocol::WebSocket).expect("its record");
    assert_eq!((record.status, record.close_code, record.outcome), (Some(200), Some(4242), Outcome::Allowed));
    assert_eq!((record.messages_in, record.messages_out), (2, 2));
    let seen = front.stand.recorder.requests();
    assert_eq!((seen[0].method.as_str(), seen[0].version.as_str()), ("GET", "HTTP/1.1"));
    assert!(front.stand.recorder.places_of(&front.stand.key).is_empty());
}

#[tokio::test]
async fn an_upstream_s_close_comes_through_http_2() {
    let front = front();
    let mut sender = front.connect().await;
    let path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    let (head, mut stream) = open_websocket(&mut sender, path, &[("x-goog-api-key", &front.stand.key)]).await;
    assert_eq!(head.status(), 200);
    assert!(!head.headers().contains_key("sec-websocket-protocol"), "nothing was offered");
    stream.write_all(&frame(1, b"not a setup")).await.expect("sent");
    let (code, _) = close_of(&read_frame(&mut stream).await);
    assert_eq!(code, 1007);
    let emulated = front.stand.recorder.requests()[0].close.as_ref().map(|close| close.code);
    assert_eq!(emulated, Some(1007));
}

#[tokio::test]
async fn a_refused_websocket_over_http_2_is_opened_and_closed_with_a_reason() {
    let front = front();
    let mut sender = front.connect().await;
    for (offer, selected) in [("keymoat.v1, api-key.wrong", Some("keymoat.v1")), ("api-key.wrong", None)] {
        let (head, mut stream) = open_websocket(&mut sender, "/demo/ws", &[("sec-websocket-protocol", offer)]).await;
        assert_eq!(head.status(), 200);
        let value = head.headers().get("sec-websocket-protocol").map(|value| value.to_str().expect("ASCII"));
        assert_eq!(value, selected);
        let (code, reason) = close_of(&read_frame(&mut stream).await);
        assert_eq!(code, 4001);
        assert!(reason.starts_with("credential_invalid"), "{reason}");
    }
    assert!(front.stand.recorder.requests().is_empty());
}

#[tokio::test]
async fn one_stream_s_websocket_does_not_hold_up_the_others() {
    let front = front();
    let mut sender = front.connect().await;
    let key = [("x-api-key", front.stand.key.as_str())];
    let (_, mut first) = open_websocket(&mut sender, "/demo/ws", &key).await;
    let (_, mut second) = open_websocket(&mut sender, "/demo/ws", &key).await;
    // More than the stream's window, and nobody reads the echo.
    let large = frame(2, &vec![b'x'; 60_000]);
    let stuffing = tokio::spawn(async move {
        for _ in 0..40 {
            if first.write_all(&large).await.is_err() {
                return;
            }
        }
    });
    for _ in 0..20 {
        second.write_all(&frame(1, b"hello")).await.expect("sent");
        assert_eq!(read_frame(&mut second).await, (1, b"hello".to_vec()));
    }
    stuffing.abort();
}

#[tokio::test]
async fn g87_a_request_for_another_host_than_the_handshake_s_is_misdirected() {
    let front = front();
    let mut sender = front.connect().await;
    let key = [("x-api-key", front.stand.key.as_str())];
    let other = request(Method::GET, "https://other.example/demo/echo", &key);
    let refused = sender.send_request(other).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::MISDIRECTED_REQUEST);
    let same = request(Method::GET, &format!("https://LOCALHOST:{}/demo/echo", front.tls.port()), &key);
    assert_eq!(sender.send_request(same).await.expect("an answer").status(), 200);
    // A client that asks for an address names nothing in its handshake.
    let mut sender = over_http2(front.shake_hands(Alpn::Both, "127.0.0.1").await.expect("trusted")).await;
    let any = request(Method::GET, "https://anything.example/demo/echo", &key);
    assert_eq!(sender.send_request(any).await.expect("an answer").status(), 200);
    assert_eq!(front.stand.recorder.requests().len(), 2);
    assert_eq!(front.stand.records(3)[0].code, Some(Code::HostMisdirected));
}

#[tokio::test]
async fn extended_connect_for_something_else_and_plain_connect_are_refused() {
    let front = front();
    let mut sender = front.connect().await;
    let ready = request(Method::GET, "https://localhost/keymoat/readyz", &[]);
    assert_eq!(sender.send_request(ready).await.expect("an answer").status(), 200);
    for protocol in [Some("connect-udp"), Some("WebSocket"), None] {
        let uri = if protocol.is_some() { "https://localhost/demo/ws" } else { "localhost:443" };
        let mut opening = request(Method::CONNECT, uri, &[("x-api-key", &front.stand.key)]);
        if let Some(protocol) = protocol {
            opening.extensions_mut().insert(ExtendedConnect::from(protocol));
        }
        let answer = sender.send_request(opening).await.expect("an answer");
        assert!(answer.status().is_client_error(), "{protocol:?}: {answer:?}");
    }
    let mut no_version = request(Method::CONNECT, "https://localhost/demo/ws", &[("x-api-key", &front.stand.key)]);
    no_version.extensions_mut().insert(ExtendedConnect::from_static("websocket"));
    let answer = sender.send_request(no_version).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED);
    assert!(front.stand.recorder.requests().is_empty());
}

#[tokio::test]
async fn plain_text_on_the_tls_port_is_not_answered() {
    let front = front();
    let mut stream = TcpStream::connect(front.tls).await.expect("it listens");
    stream.write_all(b"GET /demo/echo HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(front.stand.records.lock().expect("no panic").is_empty());
}

/// An upstream that speaks HTTP/2 alone and answers with the trailers that it got, by name and value.
async fn telling_trailers() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                let collected = request.into_body().collect().await.expect("a whole body");
                let trailers = format!("{:?}", collected.trailers());
                let told = format!("{trailers} {:?}", collected.to_bytes());
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(told))))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn trailers_do_not_carry_a_credential_past_the_gateway() {
    let behind = telling_trailers().await;
    let stand = Stand::with(Limits::default(), |settings| {
        let mut upstream = upstream("x", behind, "x-api-key");
        upstream.http = UpstreamHttp::Http2;
        settings.upstreams.push(upstream);
        settings.routes.push(generic("x", "x", &["/x/*"], QueryPolicy::Tokens));
    });
    let stream = TcpStream::connect(stand.address).await.expect("it listens");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 is spoken");
    tokio::spawn(connection);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-goog-api-key", stand.key.parse().expect("ASCII"));
    trailers.insert("x-sum", http::HeaderValue::from_static("1"));
    let body = Full::new(Bytes::from_static(b"hello")).with_trailers(std::future::ready(Some(Ok(trailers))));
    let request = Request::post("http://a.example/x/y").header("x-api-key", &stand.key).body(body);
    let answer = sender.send_request(request.expect("well formed")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(text(answer).await, "None b\"hello\"");
}

#[tokio::test]
async fn an_idle_http_2_connection_is_ended_and_what_is_open_on_it_is_not() {
    let limits = Limits { keep_alive: Duration::from_millis(150), ..Limits::default() };
    let stand = Stand::with(limits, |_| {});
    let stream = TcpStream::connect(stand.address).await.expect("it listens");
    let (mut sender, connection) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let mut connection = tokio::spawn(connection);
    let key = [("x-api-key", stand.key.as_str())];
    let events = request(Method::GET, "http://localhost/demo/sse?count=15", &key);
    let events = sender.send_request(events).await.expect("an answer");
    assert!(tokio::time::timeout(Duration::from_millis(400), &mut connection).await.is_err(), "events still come");
    assert!(text(events).await.contains("id: 15\n"), "all of them came");
    let ended = tokio::time::timeout(Duration::from_secs(5), connection).await;
    ended.expect("it was ended").expect("no panic").expect("gracefully");
}

#[tokio::test]
async fn g86_a_tls_handshake_that_does_not_end_is_given_up() {
    let front = front_with(Limits { tls_handshake: Duration::from_millis(150), ..Limits::default() });
    let mut stream = TcpStream::connect(front.tls).await.expect("it listens");
    let mut nothing = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut nothing)).await;
    assert!(read.expect("it was closed").is_ok() && nothing.is_empty());
}

#[tokio::test]
async fn a_revocation_ends_event_streams_over_both_versions() {
    let front = front();
    let mut sender = front.connect().await;
    let key = [("x-api-key", front.stand.key.as_str())];
    let events = request(Method::GET, "https://localhost/demo/sse?count=100000", &key);
    let events = sender.send_request(events).await.expect("an answer");
    let mut plain = front.stand.connect();
    let get = format!("GET /demo/sse?count=100000 HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", front.stand.key);
    Write::write_all(&mut plain, get.as_bytes()).expect("sent");
    assert!(read_head(&mut plain).starts_with("HTTP/1.1 200 "));
    let running = front.stand.running.as_ref().expect("running");
    wait_until(|| running.live_sessions() == 2);
    assert_eq!(running.end_sessions_of_key("key_one"), 2);
    assert!(events.into_body().collect().await.is_err(), "a part is not taken for the whole");
    assert!(!read_all_or_reset(&mut plain).ends_with("0\r\n\r\n"));
    wait_until(|| running.live_sessions() == 0);
}

#[tokio::test]
async fn a_drain_closes_a_websocket_over_http_2_with_1012() {
    let mut front = front_with(Limits { drain: Duration::from_millis(100), ..Limits::default() });
    let mut sender = front.connect().await;
    let key = [("x-api-key", front.stand.key.as_str())];
    let (_, mut stream) = open_websocket(&mut sender, "/demo/ws", &key).await;
    stream.write_all(&frame(1, b"hello")).await.expect("sent");
    assert_eq!(read_frame(&mut stream).await, (1, b"hello".to_vec()));
    let running = front.stand.running.take().expect("running");
    running.drain();
    let (code, reason) = close_of(&read_frame(&mut stream).await);
    assert_eq!(code, 1012);
    assert!(reason.starts_with("draining"), "{reason}");
    stream.write_all(&close(1012, "")).await.expect("sent");
    drop((stream, sender));
    tokio::task::spawn_blocking(move || running.join()).await.expect("all threads ended");
}

#[tokio::test]
async fn h92_one_connection_too_many_is_told_so_under_tls_and_liveness_too() {
    let front = front_with(Limits { connections_max: 1, ..Limits::default() });
    let mut held = front.connect().await;
    let alive = || request(Method::GET, "https://localhost/keymoat/livez", &[]);
    assert_eq!(held.send_request(alive()).await.expect("an answer").status(), 200);
    for (path, expected) in [("/keymoat/livez", "200"), ("/keymoat/readyz", "503"), ("/demo/echo", "503")] {
        let mut stream = front.shake_hands(Alpn::Both, "localhost").await.expect("trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "not what cannot be written by hand");
        let get = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(get.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an end with close_notify");
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{path}: {answer}");
    }
    // Those who never shake hands hold up nobody for long.
    let mut stuck = Vec::new();
    for _ in 0..40 {
        stuck.push(TcpStream::connect(front.tls).await.expect("the kernel takes it"));
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Ok(mut stream) = front.shake_hands(Alpn::Http1, "localhost").await {
            stream.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an end");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "there is a place again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn g86_half_handshakes_are_capped_and_given_up_all_together() {
    let limits = Limits { connections_max: 50, tls_handshake: Duration::from_secs(3), ..Limits::default() };
    let front = front_with(limits);
    // The first bytes of a ClientHello, and no more.
    let mut half = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(front.tls).await.expect("the kernel takes it");
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.expect("sent");
        half.push(stream);
    }
    // No more are held than may be; none of them is answered.
    let began = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let is_open = |stream: &&TcpStream| {
        stream.try_read(&mut [0; 64]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    };
    let open = half.iter().filter(is_open).count();
    assert!((1..=50).contains(&open), "{open}");
    for mut stream in half {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "it was closed");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(8));
    let key = [("x-api-key", front.stand.key.as_str())];
    let echo = request(Method::GET, "https://localhost/demo/echo", &key);
    assert_eq!(front.connect().await.send_request(echo).await.expect("an answer").status(), 200);
    assert_eq!(front.stand.records(1).len(), 1);
}
