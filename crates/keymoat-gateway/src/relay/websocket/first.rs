//! Reads the one message that a session is decided by, before there is an upstream.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use keymoat_core::Refusal;
use keymoat_core::websocket::close::NO_STATUS;
use keymoat_core::websocket::{Caps, Close, Control, Direction, FrameError, Opcode, Step};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::End;
use super::buffer;
use super::framewise::Held;
use super::leg::Leg;

/// A whole message.
#[derive(Debug)]
pub struct Message {
    /// Text or binary.
    pub opcode: Opcode,
    /// What it holds, unmasked.
    pub payload: Vec<u8>,
}

/// Why there is no message.
#[derive(Debug, PartialEq, Eq)]
pub enum NoMessage {
    /// What came is none, or is too large.
    Faulty(FrameError),
    /// Too many pings.
    Flood,
    /// The client closed, with this code.
    Closed(u16),
    /// The client is gone.
    Gone,
    /// There is a reason to wait no longer.
    Refused(Refusal),
}

/// Reads one message of up to `bytes_max`, answering pings, unless `given_up` says first why not. What the client sent
/// behind it stays unread.
pub async fn first_message<C>(
    client: End<C>,
    bytes_max: u64,
    given_up: impl Future<Output = Refusal>,
) -> (Result<Message, NoMessage>, End<C>)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let caps = Caps { frame_bytes_max: bytes_max, message_bytes_max: bytes_max };
    let mut client = Leg::new(client, Direction::FromClient, caps, Instant::now());
    let mut reader = Reader::default();
    let read = poll_fn(|cx| buffer::lend(|buffer| reader.poll(&mut client, cx, buffer)));
    let found = tokio::select! {
        biased;
        refusal = given_up => Err(NoMessage::Refused(refusal)),
        found = read => found,
    };
    (found, client.into_end())
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reader {
    held: Option<Held>,
    found: Option<Result<Message, NoMessage>>,
}

impl Reader {
    /// Ready once there is a message or a reason why not, and no pong is left to be sent.
    fn poll<C>(
        &mut self,
        client: &mut Leg<C>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<Message, NoMessage>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let now = Instant::now();
            client.send_own(cx, now);
            // A client that takes nothing is read on: the deadline ends it.
            let drained = client.poll_drain(cx, now);
            if self.found.is_some() {
                ready!(drained);
                return self.found.take().map_or(Poll::Pending, Poll::Ready);
            }
            match ready!(client.poll_read(cx, buffer)) {
                Ok(bytes @ [_, ..]) => self.take(client, bytes, now),
                Ok([]) | Err(_) => self.found = Some(Err(NoMessage::Gone)),
            }
        }
    }

    fn take<C>(&mut self, client: &mut Leg<C>, bytes: &[u8], now: Instant)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut rest = bytes;
        while self.found.is_none() {
            let (piece, start) = client.next_piece(rest);
            let taken = match client.flow.advance(piece) {
                Ok(Step::Forward { bytes, .. }) => {
                    let held = self.held.get_or_insert_default();
                    held.push(piece, start);
                    if client.flow.messages() > 0
                        && let Some(held) = self.held.take()
                    {
                        self.found = Some(Ok(held.into_message()));
                    }
                    bytes
                }
                Ok(Step::Control { bytes, control }) => {
                    self.take_control(client, &control, now);
                    bytes
                }
                Ok(Step::Incomplete) => return client.carry(rest),
                Err(error) => {
                    self.found = Some(Err(NoMessage::Faulty(error)));
                    return;
                }
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        client.unread(rest);
    }

    fn take_control<C>(&mut self, client: &mut Leg<C>, control: &Control, now: Instant)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        match control.opcode() {
            Opcode::Close => {
                let no_message = match Close::parse(control.payload()) {
                    Ok(close) => NoMessage::Closed(close.map_or(NO_STATUS, |close| close.code)),
                    Err(error) => NoMessage::Faulty(error),
                };
                self.found = Some(Err(no_message));
            }
            _ if !client.admits_control(now) => self.found = Some(Err(NoMessage::Flood)),
            Opcode::Ping => client.answer_ping(control.payload()),
            _ => {}
        }
    }
}
