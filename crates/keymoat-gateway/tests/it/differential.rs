//! Holds the gate against hyper: what goes through must mean to hyper exactly what the gate took it for.
//!
//! The fuzz target `gate` includes this file.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use std::{io, str};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use keymoat_core::gate::{Gate, GateError, Limits, Step};
use keymoat_gateway::gated::Gated;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One request, as one of the two read it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    method: String,
    authority: String,
    path_and_query: String,
    /// Names in lower case, in order of name and value.
    fields: Vec<(String, String)>,
    /// The decoded body, or `None` if it did not come to its end.
    body: Option<Vec<u8>>,
    /// Whether the connection ends after it.
    closes: bool,
}

/// Gives `stream` in inputs of `cut` bytes to hyper behind the gate and checks that hyper read what the gate passed.
///
/// # Panics
///
/// When the two differ.
pub(crate) fn check(stream: &[u8], cut: usize) {
    let (expected, verdict) = by_the_gate(stream);
    let (seen, refusals, broken, parse_error) = by_hyper(stream, cut.max(1));
    let shown = stream.escape_ascii();

    assert!(!parse_error, "hyper refused what the gate passed: {shown}");
    assert!(seen.len() <= expected.len(), "hyper saw more requests than the gate: {seen:?} in {shown}");
    for (by_hyper, by_gate) in seen.iter().zip(&expected) {
        assert_eq!(by_hyper, by_gate, "{shown}");
    }
    let ended = seen.last().is_some_and(|last| last.closes);
    if ended {
        return;
    }
    assert_eq!(seen.len(), expected.len(), "hyper saw fewer requests than the gate: {shown}");
    match verdict {
        Step::Reject(error) => assert_eq!((refusals, broken), (vec![error], None), "{shown}"),
        Step::Abort(error) => assert_eq!((refusals, broken), (vec![], Some(error)), "{shown}"),
        Step::Pass(_) | Step::More | Step::Hold => assert_eq!((refusals, broken), (vec![], None), "{shown}"),
    }
}

/// Reads the stream byte by byte with the gate alone, and each request that went through with a parser of this file.
fn by_the_gate(stream: &[u8]) -> (Vec<Seen>, Step) {
    let mut gate = Gate::new(Limits::default());
    let (mut passed, mut heads, mut requests) = (0, 0, Vec::new());
    let mut verdict = Step::More;
    let mut body_start = 0;
    for end in 1..=stream.len() {
        verdict = gate.step(&stream[passed..end]);
        let Step::Pass(length) = verdict else {
            if matches!(verdict, Step::Reject(_) | Step::Abort(_) | Step::Hold) {
                break;
            }
            continue;
        };
        if gate.heads() > heads {
            heads = gate.heads();
            requests.push((&stream[passed..passed + length], body_start..body_start));
            body_start = passed + length;
        }
        passed += length;
        if let Some((_, body)) = requests.last_mut() {
            *body = body_start..passed;
        }
    }
    (requests.into_iter().map(|(head, body)| read(head, &stream[body])).collect(), verdict)
}

fn read(head: &[u8], body: &[u8]) -> Seen {
    let head = str::from_utf8(head).expect("the gate lets only ascii through");
    let (request_line, fields) = head.split_once("\r\n").expect("a head has a first line");
    let words: Vec<&str> = request_line.split(' ').collect();
    let [method, target, version] = words[..] else { panic!("not three words: {request_line}") };
    let (authority, path_and_query) = match target.find("://") {
        Some(at) if !target.starts_with('/') => {
            let rest = &target[at + 3..];
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (authority, if path.is_empty() { "/" } else { path })
        }
        _ => ("", target),
    };
    let mut fields: Vec<(String, String)> = fields
        .split_terminator("\r\n")
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once(':').expect("a field has a colon"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        .collect();
    fields.sort();
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let body = if fields.iter().any(|(name, _)| name == "transfer-encoding") {
        dechunk(body)
    } else {
        let length = length.map_or(0, |(_, value)| value.parse().expect("a canonical length"));
        (body.len() == length).then(|| body.to_vec())
    };
    Seen {
        method: method.to_owned(),
        authority: authority.to_owned(),
        path_and_query: path_and_query.to_owned(),
        closes: closes(version == "HTTP/1.0", &fields),
        fields,
        body,
    }
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            let ended = rest == b"\r\n" || rest.ends_with(b"\r\n\r\n");
            return ended.then_some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

fn closes(http10: bool, fields: &[(String, String)]) -> bool {
    let has = |option: &str| {
        let values = fields.iter().filter(|(name, _)| name == "connection").map(|(_, value)| value);
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(option))
    };
    has("close") || (http10 && !has("keep-alive"))
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    refusals: Vec<GateError>,
    broken: Option<GateError>,
}

/// Serves the stream with hyper until nothing moves any more.
fn by_hyper(stream: &[u8], cut: usize) -> (Vec<Seen>, Vec<GateError>, Option<GateError>, bool) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| {
        let _guard = runtime.enter();
        let log = Rc::new(RefCell::new(Log::default()));
        let io = Script { stream: stream.to_vec(), sent: 0, cut, pause: false };
        let gated = Gated::new(io, Vec::new(), Limits::default(), Duration::from_secs(3600));
        let signal = gated.signal();
        let kept = Rc::clone(&log);
        let service = service_fn(move |request: Request<Incoming>| {
            let (log, signal) = (Rc::clone(&kept), signal.clone());
            async move {
                let answer = |close: bool| {
                    let builder = Response::builder();
                    let builder = if close { builder.header("connection", "close") } else { builder };
                    Ok::<_, Infallible>(builder.body(Empty::<Bytes>::new()).expect("a response"))
                };
                if let Err(error) = signal.next_request() {
                    log.borrow_mut().refusals.push(error);
                    return answer(true);
                }
                let at = log.borrow().seen.len();
                let (parts, body) = request.into_parts();
                log.borrow_mut().seen.push(seen(&parts));
                let collected = body.collect().await;
                let mut log = log.borrow_mut();
                match collected {
                    Ok(body) => log.seen[at].body = Some(body.to_bytes().to_vec()),
                    Err(_) => log.broken = signal.body_error(),
                }
                answer(log.broken.is_some())
            }
        });
        let served = http1::Builder::new().max_buf_size(32 << 10).serve_connection(TokioIo::new(gated), service);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut served = pin!(served.with_upgrades());
        let mut parse_error = false;
        while woken.0.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(ended) = served.as_mut().poll(&mut Context::from_waker(&waker)) {
                parse_error = ended.is_err_and(|error| error.is_parse());
                break;
            }
        }
        let log = log.take();
        (log.seen, log.refusals, log.broken, parse_error)
    })
}

fn seen(parts: &http::request::Parts) -> Seen {
    let mut fields: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("ascii").to_owned()))
        .collect();
    fields.sort();
    Seen {
        method: parts.method.to_string(),
        authority: parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
        path_and_query: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        closes: closes(parts.version == hyper::Version::HTTP_10, &fields),
        fields,
        body: None,
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client that sends `stream` in pieces of `cut` bytes, with a pause before each, and then nothing more.
struct Script {
    stream: Vec<u8>,
    sent: usize,
    cut: usize,
    pause: bool,
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pause = !self.pause;
        if self.sent == self.stream.len() {
            return Poll::Pending;
        }
        if self.pause {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let end = self.sent + self.cut.min(self.stream.len() - self.sent).min(buf.remaining());
        buf.put_slice(&self.stream[self.sent..end]);
        self.sent = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
