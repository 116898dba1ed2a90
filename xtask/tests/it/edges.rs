//! Which crate may use which: the arrows of `ARCHITECTURE.md`, read from `cargo metadata`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Every allowed edge between crates of this workspace, for code that ships. Tests may use more.
const ALLOWED: [(&str, &[&str]); 10] = [
    (
        "keymoat",
        &["keymoat-admin", "keymoat-core", "keymoat-emulator", "keymoat-gateway", "keymoat-redact", "keymoat-store"],
    ),
    ("keymoat-admin", &["keymoat-core", "keymoat-gateway", "keymoat-redact", "keymoat-store"]),
    ("keymoat-client", &["keymoat-core", "keymoat-redact"]),
    ("keymoat-core", &[]),
    ("keymoat-emulator", &["keymoat-core", "keymoat-redact"]),
    ("keymoat-gateway", &["keymoat-core", "keymoat-redact", "keymoat-store"]),
    ("keymoat-redact", &[]),
    ("keymoat-store", &["keymoat-core", "keymoat-redact"]),
    ("keymoat-postgres-stand", &[]),
    ("xtask", &["keymoat-postgres-stand"]),
];

/// What the core decides without; each of these would bring I/O, time or a runtime into it.
const NOT_IN_CORE: [&str; 5] = ["tokio", "hyper", "rusqlite", "jiff", "rustls"];

fn packages() -> Vec<Value> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path", manifest]);
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("no list of packages: {other}"),
    }
}

/// The names that `package` depends on outside of its tests.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().expect("a list");
    let shipped = all.iter().filter(|dependency| dependency["kind"] != "dev");
    shipped.filter_map(|dependency| dependency["name"].as_str()).collect()
}

#[test]
fn crates_use_each_other_only_along_the_arrows() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in &packages {
        let name = package["name"].as_str().expect("a name");
        let allowed = ALLOWED.iter().find(|(one, _)| *one == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("`{name}` is new: add it here and to ARCHITECTURE.md"));
        let used = dependencies(package);
        let wrong: Vec<&&str> = used.intersection(&ours).filter(|one| !allowed.contains(*one)).collect();
        assert!(wrong.is_empty(), "`{name}` must not use {wrong:?}");
    }
}

#[test]
fn the_core_has_no_runtime_no_database_and_no_clock() {
    let packages = packages();
    let core = packages.iter().find(|package| package["name"] == "keymoat-core").expect("the core is there");
    let used = dependencies(core);
    let wrong: Vec<_> = NOT_IN_CORE.iter().filter(|name| used.contains(*name)).collect();
    assert!(wrong.is_empty(), "`keymoat-core` must not use {wrong:?}");
}
