//! The real binary, as its users run it.

mod check;
mod harness;
mod help;
mod keys;
mod serve;
