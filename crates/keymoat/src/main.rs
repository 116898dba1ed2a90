//! The `keymoat` command: reads the configuration, starts what it says, and keeps the keys.
//!
//! Exit codes: 0 well, 1 found or refused, 2 could not run.

mod admin;
mod commands;
mod config;
mod demo;
mod doctor;
mod explain;
mod fingerprint_key;
mod hand;
mod handed;
mod keys;
mod observed;
mod output;
mod process;
mod reload;
mod sealed;
mod socket;
mod store_age;
mod story;
mod sunsets;
mod upgrade;
mod wiring;

use std::process::ExitCode;

fn main() -> ExitCode {
    output::panic::install_hook();
    commands::run()
}
