//! Child processes with a deadline: each leads a process group of its own, and the whole group ends with it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The leaders of the groups that are alive, for the moment when a person presses Ctrl-C.
static LIVE: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// How a bounded command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With exit code 0.
    Well,
    /// With another exit code, or `None` when a signal ended it.
    Badly(Option<i32>),
    /// It ran into its deadline and was killed.
    Late,
}

/// A running process and its group; dropping it ends both.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    group: Pid,
}

impl Running {
    /// Starts `command` without input, with both outputs where the command says.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut live = live();
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("`{program}` does not start"))?;
        let group = Pid::from_child(&child);
        live.insert(group.as_raw_nonzero().get());
        Ok(Self { child, group })
    }

    /// The id of the process itself.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for a child process")
    }

    /// Waits until `deadline`; kills the group then.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> Result<Ended> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(if status.success() { Ended::Well } else { Ended::Badly(status.code()) });
            }
            if Instant::now() >= deadline {
                self.end();
                return Ok(Ended::Late);
            }
            thread::sleep(POLL);
        }
    }

    /// Asks it to end, then makes it; says whether it ended with exit code 0 when asked.
    pub(crate) fn end(&mut self) -> bool {
        let mut well = false;
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(self.group, Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                well = status.success();
                break;
            }
            thread::sleep(POLL);
        }
        // Also what it left behind in its group, such as a browser's helpers.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
        live().remove(&self.group.as_raw_nonzero().get());
        well
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if live().contains(&self.group.as_raw_nonzero().get()) {
            self.end();
        }
    }
}

/// Runs `command` to its end or to `deadline`, both outputs appended to the file `log`.
pub(crate) fn run(command: &mut Command, log: &Path, deadline: Instant) -> Result<Ended> {
    let file = append(log)?;
    command.stderr(file.try_clone().context("cannot share the log file")?).stdout(file);
    Running::start(command)?.wait_until(deadline)
}

/// Opens `path` to append to it.
pub(crate) fn append(path: &Path) -> Result<File> {
    let options = File::options().create(true).append(true).open(path);
    options.with_context(|| format!("cannot write `{}`", path.display()))
}

/// What a short command prints, or `None` if it is missing or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Ends every live group and this process when a person presses Ctrl-C or the machine asks.
pub(crate) fn end_all_on_signal() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // INVARIANT: held to the end, so that nothing is started or reported any more.
            let groups = live();
            for sent in [Signal::TERM, Signal::KILL] {
                for group in groups.iter().filter_map(|&id| Pid::from_raw(id)) {
                    let _ = kill_process_group(group, sent);
                }
                thread::sleep(Duration::from_millis(500));
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

fn live() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    fn shell(script: &str, limit: Duration) -> (Ended, String) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let ended = run(Command::new("sh").args(["-c", script]), &log, Instant::now() + limit).unwrap();
        (ended, std::fs::read_to_string(&log).unwrap())
    }

    #[test]
    fn tells_a_good_end_from_a_bad_one() {
        let limit = Duration::from_secs(10);
        assert_eq!(shell("echo out; echo err >&2", limit), (Ended::Well, "out\nerr\n".to_owned()));
        assert_eq!(shell("exit 3", limit).0, Ended::Badly(Some(3)));
    }

    #[test]
    fn a_late_process_is_killed_with_its_children() {
        let (ended, log) = shell("sleep 300 & echo $!; wait", Duration::from_millis(300));
        assert_eq!(ended, Ended::Late);
        let orphan = log.trim().parse().ok().and_then(Pid::from_raw).unwrap();
        let deadline = Instant::now() + GRACE;
        // Whoever adopts the orphan may take a moment to collect it.
        while rustix::process::test_kill_process(orphan).is_ok() && !is_zombie(orphan) {
            assert!(Instant::now() < deadline, "the child of the late process is still alive");
            thread::sleep(POLL);
        }
    }

    fn is_zombie(process: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
        stat.contains(") Z ")
    }
}
