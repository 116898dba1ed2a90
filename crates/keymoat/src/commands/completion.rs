//! `keymoat completion`: a script that teaches a shell the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{CommandLine, print};

/// Prints a completion script for a shell.
///
/// For bash: `source <(keymoat completion bash)`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which shell.
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "keymoat", &mut script);
    print(&String::from_utf8_lossy(&script))
}
