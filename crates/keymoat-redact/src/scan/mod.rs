//! The scanner.

pub mod code;
