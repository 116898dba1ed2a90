//! `keymoat redact`: a filter that masks credentials in what passes through it.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use keymoat_redact::{KnownSecrets, Options, Redactor, Rules, Stats};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::{Found, remark, to_json};
use crate::config::{self, DEFAULT_FILE};
use crate::fingerprint_key;

/// How much is read at once.
const READ_BYTES: usize = 128 << 10;
/// How long a line that has not ended is held back from somebody who watches.
const PATIENCE: Duration = Duration::from_millis(200);

/// Masks credentials in text, from standard input or files to standard output.
///
/// Only the values go: `?api_key=[REDACTED:api_key]&page=3`. Lines without a credential come out byte by byte as they
/// went in. `tail -f access.log | keymoat redact` shows lines as they come.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The files to read, one after the other; `-` is standard input [default: -].
    files: Vec<PathBuf>,
    /// Prints what was counted as JSON on standard error, at the end.
    #[arg(long)]
    json: bool,
    /// Puts a keyed fingerprint into each mark, which tells equal values, also beside a report of `keymoat scan`.
    #[arg(long)]
    fingerprint: bool,
    /// The key of fingerprints: a file of at least 32 random bytes [default: made once in the user's data folder].
    #[arg(long, value_name = "FILE", requires = "fingerprint")]
    fingerprint_key: Option<PathBuf>,
    /// Prints what was counted on standard error, at the end.
    #[arg(long)]
    stats: bool,
    /// Prints nothing, and ends with 1 if anything was found.
    #[arg(long)]
    check: bool,
    /// The configuration whose `[redact]` section is used [default: keymoat.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Does what is asked.
///
/// # Errors
/// A file that cannot be read, an output that cannot be written; with `--check`, whether anything was found.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let default = Path::new(DEFAULT_FILE);
    let file = arguments.config.as_deref().or_else(|| default.exists().then_some(default));
    let custom = config::redact_of_file(file, &config::environment())?;
    let rules = Arc::new(Rules::new(&custom).context("[redact]")?);
    let key = arguments.fingerprint_key.as_deref();
    let fingerprint = arguments.fingerprint.then(|| fingerprint_key::open(key)).transpose()?;
    let mut redactor = Redactor::new(rules, Options { fingerprint, known: KnownSecrets::default() });
    let passed = if arguments.check {
        pass(&arguments.files, &mut redactor, &mut io::sink(), false)
    } else {
        let stdout = io::stdout().lock();
        let watched = stdout.is_terminal();
        // What is large goes through unbuffered; marks and the bytes between them are gathered.
        pass(&arguments.files, &mut redactor, &mut BufWriter::with_capacity(READ_BYTES, stdout), watched)
    };
    match passed {
        Err(error) if is_closed(&error) => return Ok(()),
        passed => passed?,
    }
    let stats = redactor.stats();
    if arguments.json {
        remark(to_json(&Counted::of(stats, redactor.rules()))?.trim_end());
    } else if arguments.stats {
        remark(&counted(stats, redactor.rules()));
    }
    let found = stats.masked + stats.lines_dropped;
    if arguments.check && found > 0 {
        return Err(Found(format!("{found} credentials found in {} lines", stats.lines_masked)).into());
    }
    Ok(())
}

fn pass(files: &[PathBuf], redactor: &mut Redactor, out: &mut impl Write, watched: bool) -> anyhow::Result<()> {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    for file in files {
        if file.as_os_str() == "-" {
            pass_one(io::stdin().lock(), redactor, out, watched).context("standard input")?;
        } else {
            let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            pass_one(opened, redactor, out, false).with_context(|| file.display().to_string())?;
        }
        redactor.finish(out)?;
        out.flush()?;
    }
    Ok(())
}

fn pass_one(
    mut input: impl Read + AsFd,
    redactor: &mut Redactor,
    out: &mut impl Write,
    watched: bool,
) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        // Who reads along gets whole lines at once, and the beginning of one after a while.
        if !is_ready(&input, Duration::ZERO)? {
            out.flush()?;
            if watched && !is_ready(&input, PATIENCE)? {
                redactor.flush_partial(out)?;
                out.flush()?;
            }
        }
        let read = match input.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            return Ok(());
        }
        redactor.write(buffer.get(..read).unwrap_or_default(), out)?;
    }
}

/// Whether there is something to read, or the end, within `wait`.
fn is_ready(input: &impl AsFd, wait: Duration) -> io::Result<bool> {
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&wait)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the reader of what is written went away, as `head` does.
fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What was counted, in JSON.
#[derive(Debug, Serialize)]
struct Counted<'a> {
    bytes: u64,
    lines_masked: u64,
    masked: u64,
    oversize: u64,
    lines_dropped: u64,
    kinds: Vec<(&'a str, u64)>,
}

impl<'a> Counted<'a> {
    fn of(stats: &Stats, rules: &'a Rules) -> Self {
        Self {
            bytes: stats.bytes,
            lines_masked: stats.lines_masked,
            masked: stats.masked,
            oversize: stats.oversize,
            lines_dropped: stats.lines_dropped,
            kinds: stats.kinds().map(|(kind, count)| (rules.word(kind), count)).collect(),
        }
    }
}

fn counted(stats: &Stats, rules: &Rules) -> String {
    let kinds: Vec<String> = stats.kinds().map(|(kind, count)| format!("{} {count}", rules.word(kind))).collect();
    let Stats { bytes, lines_masked, masked, oversize, lines_dropped, .. } = stats;
    let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
    format!(
        "{bytes} bytes, {masked} masked in {lines_masked} lines, {oversize} oversize, {lines_dropped} lines dropped{kinds}"
    )
}
