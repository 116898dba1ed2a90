//! What a session's terms ask of its two directions: who watches, what is counted, and when the client is told of the
//! end that is coming.

use std::task::{Context, Poll};

use keymoat_core::Refusal;
use keymoat_core::websocket::{Direction, Header, Opcode};

use super::bounds::Watch;
use super::framewise::frame_for;
use super::leg::{Leg, Payment};
use super::pump::{Io, Session};
use super::watcher::Verdict;
use crate::answer;
use crate::meter::Taking;

/// The id of an event of ours in a session's own words.
const EVENT_ID: &str = "event_keymoat";

impl Session<'_> {
    /// Whether a frame of `from` may begin; pending while its bytes are asked for, which `from` notes.
    pub(super) fn admit<A: Io, B: Io>(
        &self,
        from: &mut Leg<A>,
        to: &Leg<B>,
        header: &Header,
    ) -> Poll<Result<(), Refusal>> {
        let Some(bounds) = self.bounds.as_ref().filter(|bounds| bounds.counts()) else { return Poll::Ready(Ok(())) };
        let ((messages, bytes), (of_other, bytes_of_other)) = (from.passed(), to.passed());
        // What has begun in the other direction counts as a whole.
        let messages = messages + of_other + u64::from(to.flow.is_inside_message());
        let bytes = bytes + bytes_of_other + to.flow.frame_bytes_left();
        bounds.admit(header.payload_bytes, header.opcode != Opcode::Continuation, (messages, bytes))?;
        if from.is_paid() || !to.takes_messages() {
            return Poll::Ready(Ok(()));
        }
        match bounds.take_bytes(header.payload_bytes) {
            Taking::Now(done) => Poll::Ready(done),
            Taking::Later(grant) => {
                from.payment = Some(Box::new(Payment::Asked(grant)));
                Poll::Pending
            }
        }
    }

    /// Whether somebody looks at the messages of `direction`.
    pub(super) const fn watches(&self, direction: Direction) -> bool {
        self.mode.watches(direction)
    }

    /// Asks about a whole message.
    pub(super) fn ask(&mut self, direction: Direction, message: &[u8]) -> Verdict {
        self.mode.watcher(direction).map_or(Verdict::Pass, |watcher| watcher.ask(direction, message))
    }

    /// Whether the frames of `direction` are looked at one by one.
    pub(super) fn is_framewise(&self, direction: Direction) -> bool {
        let notice = |bounds: &Watch| direction == Direction::FromUpstream && bounds.notice_due;
        self.watches(direction) || self.bounds.as_ref().is_some_and(|bounds| bounds.counts() || notice(bounds))
    }

    /// Tells the client how long it has, between two messages of the upstream and in the kind of frame that it last
    /// spoke in. Not before its first one: clients take that for the answer to their own.
    pub(super) fn send_notice<C: Io, U: Io>(&mut self, client: &mut Leg<C>, upstream: &Leg<U>, cx: &mut Context<'_>) {
        let Some(bounds) = self.bounds.as_mut().filter(|bounds| bounds.notice_due) else { return };
        if upstream.flow.messages() == 0
            || client.closes()
            || !client.takes_messages()
            || !upstream.is_passed_between_messages()
        {
            return;
        }
        bounds.notice_due = false;
        if let (Some(notice), Some(opcode)) = (bounds.notice(self.now), upstream.flow.last_opcode()) {
            client.send(cx, self.now, &frame_for(client, opcode, true, notice.as_bytes()));
        }
    }

    /// Sends the client what its dialect says before a close, where a message may stand.
    pub(super) fn say<C: Io, U: Io>(
        &self,
        client: &mut Leg<C>,
        upstream: &Leg<U>,
        refusal: &Refusal,
        cx: &mut Context<'_>,
    ) {
        if client.closes() || !client.takes_messages() || !upstream.is_passed_between_messages() {
            return;
        }
        if let Some(event) = answer::event(refusal, self.dialect, EVENT_ID) {
            client.send(cx, self.now, &frame_for(client, Opcode::Text, true, event.as_bytes()));
        }
    }
}
