//! `keymoat config`: shows what a configuration comes to.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Subcommand;

use super::print;
use crate::config::{self, Shown};

/// Shows the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints every setting in force, with where its value comes from; secrets are not shown.
    Show {
        /// The file [default: keymoat.toml, if there is one].
        file: Option<PathBuf>,
        /// A provider's preset instead of a file.
        #[arg(long, value_name = "NAME", conflicts_with = "file")]
        preset: Option<String>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does what is asked.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Action::Show { file, preset, json } = &arguments.action;
    let environment = config::environment();
    let shown = match preset {
        Some(word) => config::show_preset(word, &environment)?,
        None => config::show(file.as_deref(), &environment)?,
    };
    print(&if *json { serde_json::to_string_pretty(&shown)? + "\n" } else { text(&shown) })
}

/// TOML, with the source of each value behind it.
fn text(shown: &[Shown]) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in shown {
        if setting.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = &setting.section;
            let _ = writeln!(text, "{gap}[{section}]");
        }
        let line = format!("{} = {}", setting.name, setting.value);
        let _ = writeln!(text, "{line:<56} # {}", setting.source);
    }
    text
}
