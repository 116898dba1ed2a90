//! The bodies that pass through: a client's on its way up, an upstream's on its way down, and our own short ones.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use keymoat_core::limits;
use keymoat_core::policy::Access;
use keymoat_core::record::{Outcome, Side};
use keymoat_core::refusal::{Code, Refusal};
use tokio::time::{Instant, Sleep};

use crate::ledger::Ledger;
use crate::masked::Masked;
use crate::meter::{Metered, Taking};
use crate::relay::websocket::too_many;
use crate::session::{SessionControl, SessionGuard};
use crate::through::Timed;
use crate::upstream::Lent;

/// A body could not be passed on to its end. The connection that carries it is broken off, so that nobody takes a
/// part for the whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Silence for longer than the limit.
    #[error("the body paused for longer than {0:?}")]
    Idle(Duration),
    /// The client took nothing for longer than the limit.
    #[error("the client took nothing of the body for {0:?}")]
    Stalled(Duration),
    /// The session was ended: revoked, draining, or beyond its bounds.
    #[error("the session was ended: {0}")]
    Ended(Refusal),
    /// It is not in the coding that it says it is in, or it holds more than anybody reads.
    #[error("the upstream's failure cannot be decoded: {0}")]
    Coding(#[source] io::Error),
    /// The connection that it came from failed.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
}

/// A silence clock that costs nothing while bytes flow.
#[derive(Default)]
struct Silence(Option<Pin<Box<Sleep>>>);

impl Silence {
    fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<BodyError> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(BodyError::Idle(limit))
    }
}

/// What is known of a client's body while it is on its way, and afterwards.
#[derive(Debug)]
pub(crate) struct Uploaded {
    bytes: Cell<u64>,
    moved: Cell<Instant>,
    cut: Cell<Option<Cut>>,
    beyond: RefCell<Option<Refusal>>,
}

/// How many payload bytes a request and its answer may have together, and where they are counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowance {
    bytes_max: Option<(u64, Refusal)>,
    metered: Option<Metered>,
}

impl Allowance {
    /// What the token and the limits of the key leave.
    pub(crate) fn of(access: &Access, metered: Option<&Metered>) -> Self {
        let Access::Keyed(grant) = access else { return Self::default() };
        let limits = &grant.identity.key.limits;
        let of_token = access.token().and_then(|token| token.limits.bytes_max);
        let bytes_max = match (of_token, limits.session_bytes) {
            (Some(fewer), of_key) if of_key.is_none_or(|bytes| fewer <= bytes) => Some((fewer, too_many("bytes"))),
            (_, Some(bytes)) => Some((bytes, limits::session_full(bytes))),
            _ => None,
        };
        Self { bytes_max, metered: metered.filter(|metered| metered.counts_bytes()).cloned() }
    }

    /// Takes `more` bytes, which make `total` of both directions, before they pass.
    fn take(&self, more: u64, total: u64) -> Taking<Refusal> {
        if let Some((most, refusal)) = &self.bytes_max
            && total > *most
        {
            return Taking::Now(Err(refusal.clone()));
        }
        self.metered.as_ref().map_or(Taking::Now(Ok(())), |metered| metered.take_bytes(more))
    }
}

/// A piece of a body that may pass once its bytes are granted.
#[derive(Default)]
pub(crate) struct Withheld(Option<Box<(Frame<Bytes>, Grant)>>);

/// The answer to a question for bytes.
type Grant = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

impl Withheld {
    /// Has `frame` pass when `taking` says so.
    fn decide(&mut self, frame: Frame<Bytes>, taking: Taking<Refusal>, cx: &mut Context<'_>) -> Poll<Decided> {
        match taking {
            Taking::Now(done) => Poll::Ready(done.map(|()| frame)),
            Taking::Later(grant) => {
                self.0 = Some(Box::new((frame, grant)));
                self.poll(cx).map(|decided| decided.unwrap_or_else(|| Ok(Frame::data(Bytes::new()))))
            }
        }
    }

    /// The piece that waits, once it is decided; none when there is none.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Decided>> {
        let Some((_, grant)) = self.0.as_deref_mut() else { return Poll::Ready(None) };
        let done = ready!(grant.as_mut().poll(cx));
        Poll::Ready(self.0.take().map(|waited| done.map(|()| waited.0)))
    }

    const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// A piece that may pass, or why not.
type Decided = Result<Frame<Bytes>, Refusal>;

