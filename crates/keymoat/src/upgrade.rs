//! The upgrade: this program is started anew with this process's listening sockets, and takes over once it is ready.
//!
//! ```text
//! SIGUSR2 ─▶ started, this one serves ─┬─▶ ready ─▶ the new one accepts, this one drains
//!                                      └─▶ ended, or late ─▶ killed, this one goes on
//! ```
//!
//! Nobody is refused at any time, because the sockets themselves are never closed.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use keymoat_admin::listener::Listening;
use keymoat_gateway::Running;

use crate::handed::{
    ADMIN, COUNT_VARIABLE, FIRST_DESCRIPTOR, LISTENERS, NAMES_VARIABLE, PROCESS_VARIABLE, READY, READY_WORD,
};
use crate::process::Asked;

/// How long the new process may take to become ready.
const READY_WAIT: Duration = Duration::from_secs(30);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How this process was started, which is how the next one is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

/// What became of an upgrade.
#[derive(Debug)]
pub(crate) enum Upgraded {
    /// The new process serves: this one is to leave.
    HandedOver,
    /// This process was asked to end meanwhile; there is no new one.
    End,
    /// This process goes on, and why. A reload may have been asked for meanwhile.
    Stays { why: anyhow::Error, reload: bool },
}

/// A new process that has not taken over. It is killed when it is dropped.
struct Candidate {
    child: Option<Child>,
    ready: UnixDatagram,
}

impl Program {
    /// Called at the start, while the path still leads to this program and no other.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_default();
        Ok(Self { path: path_as_called(Path::new(&name), env::current_exe()?), name, arguments: arguments.collect() })
    }

    /// The command that starts it with these descriptors, named and in order. Its environment is this process's own.
    fn command(&self, descriptors: Vec<(&str, OwnedFd)>) -> anyhow::Result<Command> {
        let names: Vec<_> = descriptors.iter().map(|(name, _)| *name).collect();
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments);
        command.env(COUNT_VARIABLE, names.len().to_string()).env(NAMES_VARIABLE, names.join(":"));
        command.env_remove(PROCESS_VARIABLE);
        let mappings =
            (FIRST_DESCRIPTOR..).zip(descriptors).map(|(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect())?;
        Ok(command)
    }

    fn start(&self, sockets: Vec<Vec<TcpListener>>, admin: Option<TcpListener>) -> anyhow::Result<Candidate> {
        let (ready, tells) = UnixDatagram::pair()?;
        ready.set_nonblocking(true)?;
        let named = LISTENERS.iter().zip(sockets);
        let named = named.flat_map(|(name, sockets)| sockets.into_iter().map(|socket| (*name, OwnedFd::from(socket))));
        let admin = admin.map(|socket| (ADMIN, OwnedFd::from(socket)));
        let descriptors = named.chain(admin).chain([(READY, OwnedFd::from(tells))]).collect();
        let child = self.command(descriptors)?.spawn();
        let child = child.with_context(|| format!("cannot start `{}`", self.path.display()))?;
        Ok(Candidate { child: Some(child), ready })
    }
}

/// Where `called` led to when this process was started: not to the file behind a link, so that another link is followed
/// at an upgrade. `found` is that file; it is taken if nothing else leads to it.
fn path_as_called(called: &Path, found: PathBuf) -> PathBuf {
    let leads_there = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == found);
    let candidate = if called.components().count() > 1 || called.is_absolute() {
        std::path::absolute(called).ok().filter(leads_there)
    } else {
        let folders = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&folders).filter_map(|folder| std::path::absolute(folder.join(called)).ok()).find(leads_there)
    };
    candidate.unwrap_or(found)
}

