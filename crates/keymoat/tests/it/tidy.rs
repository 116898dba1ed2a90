//! What the house promises about itself: which crate may know which, and how its files are written.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every edge between our own crates that may be there: `core ← store ← gateway ← admin ← keymoat`, the emulator and the client beside it.
/// `xtask` knows only the
/// PostgreSQL that tests start.
const EDGES: [(&str, &[&str]); 10] = [
    ("keymoat-core", &[]),
    ("keymoat-redact", &[]),
    ("keymoat-store", &["keymoat-core", "keymoat-redact"]),
    ("keymoat-gateway", &["keymoat-core", "keymoat-redact", "keymoat-store"]),
    ("keymoat-admin", &["keymoat-core", "keymoat-redact", "keymoat-store", "keymoat-gateway"]),
    ("keymoat-emulator", &["keymoat-core", "keymoat-redact"]),
    ("keymoat-client", &["keymoat-core", "keymoat-redact"]),
    (
        "keymoat",
        &["keymoat-core", "keymoat-redact", "keymoat-store", "keymoat-gateway", "keymoat-admin", "keymoat-emulator"],
    ),
    ("keymoat-postgres-stand", &[]),
    ("xtask", &["keymoat-postgres-stand"]),
];

/// What may not be below a crate, however far down.
const WITHOUT: [(&str, &[&str]); 4] = [
    ("keymoat-core", &["tokio", "hyper", "rusqlite", "tracing", "serde", "getrandom", "rand", "chrono", "jiff"]),
    ("keymoat-emulator", &["rusqlite"]),
    ("keymoat-client", &["rusqlite", "tracing-subscriber", "ring", "openssl", "native-tls"]),
    ("keymoat", &["ring", "openssl", "openssl-sys", "native-tls"]),
];

/// The only crates that may name the database: the one that keeps, and the one that reads other programs' databases.
const SQL: ([&str; 2], &str) = (["keymoat-store", "keymoat-redact"], "rusqlite");

/// The files that may look into a secret. Another one needs a reason, and a line here.
const EXPOSING: [&str; 56] = [
    "crates/keymoat-admin/src/access/claim.rs",
    "crates/keymoat-admin/src/access/password.rs",
    "crates/keymoat-admin/src/access/session.rs",
    "crates/keymoat-admin/src/access/stream_token.rs",
    "crates/keymoat-admin/src/api/admins.rs",
    "crates/keymoat-admin/src/api/sign_in.rs",
    "crates/keymoat-admin/src/otlp/post.rs",
    "crates/keymoat-client/src/credential.rs",
    "crates/keymoat-client/src/gemini/resumption.rs",
    "crates/keymoat-client/src/websocket.rs",
    "crates/keymoat-core/src/credential.rs",
    "crates/keymoat-core/src/credential/strip.rs",
    "crates/keymoat-core/src/digest.rs",
    "crates/keymoat-core/src/format.rs",
    "crates/keymoat-core/src/mask.rs",
    "crates/keymoat-core/src/path.rs",
    "crates/keymoat-core/src/subprotocol.rs",
    "crates/keymoat-core/src/token.rs",
    "crates/keymoat-emulator/src/emulator.rs",
    "crates/keymoat-gateway/src/claim.rs",
    "crates/keymoat-gateway/src/mint.rs",
    "crates/keymoat-gateway/src/opening.rs",
    "crates/keymoat-gateway/src/opening/openai.rs",
    "crates/keymoat-gateway/src/tls/self_signed.rs",
    "crates/keymoat-gateway/src/upstream/inject.rs",
    "crates/keymoat-store/src/master_key.rs",
    "crates/keymoat-store/src/postgres/admins.rs",
    "crates/keymoat-store/src/postgres/key_store.rs",
    "crates/keymoat-store/src/postgres/link.rs",
    "crates/keymoat-store/src/postgres/mint.rs",
    "crates/keymoat-store/src/postgres/mint_group.rs",
    "crates/keymoat-store/src/seal.rs",
    "crates/keymoat-store/src/sqlite/admins.rs",
    "crates/keymoat-store/src/sqlite/key_store.rs",
    "crates/keymoat-store/src/sqlite/mint.rs",
    "crates/keymoat/src/commands/admin.rs",
    "crates/keymoat/src/commands/emulate.rs",
    "crates/keymoat/src/commands/key/mod.rs",
    "crates/keymoat/src/commands/key/rotate.rs",
    "crates/keymoat/src/commands/ready.rs",
    "crates/keymoat/src/commands/serve.rs",
    "crates/keymoat/src/commands/token/create.rs",
    "crates/keymoat/src/commands/token/inspect.rs",
    "crates/keymoat/src/commands/ws/target.rs",
    "crates/keymoat/src/config/key.rs",
    "crates/keymoat/src/config/store.rs",
    "crates/keymoat/src/demo.rs",
    "crates/keymoat/src/doctor/canary/planted.rs",
    "crates/keymoat/src/fingerprint_key.rs",
    "crates/keymoat/src/hand/mod.rs",
    "crates/keymoat/src/output/kept.rs",
    "crates/keymoat/src/story/attempt.rs",
    "crates/keymoat/src/story/mint.rs",
    "crates/keymoat/src/story/search.rs",
    "crates/keymoat/src/story/stage.rs",
    "crates/keymoat/src/wiring.rs",
];

