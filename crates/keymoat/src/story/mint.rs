//! Minting a token as a backend does it: one call of `auth_tokens` with a key in a header.

use std::time::Duration;

use anyhow::Context;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keymoat_core::Secret;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the call may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an answer may be.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Mints a token at `host` with `key`; its uses and its setup are those of the forum post.
pub(crate) async fn token(host: &str, key: &Secret) -> anyhow::Result<Secret> {
    timeout(PATIENCE, call(host, key)).await.context("no answer")?
}

async fn call(host: &str, key: &Secret) -> anyhow::Result<Secret> {
    let setup = json!({"model": "models/gemini-2.0-flash-exp", "generationConfig": {"responseModalities": ["AUDIO"]}});
    let body = json!({"uses": 10, "bidiGenerateContentSetup": setup}).to_string();
    // The backend holds the key and sends it in a header, as the provider asks.
    let mut value = HeaderValue::from_bytes(key.expose()).context("the key fits into no header")?;
    value.set_sensitive(true);
    let request = Request::post("/v1alpha/auth_tokens")
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header("x-goog-api-key", value)
        .body(Full::new(Bytes::from(body)))?;
    let stream = TcpStream::connect(host).await.with_context(|| format!("connecting to {host}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driven = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body =
        Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| anyhow::anyhow!("the answer broke off"))?;
    driven.abort();
    anyhow::ensure!(head.status == StatusCode::OK, "{host} answered {}", head.status);
    let mut answer: Value = serde_json::from_slice(&body.to_bytes()).context("the answer is no JSON")?;
    match answer.get_mut("name").map(Value::take) {
        Some(Value::String(name)) => Ok(Secret::from(name)),
        _ => anyhow::bail!("the answer names no token"),
    }
}
