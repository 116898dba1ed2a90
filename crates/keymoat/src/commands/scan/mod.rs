//! `keymoat scan`: finds credentials in logs, histories and code, and names them without showing them.

mod baseline;
mod sarif;
mod shown;
mod text;

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use keymoat_redact::Rules;
use keymoat_redact::scan::{Progress, Report, Settings, scan};
use serde::Serialize;

use super::Found;
use crate::config::{self, DEFAULT_FILE};
use crate::{fingerprint_key, process};

/// How often the progress is drawn.
const DRAWN: Duration = Duration::from_millis(100);
/// More threads than this gain nothing that a disk gives.
const THREADS_MAX: usize = 8;

/// Finds credentials in logs, browser histories and code.
///
/// Reads files and folders with all that is in them: access logs, also rotated and compressed (gzip, Zstandard), JSON
/// lines, HAR files, the histories of Chrome and Firefox and other SQLite databases, cached files, source code. Each
/// credential is named by a keyed fingerprint, with its places, when it was seen, and what to do. Its value is never shown.
///
/// In source code and documents it also finds the lines that put a credential into a URL. A comment
/// `keymoat: allow(url-credential) REASON` on the line or above it waives one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 clean, 1 something was found, 2 something could not be read.")]
pub(crate) struct Arguments {
    /// Files and folders; `-` is standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Prints JSON, as `--format json` does.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Reports examples with a placeholder in code and documents, too.
    #[arg(long)]
    docs: bool,
    /// Leaves out what this file says is known.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Writes the fingerprints of all that was found into this file, as known from now on.
    #[arg(long, value_name = "FILE")]
    write_baseline: Option<PathBuf>,
    /// The configuration whose `[redact]` section is used [default: keymoat.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The key of fingerprints: a file of at least 32 random bytes [default: made once in the user's data folder].
    #[arg(long, value_name = "FILE")]
    fingerprint_key: Option<PathBuf>,
    /// Tells what cannot be read, and goes on to exit as if it were not there.
    #[arg(long)]
    skip_unreadable: bool,
    /// How many times its own size a compressed file may inflate to.
    #[arg(long, value_name = "TIMES", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..))]
    inflate_ratio_max: u64,
    /// How many threads work [default: one per processor, at most 8].
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One object.
    Json,
    /// One object a line.
    Jsonl,
    /// SARIF 2.1.0, for code platforms.
    Sarif,
}

/// What a scan came to.
#[derive(Debug, Serialize)]
struct Summary {
    fingerprint_key: String,
    files: u64,
    bytes: u64,
    credentials_found: u64,
    code_found: u64,
    waived: u64,
    known: u64,
    unread: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} bytes: ", counted(self.files, "file"), self.bytes)?;
        write!(f, "{}, {} of code", counted(self.credentials_found, "credential"), counted(self.code_found, "line"))?;
        if self.waived > 0 {
            write!(f, ", {} waived", self.waived)?;
        }
        if self.known > 0 {
            write!(f, ", {} known by the baseline", self.known)?;
        }
        if self.unread > 0 {
            write!(f, ", {} not read", self.unread)?;
        }
        write!(f, " (fingerprint key {})", self.fingerprint_key)
    }
}

fn counted(number: u64, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// Scans and prints the report.
///
/// # Errors
/// Something was found, or could not be read, or the fingerprint key or the baseline is wrong.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    process::keep_memory_private();
    let fingerprinter = fingerprint_key::open(arguments.fingerprint_key.as_deref())?;
    let key_id = fingerprinter.key_id();
    let known = arguments.baseline.as_deref().map(|file| baseline::read(file, key_id)).transpose()?;
    let settings = Settings {
        rules: rules(arguments)?,
        fingerprinter,
        threads: arguments.threads.unwrap_or_else(processors),
        examples: arguments.docs,
        inflate_ratio_max: arguments.inflate_ratio_max,
    };
    let Some(mut report) = watched(&arguments.paths, &settings)? else {
        bail!("interrupted: nothing is reported, because it would not be the whole");
    };
    if let Some(file) = &arguments.write_baseline {
        baseline::write(file, key_id, &report)?;
    }
    let mut left_out = known.map_or(0, |known| baseline::apply(&known, &mut report));
    if arguments.write_baseline.is_some() {
        left_out += report.credentials.len() + report.code.len();
        report.credentials.clear();
        report.code.clear();
    }
    let summary = Summary {
        fingerprint_key: format!("{key_id:08x}"),
        files: report.files,
        bytes: report.bytes,
        credentials_found: report.credentials.len() as u64,
        code_found: report.code.len() as u64 + report.code_further,
        waived: report.waived,
        known: left_out as u64,
        unread: report.unread.len() as u64,
    };
    print(if arguments.json { Format::Json } else { arguments.format }, &report, &summary)?;
    ending(arguments, &summary)
}

