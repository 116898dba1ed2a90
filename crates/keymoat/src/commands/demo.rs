//! `keymoat demo`: the story of a token that nobody could connect with, told with real connections.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use super::{Found, print, remark, to_json};
use crate::process;
use crate::story::{self, Attempt, Scene, Searched};

/// How long a person gets to read a scene.
const READING: Duration = Duration::from_millis(2500);

/// Tells the story of Keymoat in the terminal, with real connections on loopback.
///
/// An app with a short-lived token is refused by the provider in all three ways that it tries; through Keymoat the same
/// three ways talk; the key is revoked and the voice stops; then every log is searched for the secrets. It needs no
/// network, no account and no configuration, and leaves nothing behind.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Prints one JSON object with all that happened, for scripts.
    #[arg(long)]
    json: bool,
}

/// Plays it.
///
/// # Errors
/// What keeps it from running, and a scene that did not come out as it should: that is exit code 1.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let warnings = process::keep_memory_private();
    warnings.iter().for_each(|warning| remark(&format!("keymoat: warning: {warning}")));
    let pause = if !arguments.json && std::io::stdout().is_terminal() { READING } else { Duration::ZERO };
    let mut faults = Vec::new();
    let mut scenes = Vec::new();
    let asked_to_end = process::asked_to_end()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let playing = story::play(
        |next| {
            if !arguments.json {
                // A reader that went away is noticed when the scene is told.
                let _ = print(&format!("{next}\n"));
            }
        },
        |scene| {
            faults.extend(scene.fault());
            if arguments.json {
                scenes.push(serde_json::to_value(scene)?);
            } else {
                print(&text(scene))?;
            }
            Ok(pause)
        },
    );
    runtime.block_on(async {
        tokio::select! {
            biased;
            // The stage goes with the story: the gateway's process and the folder.
            Ok(()) = asked_to_end => anyhow::bail!("stopped before the end of the story, and nothing is left behind"),
            played = playing => played,
        }
    })?;
    if arguments.json {
        print(&to_json(&serde_json::json!({"ok": faults.is_empty(), "scenes": scenes}))?)?;
    } else if faults.is_empty() {
        print(NEXT)?;
    }
    match faults.first() {
        None => Ok(()),
        Some(fault) => Err(Found(format!("the story did not come out as it should: {fault}")).into()),
    }
}

const NEXT: &str = "\nNext:\n  keymoat serve                                      the emulated APIs, to try your own app against\n  \
                    keymoat serve --preset gemini --secret-file -      in front of the real API\n";

fn text(scene: &Scene) -> String {
    match scene {
        Scene::Direct { attempts } | Scene::ThroughKeymoat { attempts } => {
            attempts.iter().map(line).collect::<String>() + "\n"
        }
        Scene::Revoked { heard_millis, whole_millis, ended_after_millis, ended } => format!(
            "  {:.1} s of {:.1} s were heard; {ended_after_millis} ms after the revocation the app reads\n  {} {}\n\n",
            seconds(*heard_millis),
            seconds(*whole_millis),
            ended.code,
            ended.reason
        ),
        Scene::Searched(searched) => found(searched),
    }
}

fn line(attempt: &Attempt) -> String {
    let words = attempt.carrying.words();
    match &attempt.ended {
        None => format!("  {words:<32} talks: {:.1} s of the model's voice\n", seconds(attempt.heard_millis)),
        Some(ended) => format!("  {words:<32} refused: {} {}\n", ended.code, ended.reason),
    }
}

fn found(searched: &Searched) -> String {
    let Searched { secrets, log_lines, requests, in_their_place, found } = searched;
    let mut text =
        format!("  {secrets} secrets, {log_lines} lines of log at level debug, {requests} requests at the provider: ");
    if found.is_empty() {
        text.push_str("found nowhere,\n");
        let _ = writeln!(text, "  but for the real key in its header, {in_their_place} times, where it belongs");
        return text;
    }
    text.push_str("FOUND\n");
    found.iter().for_each(|found| text.push_str(&format!("  {found}\n")));
    text
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
