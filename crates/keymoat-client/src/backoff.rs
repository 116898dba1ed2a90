//! How long to wait before trying again.

use std::time::Duration;

use aws_lc_rs::rand;

/// The longest wait that a server's word is taken for.
const TOLD_MAX: Duration = Duration::from_secs(3600);

/// How often and how fast to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// How many attempts in a row may fail.
    pub attempts_max: u32,
    /// The wait before the second attempt; it doubles each time. Up to a quarter is added at random, so that clients do not come
    /// back all at once.
    pub wait_min: Duration,
    /// The longest wait, unless the server asks for a longer one.
    pub wait_max: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { attempts_max: 6, wait_min: Duration::from_millis(500), wait_max: Duration::from_secs(15) }
    }
}

impl Reconnect {
    /// The wait after `failures` attempts in a row that failed, or none if that was the last. `random` is any byte.
    pub(crate) fn wait(&self, failures: u32, told: Option<Duration>, random: u8) -> Option<Duration> {
        if failures >= self.attempts_max {
            return None;
        }
        let doubled = match failures {
            0 => Duration::ZERO,
            failures => self.wait_min.saturating_mul(1 << (failures - 1).min(20)).min(self.wait_max),
        };
        let wait = doubled.max(told.unwrap_or_default().min(TOLD_MAX));
        Some(wait + wait / 4 * u32::from(random) / 255)
    }
}

/// Any byte.
pub(crate) fn random() -> u8 {
    let mut byte = [0];
    // Without randomness the waits are those of everybody else, and still right.
    let _ = rand::fill(&mut byte);
    let [byte] = byte;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let policy = Reconnect { attempts_max: 5, wait_min: Duration::from_secs(1), wait_max: Duration::from_secs(5) };
        let waits: Vec<_> = (0..6).map(|failures| policy.wait(failures, None, 0).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(0), Some(1), Some(2), Some(4), Some(5), None]);
        assert_eq!(policy.wait(1, None, 255), Some(Duration::from_millis(1250)));
    }

    #[test]
    fn the_server_may_ask_for_more() {
        let policy = Reconnect::default();
        assert_eq!(policy.wait(0, Some(Duration::from_secs(40)), 0), Some(Duration::from_secs(40)));
        assert_eq!(policy.wait(1, Some(Duration::from_secs(1 << 40)), 0), Some(TOLD_MAX));
    }
}
