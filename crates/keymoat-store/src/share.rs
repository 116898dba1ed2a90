//! What nodes share beside the uses of tokens, as it is asked for at the desk: places for live sessions, and parts of what a
//! key has for a day.

use std::sync::Arc;

use crate::Store;
use crate::error::StoreError;
use crate::key_life::DayUse;
use crate::token::SessionId;

/// A part of a day's budget is no larger than this part of what is left of it, but for what is wanted at once: so the
/// parts shrink to nothing towards the end, and no node sits on what another one needs.
pub(crate) const PART_OF_REST: i64 = 16;

/// A place for a live session.
#[derive(Clone, Debug)]
pub struct PlaceAsked {
    /// The session.
    pub session: SessionId,
    /// The node that it lives on.
    pub node: Arc<str>,
    /// The key or token that it counts for.
    pub holder: Arc<str>,
    /// What becomes of it when there are others.
    pub kind: PlaceKind,
}

/// How the places of a holder are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// There are so many at most: whoever comes beyond is refused.
    AtMost(u32),
    /// Whoever comes has one; the oldest beyond so many end. See [`crate::Store::superseded`].
    Newest(u32),
}

/// What becomes of a place that was asked for. It is durable when it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is taken.
    Taken,
    /// All are.
    Full,
    /// The store has not heard of the node for too long: nothing is granted to it.
    NodeLapsed,
}

/// A part of what a key has for a day.
#[derive(Clone, Debug)]
pub struct PartAsked {
    /// The key.
    pub key_id: Arc<str>,
    /// The day of UTC, counted from 1970 on.
    pub day: i64,
    /// Of which of its budgets.
    pub of: Budget,
    /// What the key has for the whole day.
    pub most: u64,
    /// What is wanted at once.
    pub least: u64,
    /// What is taken in advance where there is plenty.
    pub plenty: u64,
}

/// What of a key is counted by days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Budget {
    /// Requests.
    Requests,
    /// Payload bytes.
    Bytes,
}

impl Store {
    /// Gives back what was granted of `today` and is not used, durably. Whatever is older than two days is forgotten.
    ///
    /// # Errors
    /// Whatever the disk refuses: it is not known then whether it was given back, and nobody may use it.
    pub fn give_back(&self, unused: &[DayUse], today: i64) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.give_back(unused, today),
            Self::Postgres(postgres) => postgres.give_back(unused, today),
        }
    }
}

/// How much is granted of `most`, of which `taken` was granted before.
pub(crate) fn part(most: u64, taken: u64, least: u64, plenty: u64) -> u64 {
    let left = most.saturating_sub(taken);
    let ahead = plenty.min(left / PART_OF_REST.unsigned_abs());
    left.min(least.max(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_shrink_towards_the_end_and_never_come_to_more_than_there_is() {
        assert_eq!(part(1600, 0, 1, 50), 50);
        assert_eq!(part(1600, 1200, 1, 50), 25);
        assert_eq!(part(1600, 1590, 1, 50), 1);
        assert_eq!(part(1600, 1590, 30, 50), 10);
        assert_eq!(part(1600, 1600, 1, 50), 0);
        assert_eq!(part(1000, 1600, 1, 50), 0, "the limit was lowered");
        let (mut taken, mut last) = (0, u64::MAX);
        while part(100_000, taken, 1, 5000) > 0 {
            let next = part(100_000, taken, 1, 5000);
            assert!(next <= last, "{next} after {last}");
            (taken, last) = (taken + next, next);
        }
        assert_eq!((taken, last), (100_000, 1));
    }
}
