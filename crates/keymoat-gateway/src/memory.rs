//! The memory budget: how close this process is to it, and what is given up before it is reached.
//!
//! From 92 % on connections are not kept for another request; from 95 % on new work is answered 503, before its
//! credential is looked at. What is under way goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::worker::Shared;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// From this share of the budget on, in percent, connections are not kept.
const LEAN_PERCENT: u64 = 92;
/// From this share on new work is refused.
const SHED_PERCENT: u64 = 95;

/// How tight memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// There is enough, or there is no budget.
    None,
    /// Connections are closed after an answer.
    Lean,
    /// New work is refused.
    Shed,
}

/// What was seen last.
#[derive(Debug, Default)]
pub(crate) struct Memory(AtomicU8);

impl Memory {
    /// How tight it was at the last look.
    pub(crate) fn pressure(&self) -> Pressure {
        match self.0.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::Lean,
            _ => Pressure::Shed,
        }
    }

    fn note(&self, pressure: Pressure) {
        let before = self.pressure();
        self.0.store(pressure as u8, Ordering::Relaxed);
        if (pressure == Pressure::Shed) != (before == Pressure::Shed) {
            let sheds = pressure == Pressure::Shed;
            tracing::warn!(sheds, "memory is at its budget, or no longer");
        }
    }
}

/// Looks again and again, for as long as the task lives. One thread does it for all.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        let pressure = match shared.plan.load().limits.memory_bytes_max {
            // Without a figure nothing is known to be tight: refusing everything would be the outage itself.
            Some(budget) => resident_bytes().map_or(Pressure::None, |used| judge(used, budget)),
            None => Pressure::None,
        };
        shared.memory.note(pressure);
        tokio::time::sleep(EVERY).await;
    }
}

fn judge(used: u64, budget: u64) -> Pressure {
    let percent = u128::from(used) * 100;
    let reaches = |share: u64| percent >= u128::from(budget) * u128::from(share);
    match (reaches(SHED_PERCENT), reaches(LEAN_PERCENT)) {
        (true, _) => Pressure::Shed,
        (false, true) => Pressure::Lean,
        (false, false) => Pressure::None,
    }
}

/// The memory that this process holds, by Linux' own account.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h95_the_shares_of_the_budget_are_edges() {
        for (used, pressure) in [
            (0, Pressure::None),
            (919, Pressure::None),
            (920, Pressure::Lean),
            (949, Pressure::Lean),
            (950, Pressure::Shed),
            (2000, Pressure::Shed),
        ] {
            assert_eq!(judge(used, 1000), pressure, "{used}");
        }
        assert_eq!(judge(u64::MAX, u64::MAX), Pressure::Shed);
    }

    #[test]
    fn this_process_holds_some_memory() {
        let resident = resident_bytes().expect("Linux tells");
        assert!((1 << 20..1 << 40).contains(&resident), "{resident}");
    }
}