/// Why a client's body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It paused for too long.
    Paused,
    /// The connection failed, or the client ended it.
    Broken,
    /// It is larger than its token or key lets it be: see [`Uploaded::beyond`].
    Beyond,
}

impl Uploaded {
    /// How many bytes have passed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// When some of it passed last; when the request began, if nothing has.
    pub(crate) fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// What is told of a body that is too large.
    pub(crate) fn beyond(&self) -> Refusal {
        self.beyond.borrow().clone().unwrap_or_else(|| too_many("bytes"))
    }

    /// Why it ended early, if it did.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }
}

/// A client's body on its way to the upstream, counted, without its trailers.
pub(crate) struct Upload {
    source: Source,
    uploaded: Rc<Uploaded>,
    idle: Duration,
    allowance: Allowance,
    withheld: Withheld,
    silence: Silence,
}

/// Where a client's body is.
pub(crate) enum Source {
    /// On its way.
    Incoming(Incoming),
    /// Here, whole, because something of it had to be read.
    Held(Option<Bytes>),
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Self::Incoming(incoming) => Pin::new(incoming).poll_frame(cx),
            Self::Held(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Held(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Held(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

impl Upload {
    /// Also gives what becomes known of it. What is beyond the allowance is not passed on.
    pub(crate) fn new(source: Source, idle: Duration, allowance: Allowance) -> (Self, Rc<Uploaded>) {
        let uploaded = Uploaded {
            bytes: Cell::new(0),
            moved: Cell::new(Instant::now()),
            cut: Cell::new(None),
            beyond: RefCell::new(None),
        };
        let uploaded = Rc::new(uploaded);
        let (withheld, silence) = (Withheld::default(), Silence::default());
        (Self { source, uploaded: uploaded.clone(), idle, allowance, withheld, silence }, uploaded)
    }

    /// Passes a piece on that was decided about, or ends the body.
    fn pass(&self, decided: Decided) -> Result<Frame<Bytes>, BodyError> {
        match decided {
            Ok(frame) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.uploaded.bytes.set(self.uploaded.bytes() + bytes);
                Ok(frame)
            }
            Err(refusal) => {
                self.uploaded.cut.set(Some(Cut::Beyond));
                self.uploaded.beyond.replace(Some(refusal.clone()));
                Err(BodyError::Ended(refusal))
            }
        }
    }
}

/// What is sent to an upstream as a body.
pub(crate) enum ToUpstream {
    /// Nothing, as in the opening of a WebSocket.
    Empty,
    /// The client's.
    Upload(Upload),
}

impl Body for ToUpstream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Upload(upload) = self.get_mut() else { return Poll::Ready(None) };
        if let Some(decided) = ready!(upload.withheld.poll(cx)) {
            return Poll::Ready(Some(upload.pass(decided)));
        }
        match upload.source.poll_frame(cx) {
            // Trailers are not passed on: no stage has looked for credentials in them.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => {
                upload.silence = Silence::default();
                upload.uploaded.moved.set(Instant::now());
                let more = frame.data_ref().map_or(0, |data| data.len() as u64);
                let taking = upload.allowance.take(more, upload.uploaded.bytes() + more);
                let decided = ready!(upload.withheld.decide(frame, taking, cx));
                Poll::Ready(Some(upload.pass(decided)))
            }
            Poll::Ready(Some(Err(error))) => {
                upload.uploaded.cut.set(Some(Cut::Broken));
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let error = ready!(upload.silence.poll(cx, upload.idle));
                upload.uploaded.cut.set(Some(Cut::Paused));
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload(upload) => upload.source.is_end_stream() && upload.withheld.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload(upload) => upload.source.size_hint(),
        }
    }
}

/// What is sent to a client as a body.
pub(crate) enum ToClient {
    /// Our own text, or nothing.
    Own(Option<Bytes>),
    /// The upstream's body.
    Relayed(Box<Relayed>),
    /// Pieces of our own, one after another.
    Timed(Timed),
}

/// An upstream's body on its way to the client. It holds the record, and gives the connection back at its end.
pub(crate) struct Relayed {
    pub(crate) incoming: Incoming,
    pub(crate) ledger: Ledger,
    pub(crate) uploaded: Rc<Uploaded>,
    pub(crate) lent: Option<Lent>,
    pub(crate) session: Option<SessionGuard>,
    pub(crate) idle: Duration,
    /// How many bytes may pass in both directions together.
    pub(crate) allowance: Allowance,
    pub(crate) withheld: Withheld,
    pub(crate) clock: BodyClock,
    pub(crate) masked: Masked,
}

/// The silence clock of a [`Relayed`] body.
#[derive(Default)]
pub(crate) struct BodyClock(Silence);

impl ToClient {
    /// Our own text.
    pub(crate) fn own(text: impl Into<Bytes>) -> Self {
        Self::Own(Some(text.into()))
    }

