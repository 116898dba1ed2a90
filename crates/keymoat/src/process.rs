//! The process itself: no core dumps, no memory for other processes to look into, and signals.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// End: gracefully the first time, at once the second time.
    End,
    /// Read the configuration anew.
    Reload,
}

/// Keeps the process's memory to itself. Called before the first secret is read.
///
/// A system that refuses is only told of: a gateway that runs is safer than keys that go back into URLs.
pub(crate) fn keep_memory_private() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "cannot forbid memory dumps");
    }
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "cannot forbid core files");
    }
}

/// The signals that arrive from here on.
///
/// # Errors
/// The system refuses a handler.
pub(crate) fn signals() -> io::Result<impl Iterator<Item = Asked>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    Ok(std::iter::from_fn(move || signals.forever().next())
        .map(|signal| if signal == SIGHUP { Asked::Reload } else { Asked::End }))
}
