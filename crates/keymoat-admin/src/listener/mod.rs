//! The admin listener: a thread and a runtime of its own, so that it answers when the gateway is full, and the gateway
//! does not wait for it.

mod connection;
mod socket_file;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use self::connection::Door;
use self::socket_file::SocketFile;
use crate::access::hosts::Hosts;
use crate::api::{self, Desk};
use crate::house::House;

pub use crate::access::claim::{CLAIM_MILLIS, ClaimError, new_claim_link};

/// So many connections at once by TCP; one more is closed.
const CONNECTIONS_MAX: usize = 256;

/// So many connections at once by the Unix socket.
const COMMANDS_MAX: usize = 32;

/// How long answers that are under way may take after the end was asked for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where the listener listens, and how.
#[derive(Debug)]
pub struct Settings {
    /// The address; port 0 is a free one.
    pub address: SocketAddr,
    /// The certificate, or `None` for plain text, which is for loopback only.
    pub tls: Option<Arc<ServerConfig>>,
    /// Names that it goes by beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// The Unix socket for commands on the machine.
    pub socket_file: Option<PathBuf>,
    /// A listening socket that another process has opened.
    pub handed: Option<std::net::TcpListener>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// Whoever may open the store's socket.
    Command,
    /// A client by TCP.
    Client(SocketAddr),
}

impl Peer {
    /// From where.
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Command => None,
            Self::Client(address) => Some(address.ip()),
        }
    }
}

/// The listener could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Plain text beyond loopback.
    #[error(
        "the admin listener at {0} would send admin credentials over the network in clear text: give it a certificate (`mode` in \
         [tls], or `cert` and `key` in [admin]), or let it listen on 127.0.0.1"
    )]
    PlainText(SocketAddr),
    /// Nobody administers yet, and anybody could come.
    #[error(
        "the admin listener at {0} could be claimed by whoever finds it first: make an admin on this machine before, with \
         `keymoat admin create NAME --role admin`, or let it listen on 127.0.0.1"
    )]
    Unclaimed(SocketAddr),
    /// The address cannot be listened on.
    #[error("the admin listener cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] keymoat_store::StoreError),
    /// No thread or runtime.
    #[error("cannot start the thread of the admin listener: {0}")]
    Thread(#[source] io::Error),
}

/// A running listener. It ends when it is dropped.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
    socket: std::net::TcpListener,
    end: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Starts the listener; `more` are further pages, which say for themselves who may see them.
///
/// # Errors
/// [`StartError`], which says what to do.
pub fn start(house: House, settings: Settings, more: Router) -> Result<Listening, StartError> {
    let Settings { address, tls, hosts, socket_file, handed } = settings;
    if !address.ip().is_loopback() {
        if tls.is_none() {
            return Err(StartError::PlainText(address));
        }
        if !house.store.is_claimed(house.now())? {
            return Err(StartError::Unclaimed(address));
        }
    }
    let socket = match handed {
        Some(handed) => Ok(handed),
        None => bind(address),
    };
    let socket = socket.map_err(|error| StartError::Listen(address, error))?;
    let of_socket = |error| StartError::Listen(address, error);
    socket.set_nonblocking(true).map_err(of_socket)?;
    let bound = socket.local_addr().map_err(of_socket)?;
    let kept = socket.try_clone().map_err(of_socket)?;
    let tls = tls.map(|config| Arc::new(ArcSwap::new(config)));
    let desk = Arc::new(Desk::new(house, url(bound, tls.is_some()), tls.is_some(), Hosts::new(hosts)));
    let presented = tls.clone();
    let service = api::router(desk, more);
    let file = socket_file.and_then(|path| match SocketFile::open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::warn!(%error, "commands cannot use the admin API: there is no socket for them");
            None
        }
    });
    let (end, ended) = watch::channel(false);
    let (tell, started) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("keymoat-admin".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(Err(error))),
        };
        let _ = tell.send(Ok(()));
        runtime.block_on(serve(socket, presented, service, file, ended));
        runtime.shutdown_timeout(Duration::from_millis(100));
    });
    let thread = thread.map_err(StartError::Thread)?;
    started.recv().map_err(|_| StartError::Thread(io::Error::other("it ended")))?.map_err(StartError::Thread)?;
    Ok(Listening { address: bound, tls, socket: kept, end, thread: Mutex::new(Some(thread)) })
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

async fn serve(
    socket: std::net::TcpListener,
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
    service: Router,
    file: Option<SocketFile>,
    mut ended: watch::Receiver<bool>,
) {
    let clients = Door { service: service.clone(), places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    let commands = Door { service, places: Arc::new(Semaphore::new(COMMANDS_MAX)) };
    match TcpListener::from_std(socket) {
        Ok(listener) => drop(tokio::spawn(clients.clone().run_tcp(listener, tls, ended.clone()))),
        Err(error) => tracing::error!(%error, "the admin listener cannot listen"),
    }
    if let Some(listener) = file.as_ref().and_then(|file| file.listener().ok()) {
        match UnixListener::from_std(listener) {
            Ok(listener) => drop(tokio::spawn(commands.clone().run_unix(listener, ended.clone()))),
            Err(error) => tracing::warn!(%error, "commands cannot use the admin API"),
        }
    }
    let _ = ended.wait_for(|ended| *ended).await;
    drop(file);
    let _ = tokio::time::timeout(LAST_WORDS, async {
        clients.empty(CONNECTIONS_MAX).await;
        commands.empty(COMMANDS_MAX).await;
    })
    .await;
}

impl Listening {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Such as `http://127.0.0.1:8788`.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.address, self.tls.is_some())
    }

    /// Presents another certificate from the next connection on.
    pub fn present(&self, certificate: Arc<ServerConfig>) {
        if let Some(tls) = &self.tls {
            tls.store(certificate);
        }
    }

    /// A further descriptor of the listening socket, for a process that is to accept from it.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn socket(&self) -> io::Result<std::net::TcpListener> {
        self.socket.try_clone()
    }

    /// Accepts nobody any more, lets answers that are under way come to their end, for two seconds at most, and waits for it.
    pub fn end(&self) {
        self.end.send_replace(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the admin listener panicked");
        }
    }
}

/// Nobody can connect to "every address"; the own machine is one of them.
fn url(address: SocketAddr, is_tls: bool) -> String {
    let ip = if address.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { address.ip() };
    format!("{}://{}", if is_tls { "https" } else { "http" }, SocketAddr::new(ip, address.port()))
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
}
