//! `keymoat config`: shows what a configuration comes to, and what one may hold.

use std::path::PathBuf;

use clap::Subcommand;

use super::store_choice::{is_there, open};
use super::{print, to_json};
use crate::config::{self, Flags};

/// Shows the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints every setting in force, with where its value comes from; secrets are not shown.
    ///
    /// With the flags of `keymoat serve` it prints what they come to. What is printed is a configuration file itself.
    Show(Show),
    /// Prints the JSON Schema of keymoat.toml, for editors.
    Schema,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The file [default: keymoat.toml, if there is one].
    file: Option<PathBuf>,
    /// A provider's preset instead of a file.
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    preset: Option<String>,
    /// The file with the provider's real API key, which is not read; `-` is standard input.
    #[arg(long, value_name = "PATH", requires = "preset")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Does what is asked.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Show(arguments) => show(arguments),
        Action::Schema => print(&to_json(&config::schema()?)?),
    }
}

fn show(Show { file, preset, secret_file, flags, json }: &Show) -> anyhow::Result<()> {
    let environment = config::environment();
    let mut shown = match preset {
        Some(word) => config::show_preset(word, secret_file.as_deref(), flags, &environment)?,
        None => config::show(file.as_deref(), flags, &environment)?,
    };
    if preset.is_none() {
        let store = config::store_of_configuration(file.as_deref(), &environment)?;
        if is_there(&store.dir, store.database.as_ref()) {
            config::show_overrides(&mut shown, &open(&store)?.route_overrides()?);
        }
    }
    print(&if *json { to_json(&shown)? } else { config::toml_text(&shown) })
}
