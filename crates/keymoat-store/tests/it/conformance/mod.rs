//! What every store does, whatever it keeps its rows in: compiled once for each backend, which brings `Scenario` and
//! `Stand`.

mod desk;
mod feed;
mod keys;
mod overrides;
mod rotation;
mod secrets;

use super::{Scenario, Stand};
