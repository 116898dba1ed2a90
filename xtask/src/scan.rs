//! Looks with `keymoat scan` at the released packages themselves: which put the key into a URL, and which no longer do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::gateway;
use crate::report::Check;
use crate::suite::Place;

/// What a URL with the key of Live Music has in it.
const MUSIC: &str = "BidiGenerateMusic?key=";

/// What is expected of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The line that writes the key into Live Music's URL is named.
    MusicNamed,
    /// There is no such line.
    Nothing,
}

/// Scans `code`, which is part of `package`.
pub(crate) fn check(place: Place<'_>, binary: &Path, package: &str, code: &Path, expected: Expected) -> Result<Check> {
    let home = gateway::folder(place.folder)?;
    let mut command = Command::new(binary);
    command.args(["scan", "--format", "json"]).arg(code).current_dir(home.path());
    command.env("HOME", home.path()).env_remove("XDG_DATA_HOME");
    let output = command.output().context("cannot run `keymoat scan`")?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`keymoat scan` printed no report: {}", String::from_utf8_lossy(&output.stderr)))?;
    let lines = lines(&report);
    let (name, good) = match expected {
        Expected::MusicNamed => {
            ("scan names the line that writes the key into a URL", lines.iter().any(|line| line.contains(MUSIC)))
        }
        Expected::Nothing => ("scan finds no line that writes the key into a URL", lines.is_empty()),
    };
    Ok(Check {
        name: format!("{package}: {name}"),
        failure: (!good)
            .then(|| format!("it named {} lines in `{}`: {}", lines.len(), code.display(), lines.join(" | "))),
    })
}

/// Live Music in a folder of Python packages.
const LIVE_MUSIC: &str = "google/genai/live_music.py";

/// `live_music.py` of the environment that this Python is of.
pub(crate) fn live_music(python: &Path) -> Result<PathBuf> {
    let lib = python.ancestors().nth(2).context("a Python has a folder")?.join("lib");
    let versions = fs::read_dir(&lib).with_context(|| format!("cannot read `{}`", lib.display()))?;
    let files = versions.flatten().map(|version| version.path().join("site-packages").join(LIVE_MUSIC));
    files.into_iter().find(|file| file.exists()).with_context(|| format!("no `{LIVE_MUSIC}` below `{}`", lib.display()))
}

/// `live_music.py` of a package that was only unpacked.
pub(crate) fn live_music_unpacked(folder: &Path) -> Result<PathBuf> {
    let file = folder.join(LIVE_MUSIC);
    anyhow::ensure!(file.exists(), "no `{LIVE_MUSIC}` in `{}`", folder.display());
    Ok(file)
}

/// What `@google/genai` runs on Node.
pub(crate) fn genai_on_node(folder: &Path) -> PathBuf {
    folder.join("node_modules/@google/genai/dist/node/index.mjs")
}

fn lines(report: &Value) -> Vec<String> {
    let code = report["code"].as_array().map(Vec::as_slice).unwrap_or_default();
    code.iter().filter_map(|found| Some(format!("{}: {}", found["place"]["line"], found["line"].as_str()?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_lines_of_a_report_are_read() {
        let report =
            json!({ "code": [{ "place": { "line": 180 }, "line": "uri = f'…BidiGenerateMusic?key={api_key}'" }] });
        assert_eq!(lines(&report), ["180: uri = f'…BidiGenerateMusic?key={api_key}'"]);
        assert!(lines(&json!({})).is_empty());
    }
}
