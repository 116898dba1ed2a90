//! The admin API as commands use it: over the Unix socket of the server that runs on the same store.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HOST, IF_MATCH};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keymoat_store::StoreError;
use serde::Serialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::admin::SOCKET_FILE;
use crate::commands::Found;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// An answer may be this large.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A body with secrets is no larger than this, which is what the API takes.
pub(crate) const ENTRUSTED_BYTES_MAX: usize = 1 << 20;

/// A server that runs on the store.
#[derive(Debug)]
pub(crate) struct Socket {
    runtime: tokio::runtime::Runtime,
    stream: std::os::unix::net::UnixStream,
}

impl Socket {
    /// The server that runs on the store in this folder, if there is one. A socket that nobody listens at is none.
    pub(crate) fn of_store(store_dir: &Path) -> Option<Self> {
        let stream = std::os::unix::net::UnixStream::connect(store_dir.join(SOCKET_FILE)).ok()?;
        stream.set_nonblocking(true).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        Some(Self { runtime, stream })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub(crate) fn get(self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, None)
    }

    /// Asks for something that is no JSON.
    ///
    /// # Errors
    /// It is not given.
    pub(crate) fn text(self, path: &str) -> anyhow::Result<String> {
        let (status, _, bytes) = self.exchange(Request::get(path), Bytes::new())?;
        anyhow::ensure!(status.is_success(), "the server on this store answers {status}");
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks for something, and gives its `ETag` too.
    ///
    /// # Errors
    /// As of [`Self::get`].
    pub(crate) fn get_tagged(self, path: &str) -> anyhow::Result<(Value, HeaderValue)> {
        let (headers, value) = self.send(Request::get(path), Bytes::new())?;
        let tag = headers.get(ETAG).cloned().context("the server's answer has no tag")?;
        Ok((value, tag))
    }

    /// Asks, and gives the JSON of the answer; null for an empty one.
    ///
    /// # Errors
    /// What the server says, or that it does not answer.
    pub(crate) fn ask(self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        Ok(self.send(Request::builder().method(method).uri(path), body.into())?.1)
    }

    /// Changes what still is as `tag` says.
    ///
    /// # Errors
    /// [`StoreError::KeyChangedMeanwhile`] if it is not, and as of [`Self::ask`].
    pub(crate) fn change(self, path: &str, tag: &HeaderValue, body: &Value) -> anyhow::Result<Value> {
        let request = Request::patch(path).header(IF_MATCH, tag);
        Ok(self.send(request, serde_json::to_vec(body)?.into())?.1)
    }

    /// Asks with a body that holds secrets: it is wiped when it has been sent.
    ///
    /// # Errors
    /// As of [`Self::ask`].
    pub(crate) fn entrust(self, method: Method, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
        // With room from the start: what grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(ENTRUSTED_BYTES_MAX));
        serde_json::to_writer(&mut *text, body)?;
        anyhow::ensure!(text.len() <= ENTRUSTED_BYTES_MAX, "this is too much for one request");
        Ok(self.send(Request::builder().method(method).uri(path), Bytes::from_owner(text))?.1)
    }

    fn send(self, request: request::Builder, body: Bytes) -> anyhow::Result<(HeaderMap, Value)> {
        let (status, headers, bytes) = self.exchange(request, body)?;
        let value: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        if status.is_success() {
            return Ok((headers, value));
        }
        if status == StatusCode::PRECONDITION_FAILED {
            return Err(StoreError::KeyChangedMeanwhile.into());
        }
        let detail = value.get("detail").and_then(Value::as_str).unwrap_or("it gives no reason");
        // Of what is there, or is not, the text says enough.
        let field = value.get("field").filter(|_| status == StatusCode::UNPROCESSABLE_ENTITY);
        let detail = match field.and_then(Value::as_str) {
            Some(field) => format!("{field}: {detail}"),
            None => detail.to_owned(),
        };
        if status.is_client_error() { Err(Found(detail).into()) } else { bail!("{detail}") }
    }

    fn exchange(self, request: request::Builder, body: Bytes) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        let Self { runtime, stream } = self;
        let request = request.header(HOST, "localhost").header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(body))?;
        let asked = async { timeout(ANSWER, exchange(UnixStream::from_std(stream)?, request)).await? };
        runtime.block_on(asked).context("the server on this store does not answer")
    }
}

async fn exchange(stream: UnixStream, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?;
    connection.abort();
    Ok((status, headers, body.to_bytes()))
}
