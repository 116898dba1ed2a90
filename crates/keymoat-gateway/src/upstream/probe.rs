//! Asks an upstream once, on the road that requests take, and tells what was seen on the way.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::connect::{Purpose, reach, secure};
use super::{Failure, Link, Pool, Target, TargetError, inject};
use crate::body::ToUpstream;
use crate::settings::{Limits, Upstream};
use crate::stream::{MaybeTls, UpstreamStream};

/// How long the answer may take: someone waits for it.
const ANSWER: Duration = Duration::from_secs(30);

/// How much of an answer is kept.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What was seen of an upstream, as far as it got.
#[derive(Debug, Default)]
pub struct Probe {
    /// The address that took the TCP connection.
    pub address: Option<SocketAddr>,
    /// The agreed TLS version, such as `TLSv1.3`; `None` without TLS.
    pub tls_version: Option<String>,
    /// What it proved itself with.
    pub certificate: Option<Certificate>,
    /// What it answered.
    pub answer: Option<Answer>,
    /// Why it got no further.
    pub missed: Option<Missed>,
}

/// A verified certificate of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The DNS names and addresses that it is good for.
    pub names: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub not_after_secs: i64,
}

/// An upstream's answer.
#[derive(Debug)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// The time that it said it is (RFC 9110 section 6.6.1), in seconds since 1970.
    pub date_secs: Option<i64>,
    /// The beginning of its body; empty when that did not arrive. It may repeat the secret: not to be shown.
    body: Vec<u8>,
}

impl Answer {
    /// Whether this word stands in it.
    #[must_use]
    pub fn says(&self, word: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(word)
    }
}

/// Where the way to an upstream ended. The texts are for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// No address, or none that may be used, or nobody there.
    Unreachable(String),
    /// No TLS connection that can be trusted.
    Untrusted(String),
    /// A connection, but no answer.
    Unanswered(String),
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure {
            Failure::Connect(..) | Failure::Inside(..) => Self::Unreachable(text),
            Failure::Tls(..) => Self::Untrusted(text),
            Failure::Slow(..) | Failure::Protocol(..) | Failure::NotOpened(..) => Self::Unanswered(text),
        }
    }
}

/// A date as HTTP writes it, in seconds since 1970.
fn moment_of(text: &str) -> Option<i64> {
    Some(jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.as_second())
}

/// Sends `GET target` with the upstream's secret, over a new connection. `target` is a path, which may have a query.
///
/// # Errors
/// The upstream's settings cannot work. What fails on the way is in [`Probe::missed`].
pub fn probe(upstream: Upstream, target: &Uri, limits: &Limits) -> Result<Probe, TargetError> {
    Ok(probe_target(Arc::new(Target::new(upstream)?), target, limits))
}

/// The same to an upstream that is in use.
pub(crate) fn probe_target(upstream: Arc<Target>, target: &Uri, limits: &Limits) -> Probe {
    let link = Link { target: upstream, pool: Rc::new(Pool::default()), limits: *limits };
    let mut seen = Probe::default();
    seen.missed = match runtime() {
        Ok(runtime) => {
            let asked = runtime.block_on(ask(&link, target, &mut seen));
            // The connection's task has nothing more to do.
            runtime.shutdown_background();
            asked.err().map(Missed::from)
        }
        Err(error) => Some(Missed::Unreachable(error.to_string())),
    };
    seen
}

fn runtime() -> io::Result<tokio::runtime::LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())
}

async fn ask(link: &Link, target: &Uri, seen: &mut Probe) -> Result<(), Failure> {
    let name = link.target.name();
    let connect = link.limits.connect;
    let late = |_| Failure::Connect(name.clone(), format!("no connection within {connect:?}"));
    let stream = timeout(connect, reach(&link.target)).await.map_err(late)??;
    seen.address = stream.peer_addr().ok();
    let late = |_| Failure::Tls(name.clone(), format!("no handshake within {connect:?}"));
    let secured = timeout(connect, secure(&link.target, Purpose::Http, stream));
    let (stream, spoken) = secured.await.map_err(late)??;
    note_tls(&stream, seen);
    let request = request(link, target)?;
    let limit = link.limits.response_head.min(ANSWER);
    let late = |_| Failure::Slow(name.clone(), limit);
    let (response, _lent) = timeout(limit, link.send_over(stream, spoken, request)).await.map_err(late)??;
    let status = response.status().as_u16();
    let date_secs = response.headers().get(header::DATE).and_then(|value| value.to_str().ok()).and_then(moment_of);
    let body = timeout(limit, Limited::new(response.into_body(), BODY_BYTES_MAX).collect()).await;
    let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes().to_vec());
    seen.answer = Some(Answer { status, date_secs, body: body.unwrap_or_default() });
    Ok(())
}

fn note_tls(stream: &UpstreamStream, seen: &mut Probe) {
    let MaybeTls::Tls(stream) = stream else { return };
    let session = stream.get_ref().1;
    seen.tls_version = session.protocol_version().map(|version| format!("{version:?}").replace("TLSv1_", "TLSv1."));
    seen.certificate = session.peer_certificates().and_then(|chain| read_certificate(chain.first()?));
}

fn read_certificate(der: &[u8]) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternatives = certificate.subject_alternative_name().ok()??;
    let names = alternatives.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    Some(Certificate { names: names.collect(), not_after_secs: certificate.validity().not_after.timestamp() })
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
    let sixteen = <[u8; 16]>::try_from(bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string());
    four.or(sixteen).ok()
}

/// The request as a client's would go out: behind the upstream's own prefix, with its secret in its place.
fn request(link: &Link, target: &Uri) -> Result<Request<ToUpstream>, Failure> {
    let upstream = &link.target.upstream;
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, link.target.authority.clone());
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    let mut query = target.query().unwrap_or_default().to_owned();
    inject::put_on(upstream, &mut headers, &mut query);
    let mark = if query.is_empty() { "" } else { "?" };
    let uri = Uri::try_from(format!("{}{}{mark}{query}", upstream.path_prefix, target.path()))
        .map_err(|_| Failure::Protocol(upstream.name.clone(), "the path cannot be sent".to_owned()))?;
    let mut request = Request::new(ToUpstream::Empty);
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}