const LINES_MAX: usize = 600;

/// Inputs and faults of tokens (49 to 57) and of what locks them (58 to 73), by the numbers that their tests bear.
const ROWS_OF_TOKENS: RangeInclusive<u32> = 49..=73;

#[test]
fn crates_know_only_those_below_them() {
    let packages = Packages::read();
    let ours: HashSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let members: HashSet<&str> = packages.members.iter().map(|id| packages.name(id)).collect();
    assert_eq!(members, ours, "a crate came or went: say in `EDGES` what it may know");
    for (name, allowed) in EDGES {
        let known = packages.below_directly(name);
        let wrong: Vec<_> = known.iter().filter(|known| ours.contains(*known) && !allowed.contains(known)).collect();
        assert!(wrong.is_empty(), "{name} may not know {wrong:?}");
        assert!(SQL.0.contains(&name) || !known.contains(SQL.1), "only {:?} may name {}", SQL.0, SQL.1);
    }
    for name in SQL.0 {
        assert!(packages.below_directly(name).contains(SQL.1));
    }
}

#[test]
fn nothing_unwanted_is_below_a_crate() {
    for (name, unwanted) in WITHOUT {
        let below = built_into(name);
        let found: Vec<_> = unwanted.iter().filter(|unwanted| below.contains(**unwanted)).collect();
        assert!(found.is_empty(), "{name} has {found:?} below it");
    }
    assert!(built_into("keymoat").contains("rustls"), "the tree is really walked");
}

