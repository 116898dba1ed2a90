//! The `keymoat` command.
mod config;
mod output;
mod process;
fn main() {}