/// The rules in force, with those that the user adds.
fn rules(arguments: &Arguments) -> anyhow::Result<Arc<Rules>> {
    let default = Path::new(DEFAULT_FILE);
    let file = arguments.config.as_deref().or_else(|| default.exists().then_some(default));
    let custom = config::redact_of_file(file, &config::environment())?;
    Ok(Arc::new(Rules::new(&custom).context("[redact]")?))
}

fn ending(arguments: &Arguments, summary: &Summary) -> anyhow::Result<()> {
    if summary.unread > 0 && !arguments.skip_unreadable {
        bail!(
            "{} could not be read: see the report, or leave such out with --skip-unreadable",
            counted(summary.unread, "file")
        );
    }
    let (credentials, code) = (summary.credentials_found, summary.code_found);
    if credentials + code > 0 {
        let found = format!("{} and {} of code", counted(credentials, "credential"), counted(code, "line"));
        return Err(Found(format!("found {found}")).into());
    }
    Ok(())
}

fn processors() -> NonZeroUsize {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
    NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN)
}

/// Scans, shows how far it is on a terminal, and ends early at a signal: then there is no report, but private copies of
/// databases are removed.
fn watched(paths: &[PathBuf], settings: &Settings) -> anyhow::Result<Option<Report>> {
    let progress = Arc::new(Progress::default());
    let mut signals = process::signals()?;
    let stopped = Arc::clone(&progress);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.any(|asked| asked == process::Asked::End) {
            stopped.stop.store(true, Ordering::Relaxed);
        }
    })?;
    let bar = io::stderr().is_terminal().then(|| bar(&progress));
    let report = scan(paths, settings, &progress);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok((!progress.stop.load(Ordering::Relaxed)).then_some(report))
}

fn bar(progress: &Arc<Progress>) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}  {binary_bytes} of text, {binary_bytes_per_sec}");
    let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let (drawn, progress) = (bar.clone(), Arc::clone(progress));
    // It ends with the process, or when the bar is finished.
    std::thread::spawn(move || {
        while !drawn.is_finished() {
            drawn.set_message(counted(progress.files.load(Ordering::Relaxed), "file"));
            drawn.set_position(progress.bytes.load(Ordering::Relaxed));
            std::thread::sleep(DRAWN);
        }
    });
    bar
}

/// Writes the report to standard output. A reader that went away is no error.
fn print(format: Format, report: &Report, summary: &Summary) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(format, report, summary, &mut out).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn write(format: Format, report: &Report, summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    use shown::{Code, Failed, Line, Shown, Whole};
    match format {
        Format::Text => return text::write(report, summary, out),
        Format::Json => serde_json::to_writer_pretty(&mut *out, &Whole::of(report, summary))?,
        Format::Sarif => serde_json::to_writer_pretty(&mut *out, &sarif::log(report, summary))?,
        Format::Jsonl => {
            let credentials = report.credentials.iter().map(|credential| Line::Credential(Shown::of(credential)));
            let code = report.code.iter().map(|finding| Line::Code(Code::of(finding)));
            let errors = report.unread.iter().map(|unread| Line::Error(Failed::of(unread)));
            for line in credentials.chain(code).chain(errors) {
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")?;
            }
            serde_json::to_writer(&mut *out, &Line::Summary(summary))?;
        }
    }
    out.write_all(b"\n")
}
