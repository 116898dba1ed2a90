//! `cargo xtask bench redact`: what the redactor and the scanner cost per byte, beside other tools, in the same run.
//!
//! What counts is processor time, user and system, which other work on the machine disturbs least; each command takes its
//! turn, and the medians are compared. Bytes are always those of the plain log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::log::Log;
use super::worst;
use crate::machine::{self, Need};
use crate::packages::Store;
use crate::{process, suite};

/// How often each command takes its turn.
const TURNS: usize = 5;
/// Scanners of other makers take seconds: fewer turns.
const SLOW_TURNS: usize = 1;
/// What somebody writes who masks with one regular expression.
const ONE_REGEX: &str = "((?:api[_-]?key|access[_-]?token|token|secret|password)=)[^&\\s\"]+";
/// The most memory that filtering may take, in bytes.
const REDACT_BYTES_MAX: u64 = 16 << 20;
/// The most memory that scanning may take, in bytes.
const SCAN_BYTES_MAX: u64 = 64 << 20;
/// Runs a command with a file as its input, and prints its processor seconds and the memory it took in KiB.
const MEASURE: &str = "\
import os, subprocess, sys
with open(sys.argv[1], 'rb') as given:
    child = subprocess.Popen(sys.argv[2:], stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status))
";

struct Bench {
    keymoat: PathBuf,
    python: PathBuf,
    /// Logs, reports and the home of what is run.
    folder: tempfile::TempDir,
    plain: PathBuf,
    log: Log,
    missed: usize,
}

/// A command, and what it has used.
struct Contender {
    name: &'static str,
    command: Vec<String>,
    seconds: Vec<f64>,
    resident_bytes: u64,
}

impl Contender {
    fn new(name: &'static str, command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { name, command, seconds: Vec::new(), resident_bytes: 0 }
    }