    /// Nothing.
    pub(crate) const fn empty() -> Self {
        Self::Own(None)
    }

    /// The handle of the session that it is, if it is one.
    pub(crate) fn session(&self) -> Option<&SessionControl> {
        match self {
            Self::Own(_) | Self::Timed(_) => None,
            Self::Relayed(relayed) => relayed.session.as_ref().map(SessionGuard::control),
        }
    }

    /// Notes that it is dropped before its end.
    pub(crate) fn give_up(&mut self, error: &BodyError) {
        if let Self::Relayed(relayed) = self {
            relayed.break_off(error);
        }
    }
}

impl Relayed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(session) = &self.session
            && let Poll::Ready(refusal) = session.control().poll_asked(cx)
        {
            return Poll::Ready(Some(Err(BodyError::Ended(refusal))));
        }
        if let Some(decided) = ready!(self.withheld.poll(cx)) {
            return Poll::Ready(Some(self.pass(decided)));
        }
        loop {
            let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.clock = BodyClock::default();
                    self.masked.pass(frame)?
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => match self.masked.finish()? {
                    None => return Poll::Ready(None),
                    rest => rest,
                },
                Poll::Pending => return self.clock.0.poll(cx, self.idle).map(|error| Some(Err(error))),
            };
            let Some(frame) = frame else { continue };
            let more = frame.data_ref().map_or(0, |data| data.len() as u64);
            let bytes = self.ledger.record.bytes_out + more;
            let taking = self.allowance.take(more, bytes.saturating_add(self.uploaded.bytes()));
            let decided = ready!(self.withheld.decide(frame, taking, cx));
            return Poll::Ready(Some(self.pass(decided)));
        }
    }

    /// Passes a piece on that was decided about, or ends the body.
    fn pass(&mut self, decided: Decided) -> Result<Frame<Bytes>, BodyError> {
        let frame = decided.map_err(BodyError::Ended)?;
        self.ledger.record.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
        if let Some(session) = &self.session {
            session.control().note_bytes(self.uploaded.bytes(), self.ledger.record.bytes_out);
        }
        Ok(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.withheld.is_empty() && self.incoming.is_end_stream() && !self.masked.may_follow()
    }

    /// Notes why the body ends before its end.
    fn break_off(&mut self, error: &BodyError) {
        let record = &mut self.ledger.record;
        record.cause = Some(error.to_string());
        record.outcome = Outcome::Failed;
        match error {
            BodyError::Ended(refusal) => {
                record.outcome = if refusal.code == Code::Draining { Outcome::Allowed } else { Outcome::Refused };
                record.code = Some(refusal.code);
                record.closed_by = Some(Side::Keymoat);
            }
            // The client's doing, as when it goes away.
            BodyError::Stalled(_) => record.outcome = Outcome::Aborted,
            BodyError::Idle(_) | BodyError::Coding(_) | BodyError::Connection(_) => {}
        }
    }

    fn finish(&mut self) {
        self.ledger.record.outcome = Outcome::Allowed;
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        if self.is_end_stream() && self.ledger.record.outcome == Outcome::Aborted {
            self.finish();
        }
        self.ledger.record.bytes_in = self.uploaded.bytes();
    }
}

impl Body for ToClient {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let relayed = match self.get_mut() {
            Self::Own(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Timed(timed) => return timed.poll(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
            Self::Relayed(relayed) => relayed,
        };
        let polled = ready!(relayed.poll(cx));
        match &polled {
            None => relayed.finish(),
            Some(Err(error)) => relayed.break_off(error),
            Some(Ok(_)) => {}
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_none(),
            Self::Timed(timed) => timed.is_over(),
            Self::Relayed(relayed) => relayed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Timed(_) => SizeHint::default(),
            Self::Relayed(relayed) if relayed.masked.changes_length() && !relayed.is_end_stream() => {
                SizeHint::default()
            }
            Self::Relayed(relayed) => relayed.incoming.size_hint(),
        }
    }
}

impl fmt::Debug for ToClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "ToClient::Own",
            Self::Timed(_) => "ToClient::Timed",
            Self::Relayed(_) => "ToClient::Relayed",
        })
    }
}
