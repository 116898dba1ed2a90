//! The `keymoat` command.
mod config;
fn main() {}
