//! The pump: one poll moves what can be moved in both directions, then looks at deadlines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use keymoat_core::record::{Outcome, Side};
use keymoat_core::websocket::close::{ABNORMAL, NO_STATUS};
use keymoat_core::websocket::{Caps, Close, Control, Direction, FrameError, Opcode, Step};
use keymoat_core::{Code, Dialect, Mask, Refusal};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::bounds::Watch;
use super::buffer;
use super::first::Message;
use super::framewise::{self, frame_for};
use super::leg::{Leg, Overdue, Patience, Reading, after};
use super::watcher::Mode;
use super::{End, RelayEnd, Terms};
use crate::session::SessionControl;
use crate::settings::Limits;

/// A side that says nothing, not even pongs, is gone after this long.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// However often it is pinged, a side may take this long to answer: Gemini's pongs come up to 30 s late.
const PONG_WAIT_MIN: Duration = Duration::from_secs(40);
/// A session that is asked to end waits this long for the answers to its close frames, and as long for the shutdown.
pub(crate) const ASKED_WAIT_MAX: Duration = Duration::from_millis(750);
/// One poll reads a direction this often, then lets other tasks run.
const READS_PER_POLL_MAX: usize = 16;

/// A relay while it runs.
#[derive(Debug)]
pub(super) struct Pump<'a, C, U> {
    client: Leg<C>,
    upstream: Leg<U>,
    session: Session<'a>,
}

/// What both directions share.
#[derive(Debug)]
pub(super) struct Session<'a> {
    limits: &'a Limits,
    mask: &'a Mask,
    control: &'a SessionControl,
    pub(super) dialect: Dialect,
    pub(super) mode: Mode,
    pub(super) bounds: Option<Box<Watch>>,
    patience: Patience,
    /// The time of this poll.
    pub(super) now: Instant,
    /// When bytes of a message passed last, in either direction.
    pub(super) traffic: Instant,
    stage: Stage,
    /// INVARIANT: present in every stage but `Open`; the first reason stands.
    ending: Option<Box<Ending>>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Open,
    /// Close frames are exchanged.
    Closing(Instant),
    /// Streams are shut down.
    Shutdown(Instant),
}

/// Why it ended.
#[derive(Debug)]
struct Ending {
    close_code: u16,
    reason: Option<Box<str>>,
    closed_by: Side,
    cause: Option<String>,
    outcome: Outcome,
    code: Option<Code>,
    /// How long the answers to close frames are awaited, and then the ends of the streams.
    wait: Duration,
}

