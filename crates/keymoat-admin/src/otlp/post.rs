//! Brings messages to a collector: one connection that is kept, one deadline for each message.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use keymoat_core::Secret;
use keymoat_gateway::tls::client::{self, Alpn};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Endpoint;

/// How long a collector may take for one message.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of an answer is read; it says nothing that is needed.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A message that did not arrive. No text holds what the collector said.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// It cannot be reached.
    #[error("the collector cannot be reached: {0}")]
    Connect(String),
    /// It did not answer in time.
    #[error("the collector did not answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// It said no.
    #[error("the collector answered {0}")]
    Refused(u16),
}

/// A way to a collector. It belongs to one thread.
pub(crate) struct Collector {
    endpoint: Endpoint,
    headers: Arc<[(HeaderName, Secret)]>,
    tls: Option<Arc<ClientConfig>>,
    link: Option<SendRequest<Full<Bytes>>>,
}

impl Collector {
    /// Nothing is opened yet.
    ///
    /// # Errors
    /// The machine trusts nobody.
    pub(crate) fn new(endpoint: Endpoint, headers: Arc<[(HeaderName, Secret)]>) -> Result<Self, String> {
        let tls = endpoint.tls.then(|| client::config(None, Alpn::Http1)).transpose();
        Ok(Self { endpoint, headers, tls: tls.map_err(|error| error.to_string())?, link: None })
    }

    /// Brings one message to `path`. A connection that was closed meanwhile is opened once more.
    pub(crate) async fn post(&mut self, path: &str, message: Vec<u8>) -> Result<(), PostError> {
        let message = Bytes::from(message);
        let outcome = tokio::time::timeout(PATIENCE, self.try_post(path, message)).await;
        let outcome = outcome.unwrap_or(Err(PostError::Slow));
        if outcome.is_err() {
            self.link = None;
        }
        outcome
    }

    async fn try_post(&mut self, path: &str, message: Bytes) -> Result<(), PostError> {
        let failed = |error: &dyn fmt::Display| PostError::Connect(error.to_string());
        let was_open = self.link.as_mut().is_some_and(|link| !link.is_closed());
        if !was_open {
            self.link = Some(self.connect().await?);
        }
        let request = self.request(path, message.clone());
        let link = self.link.as_mut().ok_or_else(|| failed(&"closed"))?;
        let answer = match link.send_request(request).await {
            Err(_) if was_open => {
                let request = self.request(path, message);
                self.link.insert(self.connect().await?).send_request(request).await
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| failed(&error))?;
        let status = answer.status();
        Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| failed(&error))?;
        if status.is_success() { Ok(()) } else { Err(PostError::Refused(status.as_u16())) }
    }

    fn request(&self, path: &str, message: Bytes) -> Request<Full<Bytes>> {
        let uri = format!("{}{path}", self.endpoint.path);
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::try_from(self.endpoint.authority()) {
            headers.insert(header::HOST, host);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        for (name, secret) in &*self.headers {
            // The collector is who this credential is for.
            if let Ok(mut value) = HeaderValue::from_bytes(secret.expose()) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        request
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, PostError> {
        let failed = |error: &dyn fmt::Display| PostError::Connect(error.to_string());
        let host = self.endpoint.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.endpoint.port)).await.map_err(|error| failed(&error))?;
        match &self.tls {
            None => shake_hands(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
                let connector = TlsConnector::from(Arc::clone(tls));
                shake_hands(connector.connect(name, stream).await.map_err(|error| failed(&error))?).await
            }
        }
    }
}

async fn shake_hands<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, PostError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (link, connection) = shaken.map_err(|error| PostError::Connect(error.to_string()))?;
    // Ends with the link.
    tokio::spawn(async move { drop(connection.await) });
    Ok(link)
}
