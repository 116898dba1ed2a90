//! An upstream that does with its raw socket exactly what a test wants.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keymoat_core::route::QueryPolicy;
use keymoat_gateway::settings::Limits;

use crate::stand::{Stand, generic, read_head, upstream};

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next head is awaited.
    KeepAlive,
    /// It is closed.
    Close,
}

/// The upstream, listening until it is dropped.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl Scripted {
    /// Gives each head that comes in to `act`, with the stream behind it.
    pub(crate) fn start(act: impl Fn(&mut TcpStream, &str) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (accepted, heads, stopped) = <(Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>, Arc<AtomicBool>)>::default();
        let scripted = Self { address, accepted: accepted.clone(), heads: heads.clone(), stopped: stopped.clone() };
        let act = Arc::new(act);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                accepted.fetch_add(1, Ordering::SeqCst);
                let (act, heads) = (act.clone(), heads.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                    loop {
                        let head = read_head(&mut stream);
                        if head.is_empty() {
                            return;
                        }
                        heads.lock().expect("no panic").push(head.clone());
                        if act(&mut stream, &head) == Then::Close {
                            return;
                        }
                    }
                });
            }
        });
        scripted
    }

    /// An upstream that answers every request with these bytes and closes.
    pub(crate) fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |stream, _| {
            let _ = stream.write_all(&bytes);
            Then::Close
        })
    }

    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The heads that came, in their order.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// The 101 that answers the opening in `head`, with further header lines.
pub(crate) fn switch(head: &str, further: &str) -> String {
    let key = header(head, "sec-websocket-key").unwrap_or_default();
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{further}\r\n",
        STANDARD.encode(digest)
    )
}

/// All values of a header in a raw head.
pub(crate) fn headers(head: &str, name: &str) -> Vec<String> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

/// The first value of a header in a raw head.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    headers(head, name).into_iter().next()
}

/// A gateway whose `/x/*` leads to `scripted`.
pub(crate) fn in_front_of(scripted: &Scripted, limits: Limits) -> Stand {
    let behind = scripted.address;
    Stand::with(limits, |settings| {
        settings.threads = 1;
        settings.routes.push(generic("x", "x", &["/x/*"], QueryPolicy::Tokens));
        settings.upstreams.push(upstream("x", behind, "x-api-key"));
    })
}