/// Starts the program anew and waits until it is ready, it fails, or this process is asked to end.
pub(crate) fn attempt(
    program: &Program,
    running: &Running,
    admin: Option<&Listening>,
    asked: &Receiver<Asked>,
) -> Upgraded {
    tracing::info!(program = %program.path.display(), "upgrading: a new process is started");
    let started = demand_nobody_ends_it()
        .and_then(|()| program.start(running.sockets()?, admin.map(Listening::socket).transpose()?));
    let mut candidate = match started {
        Ok(candidate) => candidate,
        Err(why) => return Upgraded::Stays { why, reload: false },
    };
    let deadline = Instant::now() + READY_WAIT;
    let mut reload = false;
    loop {
        match candidate.is_ready(deadline) {
            Ok(true) => break,
            Ok(false) => {}
            Err(why) => return Upgraded::Stays { why, reload },
        }
        match asked.recv_timeout(LOOK) {
            Ok(Asked::End) | Err(RecvTimeoutError::Disconnected) => return Upgraded::End,
            Ok(Asked::Reload) => reload = true,
            Ok(Asked::Upgrade) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
    candidate.take_over();
    Upgraded::HandedOver
}

impl Candidate {
    /// Whether it says that it is ready, and lives.
    fn is_ready(&mut self, deadline: Instant) -> anyhow::Result<bool> {
        let mut word = [0; READY_WORD.len()];
        let told = self.ready.recv(&mut word).is_ok_and(|length| word.get(..length) == Some(READY_WORD));
        let Some(child) = &mut self.child else { return Ok(false) };
        if let Some(status) = child.try_wait()? {
            bail!("the new process ended before it was ready ({status}): it wrote why");
        }
        ensure!(
            told || Instant::now() < deadline,
            "the new process was not ready within {} s and was ended",
            READY_WAIT.as_secs()
        );
        Ok(told)
    }

    /// Lets it live on its own.
    fn take_over(mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id();
        tracing::info!(pid, "the new process is ready and accepts from now on");
        if let Err(error) = notify(&format!("MAINPID={pid}")) {
            tracing::error!(%error, "cannot tell systemd of the new process, which it may end with this one");
        }
        let watch = move || match child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::error!(pid, %status, "the new process has ended, and nobody accepts any more"),
            Err(error) => tracing::error!(pid, %error, "cannot look after the new process"),
        };
        if let Err(error) = thread::Builder::new().name("new-process".into()).spawn(watch) {
            tracing::warn!(%error, "cannot look after the new process");
        }
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that has ended already is just what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// # Errors
/// Whoever supervises this process would end the new one together with it.
fn demand_nobody_ends_it() -> anyhow::Result<()> {
    ensure!(std::process::id() != 1, "a container ends with its first process: start another container");
    let own = env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    ensure!(
        !own || env::var_os(NOTIFY_VARIABLE).is_some(),
        "systemd would end the new process with this one: write `NotifyAccess=main` into the unit"
    );
    Ok(())
}

/// Where systemd wants to hear of a service's state, `sd_notify(3)`.
const NOTIFY_VARIABLE: &str = "NOTIFY_SOCKET";

/// Tells systemd, if it listens.
fn notify(state: &str) -> io::Result<()> {
    let Some(name) = env::var_os(NOTIFY_VARIABLE) else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_process_gets_the_same_arguments_and_no_variables_but_those_of_its_sockets() {
        let program = Program { path: "/bin/true".into(), name: "keymoat".into(), arguments: vec!["serve".into()] };
        let socket = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("loopback"));
        let descriptors = vec![("data", socket()), ("data", socket()), ("data-tls", socket())];
        let command = program.command(descriptors).expect("distinct numbers");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["serve"]);
        let changed: Vec<_> = command.get_envs().collect();
        assert_eq!(
            changed,
            [
                ("LISTEN_FDNAMES".as_ref(), Some("data:data:data-tls".as_ref())),
                ("LISTEN_FDS".as_ref(), Some("3".as_ref())),
                ("LISTEN_PID".as_ref(), None)
            ]
        );
    }

    #[test]
    fn a_link_is_followed_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("keymoat-1"), folder.path().join("keymoat"));
        std::fs::write(&real, "").expect("written");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        let real = real.canonicalize().expect("it is there");
        assert_eq!(path_as_called(&link, real.clone()), link);
        assert_eq!(path_as_called(Path::new("keymoat"), real.clone()), real, "it is in no folder of PATH");
        assert_eq!(path_as_called(&folder.path().join("other"), real.clone()), real);
    }
}
