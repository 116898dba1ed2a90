//! How long anything may take and how large it may be.

use std::time::Duration;

/// Bounds of a client; nothing is without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection: name, TCP and TLS together.
    pub connect: Duration,
    /// For the head of an answer, for a whole body that is not a stream, for a session's `setupComplete`, and for each message
    /// that is sent.
    pub answer: Duration,
    /// How long a WebSocket or an event stream may be silent. A WebSocket is pinged after a third of it.
    pub silence: Duration,
    /// The largest message of a WebSocket, in either direction.
    pub message_bytes_max: usize,
    /// The largest body, and the largest event of a stream.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            // Google's pongs were seen to take up to 30 seconds.
            silence: Duration::from_secs(90),
            message_bytes_max: 16 << 20,
            body_bytes_max: 16 << 20,
        }
    }
}
