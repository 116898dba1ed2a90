//! `keymoat man`: man pages, and the page of the book, from the definitions of the command line.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;

use super::{CommandLine, print, to_json};

/// Prints a man page, or writes all of them into a folder.
///
/// To read one at once: `keymoat man key create | man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The command whose page is printed, such as `key create` [default: keymoat itself].
    command: Vec<String>,
    /// The folder for the pages of all commands; it is made if it is not there.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
    /// Prints one page in Markdown with all commands, as it stands in the book.
    #[arg(long, conflicts_with_all = ["command", "out"])]
    markdown: bool,
    /// Prints the names of the files that were written as JSON.
    #[arg(long, requires = "out")]
    json: bool,
}

/// What exit code 1 means, for each command; 0 and 2 mean the same everywhere.
const FOUND: [(&str, &str); 20] = [
    ("serve", "does not occur: what keeps it from serving is 2"),
    ("demo", "a scene did not come out as it should"),
    ("check", "does not occur: a configuration that `serve` would not take is 2"),
    ("config", "does not occur"),
    ("key", "there is no such key, or its name, scopes or expiry are not taken"),
    ("token", "there is no such token, or what it asks for is not allowed"),
    ("upstream", "there is no such secret, or the upstream answered, but not well"),
    ("session", "there is no such session, or no server runs on the store"),
    ("admin", "there is no such admin, or its name or expiry is not taken"),
    ("store", "the target exists"),
    ("audit", "does not occur"),
    ("sunset", "there is no such route, or keys in use would be refused"),
    ("doctor", "a check warns or fails"),
    ("emulate", "does not occur"),
    ("redact", "with `--check`: a credential was found"),
    ("scan", "a credential was found"),
    ("explain", "nothing was recognised"),
    ("ws", "the connection was refused, or closed for a reason"),
    ("man", "there is no such command"),
    ("completion", "does not occur"),
];

/// Prints or writes.
///
/// # Errors
/// There is no such command, or the folder cannot be written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut root = CommandLine::command();
    root.build();
    if arguments.markdown {
        return print(&markdown(&root));
    }
    if let Some(folder) = &arguments.out {
        let mut written = Vec::new();
        write_all(&root, "keymoat", folder, &mut written)?;
        return print(&match arguments.json {
            true => to_json(&written)?,
            false => format!("{} pages in {}\n", written.len(), folder.display()),
        });
    }
    let mut command = &root;
    let mut name = "keymoat".to_owned();
    for word in &arguments.command {
        let known: Vec<&str> = shown(command).map(Command::get_name).collect();
        command = shown(command)
            .find(|one| one.get_name() == word)
            .ok_or_else(|| super::Found(format!("`{name}` has no command of that name, but {}", known.join(", "))))?;
        name = format!("{name}-{word}");
    }
    print(&String::from_utf8_lossy(&page(command)?))
}

/// The commands below one, without the help.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|one| one.get_name() != "help")
}

fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

fn write_all(command: &Command, name: &str, folder: &Path, written: &mut Vec<String>) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = format!("{name}.1");
    let path = folder.join(&file);
    std::fs::write(&path, page(command)?).with_context(|| format!("cannot write {}", path.display()))?;
    written.push(file);
    shown(command).try_for_each(|one| write_all(one, &format!("{name}-{}", one.get_name()), folder, written))
}

fn markdown(root: &Command) -> String {
    let mut text = String::from(
        "# The command line\n\n\
         This page is made from the definitions of the command line, as `--help`, `keymoat man` and `keymoat completion` \
         are.\n\n## Exit codes\n\n\
         0: it went well. 2: it could not run: an argument, a configuration, a file or the network was not as it must be. \
         1: it ran, and found or refused something:\n\n| command | 1 means |\n|---|---|\n",
    );
    for (command, meaning) in FOUND {
        // Writing to a string does not fail.
        let _ = writeln!(text, "| [`{command}`](#keymoat-{command}) | {meaning} |");
    }
    shown(root).for_each(|command| describe(command, "keymoat", 2, &mut text));
    text
}

/// One command and those below it.
fn describe(command: &Command, parent: &str, depth: usize, text: &mut String) {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let _ = write!(text, "\n{} `{name}`\n\n{}\n\n```text\n{usage}\n```\n", "#".repeat(depth), escaped(&about));
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|one| !one.is_hide_set() && one.get_id() != "help").collect();
    if !arguments.is_empty() {
        text.push_str("\n| argument | meaning |\n|---|---|\n");
        arguments.iter().for_each(|argument| row(argument, text));
    }
    shown(command).for_each(|one| describe(one, &name, depth + 1, text));
}

fn row(argument: &Arg, text: &mut String) {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let takes = argument.get_action().takes_values();
    let words: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| takes)
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let defaults: Vec<_> =
        argument.get_default_values().iter().filter(|_| takes).map(|one| one.to_string_lossy()).collect();
    let mut meaning = escaped(&help).replace('|', "\\|");
    if !words.is_empty() {
        let _ = write!(meaning, ": {}", words.join(", "));
    }
    if !defaults.is_empty() {
        let _ = write!(meaning, " [default: {}]", defaults.join(", "));
    }
    let written = argument.to_string().replace('|', "\\|");
    let _ = writeln!(text, "| `{written}` | {meaning} |");
}

/// Angle brackets and square ones mean something in Markdown.
fn escaped(text: &str) -> String {
    text.replace('<', "\\<").replace("](", "]\\(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_says_what_1_means() {
        let root = CommandLine::command();
        let commands: Vec<&str> = shown(&root).map(Command::get_name).collect();
        assert_eq!(commands, FOUND.map(|(command, _)| command));
    }
}
