//! Sockets that this process was handed when it was started: by systemd, or by the process whose place it takes.
//!
//! The protocol is that of `sd_listen_fds(3)`: descriptors from 3 on, their count in `LISTEN_FDS`, their names in
//! `LISTEN_FDNAMES`. `LISTEN_PID` is looked at when it is there; a process that starts its successor cannot know it.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;

use anyhow::{Context, bail, ensure};
use listenfd::ListenFd;

/// How many descriptors there are.
pub(crate) const COUNT_VARIABLE: &str = "LISTEN_FDS";
/// What they are called, with `:` in between.
pub(crate) const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";
/// Whom they are for.
pub(crate) const PROCESS_VARIABLE: &str = "LISTEN_PID";
/// The number of the first one.
pub(crate) const FIRST_DESCRIPTOR: i32 = 3;
/// The names of the listeners, in the order of the gateway's settings.
pub(crate) const LISTENERS: [&str; 3] = ["data", "data-tls", ADMIN];
/// The name of the admin listener.
pub(crate) const ADMIN: &str = "admin";
/// The name of the socket that the older process waits at.
pub(crate) const READY: &str = "keymoat-ready";
/// What is said there.
pub(crate) const READY_WORD: &[u8] = b"ready";

/// More than this is no set of sockets, but a mistake.
const COUNT_MAX: usize = 1_024;

/// What was handed to this process.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// By [`LISTENERS`].
    sockets: [Vec<TcpListener>; 3],
    ready: Option<UnixDatagram>,
}

impl Handed {
    /// Takes what the environment says is there. Called once, before there are other threads.
    ///
    /// # Errors
    /// A descriptor that has no name of ours or is something else than a socket that fits it.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let names = std::env::var_os(NAMES_VARIABLE);
        let count: Option<usize> = std::env::var(COUNT_VARIABLE).ok().and_then(|count| count.parse().ok());
        ensure!(count <= Some(COUNT_MAX), "{COUNT_VARIABLE} says that more than {COUNT_MAX} sockets were handed over");
        let mut descriptors = ListenFd::from_env();
        let mut handed = Self::default();
        for (number, name) in named(names.as_deref(), descriptors.len())?.into_iter().enumerate() {
            let failed = || format!("the socket that was handed over as `{name}` cannot be taken");
            if name == READY {
                handed.ready = descriptors.take_unix_datagram(number).with_context(failed)?;
                continue;
            }
            let place = LISTENERS.iter().position(|known| *known == name);
            let Some(sockets) = place.and_then(|place| handed.sockets.get_mut(place)) else {
                bail!(
                    "a socket was handed over as `{name}`: write `FileDescriptorName=data` into the socket unit, or \
                     `data-tls` for the one with TLS, or `admin`"
                );
            };
            sockets.extend(descriptors.take_tcp_listener(number).with_context(failed)?);
        }
        Ok(handed)
    }

    /// The sockets in the order of the gateway's listeners, of which there is one, or two with TLS.
    ///
    /// # Errors
    /// A socket for TLS where none is served: whoever connects there must not get something else.
    pub(crate) fn listeners(&mut self, has_tls: bool) -> anyhow::Result<Vec<Vec<TcpListener>>> {
        let [data, data_tls, _] = &mut self.sockets;
        let sockets = vec![std::mem::take(data), std::mem::take(data_tls)];
        ensure!(
            has_tls || sockets.last().is_none_or(Vec::is_empty),
            "a socket was handed over as `data-tls`, but `mode` in [tls] serves no TLS: change the one or the other; \
             what listens changes with a restart only"
        );
        Ok(sockets)
    }

    /// The socket of the admin listener.
    ///
    /// # Errors
    /// There are several, or there is one although nothing is to listen there, or on another address than `asked`.
    pub(crate) fn admin(&mut self, asked: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
        let [_, _, admin] = &mut self.sockets;
        let mut sockets = std::mem::take(admin).into_iter();
        let Some(socket) = sockets.next() else { return Ok(None) };
        let asked = asked
            .context("a socket was handed over as `admin`, but [admin] is not enabled: change the one or the other")?;
        let found = socket.local_addr()?;
        ensure!(
            sockets.next().is_none() && found.ip() == asked.ip(),
            "the socket that was handed over as `admin` listens on {found}: write the same address into [admin]"
        );
        Ok(Some(socket))
    }

    /// Tells the older process, if there is one, that this one takes over.
    pub(crate) fn tell_ready(self) {
        if let Some(ready) = self.ready
            && let Err(error) = ready.send(READY_WORD)
        {
            tracing::debug!(%error, "the older process has gone already");
        }
    }
}

/// The names of `count` descriptors.
fn named(names: Option<&OsStr>, count: usize) -> anyhow::Result<Vec<String>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let names = names.unwrap_or_default().to_string_lossy();
    let names: Vec<_> = names.split(':').map(str::to_owned).collect();
    ensure!(
        names.len() == count,
        "{count} sockets were handed over, but {NAMES_VARIABLE} does not name as many: each is `data` or `data-tls`"
    );
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_descriptor_needs_its_name() {
        assert_eq!(named(Some("x".as_ref()), 0).expect("nothing"), [""; 0]);
        assert_eq!(named(Some("data:data:data-tls".as_ref()), 3).expect("names"), ["data", "data", "data-tls"]);
        assert!(named(Some("data".as_ref()), 2).is_err() && named(None, 2).is_err());
    }

    #[test]
    fn a_socket_for_tls_is_not_left_without_it() {
        let socket = || TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut handed = Handed { sockets: [vec![socket()], vec![socket()], Vec::new()], ready: None };
        assert!(handed.listeners(false).is_err());
        let mut handed = Handed { sockets: [vec![socket()], Vec::new(), vec![socket()]], ready: None };
        assert_eq!(handed.listeners(false).expect("plain text").first().map(Vec::len), Some(1));
        assert!(handed.admin(None).is_err(), "nothing is to listen there");
        assert!(handed.admin(Some(([127, 0, 0, 1], 1).into())).expect("taken already").is_none());
    }
}
