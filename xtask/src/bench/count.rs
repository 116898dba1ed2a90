//! System calls and instructions: what hardly depends on what else the machine does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::peer::Peer;
use crate::process;

/// Counts the system calls of `peer` while `work` runs, by name.
pub(crate) fn system_calls(
    peer: &Peer,
    folder: &Path,
    work: impl FnOnce() -> Result<()>,
) -> Result<BTreeMap<String, u64>> {
    let table = folder.join("system-calls");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "-p"]).arg(peer.process.to_string()).arg("-o").arg(&table);
    let mut strace = strace.stderr(Stdio::null()).spawn().context("`strace` does not start")?;
    // Attaching says nothing when it is done.
    thread::sleep(Duration::from_millis(500));
    work()?;
    kill_process(Pid::from_child(&strace), Signal::INT)?;
    strace.wait()?;
    let table = fs::read_to_string(table).context("strace has written no table")?;
    Ok(table.lines().filter_map(row).collect())
}

/// `12 epoll_wait`; neither the heading nor the sum.
fn row(line: &str) -> Option<(String, u64)> {
    let (count, name) = line.trim().split_once(' ')?;
    (name.trim() != "total").then_some((name.trim().to_owned(), count.parse().ok()?))
}

/// Has the profiler that `peer` runs under do something.
pub(crate) fn callgrind(peer: &Peer, what: &str) -> Result<()> {
    let told = process::output(Command::new("callgrind_control").arg(what).arg(peer.process.to_string()));
    told.map(drop).with_context(|| format!("`callgrind_control {what}` failed"))
}

/// The instructions that a profiler has counted, of all threads.
pub(crate) fn instructions(profile: &Path) -> Result<u64> {
    let profile = fs::read_to_string(profile).context("no profile was written")?;
    let total = profile.lines().find_map(|line| line.strip_prefix("summary: ")).context("the profile has no sum")?;
    Ok(total.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_count_and_a_name() {
        assert_eq!(row("     12 epoll_wait"), Some(("epoll_wait".to_owned(), 12)));
        assert_eq!(row("     13 total"), None);
        assert_eq!(row("--------- ----------------"), None);
    }
}
