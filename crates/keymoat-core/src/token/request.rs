//! What requests for tokens have in common, whoever's shape they have: uses and times within what is allowed.

use super::{MintRules, Uses};
use crate::json::Number;
use crate::time::UnixMillis;

/// A number of uses beyond this is no number of uses.
const USES_MAX: u32 = i32::MAX as u32;

impl MintRules {
    /// Reads a number of uses as the JSON has it; `zero_is_unlimited` is how Gemini's API counts.
    pub(crate) fn uses(&self, number: &Number, zero: Zero) -> Result<Uses, String> {
        let uses = number.as_i64().and_then(|uses| u32::try_from(uses).ok()).filter(|uses| *uses <= USES_MAX);
        match (uses, zero) {
            (None, _) => Err(format!("must be a whole number up to {USES_MAX}")),
            (Some(0), Zero::IsUnlimited) if self.allow_unlimited() => Ok(Uses::Unlimited),
            (Some(0), Zero::IsUnlimited) => {
                Err(String::from("must be at least 1: tokens without a limit are not minted here"))
            }
            (Some(0), Zero::IsRefused) => Err(String::from("must be at least 1")),
            (Some(uses), _) => match self.uses_max {
                Some(most) if uses > most => Err(format!("must be at most {most}")),
                _ => Ok(Uses::AtMost(uses)),
            },
        }
    }

    /// Checks a time that was asked for: ahead of `now`, and by no more than tokens may live.
    pub(crate) fn time(&self, at: UnixMillis, now: UnixMillis) -> Result<UnixMillis, String> {
        let latest = now.plus_millis(self.live_millis_max);
        if at <= now {
            Err(String::from("must be in the future"))
        } else if at > latest {
            Err(format!("must not be after {latest}: tokens live at most {} here", span(self.live_millis_max)))
        } else {
            Ok(at)
        }
    }

    /// A time that was not asked for, shortened to what is allowed.
    pub(crate) fn default_time(&self, now: UnixMillis, after_millis: i64) -> UnixMillis {
        now.plus_millis(after_millis.min(self.live_millis_max))
    }
}

/// What no uses at all mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zero {
    IsUnlimited,
    IsRefused,
}

/// A length of time for people.
fn span(millis: i64) -> String {
    match millis.saturating_add(999) / 1000 {
        secs if secs > 0 && secs % 3600 == 0 => format!("{} h", secs / 3600),
        secs if secs > 0 && secs % 60 == 0 => format!("{} min", secs / 60),
        secs => format!("{secs} s"),
    }
}
