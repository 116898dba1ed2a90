//! Answers on their way out, watched from the task that writes them.
//!
//! hyper asks a body for its next part only once the client has room for it. So a body alone can neither tell that its
//! client takes nothing, nor that its session was ended meanwhile; the task around it can:
//!
//! ```text
//!   task ── polls ──▶ hyper ── polls ──▶ Outgoing ── tells ──▶ Outflow ◀── looks ── task
//! ```

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::body::{BodyError, ToClient};
use crate::session::SessionControl;

/// Over HTTP/2 a body is given in parts of at most this size: whether a client takes anything shows part by part.
const PART_BYTES_MAX: usize = 16 * 1024;

tokio::task_local! {
    /// Of the HTTP/2 stream that the current task serves.
    static OF_STREAM: Rc<Outflow>;
}

/// What the body of an answer and the task that writes it know of each other.
#[derive(Default)]
pub(crate) struct Outflow {
    /// The body has given a part and was not asked for another one since.
    waits: Cell<bool>,
    /// How many parts were given.
    parts: Cell<u64>,
    session: RefCell<Option<SessionControl>>,
    /// Why the task gave the answer up.
    given_up: RefCell<Option<BodyError>>,
}

impl Outflow {
    /// That of the stream which the current task serves; one of its own elsewhere.
    pub(crate) fn of_stream() -> Rc<Self> {
        OF_STREAM.try_with(Rc::clone).unwrap_or_default()
    }

    /// Waits until the session of the answer is asked to end. To be polled by the task that writes, after hyper.
    pub(crate) async fn ended(&self) {
        poll_fn(|cx| self.poll_ended(cx)).await;
    }

    fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        let refusal = match &*self.session.borrow() {
            Some(session) => ready!(session.poll_asked(cx)),
            None => return Poll::Pending,
        };
        self.give_up(BodyError::Ended(refusal));
        Poll::Ready(())
    }

    fn give_up(&self, error: BodyError) {
        self.given_up.borrow_mut().get_or_insert(error);
    }
}

/// An answer's body, as hyper is given it.
pub(crate) struct Outgoing {
    body: ToClient,
    outflow: Rc<Outflow>,
    part_bytes_max: usize,
    rest: Option<Bytes>,
}

impl Outgoing {
    /// Over HTTP/1, where the writes themselves show whether the client takes anything.
    pub(crate) fn http1(answer: Response<ToClient>, outflow: &Rc<Outflow>) -> Response<Self> {
        Self::of(answer, outflow, usize::MAX)
    }

    /// Over HTTP/2.
    pub(crate) fn http2(answer: Response<ToClient>, outflow: &Rc<Outflow>) -> Response<Self> {
        Self::of(answer, outflow, PART_BYTES_MAX)
    }

    fn of(answer: Response<ToClient>, outflow: &Rc<Outflow>, part_bytes_max: usize) -> Response<Self> {
        answer.map(|body| {
            outflow.session.replace(body.session().cloned());
            Self { body, outflow: outflow.clone(), part_bytes_max, rest: None }
        })
    }

    fn part(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if data.len() > self.part_bytes_max {
            self.rest = Some(data.split_off(self.part_bytes_max));
        }
        self.outflow.waits.set(!data.is_empty());
        self.outflow.parts.set(self.outflow.parts.get() + 1);
        Frame::data(data)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        this.outflow.waits.set(false);
        if let Some(rest) = this.rest.take() {
            return Poll::Ready(Some(Ok(this.part(rest))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)?) else { return Poll::Ready(None) };
        let frame = match frame.into_data() {
            Ok(data) => this.part(data),
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before the first part alone.
        if self.rest.is_none() { self.body.size_hint() } else { SizeHint::default() }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.outflow.waits.set(false);
        self.outflow.session.take();
        if let Some(error) = self.outflow.given_up.take() {
            self.body.give_up(&error);
        }
    }
}

/// Runs the streams of one HTTP/2 connection from a client: each with its [`Outflow`], and counted.
#[derive(Clone)]
pub(crate) struct Streams {
    open: Rc<Cell<usize>>,
    patience: Duration,
}

impl Streams {
    /// A stream is reset when its client takes nothing of the answer for `patience`.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { open: Rc::default(), patience }
    }

    /// How many are being served. What is left of an answer may still be on its way when its stream no longer is.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let outflow = Rc::<Outflow>::default();
        let served = serve(Box::pin(stream), outflow.clone(), self.patience, Open::one_more(&self.open));
        tokio::task::spawn_local(OF_STREAM.scope(outflow, served));
    }
}

