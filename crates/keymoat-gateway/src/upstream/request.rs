//! Builds the upstream's request anew from the head that is left after the credentials were taken out.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use keymoat_core::Trace;
use keymoat_core::head::Head;
use keymoat_core::policy::Access;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::Dialect;

use super::{Link, inject};
use crate::body::ToUpstream;
use crate::coding::Coding;
use crate::passage::Passage;
use crate::peer::Peer;
use crate::serve::TRACEPARENT;

/// A plain request; `path` is the one that the upstream knows.
pub(crate) fn for_http(
    link: &Link,
    head: Head,
    path: &str,
    passage: &Passage<'_>,
    access: &Access,
    body: ToUpstream,
) -> Result<Request<ToUpstream>, Refusal> {
    let (method, mut headers, uri) = rebuild(link, head, path, passage, access)?;
    if link.target.upstream.secret.is_some() {
        narrow_codings(&mut headers);
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The opening of a WebSocket (RFC 6455 section 4.1): `key` is our own, `labels` are the non-secret subprotocols.
pub(crate) fn for_websocket(
    link: &Link,
    head: Head,
    path: &str,
    passage: &Passage<'_>,
    access: &Access,
    (key, labels): (&str, &[String]),
) -> Result<Request<ToUpstream>, Refusal> {
    let (_, mut headers, uri) = rebuild(link, head, path, passage, access)?;
    let text = |value: &str| {
        HeaderValue::try_from(value).map_err(|_| Refusal::new(Code::RequestInvalid, "a subprotocol is no token"))
    };
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(header::SEC_WEBSOCKET_KEY, text(key)?);
    if !labels.is_empty() {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, text(&labels.join(", "))?);
    }
    headers.remove(header::CONTENT_LENGTH);
    let mut request = Request::new(ToUpstream::Empty);
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn rebuild(
    link: &Link,
    mut head: Head,
    path: &str,
    passage: &Passage<'_>,
    access: &Access,
) -> Result<(Method, HeaderMap, Uri), Refusal> {
    let upstream = &link.target.upstream;
    inject::take_off(upstream, &mut head);
    let mut headers = head.headers;
    replace_forwarding(&mut headers, passage.route.dialect, &head.host, passage.peer);
    if let Some(trace) = &passage.ledger.record.trace {
        pass_on_trace(&mut headers, passage.route.dialect, trace);
    }
    headers.remove(header::EXPECT);
    headers.insert(header::HOST, link.target.authority.clone());
    let mut query = head.query.as_str().to_owned();
    if matches!(access, Access::Keyed(_)) {
        inject::put_on(upstream, &mut headers, &mut query);
    }
    let mark = if query.is_empty() { "" } else { "?" };
    let uri = Uri::try_from(format!("{}{path}{mark}{query}", upstream.path_prefix))
        .map_err(|_| Refusal::new(Code::RequestInvalid, "the path or query cannot be sent on: encode it"))?;
    Ok((head.method, headers, uri))
}

/// Asks for codings alone in which a failure can be looked through for the secret.
fn narrow_codings(headers: &mut HeaderMap) {
    let lines: Vec<&str> =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok()).collect();
    // A client that says nothing gets no coding from any server there is.
    if !headers.contains_key(header::ACCEPT_ENCODING) {
        return;
    }
    let acceptable = Coding::acceptable(&lines.join(","));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::try_from(acceptable).expect("parts of header values"));
}

/// What a client says of the way that it came is not believed, nor what it asks for in place of the path that was
/// routed. A generic upstream is told what we saw; a provider, nothing.
fn replace_forwarding(headers: &mut HeaderMap, dialect: Dialect, host: &str, peer: &Peer) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let forwarding: Vec<HeaderName> = headers.keys().filter(|name| is_forwarding(name.as_str())).cloned().collect();
    for name in forwarding {
        headers.remove(name);
    }
    if dialect != Dialect::Generic {
        return;
    }
    let proto = HeaderValue::from_static(if peer.tls { "https" } else { "http" });
    headers.insert(PROTO, proto);
    for (name, value) in [(FOR, peer.client.to_string().as_str()), (HOST, host)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

/// A generic upstream's span goes below this request's; a provider learns nothing of our traces.
fn pass_on_trace(headers: &mut HeaderMap, dialect: Dialect, trace: &Trace) {
    const STATE: HeaderName = HeaderName::from_static("tracestate");
    if dialect != Dialect::Generic {
        headers.remove(TRACEPARENT);
        headers.remove(STATE);
        return;
    }
    if trace.parent_id.is_none() {
        // What belongs to a trace that could not be read does not belong to this one.
        headers.remove(STATE);
    }
    let value = HeaderValue::try_from(trace.traceparent()).expect("digits and hyphens");
    headers.insert(TRACEPARENT, value);
}

/// Whether a header, its name in lower case, tells of the way that a request came, or of another target than its own.
fn is_forwarding(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-original-host",
        "x-original-url",
        "x-rewrite-url",
    ];
    name.starts_with("x-forwarded-") || OTHERS.contains(&name)
}
