//! The real binary, as its users run it.

mod canary;
mod check;
mod emulate;
mod harness;
mod help;
mod keys;
mod serve;
mod tidy;
mod upstreams;
