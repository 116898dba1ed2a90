//! The conformance suite over SQLite.

#[path = "conformance/mod.rs"]
mod conformance;

use crate::Scenario;
use crate::stand::Stand;
