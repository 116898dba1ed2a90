//! The close of a client that was upgraded only to be told no.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keymoat_core::websocket::{Caps, Direction, Opcode, Step};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::End;
use super::buffer;
use super::leg::{Leg, Reading};

/// How long the client may take to read the close frame and to answer it.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// How many bytes it may send meanwhile.
const READ_BYTES_MAX: usize = 16 << 20;

/// Closes a client that was refused after its 101: one close frame with `code` and `reason` (cut to 123 bytes), then it
/// is read, within bounds, until it closes, so that it sees both even while it is sending.
pub async fn close_refused<C>(client: End<C>, code: u16, reason: &str)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    close_refused_after(client, None, code, reason).await;
}

/// The same after a text message, for clients that show a message and not the close.
pub async fn close_refused_after<C>(client: End<C>, message: Option<&str>, code: u16, reason: &str)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let now = Instant::now();
    let caps = Caps { frame_bytes_max: READ_BYTES_MAX as u64, message_bytes_max: READ_BYTES_MAX as u64 };
    let mut client = Leg::new(client, Direction::FromClient, caps, now);
    if let Some(message) = message {
        client.say(message);
    }
    client.close_with(code, reason);
    // Either wait may run out: then there is nothing more to be done for this client.
    let _ = timeout(CLOSE_WAIT, poll_fn(|cx| poll_until_closed(&mut client, cx, now))).await;
    let _ = timeout(CLOSE_WAIT, poll_fn(|cx| buffer::lend(|buffer| client.poll_shutdown(cx, now, buffer)))).await;
}

/// Ready at the client's close frame or the end of its stream.
fn poll_until_closed<C>(client: &mut Leg<C>, cx: &mut Context<'_>, now: Instant) -> Poll<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    client.send_own(cx, now);
    ready!(client.poll_drain(cx, now));
    buffer::lend(|buffer| {
        while client.discarded < READ_BYTES_MAX {
            let Ok(bytes @ [_, ..]) = ready!(client.poll_read(cx, buffer)) else {
                client.reading = Reading::Ended;
                return Poll::Ready(());
            };
            client.discarded += bytes.len();
            if client.reading == Reading::Open {
                look_for_close(client, bytes);
            }
            if client.reading == Reading::Closed {
                return Poll::Ready(());
            }
        }
        Poll::Ready(())
    })
}

fn look_for_close<C>(client: &mut Leg<C>, bytes: &[u8])
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut rest = bytes;
    loop {
        let taken = match client.flow.advance(rest) {
            Ok(Step::Control { control, .. }) if control.opcode() == Opcode::Close => {
                client.reading = Reading::Closed;
                return;
            }
            Ok(Step::Forward { bytes, .. } | Step::Control { bytes, .. }) => bytes,
            Ok(Step::Incomplete) => return client.carry(rest),
            Err(_) => {
                client.reading = Reading::Deaf;
                return;
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
}
