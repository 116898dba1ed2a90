//! HTTP/2, TLS, limits and stopping.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;

use crate::support::Bench;

fn certified() -> (Arc<rustls::ServerConfig>, CertificateDer<'static>) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let leaf = certified.cert.der().clone();
    let mut config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(config), leaf)
}

async fn over_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &str) -> Value {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().uri(uri).body(Full::new(Bytes::from("two"))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn serves_http2_by_prior_knowledge() {
    let bench = Bench::start().await;
    let echoed = over_http2(bench.tcp().await, "http://localhost/demo/echo").await;
    assert_eq!(echoed["body"], "two");
    assert_eq!(bench.last().version, "HTTP/2.0");
}

#[tokio::test]
async fn serves_tls_with_http2_or_a_websocket_by_alpn() {
    let (config, leaf) = certified();
    let bench = Bench::with(|options| options.tls = Some(config)).await;
    for (protocol, version) in [(&b"h2"[..], "HTTP/2.0"), (&b"http/1.1"[..], "HTTP/1.1")] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(leaf.clone()).unwrap();
        let mut client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(client)).connect(name, bench.tcp().await).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        if protocol == b"h2" {
            over_http2(stream, "https://localhost/demo/echo").await;
        } else {
            let (mut socket, _) = tokio_tungstenite::client_async("wss://localhost/demo/ws", stream).await.unwrap();
            socket.send(Message::text("secret")).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("secret"));
        }
        assert_eq!(bench.last().version, version);
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_closed_with_1009() {
    let bench = Bench::start().await;
    let mut client = bench.websocket("/demo/ws", &[]).await.unwrap();
    let _ = client.stream.send(Message::binary(vec![0; 9 * 1024 * 1024])).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn a_compressed_frame_is_a_protocol_error() {
    let bench = Bench::start().await;
    let mut socket = bench.tcp().await;
    let head = "GET /demo/ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-extensions: permessage-deflate\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    // A masked text frame of one byte with RSV1 set.
    socket.write_all(&[0xc1, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
    let mut received = Vec::new();
    socket.read_to_end(&mut received).await.unwrap();
    let text = String::from_utf8_lossy(&received).to_lowercase();
    assert!(text.starts_with("http/1.1 101") && !text.contains("sec-websocket-extensions"), "{text}");
    assert_eq!(bench.last().close.map(|close| close.code), Some(1002));
}

#[tokio::test]
async fn stopping_ends_connections_and_frees_the_port() {
    let bench = Bench::start().await;
    let mut client = bench.websocket("/demo/ws", &[]).await.unwrap();
    let address = bench.running.address();
    let stopping = tokio::time::Instant::now();
    bench.running.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(2));
    assert!(!matches!(client.stream.next().await, Some(Ok(Message::Text(_)))));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
