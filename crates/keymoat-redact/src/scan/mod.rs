//! Searches what has been written for credentials that leaked, and code for the lines that leak them.

pub mod code;
