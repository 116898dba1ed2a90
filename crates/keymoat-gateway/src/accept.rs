//! Listening sockets and the connections that come in by them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::connection;
use crate::memory::Pressure;
use crate::own::Own;
use crate::peer::Peer;
use crate::permits::Permit;
use crate::stream::MaybeTls;
use crate::worker::Worker;

/// Connections that the kernel may hold before we accept them.
const BACKLOG: i32 = 1024;
/// How long to leave the listener alone after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that may be told at once that there are too many; the others are closed without a word.
pub(crate) const TURNED_AWAY_MAX: usize = 256;
/// The same under TLS, where an answer costs a handshake.
pub(crate) const TURNED_AWAY_TLS_MAX: usize = 16;
/// How long turning a connection away may take, and how long its handshake before.
const TURNED_AWAY_TIME: Duration = Duration::from_secs(1);
/// How long a connection that is turned away may take to say what it wants.
const FIRST_WORDS: Duration = Duration::from_millis(50);
/// How often something is read, and thrown away, of a connection that was turned away.
const TURNED_AWAY_READS_MAX: usize = 32;
/// The answer to a connection that is not taken. It is sent whatever its request says.
struct TurnedAway {
    status: &'static str,
    text: &'static str,
}

/// All permits are taken, or the memory is.
const OVERLOADED: TurnedAway = TurnedAway {
    status: "503 Service Unavailable",
    text: "{\"type\":\"/keymoat/errors/unavailable\",\"title\":\"not available at the moment\",\
           \"status\":503,\"code\":\"unavailable\",\"detail\":\"too much is going on here, try again\"}",
};

/// Its address has as many as it may.
const CROWDED: TurnedAway = TurnedAway {
    status: "429 Too Many Requests",
    text: "{\"type\":\"/keymoat/errors/rate_limited\",\"title\":\"too many requests\",\
           \"status\":429,\"code\":\"rate_limited\",\"detail\":\"your address has too many connections open here: close some\"}",
};

/// One listening address with its sockets, before the threads take theirs.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<std::net::TcpListener>,
}

impl Bound {
    /// The sockets of each of `threads` threads. INVARIANT: each thread has one, and each socket has a thread, because the
    /// kernel queues connections in all of them. Where there are fewer sockets than threads, several accept from one.
    pub(crate) fn spread(&self, threads: usize) -> io::Result<Vec<Vec<std::net::TcpListener>>> {
        let mut spread: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for (socket, number) in self.sockets.iter().cycle().zip(0..threads.max(self.sockets.len())) {
            if let Some(thread) = spread.get_mut(number % threads) {
                thread.push(socket.try_clone()?);
            }
        }
        Ok(spread)
    }
}

/// Opens one socket per thread on the same address, so that the kernel spreads the connections (SO_REUSEPORT).
///
/// # Errors
/// The address is taken, also by another process that would share it: its clients would meet two stores.
pub(crate) fn bind(address: SocketAddr, threads: usize) -> io::Result<Bound> {
    socket(address)?.bind(&address.into())?;
    let first = listen(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..threads {
        sockets.push(listen(address)?);
    }
    Ok(Bound { address, sockets })
}

/// Takes sockets that another process has opened, all of them on one address.
///
/// # Errors
/// A socket that does not listen, or not on `asked`; its port 0 stands for any. What is configured was checked, such as
/// that plain text stays on loopback, so nothing else is served.
pub(crate) fn adopt(asked: SocketAddr, sockets: Vec<std::net::TcpListener>) -> io::Result<Bound> {
    let mut address = asked;
    for socket in &sockets {
        let found = socket.local_addr()?;
        if !SockRef::from(socket).is_listener()? {
            return Err(io::Error::other(format!("the socket on {found} does not listen")));
        }
        if found.ip() != address.ip() || (address.port() != 0 && found.port() != address.port()) {
            return Err(io::Error::other(format!("the socket listens on {found}")));
        }
        socket.set_nonblocking(true)?;
        address = found;
    }
    Ok(Bound { address, sockets })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the drain begins; then takes what is already queued and closes the socket. What is queued in a socket
/// that was handed over is left to the other process.
///
/// `number` is the listener's place in the settings: its TLS settings are looked up anew for each connection. `_accepting`
/// is held as long as it accepts.
pub(crate) async fn run(worker: Rc<Worker>, listener: TcpListener, number: usize, _accepting: Option<Permit>) {
    worker.serving().await;
    while !worker.is_handed_over() {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = worker.leaving() => return,
        };
        match accepted {
            Ok((stream, address)) => admit(&worker, stream, address.ip(), number),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(worker: &Rc<Worker>, stream: TcpStream, client: IpAddr, number: usize) {
    let tls = worker.shared.tls.get(number).and_then(Option::as_ref);
    let tls = tls.map(|config| TlsAcceptor::from(config.load_full()));
    let room = if worker.pressure() == Pressure::Shed { None } else { worker.shared.permits.take() };
    let Some(permit) = room else {
        return refuse(worker, stream, tls, &OVERLOADED);
    };
    let Some(permit) = counted(worker, permit, client) else {
        return refuse(worker, stream, tls, &CROWDED);
    };
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match tls {
            None => {
                let peer = Peer { client, tls: false, tls_name: None, permit: Rc::new(permit) };
                connection::serve(worker, MaybeTls::Plain(stream), peer).await;
            }
            Some(acceptor) => Box::pin(shake_hands(worker, stream, client, permit, acceptor)).await,
        }
    });
}

/// The permit, if its address may have one more. A trusted proxy speaks for many.
fn counted(worker: &Worker, permit: Permit, client: IpAddr) -> Option<Permit> {
    let plan = worker.shared.plan.load();
    let Some(most) = plan.limits.connections_per_address_max else { return Some(permit) };
    if plan.trusted_proxies.iter().any(|network| network.contains(client)) {
        return Some(permit);
    }
    permit.counted(&worker.shared.connections, client, most)
}

async fn shake_hands(worker: Rc<Worker>, stream: TcpStream, client: IpAddr, permit: Permit, acceptor: TlsAcceptor) {
    let limit = worker.shared.plan.load().limits.tls_handshake;
    match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let tls_name = stream.get_ref().1.server_name().map(Arc::from);
            let peer = Peer { client, tls: true, tls_name, permit: Rc::new(permit) };
            connection::serve(worker, MaybeTls::Tls(Box::new(stream)), peer).await;
        }
        Ok(Err(error)) => tracing::debug!(%client, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%client, "TLS handshake took too long"),
    }
}