impl<'a, C, U> Pump<'a, C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(client: End<C>, upstream: End<U>, terms: Terms<'a>) -> Self {
        let Terms { limits, mask, control, dialect, mode, bounds, first } = terms;
        let now = Instant::now();
        let caps = Caps { frame_bytes_max: limits.frame_bytes_max, message_bytes_max: limits.message_bytes_max };
        let mut of_client = caps;
        if mode.watches(Direction::FromClient) {
            of_client.message_bytes_max = caps.message_bytes_max.min(limits.watched_bytes_max);
        }
        let mut upstream = Leg::new(upstream, Direction::FromUpstream, caps, now);
        if let Some(Message { opcode, payload }) = first {
            upstream.send_first(frame_for(&upstream, opcode, true, &payload));
        }
        let patience = Patience {
            write_stall: limits.write_stall,
            ping_every: limits.ping_every,
            pong_wait: SILENCE_MAX.saturating_sub(limits.ping_every).max(PONG_WAIT_MIN),
        };
        let session = Session {
            limits,
            mask,
            control,
            dialect,
            mode,
            bounds: bounds.map(|bounds| Box::new(Watch::new(bounds, dialect))),
            patience,
            now,
            traffic: now,
            stage: Stage::Open,
            ending: None,
        };
        Self { client: Leg::new(client, Direction::FromClient, of_client, now), upstream, session }
    }

    /// Moves everything on as far as it goes; ready once both streams are shut down. `timer` is the session's one timer:
    /// it is set earlier when a deadline demands it, and later only after it has fired.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        loop {
            self.session.now = Instant::now();
            if buffer::lend(|buffer| self.step(cx, buffer)).is_ready() {
                return Poll::Ready(());
            }
            let next = self.deadline().max(self.session.now + Duration::from_millis(1));
            if timer.is_elapsed() || next < timer.deadline() {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// What the record wants to know.
    pub(super) fn end(self) -> RelayEnd {
        let (messages_in, bytes_in) = self.client.passed();
        let (messages_out, bytes_out) = self.upstream.passed();
        let ending = self.session.ending.map(|ending| *ending);
        let ending = ending.unwrap_or_else(|| Ending::new(Side::Keymoat, ABNORMAL, Outcome::Aborted));
        RelayEnd {
            bytes_in,
            bytes_out,
            messages_in,
            messages_out,
            close_code: Some(ending.close_code),
            close_reason: ending.reason,
            closed_by: ending.closed_by,
            cause: ending.cause,
            outcome: ending.outcome,
            code: ending.code,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<()> {
        let Self { client, upstream, session } = self;
        if matches!(session.stage, Stage::Open) {
            if let Poll::Ready(refusal) = session.control.poll_asked(cx) {
                session.end_as_asked(client, upstream, &refusal, cx);
            }
            session.look_at_deadlines(client, upstream, cx);
        }
        if !matches!(session.stage, Stage::Shutdown(_)) {
            transfer(client, upstream, session, cx, buffer);
            transfer(upstream, client, session, cx, buffer);
            session.note_bytes(client, upstream);
            session.send_notice(client, upstream, cx);
            session.look_at_failures(client, upstream);
            exchange_own(client, upstream, session.now, cx);
            session.look_at_closing(client, upstream);
            // The time for closing may be over with an answer still to be given on another's behalf.
            exchange_own(client, upstream, session.now, cx);
        }
        let Stage::Shutdown(until) = session.stage else { return Poll::Pending };
        let client = client.poll_shutdown(cx, session.now, buffer);
        let upstream = upstream.poll_shutdown(cx, session.now, buffer);
        if session.now >= until || (client.is_ready() && upstream.is_ready()) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// When deadlines have to be looked at next.
    pub(super) fn deadline(&self) -> Instant {
        let session = &self.session;
        match session.stage {
            Stage::Closing(until) | Stage::Shutdown(until) => until,
            Stage::Open => {
                let idle = after(session.traffic, session.limits.websocket_idle);
                let bounds = session.bounds.as_ref().and_then(|bounds| bounds.deadline());
                let sides =
                    [self.client.deadline(&session.patience), self.upstream.deadline(&session.patience), bounds];
                sides.into_iter().flatten().fold(idle, Instant::min)
            }
        }
    }
}

impl Session<'_> {
    /// Has others see how much has passed.
    fn note_bytes<C: Io, U: Io>(&self, client: &Leg<C>, upstream: &Leg<U>) {
        self.control.note_bytes(client.passed().1, upstream.passed().1);
    }

    /// Begins the end; later reasons change nothing.
    fn begin_end(&mut self, mut ending: Ending) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        ending.wait = ending.wait.min(self.limits.close_wait);
        self.stage = Stage::Closing(after(self.now, ending.wait));
        self.ending = Some(Box::new(ending));
    }

    fn begin_shutdown(&mut self) {
        let wait = self.ending.as_ref().map_or(self.limits.close_wait, |ending| ending.wait);
        self.stage = Stage::Shutdown(after(self.now, wait));
    }

    fn end_as_asked<C: Io, U: Io>(
        &mut self,
        client: &mut Leg<C>,
        upstream: &mut Leg<U>,
        refusal: &Refusal,
        cx: &mut Context<'_>,
    ) {
        self.say(client, upstream, refusal, cx);
        let code = refusal.code.close_code(self.dialect);
        client.close_with(code, &refusal.reason());
        upstream.close_with(1001, "");
        let outcome = if refusal.code == Code::Draining { Outcome::Allowed } else { Outcome::Refused };
        let ending = Ending::new(Side::Keymoat, code, outcome).code(refusal.code).reason(&refusal.reason());
        self.begin_end(Ending { wait: ASKED_WAIT_MAX, ..ending });
    }

    /// Ends the session because of what `from` sent, or would have sent.
    pub(super) fn refuse<A: Io, B: Io>(
        &mut self,
        from: &mut Leg<A>,
        to: &mut Leg<B>,
        refusal: &Refusal,
        cx: &mut Context<'_>,
    ) {
        from.reading = Reading::Deaf;
        let code = refusal.code.close_code(self.dialect);
        match from.side() {
            Side::Upstream => {
                self.say(to, from, refusal, cx);
                to.close_with(code, &refusal.reason());
                from.close_with(1001, "");
            }
            Side::Client | Side::Keymoat => {
                self.say(from, to, refusal, cx);
                from.close_with(code, &refusal.reason());
                to.close_with(1001, "");
            }
        }
        let ending = Ending::new(Side::Keymoat, code, Outcome::Refused);
        self.begin_end(ending.code(refusal.code).reason(&refusal.reason()));
    }

    fn look_at_deadlines<C: Io, U: Io>(&mut self, client: &mut Leg<C>, upstream: &mut Leg<U>, cx: &mut Context<'_>) {
        if let Some(refusal) = self.bounds.as_mut().and_then(|bounds| bounds.overdue(self.now)) {
            self.end_as_asked(client, upstream, &refusal, cx);
        }
        if self.now >= after(self.traffic, self.limits.websocket_idle) {
            let cause = format!("no message for {} s", self.limits.websocket_idle.as_secs());
            client.close_with(1001, &format!("idle: {cause}"));
            upstream.close_with(1001, "");
            self.begin_end(Ending::new(Side::Keymoat, 1001, Outcome::Allowed).cause(cause));
        }
        let write_stall = self.patience.write_stall.as_secs();
        match client.overdue(self.now, &self.patience) {
            Some(Overdue::Write) => {
                client.give_up(io::ErrorKind::TimedOut);
                client.reading = Reading::Deaf;
                upstream.close_with(1001, "");
                let cause = format!("the client read nothing for {write_stall} s");
                self.begin_end(Ending::new(Side::Keymoat, ABNORMAL, Outcome::Failed).cause(cause));
            }
            Some(Overdue::Pong) => self.miss_pong(client, upstream),
            None => {}
        }
        match upstream.overdue(self.now, &self.patience) {
            Some(Overdue::Write) => {
                upstream.give_up(io::ErrorKind::TimedOut);
                upstream.reading = Reading::Deaf;
                let cause = format!("the upstream read nothing for {write_stall} s");
                let code = Code::UpstreamTimeout.close_code(self.dialect);
                client.close_with(code, &format!("{}: {cause}", Code::UpstreamTimeout));
                let ending = Ending::new(Side::Keymoat, code, Outcome::Failed);
                self.begin_end(ending.code(Code::UpstreamTimeout).cause(cause));
            }
            Some(Overdue::Pong) => self.miss_pong(upstream, client),
            None => {}
        }
    }

    fn miss_pong<A: Io, B: Io>(&mut self, from: &mut Leg<A>, to: &mut Leg<B>) {
        let silence = self.patience.ping_every + self.patience.pong_wait;
        from.close_with(1001, "no answer to a ping");
        self.vanish(from, to, Reading::Deaf, &format!("no pong and nothing else for {} s", silence.as_secs()));
    }

    /// A side is gone without a close frame.
    fn vanish<A: Io, B: Io>(&mut self, from: &mut Leg<A>, to: &mut Leg<B>, reading: Reading, how: &str) {
        from.reading = reading;
        if let Some(answer) = to.answer.take() {
            to.close_with_payload(answer);
        }
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        match from.side() {
            Side::Upstream => {
                let code = Code::UpstreamFailed.close_code(self.dialect);
                to.close_with(code, &format!("{}: the upstream is gone without a close frame", Code::UpstreamFailed));
                let ending = Ending::new(Side::Upstream, ABNORMAL, Outcome::Failed).code(Code::UpstreamFailed);
                self.begin_end(ending.cause(format!("upstream: {how}")));
            }
            Side::Client | Side::Keymoat => {
                to.close_with(1001, "");
                self.begin_end(Ending::new(Side::Client, ABNORMAL, Outcome::Aborted).cause(format!("client: {how}")));
            }
        }
    }

    /// A side broke the protocol or a limit.
    fn fault<A: Io, B: Io>(&mut self, from: &mut Leg<A>, to: &mut Leg<B>, code: u16, what: &str) {
        from.reading = Reading::Deaf;
        let ending = match from.side() {
            Side::Upstream => {
                from.close_with(code, what);
                to.close_with(1011, &format!("{}: {what}", Code::UpstreamFailed));
                Ending::new(Side::Keymoat, 1011, Outcome::Failed).code(Code::UpstreamFailed)
            }
            Side::Client | Side::Keymoat => {
                let word = match code {
                    1008 => Code::RateLimited,
                    1009 => Code::BodyTooLarge,
                    _ => Code::RequestInvalid,
                };
                from.close_with(code, &format!("{word}: {what}"));
                to.close_with(1001, "");
                Ending::new(Side::Keymoat, code, Outcome::Failed).code(word)
            }
        };
        self.begin_end(ending.cause(format!("{}: {what}", from.side().word())));
    }

    pub(super) fn frame_fault<A: Io, B: Io>(&mut self, from: &mut Leg<A>, to: &mut Leg<B>, error: FrameError) {
        self.fault(from, to, error.close_code(), &error.to_string());
    }

    /// Only after both directions were read: a peer that cannot be written to may have said why before.
    fn look_at_failures<C: Io, U: Io>(&mut self, client: &mut Leg<C>, upstream: &mut Leg<U>) {
        if let (Some(kind), Reading::Open) = (client.failed, client.reading) {
            self.vanish(client, upstream, Reading::Deaf, &format!("writing: {kind}"));
        }
        if let (Some(kind), Reading::Open) = (upstream.failed, upstream.reading) {
            self.vanish(upstream, client, Reading::Deaf, &format!("writing: {kind}"));
        }
    }

    fn look_at_closing<C: Io, U: Io>(&mut self, client: &mut Leg<C>, upstream: &mut Leg<U>) {
        let Stage::Closing(until) = self.stage else { return };
        // A frame whose sender is gone never ends: behind it no close frame can be put.
        let client_cut = upstream.reading != Reading::Open && !upstream.is_passed_to_boundary();
        let upstream_cut = client.reading != Reading::Open && !client.is_passed_to_boundary();
        if client.is_settled(client_cut) && upstream.is_settled(upstream_cut) {
            return self.begin_shutdown();
        }
        if self.now >= until {
            if let Some(answer) = client.answer.take() {
                client.close_with_payload(answer);
            }
            if let Some(answer) = upstream.answer.take() {
                upstream.close_with_payload(answer);
            }
            self.begin_shutdown();
        }
    }

    pub(super) fn take_control<A: Io, B: Io>(
        &mut self,
        from: &mut Leg<A>,
        to: &mut Leg<B>,
        control: &Control,
        raw: &[u8],
        cx: &mut Context<'_>,
    ) {
        if control.opcode() == Opcode::Close {
            return self.take_close(from, to, control.payload(), raw, cx);
        }
        if !from.admits_control(self.now) {
            return self.fault(from, to, 1008, "too many pings and pongs in a second");
        }
        if control.opcode() == Opcode::Ping {
            from.answer_ping(control.payload());
        }
    }

    fn take_close<A: Io, B: Io>(
        &mut self,
        from: &mut Leg<A>,
        to: &mut Leg<B>,
        payload: &[u8],
        raw: &[u8],
        cx: &mut Context<'_>,
    ) {
        let close = match Close::parse(payload) {
            Ok(close) => close,
            Err(error) => return self.frame_fault(from, to, error),
        };
        let code = close.as_ref().map_or(NO_STATUS, |close| close.code);
        let masked = close.as_ref().filter(|_| from.side() == Side::Upstream).and_then(|close| self.masked(close));
        // What is written there may be anything, also what only a client or an upstream knows to be a secret: none of it is kept.
        let ending = Ending::new(from.side(), code, Outcome::Allowed);
        from.reading = Reading::Closed;
        if !from.closes() {
            from.answer = Some(payload.to_vec());
        }
        if !to.closes() {
            match masked {
                // It crosses as it came: both sides of one direction mask alike, and it stands where it stood.
                None => to.send(cx, self.now, raw),
                Some(payload) => {
                    to.close_with_payload(payload);
                    to.send_own(cx, self.now);
                }
            }
            to.close_sent = true;
            to.answer = None;
        }
        self.begin_end(ending);
    }
}

impl Session<'_> {
    /// The payload of an upstream's close frame without the upstream's secret, if that is in the reason.
    fn masked(&self, close: &Close<'_>) -> Option<Vec<u8>> {
        let reason = self.mask.masked(close.reason.as_bytes())?;
        Some(Close { code: close.code, reason: &String::from_utf8_lossy(&reason) }.payload())
    }
}

