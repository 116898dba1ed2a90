//! Lets only unambiguous HTTP/1 through to the parser: one reading of every head, one place where every body ends.
//!
//! The parser behind it is more tolerant than a gateway may be, and some of what it tolerates cannot be seen in what
//! it returns. The gate watches the bytes from client to server, knows where each head begins, withholds a head until
//! all of it was judged, and follows lengths and chunks to the next one.
//!
//! ```text
//!            ┌──────────────── body ends ─────────────────┐
//!            ▼                                            │
//! ──▶ Head ──┬─ no body ──▶ Head     ┌─▶ Body ────────────┤
//!            ├─ length ──────────────┘                    │
//!            ├─ chunked ──▶ Chunked ─ last chunk ─▶ Trailers
//!            └─ WebSocket upgrade ──▶ Waiting ─ open() ──▶ Open
//!
//! from Head: Rejected · from Chunked and Trailers: Aborted
//! ```
//!
//! What is unambiguous but not allowed (a path, an `Expect`, a header that a route does not take) is not decided here.
//! The HTTP/2 preface must be looked for before the first byte is given to a gate.

mod chunk;
mod error;
mod head;
#[cfg(test)]
mod probes;
mod scan;
mod target;

pub use error::GateError;

use chunk::Chunk;
use head::{Framing, Head, Progress};

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The fields together, from after the request line to the empty line, in bytes.
    pub head_bytes_max: usize,
    /// The target of the request line, in bytes.
    pub url_bytes_max: usize,
    /// How many fields.
    pub fields_max: usize,
}

impl Default for Limits {
    /// 16 KiB, 8 KiB and 100. A parser behind the gate needs room for 25 KiB.
    fn default() -> Self {
        Self { head_bytes_max: 16 << 10, url_bytes_max: 8 << 10, fields_max: 100 }
    }
}

/// What may be done with the input that was given to [`Gate::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first so many bytes, never none, may go on; the rest is given again.
    Pass(usize),
    /// Nothing of it may go on before there is more: it is given again with more appended.
    More,
    /// Nothing of it may go on before [`Gate::open`]: an upgrade waits for its answer.
    Hold,
    /// The head that the input starts with is refused, and nothing after it is ever read.
    Reject(GateError),
    /// The body that the input goes on with is broken: it must not seem to have ended.
    Abort(GateError),
}

/// Watches one connection. It allocates nothing; the owner keeps what must wait.
///
/// ```
/// use keymoat_core::gate::{Gate, GateError, Limits, Step};
///
/// let mut gate = Gate::new(Limits::default());
/// assert_eq!(gate.step(b"GET / HTTP/1.1\r\nHost: a"), Step::More);
/// assert_eq!(gate.step(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"), Step::Pass(27));
/// assert_eq!(gate.step(b"GET"), Step::More);
/// assert_eq!(gate.step(b"GET / HTTP/1.1\r\n\r\n"), Step::Reject(GateError::HostMissing));
/// ```
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    state: State,
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head(Head),
    Body { left: u64 },
    Chunked(Chunk),
    Trailers(Head),
    Waiting,
    Open,
    Rejected(GateError),
    Aborted(GateError),
}

impl Gate {
    /// A gate before the first byte of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Head(Head::default()), heads: 0 }
    }

    /// Judges `input`, which starts with the first byte that did not go on yet.
    ///
    /// The verdicts, and which bytes go on, do not depend on how the stream is cut into inputs; no byte is scanned
    /// twice because a head came in pieces.
    pub fn step(&mut self, input: &[u8]) -> Step {
        let mut passed = 0;
        loop {
            let rest = input.get(passed..).unwrap_or_default();
            let step = if rest.is_empty() && passed > 0 { Step::More } else { self.advance(rest) };
            match step {
                Step::Pass(length) => passed += length,
                _ if passed > 0 => return Step::Pass(passed),
                _ => return step,
            }
        }
    }

    /// How many heads went through so far, upgrades included.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head has begun and not ended: its deadline runs.
    #[must_use]
    pub fn is_mid_head(&self) -> bool {
        matches!(&self.state, State::Head(head) if head.is_begun())
    }

    /// Whether a body has begun and not ended: its client may still be sending.
    #[must_use]
    pub fn is_mid_body(&self) -> bool {
        matches!(self.state, State::Body { .. } | State::Chunked(_) | State::Trailers(_))
    }

    /// Whether the last head was a WebSocket upgrade and nothing goes on before [`Self::open`].
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// Steps out of the way for good, after the upgrade was answered with 101. Without an upgrade it does nothing.
    pub fn open(&mut self) {
        if self.is_waiting() {
            self.state = State::Open;
        }
    }

    /// Rejects the head that has begun, because its deadline has passed. Between heads it does nothing.
    pub fn expire(&mut self) {
        if self.is_mid_head() {
            self.state = State::Rejected(GateError::HeadTimeout);
        }
    }

    /// Judges the one thing that `input` starts with.
    fn advance(&mut self, input: &[u8]) -> Step {
        match &mut self.state {
            State::Head(head) => match head.read(input, &self.limits) {
                Ok(Progress::Partial) => Step::More,
                Ok(Progress::Done(length, framing)) => {
                    self.heads += 1;
                    self.state = match framing {
                        Framing::Length(0) => State::Head(Head::default()),
                        Framing::Length(left) => State::Body { left },
                        Framing::Chunked => State::Chunked(Chunk::START),
                        Framing::Upgrade => State::Waiting,
                    };
                    Step::Pass(length)
                }
                Err(error) => {
                    self.state = State::Rejected(error);
                    Step::Reject(error)
                }
            },
            State::Body { left } => {
                let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                if *left == 0 {
                    self.state = State::Head(Head::default());
                }
                pass(length)
            }
            State::Chunked(chunk) => {
                let (length, error) = chunk.walk(input);
                if let Some(error) = error {
                    self.state = State::Aborted(error);
                } else if *chunk == Chunk::Last {
                    self.state = State::Trailers(Head::default());
                }
                match error {
                    Some(error) if length == 0 => Step::Abort(error),
                    _ => pass(length),
                }
            }
            State::Trailers(trailers) => match trailers.read_trailers(input, &self.limits) {
                Ok(Progress::Partial) => Step::More,
                Ok(Progress::Done(length, ())) => {
                    self.state = State::Head(Head::default());
                    Step::Pass(length)
                }
                Err(error) => {
                    self.state = State::Aborted(error);
                    Step::Abort(error)
                }
            },
            State::Waiting => Step::Hold,
            State::Open => pass(input.len()),
            State::Rejected(error) => Step::Reject(*error),
            State::Aborted(error) => Step::Abort(*error),
        }
    }
}

fn pass(length: usize) -> Step {
    if length == 0 { Step::More } else { Step::Pass(length) }
}

#[cfg(test)]
mod tests;
