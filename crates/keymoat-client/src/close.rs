//! How a WebSocket ended, and what that asks for: the close codes of RFC 6455, of Keymoat and of Google.

use std::fmt;
use std::time::Duration;

/// The longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Code and reason of a close. The reason is masked where it repeats the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Close {
    /// The code; 1005 for a close without one, 1006 for an end without a close.
    pub code: u16,
    /// Why, in the server's words. Keymoat's start with the code of its refusal, such as `token_expired`.
    pub reason: String,
}

/// What helps after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It is over: the end was asked for, or the message was wrong.
    Over,
    /// Nothing helps until a person acts.
    Unauthorized,
    /// Another token helps.
    TokenEnded,
    /// Time helps.
    Retry,
}

impl Close {
    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// What helps. The word that Keymoat's reasons start with counts more than the code, which a provider's dialect may have of
    /// its own.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        let word = self.reason.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next();
        match word.unwrap_or_default() {
            "token_expired" | "token_used_up" => return Meaning::TokenEnded,
            "forbidden" => return Meaning::Unauthorized,
            "rate_limited" | "unavailable" | "draining" | "request_timeout" => return Meaning::Retry,
            "route_unknown" | "request_invalid" => return Meaning::Over,
            word if word.starts_with("credential_") => return Meaning::Unauthorized,
            _ => {}
        }
        match self.code {
            4002 => Meaning::TokenEnded,
            1008 | 4001 | 4003 | 4401 | 4403 => Meaning::Unauthorized,
            1000 | 1002 | 1003 | 1005 | 1007 | 1009 | 1010 | 3000 | 4004 | 4008 => Meaning::Over,
            _ => Meaning::Retry,
        }
    }

    /// Whether time helps.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.meaning() == Meaning::Retry
    }

    /// How long to wait, where the reason has `retry_after=` and seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let (_, told) = self.reason.split_once("retry_after=")?;
        let digits: String = told.chars().take_while(char::is_ascii_digit).take(6).collect();
        Some(Duration::from_secs(digits.parse().ok()?).min(RETRY_AFTER_MAX))
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.as_str() {
            "" => write!(f, "{}", self.code),
            reason => write!(f, "{} {reason}", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_counts_more_than_the_code() {
        for (code, reason, meaning) in [
            (1008, "token_expired: mint a new token", Meaning::TokenEnded),
            (1008, "credential_revoked", Meaning::Unauthorized),
            (1007, "credential_invalid: …", Meaning::Unauthorized),
            (1011, "rate_limited: retry_after=7", Meaning::Retry),
            (1007, "API key not valid. Please pass a valid API key.", Meaning::Over),
            (1008, "models/x is not found", Meaning::Unauthorized),
            (1011, "Deadline expired before operation could complete.", Meaning::Retry),
            (1012, "draining", Meaning::Retry),
            (4002, "", Meaning::TokenEnded),
            (4029, "", Meaning::Retry),
            (1006, "", Meaning::Retry),
            (1001, "", Meaning::Retry),
            (1000, "", Meaning::Over),
        ] {
            assert_eq!(Close::new(code, reason).meaning(), meaning, "{code} {reason}");
        }
    }

    #[test]
    fn reads_how_long_to_wait() {
        let told = |reason: &str| Close::new(1011, reason).retry_after();
        assert_eq!(told("rate_limited: retry_after=12"), Some(Duration::from_secs(12)));
        assert_eq!(told("rate_limited: retry_after=999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(told("rate_limited: retry_after=soon"), None);
        assert_eq!(told(""), None);
    }
}