#[test]
fn every_file_says_what_it_is_and_is_about_one_thing() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{file}: does not start with `//!`"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{file}: has {lines} lines, which are two subjects"));
        }
        wrong.extend(bare_exceptions(&file, &text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn secrets_are_exposed_in_few_places_and_each_says_why() {
    let mut wrong = Vec::new();
    let mut exposing = BTreeSet::new();
    for (file, text) in sources() {
        if !file.contains("/src/") {
            continue;
        }
        if code_of(&text).any(exposes) {
            exposing.insert(file.clone());
        }
        let unexplained = unexplained_exposures(&text);
        wrong.extend(unexplained.iter().map(|line| format!("{file}:{line}: no comment above says why")));
    }
    let known: BTreeSet<_> = EXPOSING.iter().map(|file| (*file).to_owned()).collect();
    wrong.extend(exposing.difference(&known).map(|file| format!("{file}: exposes a secret, and is not known to")));
    wrong.extend(known.difference(&exposing).map(|file| format!("{file}: exposes nothing: strike it off")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(unexplained_exposures("let a = 1;\nlet b = 2;\nb.expose();\n"), [3]);
    assert!(unexplained_exposures("// The digest is all that is looked up.\nlet b =\n    b.expose();\n").is_empty());
    assert_eq!(bare_exceptions("x.rs", "#[allow(dead_code)]\n").len(), 1);
    assert_eq!(bare_exceptions("x.rs", "#![expect(\n    dead_code\n)]\n").len(), 1);
    assert!(bare_exceptions("x.rs", "#[expect(\n    dead_code,\n    reason = \"why\"\n)]\n").is_empty());
}

/// The lines before a file's own tests. Tests know their secrets.
fn code_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| *line != "#[cfg(test)]")
}

/// Whether a line of code looks into a secret.
fn exposes(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.contains(".expose()")
}

/// The numbers of the lines that expose a secret without a comment in the two lines above.
fn unexplained_exposures(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = code_of(text).collect();
    let explained = |at: usize| lines[at.saturating_sub(2)..at].iter().any(|line| line.contains("// "));
    (0..lines.len()).filter(|at| exposes(lines[*at]) && !explained(*at)).map(|at| at + 1).collect()
}

/// `allow` at all, and `expect` without a reason.
fn bare_exceptions(file: &str, text: &str) -> Vec<String> {
    let attributes = text.match_indices("#[").chain(text.match_indices("#!["));
    attributes
        .filter(|(at, _)| text[..*at].ends_with(['\n', ' ']) || *at == 0)
        .filter_map(|(at, opening)| {
            let attribute = &text[at..text[at..].find(")]").map_or(text.len(), |end| at + end)];
            let (word, inner) = attribute[opening.len()..].split_once('(')?;
            let bare = word == "allow" || word == "expect" && !inner.contains("reason = ");
            bare.then(|| format!("{file}: `{word}` without a reason: {}", inner.trim()))
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// Every Rust file of ours with its path from the root.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut sources = Vec::new();
    for folder in ["crates", "xtask", "fuzz"] {
        gather(&root, &root.join(folder), &mut sources);
    }
    assert!(sources.len() > 100, "the files were found");
    sources
}

fn gather(root: &Path, folder: &Path, sources: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            gather(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            sources.push((name, fs::read_to_string(&path).expect("text")));
        }
    }
}

#[test]
fn every_row_about_tokens_is_borne_by_a_test() {
    let mut borne = BTreeSet::new();
    for (_, text) in sources() {
        let names = text.split("fn ").skip(1).filter_map(|rest| rest.split_once("()")).map(|(name, _)| name);
        names.for_each(|name| borne.extend(rows_in(name)));
    }
    let missing: Vec<u32> = ROWS_OF_TOKENS.filter(|row| !borne.contains(row)).collect();
    assert!(missing.is_empty(), "no test bears {missing:?}");
}

/// The rows that a test's name says: `d55_f77_…` at its front, `…_65_66` at its end.
fn rows_in(name: &str) -> BTreeSet<u32> {
    let words: Vec<&str> = name.split('_').collect();
    let front = words.iter().map_while(|word| word.strip_prefix(['d', 'e', 'f'])?.parse().ok());
    let end = words.iter().rev().map_while(|word| word.parse().ok());
    front.chain(end).collect()
}

/// What `cargo metadata` tells, as far as it is built into what is shipped: no dependencies of tests, none of builds.
struct Packages {
    members: Vec<String>,
    names: HashMap<String, String>,
    below: HashMap<String, Vec<String>>,
}

impl Packages {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--offline", "--locked", "--filter-platform", TARGET])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let names =
            list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), text(&package["name"])));
        let is_normal = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let below = |node: &Value| {
            let normal = list(&node["deps"]).into_iter().filter(is_normal);
            (text(&node["id"]), normal.map(|dependency| text(&dependency["pkg"])).collect())
        };
        Self {
            names: names.collect(),
            members: list(&metadata["workspace_members"]).iter().map(text).collect(),
            below: list(&metadata["resolve"]["nodes"]).iter().map(below).collect(),
        }
    }

    fn name(&self, id: &str) -> &str {
        &self.names[id]
    }

    fn member(&self, name: &str) -> &str {
        self.members.iter().find(|id| self.name(id) == name).expect("a member")
    }

    fn below_directly(&self, name: &str) -> BTreeSet<&str> {
        self.below[self.member(name)].iter().map(|id| self.name(id)).collect()
    }
}

/// The names of all packages that are built into one, by `cargo tree`: `cargo metadata` counts features that are off.
fn built_into(name: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--edges=normal",
            "--offline",
            "--locked",
            "--prefix=none",
            "--target",
            TARGET,
            "--package",
            name,
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The platform whose tree is looked at.
const TARGET: &str = "x86_64-unknown-linux-gnu";
