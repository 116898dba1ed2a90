//! `keymoat scan`, on files as other programs write them.

mod code;
mod databases;
mod logs;
mod reports;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use crate::harness::{Folder, told};

/// The credentials that are planted. No eight bytes of one may come out.
const KEY: &str = "Zk7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";
const TOKEN: &str = "p3Vt8NcRw5KyHs2Mq9LdXz4Bf7GjTa6E";
const GOOGLE: &str = "AIzaSyD4k7Qw2Lr9TnXb4Vm8PcYd6Hs3JfGa1Ue";

/// A folder with a home of its own.
struct Scene {
    folder: Folder,
}

/// What a scan gave.
struct Scanned {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Scene {
    fn new() -> Self {
        let folder = Folder::new();
        fs::create_dir_all(folder.path().join("home")).expect("a folder");
        fs::create_dir_all(folder.path().join("in")).expect("a folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into `in/`.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("in").join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, content).expect("written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.folder.command(&["scan"]);
        command.args(arguments).env("HOME", self.path("home")).env_remove("XDG_DATA_HOME");
        command
    }

    /// Scans, and proves that no source was written and no credential came out.
    fn scan(&self, arguments: &[&str]) -> Scanned {
        let before = state(&self.path("in"));
        let (code, stdout, stderr) = told(&self.command(arguments).output().expect("it runs"));
        assert_eq!(state(&self.path("in")), before, "a source was changed");
        for text in [&stdout, &stderr] {
            assert_no_leak(text);
        }
        Scanned { code, stdout, stderr }
    }

    /// Scans `in` and reads the report.
    fn report(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = ["in", "--format", "json"].iter().chain(arguments).copied().collect();
        self.scan(&arguments).json()
    }
}

impl Scanned {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

fn assert_no_leak(text: &str) {
    for secret in [KEY, TOKEN, GOOGLE] {
        for window in secret.as_bytes().windows(8) {
            let window = std::str::from_utf8(window).expect("ASCII");
            assert!(!text.contains(window), "`{window}` came out in:\n{text}");
        }
    }
}

/// Every file below a folder with its bytes and when it was written.
fn state(folder: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut state = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let metadata = entry.metadata().expect("it is there");
            if metadata.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let written = metadata.modified().expect("a time");
            state.insert(entry.path().display().to_string(), (fs::read(entry.path()).unwrap_or_default(), written));
        }
    }
    state
}

/// The credentials of a report.
fn credentials(report: &Value) -> &Vec<Value> {
    report["credentials"].as_array().expect("a list")
}

/// The one credential of a report.
fn only(report: &Value) -> &Value {
    assert_eq!(credentials(report).len(), 1, "{report:#}");
    &report["credentials"][0]
}
