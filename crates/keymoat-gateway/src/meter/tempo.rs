//! The pace of a key or a token.

use std::sync::atomic::{AtomicU64, Ordering};

use keymoat_core::Pace;

/// When the next request would be on time, in nanoseconds since the origin.
#[derive(Debug, Default)]
pub(super) struct Tempo(AtomicU64);

impl Tempo {
    /// Whether requests have come ahead of the pace, which is to be remembered.
    pub(super) fn is_ahead(&self, nanos: u64) -> bool {
        self.0.load(Ordering::Relaxed) > nanos
    }

    /// The generic cell rate algorithm: a request is on time if no more than `burst` of them are ahead of the pace.
    ///
    /// # Errors
    /// How many milliseconds to wait for the next one.
    pub(super) fn keep(&self, pace: Pace, nanos: u64) -> Result<(), u64> {
        const SECOND: u64 = 1_000_000_000;
        let each = SECOND / u64::from(pace.per_second.max(1));
        let ahead_max = each * u64::from(pace.burst.max(1));
        let mut due = self.0.load(Ordering::Relaxed);
        loop {
            let next = due.max(nanos) + each;
            if next > nanos + ahead_max {
                return Err((next - nanos - ahead_max).div_ceil(1_000_000));
            }
            match self.0.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(found) => due = found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_until_the_next_request_is_on_time() {
        let tempo = Tempo::default();
        let pace = Pace { per_second: 1, burst: 2 };
        let second = 1_000_000_000;
        assert_eq!(tempo.keep(pace, 0), Ok(()));
        assert_eq!(tempo.keep(pace, 0), Ok(()));
        assert_eq!(tempo.keep(pace, 0), Err(1000));
        assert_eq!(tempo.keep(pace, second / 4), Err(750));
        assert_eq!(tempo.keep(pace, second), Ok(()));
    }
}