impl Ending {
    const fn new(closed_by: Side, close_code: u16, outcome: Outcome) -> Self {
        Self { close_code, reason: None, closed_by, cause: None, outcome, code: None, wait: Duration::MAX }
    }

    /// With what was said; nothing is no reason.
    fn reason(self, reason: &str) -> Self {
        Self { reason: (!reason.is_empty()).then(|| reason.into()), ..self }
    }

    fn cause(self, cause: String) -> Self {
        Self { cause: Some(cause), ..self }
    }

    fn code(self, code: Code) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// A stream of either side.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Io for S {}

/// Reads what `from` has sent and passes it to `to`, until one of them blocks.
fn transfer<A: Io, B: Io>(
    from: &mut Leg<A>,
    to: &mut Leg<B>,
    session: &mut Session<'_>,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) {
    for _ in 0..READS_PER_POLL_MAX {
        if to.poll_drain(cx, session.now).is_pending() {
            return from.suspend();
        }
        if !framewise::send_waiting(from, to, session.now, cx) {
            return from.suspend();
        }
        match from.poll_payment(cx, to.takes_messages()) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(refusal)) => return session.refuse(from, to, &refusal, cx),
            Poll::Pending => return from.suspend(),
        }
        from.resume(session.now);
        if from.reading != Reading::Open {
            return;
        }
        match from.poll_read(cx, buffer) {
            Poll::Pending => return,
            Poll::Ready(Ok([])) => {
                return session.vanish(from, to, Reading::Ended, "end of stream without a close frame");
            }
            Poll::Ready(Err(error)) => {
                return session.vanish(from, to, Reading::Ended, &format!("reading: {}", error.kind()));
            }
            Poll::Ready(Ok(bytes)) => {
                from.hear(session.now);
                if session.is_framewise(from.flow.direction()) {
                    framewise::pass(from, to, session, cx, bytes);
                } else {
                    pass(from, to, session, cx, bytes);
                }
            }
        }
    }
    cx.waker().wake_by_ref();
}