    fn median(&self) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Builds the release binary, or takes `binary`, and prints one table. Fails if a bar is missed.
pub(crate) fn run(root: &Path, binary: Option<&Path>) -> Result<ExitCode> {
    let target = suite::target(root);
    let log = target.join("bench.log");
    machine::prepare(&[Need::Ripgrep, Need::Zstd, Need::Python], &log)?;
    let folder = target.join("suites");
    fs::create_dir_all(&folder)?;
    let store = Store { folder: &folder, log: &log, deadline: Instant::now() + machine::APT_LIMIT };
    let python = store.venv("bench", &root.join("tests/bench/requirements.txt"))?;
    let keymoat = super::binary(root, binary)?;
    // In the target folder, not below /tmp, which may be small.
    let folder = tempfile::Builder::new().prefix("bench-redact-").tempdir_in(&target)?;
    let plain = folder.path().join("access.log");
    let log = Log::write(&plain)?;
    println!(
        "{} bytes, {} lines, {} keys, {} of them followed by `&`",
        log.bytes,
        log.lines,
        log.keys.len(),
        log.followed
    );
    let mut bench = Bench { keymoat, python, folder, plain, log, missed: 0 };
    println!("{:<50} {:>10} {:>10}   must", "", "here", "beside");
    bench.redact()?;
    bench.worst()?;
    bench.scan()?;
    bench.left()?;
    println!("{} of the bars missed", bench.missed);
    Ok(if bench.missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Bench {
    fn redact(&mut self) -> Result<()> {
        let (keymoat, secrethider) = (text(&self.keymoat)?, text(&self.beside("secrethider-redact"))?);
        let mut contenders = [
            Contender::new("keymoat redact", &[&keymoat, "redact"]),
            Contender::new("rg", &["rg", "--passthru", "-N", "-i", ONE_REGEX, "-r", "${1}[REDACTED]"]),
            Contender::new("secrethider", &[&secrethider]),
        ];
        self.turns(&mut contenders, &self.plain.clone(), TURNS)?;
        let [ours, rg, secrethider] = &contenders;
        self.ratio("redact, MB per CPU second, rg with one regex", ours, rg, 1.2);
        self.ratio("redact, beside secrethider", ours, secrethider, 2.4);
        self.memory("redact, resident memory", ours, REDACT_BYTES_MAX);
        Ok(())
    }

    fn scan(&mut self) -> Result<()> {
        let (keymoat, kingfisher, gitleaks) =
            (text(&self.keymoat)?, text(&self.beside("kingfisher"))?, text(&self.beside("gitleaks"))?);
        let plain = text(&self.plain)?;
        let one = [keymoat.as_str(), "scan", "--threads", "1"];
        let mut contenders = [
            Contender::new("scan", &[one.as_slice(), &[&plain]].concat()),
            Contender::new("redact", &[&keymoat, "redact"]),
        ];
        self.turns(&mut contenders, &self.plain.clone(), TURNS)?;
        let [scan, redact] = contenders;
        let rate = self.log.bytes as f64 / scan.median() / 1e6;
        self.bar(&format!("{:<50} {rate:>7.0} MB {:>10}   ≥ 800 MB per CPU second", "scan, plain", ""), rate >= 800.0);
        self.memory("scan, resident memory", &scan, SCAN_BYTES_MAX);
        let mut slow = [
            Contender::new("kingfisher", &[&kingfisher, "scan", &plain, "--no-validate", "--no-update-check"]),
            Contender::new("gitleaks", &[&gitleaks, "dir", &plain, "--redact", "--no-banner"]),
        ];
        self.turns(&mut slow, &self.plain.clone(), SLOW_TURNS)?;
        let [kingfisher, gitleaks] = &slow;
        self.ratio("redact, beside kingfisher", &redact, kingfisher, 10.0);
        self.ratio("redact, beside gitleaks", &redact, gitleaks, 40.0);
        self.ratio("scan, beside kingfisher", &scan, kingfisher, 10.0);
        self.ratio("scan, beside gitleaks", &scan, gitleaks, 30.0);
        for (tool, option, extension, must) in [("zstd", "-q", "zst", 0.7), ("gzip", "-n", "gz", 1.0)] {
            let packed = self.plain.with_extension(extension);
            let done =
                Command::new(tool).args([option, "-c"]).arg(&self.plain).stdout(File::create(&packed)?).status()?;
            ensure!(done.success(), "`{tool}` failed");
            let packed_text = text(&packed)?;
            let mut contenders = [
                Contender::new("scan", &[one.as_slice(), &[&packed_text]].concat()),
                Contender::new(tool, &[tool, "-dc", &packed_text]),
            ];
            self.turns(&mut contenders, &packed, TURNS)?;
            let [ours, theirs] = &contenders;
            self.ratio(&format!("scan .{extension}, beside {tool} -dc"), ours, theirs, must);
        }
        Ok(())
    }

    /// The inputs that cost most: none below 150 MB per CPU second, and 16 times as much takes at most 18 times as long.
    fn worst(&mut self) -> Result<()> {
        let keymoat = text(&self.keymoat)?;
        let mut all = Contender::new("keymoat redact", &[&keymoat, "redact"]);
        for (name, piece) in worst::INPUTS {
            let (small, large) = (self.folder.path().join("small"), self.folder.path().join("large"));
            worst::write(&small, piece, 2 << 20)?;
            worst::write(&large, piece, 32 << 20)?;
            let (mut short, mut long) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..3 {
                short = short.min(self.measure(&small, &all.command)?.0);
                let (seconds, resident_bytes) = self.measure(&large, &all.command)?;
                long = long.min(seconds);
                all.resident_bytes = all.resident_bytes.max(resident_bytes);
            }
            let (rate, growth) = (f64::from(32 << 20) / long / 1e6, long / short);
            let row = format!("{name:<50} {rate:>7.0} MB {growth:>9.1}×   ≥ 150 MB per CPU second, ≤ 18×");
            self.bar(&format!("worst: {row}"), rate >= 150.0 && growth <= 18.0);
        }
        self.memory("worst, resident memory, endless lines too", &all, REDACT_BYTES_MAX);
        Ok(())
    }

    /// The keys that the redactor leaves, and that the scanner finds.
    fn left(&mut self) -> Result<()> {
        let original = fs::read(&self.plain)?;
        let mut command = Command::new(&self.keymoat);
        let output = command.arg("redact").stdin(File::open(&self.plain)?).output()?;
        let (left, changed) = self.log.compare(&original, &output.stdout);
        let keys = self.log.keys.len();
        let row = format!("{:<50} {left:>10} {keys:>10}   0 keys left", "redact, keys left of");
        self.bar(&row, left == 0 && output.status.success());
        self.bar(&format!("{:<50} {changed:>10} {:>10}   0", "redact, clean lines changed", ""), changed == 0);
        let mut command = Command::new(&self.keymoat);
        command.args(["scan", "--format", "json"]).arg(&self.plain).env("HOME", self.folder.path());
        let output = command.env_remove("XDG_DATA_HOME").current_dir(self.folder.path()).output()?;
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("`keymoat scan` reports no JSON")?;
        let found = report["credentials"].as_array().map_or(0, Vec::len);
        self.bar(&format!("{:<50} {found:>10} {keys:>10}   {keys} keys found", "scan, keys found of"), found == keys);
        let raw = String::from_utf8_lossy(&output.stdout);
        let shown = self.log.keys.iter().filter(|key| raw.contains(key.as_str())).count();
        self.bar(&format!("{:<50} {shown:>10} {:>10}   0", "scan, keys shown in the report", ""), shown == 0);
        Ok(())
    }

    /// Runs all, one after the other, `turns` times and once to warm up.
    fn turns(&self, contenders: &mut [Contender], input: &Path, turns: usize) -> Result<()> {
        for turn in 0..=turns {
            for contender in contenders.iter_mut() {
                if turn == 0 && turns == SLOW_TURNS {
                    continue;
                }
                let (seconds, resident_bytes) =
                    self.measure(input, &contender.command).with_context(|| contender.name.to_owned())?;
                contender.resident_bytes = contender.resident_bytes.max(resident_bytes);
                if turn > 0 {
                    contender.seconds.push(seconds);
                }
            }
        }
        Ok(())
    }

    /// Processor seconds and resident bytes of one run.
    fn measure(&self, input: &Path, command: &[String]) -> Result<(f64, u64)> {
        let mut measure = Command::new(&self.python);
        measure.args(["-c", MEASURE]).arg(input).args(command).env("HOME", self.folder.path());
        measure.env_remove("XDG_DATA_HOME").current_dir(self.folder.path()).stderr(Stdio::inherit());
        let printed = process::output(&mut measure).context("it does not run")?;
        let mut words = printed.split(' ');
        let mut next = || words.next().context("nothing was measured");
        let (seconds, resident, code) = (next()?.parse()?, next()?.parse::<u64>()? * 1024, next()?.parse::<i32>()?);
        // Scanners end with a code of their own when they have found something.
        ensure!(matches!(code, 0 | 1 | 200), "`{}` ended with {code}", command.join(" "));
        Ok((seconds, resident))
    }

    /// A program of the virtual environment.
    fn beside(&self, program: &str) -> PathBuf {
        self.python.with_file_name(program)
    }

    fn ratio(&mut self, name: &str, ours: &Contender, theirs: &Contender, must: f64) {
        let [here, beside] = [ours, theirs].map(|one| self.log.bytes as f64 / one.median() / 1e6);
        let ratio = here / beside;
        let row = format!("{name:<50} {here:>7.0} MB {beside:>7.0} MB   {ratio:.2}×, ≥ {must}×");
        self.bar(&row, ratio >= must);
    }

    fn memory(&mut self, name: &str, ours: &Contender, must: u64) {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let row = format!("{name:<50} {:>6.1} MiB {:>10}   ≤ {} MiB", mebibytes(ours.resident_bytes), "", must >> 20);
        self.bar(&row, ours.resident_bytes <= must);
    }

    fn bar(&mut self, row: &str, holds: bool) {
        self.missed += usize::from(!holds);
        println!("{row}{}", if holds { "" } else { "   MISSED" });
    }
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path that is no text")?.to_owned())
}