/// Turns a connection away with an answer, if there is a place for that.
fn refuse(worker: &Worker, stream: TcpStream, tls: Option<TlsAcceptor>, why: &'static TurnedAway) {
    let Some(acceptor) = tls else {
        if let Some(place) = worker.shared.turned_away.take() {
            tokio::task::spawn_local(turn_away(stream, place, why));
        }
        return;
    };
    let Some(place) = worker.shared.turned_away_tls.take() else { return };
    tokio::task::spawn_local(async move {
        // The answer is written by hand, so nothing but HTTP/1.1 is agreed on.
        let mut config = ServerConfig::clone(acceptor.config());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream);
        if let Ok(Ok(stream)) = tokio::time::timeout(TURNED_AWAY_TIME, handshake).await {
            turn_away(stream, place, why).await;
        }
    });
}

/// Answers before the request is taken in; then throws away what the client sends, so that no reset destroys the answer.
async fn turn_away(mut stream: impl AsyncRead + AsyncWrite + Unpin, _place: Permit, why: &TurnedAway) {
    let answer = async {
        let (status, kind, text) = if asks_whether_alive(&mut stream).await {
            ("200 OK", "text/plain; charset=utf-8\r\ncache-control: no-store", Own::Live.text())
        } else {
            (why.status, "application/problem+json\r\nretry-after: 1", String::from(why.text))
        };
        let length = text.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        let mut scratch = [0; 2048];
        for _ in 0..TURNED_AWAY_READS_MAX {
            if stream.read(&mut scratch).await? == 0 {
                break;
            }
        }
        Ok::<_, io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(TURNED_AWAY_TIME, answer).await {
        tracing::debug!(%error, "cannot turn a connection away");
    }
}

/// Whether the first bytes are those of `/keymoat/livez`: whoever restarts what is not alive must not do so because of too
/// much work. The first bytes alone are looked at, and a client that sends nothing at once has asked nothing.
async fn asks_whether_alive(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    const QUESTION: &[u8] = b"GET /keymoat/livez ";
    let mut seen = [0; QUESTION.len()];
    let read = tokio::time::timeout(FIRST_WORDS, stream.read_exact(&mut seen)).await;
    matches!(read, Ok(Ok(_))) && seen == QUESTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_not_shared_with_whoever_has_it() {
        let bound = bind("127.0.0.1:0".parse().expect("an address"), 2).expect("loopback");
        let error = bind(bound.address, 2).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(bound.sockets);
        assert!(bind(bound.address, 2).is_ok(), "it is free again");
    }

    #[test]
    fn a_free_port_is_shared_by_all_threads() {
        let bound = bind("127.0.0.1:0".parse().expect("an address"), 3).expect("loopback");
        let ports: std::collections::HashSet<_> =
            bound.sockets.iter().map(|socket| socket.local_addr().expect("bound").port()).collect();
        assert_eq!((bound.sockets.len(), ports.len()), (3, 1));
    }

    #[test]
    fn every_thread_has_a_socket_and_every_socket_a_thread() {
        let any = "127.0.0.1:0".parse().expect("an address");
        for (sockets, threads) in [(1, 4), (2, 3), (3, 3), (4, 1), (5, 2)] {
            let bound = bind(any, sockets).expect("loopback");
            let spread = bound.spread(threads).expect("there are descriptors");
            assert_eq!(spread.len(), threads);
            assert!(spread.iter().all(|sockets| !sockets.is_empty()), "{sockets} sockets, {threads} threads");
            // A socket's cookie is its own, however many descriptors lead to it.
            let cookies: std::collections::HashSet<_> =
                spread.iter().flatten().map(|socket| SockRef::from(socket).cookie().expect("Linux")).collect();
            assert_eq!(cookies.len(), sockets, "{sockets} sockets, {threads} threads");
        }
    }

    #[test]
    fn a_socket_is_adopted_on_the_address_that_was_asked_for_only() {
        let own = || std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let socket = own();
        let address = socket.local_addr().expect("bound");
        let any_port = SocketAddr::new(address.ip(), 0);
        for asked in [address, any_port] {
            let adopted = adopt(asked, vec![socket.try_clone().expect("a descriptor")]).expect("it fits");
            assert_eq!(adopted.address, address);
        }
        let elsewhere = SocketAddr::new([0, 0, 0, 0].into(), address.port());
        for asked in [elsewhere, SocketAddr::new(address.ip(), address.port() ^ 1)] {
            let error = adopt(asked, vec![socket.try_clone().expect("a descriptor")]).expect_err("it does not fit");
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        assert!(adopt(any_port, vec![own(), own()]).is_err(), "two ports are no one address");
        let silent = self::socket(any_port).expect("a socket");
        silent.bind(&any_port.into()).expect("loopback");
        assert!(adopt(any_port, vec![silent.into()]).is_err(), "nobody listens");
    }
}
