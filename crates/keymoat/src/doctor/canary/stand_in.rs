//! Stands in for the collector that the configuration names: takes whatever the running gateway sends there, and keeps it to
//! be searched. It is told nothing but that all is well.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How large one message may be.
const MESSAGE_BYTES_MAX: u64 = 8 << 20;
/// How much is kept of all of them.
const TAKEN_BYTES_MAX: usize = 64 << 20;
/// How long the head of one may be.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(60);

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

/// The messages that came, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) messages: usize,
    pub(super) bytes: Vec<u8>,
}

/// A collector that keeps what it is told.
pub(super) struct StandIn(Arc<Mutex<Taken>>);

impl StandIn {
    /// Listens at the collector's address until the process ends.
    ///
    /// # Errors
    /// The address is in use, by the collector itself for example.
    pub(super) fn listen(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::at(TcpListener::bind(address)?))
    }

    fn at(listener: TcpListener) -> Self {
        let taken = Arc::<Mutex<Taken>>::default();
        let kept = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Self(taken)
    }

    /// What came so far.
    pub(super) fn taken(&self) -> Taken {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Taken { messages: taken.messages, bytes: taken.bytes.clone() }
    }
}

/// Takes one message after the other. The heads are not kept: they hold the collector's own credential.
fn serve(stream: TcpStream, kept: &Mutex<Taken>) -> Option<()> {
    stream.set_read_timeout(Some(IDLE)).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let length = length_of_body(&mut reader)?;
        let mut message = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut message).ok()?;
        {
            let mut taken = kept.lock().unwrap_or_else(PoisonError::into_inner);
            taken.messages += 1;
            if taken.bytes.len() + message.len() <= TAKEN_BYTES_MAX {
                taken.bytes.append(&mut message);
            }
        }
        (&stream).write_all(ANSWER).ok()?;
    }
}

/// Reads a head; nothing where it is none, or its message too large.
fn length_of_body(reader: &mut BufReader<TcpStream>) -> Option<u64> {
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    let (mut length, mut line) = (None, String::new());
    loop {
        line.clear();
        if head.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            return length.filter(|length| *length <= MESSAGE_BYTES_MAX);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn keeps_the_messages_of_a_connection_and_not_what_opens_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stand_in = StandIn::at(listener);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        for message in ["first", "second"] {
            let head =
                format!("POST /v1/logs HTTP/1.1\r\nAuthorization: canary\r\nContent-Length: {}\r\n\r\n", message.len());
            stream.write_all(format!("{head}{message}").as_bytes()).unwrap();
            stream.read_exact(&mut vec![0; ANSWER.len()]).unwrap();
        }
        let taken = stand_in.taken();
        assert_eq!((taken.messages, taken.bytes.as_slice()), (2, &b"firstsecond"[..]));
        assert!(StandIn::listen(address).is_err(), "one at a time");
    }
}
