//! A TCP proxy that can fall silent, as a network does, or break its connections, as a failover does.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const OPEN: u8 = 0;
const SILENT: u8 = 1;
const ENDED: u8 = 2;

/// How often a silent connection looks whether it may speak again.
const LOOK: Duration = Duration::from_millis(5);

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Passes connections on to `target`, a port of this machine.
    #[must_use]
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of_thread.state.load(Ordering::Acquire) == ENDED {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let mut connections = of_thread.connections.lock().unwrap_or_else(PoisonError::into_inner);
                connections.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                drop(connections);
                for (from, to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                    let shared = Arc::clone(&of_thread);
                    std::thread::spawn(move || pass(from, to, &shared));
                }
            }
        });
        Self { port, shared }
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Passes nothing on any more and closes nothing: both sides wait.
    pub fn fall_silent(&self) {
        self.shared.state.store(SILENT, Ordering::Release);
    }

    /// Passes on what waited, and what comes.
    pub fn speak(&self) {
        self.shared.state.store(OPEN, Ordering::Release);
    }

    /// Closes every connection; new ones are passed on.
    pub fn break_all(&self) {
        for connection in self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.store(ENDED, Ordering::Release);
        self.break_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        while shared.state.load(Ordering::Acquire) == SILENT {
            std::thread::sleep(LOOK);
        }
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
            return;
        }
    }
}
