//! Sockets that come from another process, and sockets that are left to one.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keymoat_gateway::settings::Limits;
use keymoat_gateway::{Gateway, Running, StartError};

use crate::reload::settings_with;
use crate::stand::{PATIENCE, Stand, frame, read_all, read_frame, read_head};

/// A gateway on `socket`, with the routes and keys of `stand`, that is asked to listen on the address `asked`.
fn on(stand: &Stand, socket: TcpListener, asked: &str) -> Result<Running, StartError> {
    let mut settings = settings_with(stand, Limits::default());
    settings.listeners[0].address = asked.parse().expect("an address");
    Gateway::prepare(settings, vec![vec![socket]], stand.snapshots.clone(), Arc::new(|_| {}))
}

#[test]
fn whoever_connects_waits_until_everything_is_there() {
    let stand = Stand::start();
    let socket = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    let running = on(&stand, socket, &address.to_string()).expect("it fits");
    assert_eq!(running.addresses(), [address]);
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    client.set_read_timeout(Some(Duration::from_millis(50))).expect("a time");
    let early = std::io::Read::read(&mut client, &mut [0]).expect_err("nobody accepts yet");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    running.serve();
    client.set_read_timeout(Some(PATIENCE)).expect("a time");
    assert!(read_all(&mut client).starts_with("HTTP/1.1 200 "));
    running.stop_now();
    running.join();
}

#[test]
fn a_socket_on_another_address_is_not_served() {
    let stand = Stand::start();
    let everywhere = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = everywhere.local_addr().expect("bound").port();
    let error = on(&stand, everywhere, &format!("127.0.0.1:{port}")).expect_err("it is open to the network");
    assert!(matches!(&error, StartError::Handed(asked, _) if asked.port() == port), "{error}");
}

#[test]
fn whoever_waits_in_any_socket_is_served_by_the_next_gateway_whatever_its_threads() {
    let stand = Stand::start();
    for (before, after) in [(4, 1), (1, 3), (3, 2)] {
        let mut settings = settings_with(&stand, Limits::default());
        settings.threads = before;
        let ignore = || Arc::new(|_: &_| {});
        let old = Gateway::prepare(settings, Vec::new(), stand.snapshots.clone(), ignore()).expect("a gateway");
        let address = old.addresses()[0];
        // It does not serve, so that all of them wait; the kernel spreads them by their ports.
        let mut clients: Vec<_> = (0..64).map(|_| TcpStream::connect(address).expect("it listens")).collect();
        let mut settings = settings_with(&stand, Limits::default());
        settings.threads = after;
        let sockets = old.sockets().expect("descriptors");
        let new = Gateway::prepare(settings, sockets, stand.snapshots.clone(), ignore()).expect("a gateway");
        old.hand_over();
        old.join();
        new.serve();
        for (number, client) in clients.iter_mut().enumerate() {
            client.set_read_timeout(Some(PATIENCE)).expect("a time");
            client.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
            let answer = read_all(client);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{before} to {after} threads, client {number}: {answer}");
        }
        new.stop_now();
        new.join();
    }
}

#[test]
fn after_the_hand_over_each_connection_is_answered_once_more_and_sessions_go_on() {
    let stand = Stand::start();
    let running = stand.running.as_ref().expect("running");
    let key = format!("X-API-Key: {}\r\n", stand.key);
    let request = format!("GET /demo/echo HTTP/1.1\r\nHost: x\r\n{key}Content-Length: 0\r\n\r\n");
    let (_, mut session) = stand.open_websocket("/demo/ws", &key);
    let mut used = stand.connect();
    used.write_all(b"GET /keymoat/livez HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let head = read_head(&mut used);
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("connection: close"), "{head}");
    let other = running.sockets().expect("descriptors");
    running.hand_over();
    // A refused connection would tell that the sockets were closed; in these, whoever comes waits for the other process.
    let _waiting = stand.connect();
    used.write_all(request.as_bytes()).expect("sent");
    let answer = read_all(&mut used);
    // What is left of the first answer stands before it.
    assert!(answer.contains("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    session.write_all(&frame(1, b"still there")).expect("sent");
    assert_eq!(read_frame(&mut session), (1, b"still there".to_vec()));
    drop(other);
}

#[tokio::test]
async fn after_the_hand_over_streams_over_http_2_come_to_their_end() {
    let stand = Stand::start();
    let running = stand.running.as_ref().expect("running");
    let stream = tokio::net::TcpStream::connect(stand.address).await.expect("it listens");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 is spoken");
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://{}/demo/sse?count=4", stand.address));
    let request = request.header("x-api-key", &stand.key).body(Full::<Bytes>::default()).expect("well formed");
    let response = sender.send_request(request).await.expect("an answer");
    let _sockets = running.sockets().expect("descriptors");
    running.hand_over();
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    assert_eq!(String::from_utf8_lossy(&body).matches("data:").count(), 4);
    // The client was told to open another connection, and this one ends without an error.
    connection.await.expect("no panic").expect("a good end");
    assert!(sender.ready().await.is_err());
}
