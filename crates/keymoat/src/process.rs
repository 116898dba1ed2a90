//! The process itself: no core dumps, no memory for other processes to look into, signals, and randomness.

use std::io;

use keymoat_core::Secret;
use keymoat_core::format::{Kind, generate};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// End: gracefully the first time, at once the second time.
    End,
    /// Read the configuration anew.
    Reload,
    /// Let a new process take this one's place.
    Upgrade,
}

/// Keeps the process's memory to itself. Called before the first secret is read.
///
/// A system that refuses is only told of, by the warnings given back: a gateway that runs is safer than keys that go
/// back into URLs.
pub(crate) fn keep_memory_private() -> Vec<String> {
    let mut warnings = Vec::new();
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warnings.push(format!("cannot keep other processes from reading this one's memory: {error}"));
    }
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        warnings.push(format!("cannot forbid core files, which would hold secrets: {error}"));
    }
    warnings
}

/// The signals that arrive from here on.
///
/// # Errors
/// The system refuses a handler.
pub(crate) fn signals() -> io::Result<impl Iterator<Item = Asked>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR2])?;
    Ok(std::iter::from_fn(move || signals.forever().next()).map(|signal| match signal {
        SIGHUP => Asked::Reload,
        SIGUSR2 => Asked::Upgrade,
        _ => Asked::End,
    }))
}

/// Resolves at the first signal that asks for the end, for a command that runs on a tokio runtime.
///
/// # Errors
/// The system refuses a handler or a thread.
pub(crate) fn asked_to_end() -> io::Result<tokio::sync::oneshot::Receiver<()>> {
    let mut signals = signals()?;
    let (ask, asked) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.any(|asked| asked == Asked::End) {
            let _ = ask.send(());
        }
    })?;
    Ok(asked)
}

/// Draws a new key.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn new_key_secret() -> anyhow::Result<Secret> {
    new_secret(Kind::Key)
}

/// Draws a new credential.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn new_secret(kind: Kind) -> anyhow::Result<Secret> {
    let mut failed = false;
    let secret = generate(kind, &mut |bytes| failed |= aws_lc_rs::rand::fill(bytes).is_err());
    anyhow::ensure!(!failed, "the system's random number generator failed");
    Ok(secret)
}