/// One of the open streams, counted.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn one_more(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Drives a stream to its end, or to where it is given up: dropped, h2 resets it and forgets what it held of it.
async fn serve<F: Future>(mut stream: Pin<Box<F>>, outflow: Rc<Outflow>, patience: Duration, _open: Open) {
    let mut stall = Stall::default();
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() || outflow.poll_ended(cx).is_ready() {
            return Poll::Ready(());
        }
        ready!(stall.poll(cx, &outflow, patience));
        outflow.give_up(BodyError::Stalled(patience));
        Poll::Ready(())
    })
    .await;
}

/// How long the part that was given last has been waiting.
#[derive(Default)]
struct Stall {
    part: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn poll(&mut self, cx: &mut Context<'_>, outflow: &Outflow, patience: Duration) -> Poll<()> {
        if !outflow.waits.get() {
            self.sleep = None;
            return Poll::Pending;
        }
        let part = outflow.parts.get();
        if part != self.part {
            self.part = part;
            self.sleep = None;
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use keymoat_core::{Code, Refusal};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Polls `outflow`'s body whenever `room` says so, as hyper would.
    async fn write(outflow: Rc<Outflow>, text: Vec<u8>, mut room: impl FnMut() -> bool) -> Vec<usize> {
        let mut body = Outgoing::http2(Response::new(ToClient::own(text)), &outflow).into_body();
        let mut sizes = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            sizes.push(frame.expect("our own text").data_ref().expect("data").len());
            while !room() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        sizes
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_given_in_parts_and_its_last_part_is_the_last() {
        let sizes = write(Rc::default(), vec![0; PART_BYTES_MAX * 2 + 1], || true).await;
        assert_eq!(sizes, [PART_BYTES_MAX, PART_BYTES_MAX, 1]);
        let whole = Outgoing::http1(Response::new(ToClient::own(vec![0; 99_999])), &Rc::default()).into_body();
        assert_eq!(whole.size_hint().exact(), Some(99_999));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_given_up_when_no_part_is_taken_for_too_long() {
        let outflow = Rc::<Outflow>::default();
        let open = Rc::default();
        let began = Instant::now();
        let mut asked = 0;
        // The first part is taken after 20 seconds, the second one never.
        let room = move || {
            asked += 1;
            asked == 20
        };
        let stream = Box::pin(write(outflow.clone(), vec![0; PART_BYTES_MAX * 3], room));
        serve(stream, outflow.clone(), PATIENCE, Open::one_more(&open)).await;
        assert_eq!(began.elapsed().as_secs(), 19 + 30);
        assert_eq!(open.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_of_the_upstream_is_not_the_client_s() {
        let outflow = Rc::<Outflow>::default();
        let stream = Box::pin(tokio::time::sleep(Duration::from_secs(3600)));
        let began = Instant::now();
        serve(stream, outflow, PATIENCE, Open::one_more(&Rc::default())).await;
        assert_eq!(began.elapsed().as_secs(), 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_asked_to_end_ends_while_its_body_waits() {
        let outflow = Rc::<Outflow>::default();
        let control = SessionControl::default();
        outflow.session.replace(Some(control.clone()));
        let began = Instant::now();
        let ending = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            control.end(Refusal::new(Code::CredentialRevoked, "the key was revoked"));
        };
        let stream = Box::pin(std::future::pending::<()>());
        tokio::join!(serve(stream, outflow.clone(), PATIENCE, Open::one_more(&Rc::default())), ending);
        assert_eq!(began.elapsed().as_secs(), 5);
        assert!(matches!(&*outflow.given_up.borrow(), Some(BodyError::Ended(_))));
    }
}
