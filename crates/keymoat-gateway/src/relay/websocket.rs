//! Relays one WebSocket between a client and an upstream, frame by frame, payloads untouched.
//!
//! ```text
//!   open ──▶ closing ──▶ shutdown ──▶ RelayEnd
//!            a close frame is out or due;      both streams are shut down and, where the peer may still be sending,
//!            its answers are awaited           read until it ends, so that no reset destroys the close frame
//! ```
//! Pings are answered here, at the boundary of a frame; pings and pongs do not cross. Close frames cross intact. A
//! peer that vanishes is told to the other side by a close frame, and to the record by code 1006.

mod attention;
mod bounds;
mod buffer;
mod first;
mod framewise;
mod gemini;
mod leg;
mod openai;
mod pump;
mod refuse;
mod watcher;

#[cfg(test)]
mod tests;

use std::pin::pin;

use bytes::Bytes;
use keymoat_core::record::{Outcome, Side};
use keymoat_core::{Code, Dialect, Mask};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep_until;

use crate::session::SessionControl;
use crate::settings::Limits;

pub use bounds::Bounds;
pub(crate) use bounds::too_many;
pub use first::{Message, NoMessage, first_message};
pub use gemini::GeminiWatch;
pub use openai::OpenAiWatch;
#[cfg(test)]
pub(crate) use pump::ASKED_WAIT_MAX;
pub use refuse::{close_refused, close_refused_after};
pub use watcher::{Mode, Verdict, Watcher};

/// One end of a relay: the raw stream taken back after the 101, with what had been read of it by then.
#[derive(Debug)]
pub struct End<S> {
    /// The stream.
    pub stream: S,
    /// Bytes that came behind the handshake.
    pub already_read: Bytes,
}

/// How a relay ended and what it carried: what [`keymoat_core::Record`] wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayEnd {
    /// Payload bytes from the client.
    pub bytes_in: u64,
    /// Payload bytes to the client.
    pub bytes_out: u64,
    /// Messages from the client.
    pub messages_in: u64,
    /// Messages to the client.
    pub messages_out: u64,
    /// The close code that the client got or gave, 1005 for a close frame without one; 1006 when a side vanished
    /// without a close frame.
    pub close_code: Option<u16>,
    /// What was said with it, without the upstream's secret.
    pub close_reason: Option<Box<str>>,
    /// Who ended it.
    pub closed_by: Side,
    /// What went wrong, for the operator.
    pub cause: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was ended or failed.
    pub code: Option<Code>,
}

/// What a relay holds its session to.
#[derive(Debug)]
pub struct Terms<'a> {
    /// Limits of every session.
    pub limits: &'a Limits,
    /// What is masked in the reason of the upstream's close frame.
    pub mask: &'a Mask,
    /// By what the session is asked to end.
    pub control: &'a SessionControl,
    /// In which words the client is told.
    pub dialect: Dialect,
    /// How closely messages are looked at.
    pub mode: Mode,
    /// What this session may use.
    pub bounds: Option<Bounds>,
    /// A message of our own, sent to the upstream before any of the client's.
    pub first: Option<Message>,
}

impl<'a> Terms<'a> {
    /// No bounds but `limits`, nothing watched.
    #[must_use]
    pub const fn new(limits: &'a Limits, control: &'a SessionControl, dialect: Dialect) -> Self {
        static NONE: Mask = Mask::NONE;
        Self { limits, mask: &NONE, control, dialect, mode: Mode::Frames, bounds: None, first: None }
    }
}

/// Relays until one side closes, fails or stalls, or `control` asks for the end; both streams are shut down afterwards.
///
/// The future is what an idle session costs: it is small, and buffers are lent by the thread.
pub fn relay<'a, C, U>(
    client: End<C>,
    upstream: End<U>,
    limits: &'a Limits,
    control: &'a SessionControl,
    dialect: Dialect,
) -> impl Future<Output = RelayEnd> + use<'a, C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    relay_under(client, upstream, Terms::new(limits, control, dialect))
}

/// The same under further terms.
pub fn relay_under<'a, C, U>(
    client: End<C>,
    upstream: End<U>,
    terms: Terms<'a>,
) -> impl Future<Output = RelayEnd> + use<'a, C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    // Built outside of the async block, so that the two ends are not kept twice in the future.
    let mut pump = pump::Pump::new(client, upstream, terms);
    async move {
        let mut timer = pin!(sleep_until(pump.deadline()));
        std::future::poll_fn(|cx| pump.poll(cx, timer.as_mut())).await;
        pump.end()
    }
}
