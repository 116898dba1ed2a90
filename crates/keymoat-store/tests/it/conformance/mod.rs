//! What every store does, whatever it keeps its rows in: compiled once for each backend, which brings `Scenario` and
//! `Stand`.

mod desk;
mod feed;
mod keys;
mod overrides;
mod rotation;
mod secrets;
pub(crate) mod shares;

use super::{Scenario, Stand};
