//! The real binary, as its users run it.

mod check;
mod emulate;
mod harness;
mod help;
mod keys;
mod serve;
mod upstreams;
