//! Says what to do when the console is to be built in and was not built.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CONSOLE").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed=../../console/dist");
    if !Path::new("../../console/dist/index.html").exists() {
        println!(
            "cargo::error=the feature `console` needs `console/dist`, which is not there: run `cargo xtask console` before"
        );
    }
}
