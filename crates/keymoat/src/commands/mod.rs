//! The command line: what can be asked for, and how each ends.

mod admin;
mod audit;
mod check;
mod completion;
mod config;
mod demo;
mod doctor;
mod emulate;
mod explain;
mod key;
mod man;
mod ready;
mod redact;
mod scan;
mod serve;
pub(crate) mod session;
mod store;
mod store_choice;
mod sunset;
mod token;
mod upstream;
mod upstream_test;
mod ws;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use keymoat_store::StoreError;

/// The exit code of something that was found or refused.
const FOUND_OR_REFUSED: u8 = 1;

/// The exit code of something that could not run.
const COULD_NOT_RUN: u8 = 2;

/// Keeps API keys out of URLs, logs and clients.
///
/// Keymoat stands between clients and HTTP, SSE and WebSocket APIs. Clients prove who they are with a Keymoat key in a
/// header or a subprotocol; Keymoat takes it out and opens the API with the real key.
///
/// Start with `keymoat serve`: without a configuration it runs offline, with an emulated API and a demo key.
#[derive(Debug, Parser)]
#[command(name = "keymoat", version = version(), arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 well, 1 found or refused, 2 could not run.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Check(check::Arguments),
    Config(config::Arguments),
    Key(key::Arguments),
    Token(token::Arguments),
    Upstream(upstream::Arguments),
    Session(session::Arguments),
    Admin(admin::Arguments),
    Store(store::Arguments),
    Audit(audit::Arguments),
    Sunset(sunset::Arguments),
    Doctor(doctor::Arguments),
    Emulate(emulate::Arguments),
    Redact(redact::Arguments),
    Scan(scan::Arguments),
    Explain(explain::Arguments),
    Ws(ws::Arguments),
    Man(man::Arguments),
    Completion(completion::Arguments),
}

/// What a command found out, when it is not well. It has done its work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Found(pub(crate) String);

/// Does what the command line asks for.
pub(crate) fn run() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Key(arguments) => key::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Upstream(arguments) => upstream::run(&arguments),
        Command::Session(arguments) => session::run(&arguments),
        Command::Admin(arguments) => admin::run(&arguments),
        Command::Store(arguments) => store::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Sunset(arguments) => sunset::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Emulate(arguments) => emulate::run(&arguments),
        Command::Redact(arguments) => redact::run(&arguments),
        Command::Scan(arguments) => scan::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Ws(arguments) => ws::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Completion(arguments) => completion::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit code still tells.
            let _ = writeln!(anstream::stderr(), "{}", told(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Each line of an error says by itself whose it is.
fn told(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().map(|line| format!("keymoat: {line}")).collect::<Vec<_>>().join("\n")
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Found>() {
        return FOUND_OR_REFUSED;
    }
    match error.downcast_ref::<StoreError>() {
        Some(
            StoreError::KeyUnknown
            | StoreError::Limits(_)
            | StoreError::AlreadyRotated { .. }
            | StoreError::NotRotating { .. }
            | StoreError::OverlapInvalid
            | StoreError::KeyRevoked { .. }
            | StoreError::KeyExpired { .. }
            | StoreError::KeyChangedMeanwhile
            | StoreError::SecretTaken
            | StoreError::NameTaken { .. }
            | StoreError::NameInvalid
            | StoreError::OwnerInvalid
            | StoreError::ScopesInvalid
            | StoreError::ExpiryPassed { .. }
            | StoreError::SecretExists { .. }
            | StoreError::SecretUnknown
            | StoreError::TokenUnknown
            | StoreError::TokenNotFound
            | StoreError::AdminUnknown
            | StoreError::AdminNameTaken { .. }
            | StoreError::AdminChanged
            | StoreError::LastAdmin
            | StoreError::SecretLength
            | StoreError::UpstreamNameInvalid
            | StoreError::OverrideUnknown
            | StoreError::BackupExists { .. },
        ) => FOUND_OR_REFUSED,
        _ => COULD_NOT_RUN,
    }
}

/// The version, with the commit when the build was told it.
const fn version() -> &'static str {
    match option_env!("KEYMOAT_VERSION_WITH_COMMIT") {
        Some(version) => version,
        None => env!("CARGO_PKG_VERSION"),
    }
}

/// Writes a result to standard output. A reader that went away (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A result in JSON.
fn to_json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Rows under their heads, in columns as wide as their widest entry.
fn table<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Writes a remark to standard error, where it does not get into a result.
pub(crate) fn remark(text: &str) {
    // Standard error may be closed; a remark is not worth failing for.
    let _ = writeln!(anstream::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_was_refused_is_told_from_what_could_not_run() {
        assert_eq!(exit_code(&StoreError::KeyUnknown.into()), 1);
        assert_eq!(exit_code(&anyhow::Error::from(StoreError::KeyUnknown).context("revoking")), 1);
        assert_eq!(exit_code(&Found("x".to_owned()).into()), 1);
        assert_eq!(exit_code(&StoreError::Random.into()), 2);
        assert_eq!(exit_code(&anyhow::anyhow!("x")), 2);
    }
}
