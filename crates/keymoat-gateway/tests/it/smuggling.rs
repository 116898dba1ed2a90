//! What a client cannot get past the gateway over HTTP/2, where no gate of ours stands before the parser.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keymoat_gateway::settings::{Inject, Limits, UpstreamHttp};

use crate::stand::{self, Stand};

/// An upstream that speaks HTTP/2 and answers with what it got: target, headers, and trailers.
fn mirror() -> SocketAddr {
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ready.send(listener.local_addr().expect("bound")).expect("the test waits");
            while let Ok((stream, _)) = listener.accept().await {
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(told)));
            }
        });
    });
    started.recv().expect("an upstream")
}

async fn told(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let trailers = body.collect().await.ok().and_then(|body| body.trailers().cloned());
    let text = format!("{} {:?} trailers {trailers:?}", parts.uri, parts.headers);
    Ok(Response::new(Full::new(Bytes::from(text))))
}

/// A gateway in front of the mirror.
fn stand() -> Stand {
    let behind = mirror();
    Stand::with(Limits::default(), |settings| {
        let mut upstream = stand::upstream("mirror", behind, "x-api-key");
        upstream.http = UpstreamHttp::Http2;
        settings.upstreams.push(upstream);
        let mut in_query = stand::upstream("in_query", behind, "x-api-key");
        in_query.http = UpstreamHttp::Http2;
        in_query.inject = Inject::Query("secret".into());
        settings.upstreams.push(in_query);
        let policy = keymoat_core::QueryPolicy::Tokens;
        settings.routes.push(stand::generic("mirror", "mirror", &["/mirror"], policy));
        settings.routes.push(stand::generic("in_query", "in_query", &["/in_query"], policy));
    })
}

/// Sends a request over HTTP/2 in plain text, with a body and trailers, and gives status and body of the answer.
fn send(stand: &Stand, target: &str, headers: &[(&'static str, &str)]) -> (u16, String) {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-api-key", HeaderValue::from_static("in-a-trailer"));
    let frames = [Frame::data(Bytes::from_static(b"hello")), Frame::trailers(trailers)];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
    let mut builder = Request::post(format!("http://localhost{target}")).header("x-api-key", &stand.key);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let request = builder.body(body).expect("well formed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(stand.address).await.expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2 is spoken");
        tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    })
}

#[test]
fn trailers_of_a_client_go_nowhere() {
    let (status, told) = send(&stand(), "/mirror", &[]);
    assert_eq!(status, 200, "{told}");
    assert!(told.contains("trailers None") && !told.contains("in-a-trailer"), "{told}");
}

#[test]
fn a_client_cannot_name_another_path_or_address() {
    let lies = [
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-forwarded-prefix", "/admin"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-client-ip", "6.6.6.6"),
        ("true-client-ip", "6.6.6.6"),
    ];
    let (status, told) = send(&stand(), "/mirror", &lies);
    assert_eq!(status, 200, "{told}");
    assert!(!told.contains("/admin") && !told.contains("6.6.6.6"), "{told}");
    assert!(told.contains("\"x-forwarded-for\": \"127.0.0.1\""), "{told}");
}

#[test]
fn the_injected_query_parameter_is_the_only_one_of_its_name() {
    let (status, told) = send(&stand(), "/in_query?a=1&secret=mine&SECRET=mine&secre%74[]=mine", &[]);
    assert_eq!(status, 200, "{told}");
    assert!(told.contains("?a=1&secret=REAL") && !told.contains("mine"), "{told}");
}

#[test]
fn two_lengths_are_refused() {
    let (status, told) = send(&stand(), "/mirror", &[("content-length", "5"), ("content-length", "5")]);
    assert!(status == 400 && told.contains("request_invalid"), "{status} {told}");
}
