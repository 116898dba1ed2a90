//! The real binary, as its users run it.

mod canary;
mod check;
mod configurations;
mod drop_in;
mod emulate;
mod harness;
mod help;
mod keys;
mod reload;
mod serve;
mod tidy;
mod tokens;
mod upstream_test;
mod upstreams;
