//! Starts a `keymoat` command that goes on running, and waits for the object that it prints when it is ready.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{self, Running};

/// How long a command may take to be ready, and to answer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Starts `command` in `folder`, its outputs in `NAME.stdout` and `NAME.stderr` there.
pub(crate) fn start(command: &mut Command, folder: &Path, name: &str) -> Result<(Running, Value)> {
    let (stdout, stderr) = (folder.join(format!("{name}.stdout")), folder.join(format!("{name}.stderr")));
    command.current_dir(folder).stdout(process::append(&stdout)?).stderr(process::append(&stderr)?);
    let mut running = Running::start(command)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let printed = fs::read_to_string(&stdout).unwrap_or_default();
        if let Some((line, _)) = printed.split_once('\n') {
            let ready = serde_json::from_str(line).with_context(|| format!("the {name}'s first line is not JSON"))?;
            return Ok((running, ready));
        }
        let ended = running.ended()?;
        if ended.is_some() || Instant::now() >= deadline {
            let said = fs::read_to_string(&stderr).unwrap_or_default();
            let how = ended.map_or("is not ready in time".to_owned(), |status| format!("ended at once, {status}"));
            bail!("the {name} {how}: {}", said.trim());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The text `name` in a ready object.
pub(crate) fn text(ready: &Value, name: &str) -> Result<String> {
    let found = ready.get(name).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("the ready object has no `{name}`"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    fn shell(script: &str) -> Result<(Running, Value)> {
        let folder = tempfile::tempdir().unwrap();
        start(Command::new("sh").args(["-c", script]), folder.path(), "gateway")
    }

    #[test]
    fn reads_the_first_line_and_leaves_the_command_running() {
        let (mut running, ready) = shell(r#"echo '{"url": "http://h"}'; sleep 60"#).unwrap();
        assert_eq!(text(&ready, "url").unwrap(), "http://h");
        assert!(text(&ready, "other").is_err());
        assert!(running.ended().unwrap().is_none());
    }

    #[test]
    fn tells_what_a_command_said_that_ended_at_once() {
        let error = shell("echo 'no such option' >&2; exit 2").unwrap_err().to_string();
        assert!(error.contains("ended at once") && error.contains("no such option"), "{error}");
    }
}