/// Passes one read on, control frames taken out.
fn pass<A: Io, B: Io>(
    from: &mut Leg<A>,
    to: &mut Leg<B>,
    session: &mut Session<'_>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) {
    let mut rest = bytes;
    while from.reading == Reading::Open {
        let before = (from.flow.messages(), from.flow.payload_bytes());
        let taken = match from.flow.advance(rest) {
            Ok(Step::Forward { bytes, .. }) if !to.takes_messages() => {
                from.discard(bytes, before);
                bytes
            }
            Ok(Step::Forward { bytes, boundary }) => {
                session.traffic = session.now;
                deliver(to, session.now, cx, rest.get(..bytes).unwrap_or_default(), boundary);
                bytes
            }
            Ok(Step::Control { bytes, control }) => {
                session.take_control(from, to, &control, rest.get(..bytes).unwrap_or_default(), cx);
                bytes
            }
            Ok(Step::Incomplete) => return from.carry(rest),
            Err(error) => return session.frame_fault(from, to, error),
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
}

/// Sends frames, with those of our own at the last boundary among them.
pub(super) fn deliver<B: Io>(
    to: &mut Leg<B>,
    now: Instant,
    cx: &mut Context<'_>,
    frames: &[u8],
    boundary: Option<usize>,
) {
    let Some((before, behind)) = boundary.filter(|_| to.has_own()).and_then(|at| frames.split_at_checked(at)) else {
        return to.send(cx, now, frames);
    };
    to.send(cx, now, before);
    to.send_own(cx, now);
    if !to.close_sent {
        to.send(cx, now, behind);
    }
}

/// Sends our own frames to the sides whose stream stands at a frame boundary.
fn exchange_own<C: Io, U: Io>(client: &mut Leg<C>, upstream: &mut Leg<U>, now: Instant, cx: &mut Context<'_>) {
    if client.has_own() && upstream.is_passed_to_boundary() {
        client.send_own(cx, now);
    }
    if upstream.has_own() && client.is_passed_to_boundary() {
        upstream.send_own(cx, now);
    }
    // Flushes them, or has the task woken when more can be written.
    let _ = client.poll_drain(cx, now);
    let _ = upstream.poll_drain(cx, now);
}
