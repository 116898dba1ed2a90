//! The credential and everything that is said about it: errors, `Debug`, what the server repeats, and what dependencies log.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::fmt::Debug;
use std::sync::{Mutex, Once};

use base64::prelude::*;
use keymoat_client::gemini::NewToken;
use keymoat_client::{Client, Credential, Error, Subprotocol, WebSocket};
use log::{LevelFilter, Log, Metadata, Record};
use serde_json::{Value, json};

use crate::scripted::{Scripted, Step};
use crate::support::{Bench, KEY, say, text_setup};

/// Everything that any dependency logs, at every level.
struct Logged(Mutex<String>);

static LOGGED: Logged = Logged(Mutex::new(String::new()));
static CATCHING: Once = Once::new();

impl Log for Logged {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push_str(&format!("{} {}\n", record.target(), record.args()));
    }

    fn flush(&self) {}
}

fn catch_logs() {
    CATCHING.call_once(|| {
        log::set_logger(&LOGGED).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

fn logged() -> String {
    LOGGED.0.lock().unwrap().clone()
}

/// Whether the key can be read in it.
fn holds_key(text: &str) -> bool {
    let forms = [KEY.to_owned(), BASE64_STANDARD_NO_PAD.encode(KEY), BASE64_URL_SAFE_NO_PAD.encode(KEY)];
    // Subprotocols are encoded by their base64; its last letters depend on what follows.
    forms.iter().any(|form| text.contains(form.get(..12).unwrap()))
}

#[track_caller]
fn shows_nothing(shown: &impl Debug) {
    let text = format!("{shown:?} {shown:#?}");
    assert!(!holds_key(&text), "{}", text.len());
}

#[track_caller]
fn error<T>(result: Result<T, Error>) -> Error {
    let error = result.err().expect("refused");
    shows_nothing(&error);
    assert!(!holds_key(&error.to_string()));
    error
}

#[tokio::test]
async fn nothing_shows_the_key_while_everything_works() {
    catch_logs();
    let bench = Bench::start().await;
    let client = bench.gemini();
    shows_nothing(&client);
    shows_nothing(&Client::builder(bench.endpoint(), Credential::keymoat(KEY).in_subprotocol(Subprotocol::Keymoat)));
    let mut session = client.live().connect(text_setup()).await.unwrap();
    say(&mut session, "hi").await;
    shows_nothing(&session);
    shows_nothing(&client.live().music().connect("lyria-realtime-exp").await.unwrap());
    let token = client.auth_tokens().create(NewToken::new()).await.unwrap();
    shows_nothing(&token);
    shows_nothing(&client.events("/demo/sse?count=1").unwrap());
    let in_subprotocol = bench.client(Credential::keymoat(KEY).in_subprotocol(Subprotocol::ApiKey));
    let socket: WebSocket = in_subprotocol.websocket("/demo/ws", &[]).await.unwrap();
    shows_nothing(&socket);
    let _: Value = client.get("/demo/echo").await.unwrap();
    let logged = logged();
    assert!(logged.contains("tungstenite"), "the log is really caught");
    assert!(!holds_key(&logged));
    for request in bench.requests() {
        assert!(!holds_key(&format!("{} {:?}", request.path, request.query)));
        assert!(request.credentials.iter().all(|found| !found.place.starts_with("query:")), "{}", request.path);
    }
}

#[tokio::test]
async fn a_url_with_the_client_s_own_key_is_never_sent() {
    catch_logs();
    let bench = Bench::start().await;
    let client = bench.gemini();
    let encoded: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for path in [
        format!("/demo/echo?page={KEY}"),
        format!("/demo/{KEY}/echo"),
        format!("/demo/echo?page={encoded}"),
        format!("/demo/echo?page={}", BASE64_STANDARD_NO_PAD.encode(KEY)),
    ] {
        let refused = error(client.get::<Value>(&path).await);
        assert!(matches!(refused, Error::CredentialInUrl { .. }), "{refused}");
        assert!(matches!(error(client.websocket(&path, &[]).await), Error::CredentialInUrl { .. }));
        assert!(matches!(error(client.events(&path).unwrap().next().await), Error::CredentialInUrl { .. }));
    }
    assert!(matches!(error(client.get::<Value>(&format!("/demo/echo?api_key={KEY}")).await), Error::Endpoint(_)));
    assert!(bench.requests().is_empty() && !holds_key(&logged()));
}

#[tokio::test]
async fn what_a_server_repeats_is_masked() {
    catch_logs();
    let body =
        json!({"error": {"status": KEY, "message": format!("bad key {KEY} in {}", BASE64_STANDARD.encode(KEY))}})
            .to_string();
    let refusal = format!("HTTP/1.1 400 x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let wrong_shape = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n\"{KEY}\"", KEY.len() + 2);
    let server = Scripted::http(vec![refusal, wrong_shape]).await;
    let client = Client::new(server.endpoint.clone(), Credential::api_key(KEY)).unwrap();
    let refused = error(client.get::<Value>("/x").await);
    assert!(refused.to_string().contains("bad key [redacted]"), "{refused}");
    error(client.get::<u32>("/x").await);

    let reason: &'static str = Box::leak(format!("no such key {KEY}").into_boxed_str());
    let server = Scripted::websocket(vec![vec![Step::Close(1007, reason)]]).await;
    let client = Client::new(server.endpoint.clone(), Credential::api_key(KEY)).unwrap();
    let refused = error(client.live().connect(text_setup()).await);
    assert!(refused.to_string().contains("no such key [redacted]"), "{refused}");
}

#[tokio::test]
async fn every_other_error_shows_no_key() {
    let nobody = Client::new("http://127.0.0.1:1".parse().unwrap(), Credential::api_key(KEY)).unwrap();
    assert!(
        matches!(error(nobody.get::<Value>("/x?a=b").await), Error::Connect { url, .. } if url == "http://127.0.0.1:1/x?…")
    );
    let endpoint = || "https://127.0.0.1:1".parse().unwrap();
    assert!(matches!(error(Client::new(endpoint(), Credential::api_key(format!("{KEY}\n")))), Error::Credential(_)));
    let missing = Client::builder(endpoint(), Credential::api_key(KEY)).ca_file("/nowhere/ca.pem").build();
    assert!(matches!(error(missing), Error::Trust { .. }));
}
