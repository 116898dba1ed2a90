//! What a session may use: time, bytes and messages, whatever they hold.

use std::time::Duration;

use keymoat_core::{Code, Dialect, Refusal};
use tokio::time::Instant;

use crate::meter::{Metered, Taking};

/// How long before its end a session is told, where its dialect has words for that.
const WARNED: Duration = Duration::from_secs(10);

/// The bounds of one session. Time is monotonic: a wall clock that steps changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// When it ends, and what its client is told then.
    pub deadline: Option<(Instant, Refusal)>,
    /// Payload bytes of both directions together.
    pub bytes_max: Option<u64>,
    /// What its client is told when they are used up, if not that its token has so many.
    pub bytes_over: Option<Refusal>,
    /// Messages of both directions together.
    pub messages_max: Option<u64>,
    /// Where its bytes count towards those of its key. They are taken before they pass, a frame's all at once.
    pub metered: Option<Metered>,
}

impl Bounds {
    /// Takes off a message of `payload_bytes` that was carried before the relay began.
    ///
    /// # Errors
    /// What the session ends with if that is too much.
    pub(crate) async fn take_first(&mut self, payload_bytes: u64) -> Result<(), Refusal> {
        if let Some(max) = self.messages_max {
            self.messages_max = Some(max.checked_sub(1).ok_or_else(|| too_many("messages"))?);
        }
        if let Some(max) = self.bytes_max {
            self.bytes_max = Some(max.checked_sub(payload_bytes).ok_or_else(|| self.too_many_bytes())?);
        }
        match &self.metered {
            Some(metered) => metered.take_bytes(payload_bytes).done().await,
            None => Ok(()),
        }
    }
}

impl Bounds {
    fn too_many_bytes(&self) -> Refusal {
        self.bytes_over.clone().unwrap_or_else(|| too_many("bytes"))
    }
}

/// What is told to whoever went beyond a bound of a token.
pub(crate) fn too_many(of: &str) -> Refusal {
    Refusal::new(Code::TokenUsedUp, format!("a session of this token has so many {of} and no more: open another"))
}

/// The bounds of a session that runs.
#[derive(Debug)]
pub(super) struct Watch {
    bounds: Bounds,
    dialect: Dialect,
    warned: bool,
    /// The client is to be told how long it has, as soon as a message may stand there.
    pub(super) notice_due: bool,
}

impl Watch {
    pub(super) const fn new(bounds: Bounds, dialect: Dialect) -> Self {
        Self { bounds, dialect, warned: false, notice_due: false }
    }

    /// When it has to be looked at next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (end, _) = self.bounds.deadline.as_ref()?;
        if self.warned { Some(*end) } else { Some(self.warning_at(*end)) }
    }

    /// What the session ends with at `now`, if its time is over. A notice that is due is noted.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Refusal> {
        let (end, refusal) = self.bounds.deadline.as_ref()?;
        if now >= *end {
            return Some(refusal.clone());
        }
        if !self.warned && now >= self.warning_at(*end) {
            self.warned = true;
            self.notice_due = self.dialect == Dialect::Gemini;
        }
        None
    }

    fn warning_at(&self, end: Instant) -> Instant {
        end.checked_sub(WARNED).unwrap_or(end)
    }

    /// The dialect's words for how long the session has left.
    pub(super) fn notice(&self, now: Instant) -> Option<String> {
        let (end, _) = self.bounds.deadline.as_ref()?;
        let secs = end.saturating_duration_since(now).as_secs();
        (self.dialect == Dialect::Gemini).then(|| format!(r#"{{"goAway":{{"timeLeft":"{secs}s"}}}}"#))
    }

    /// Whether frames have to be counted before they pass.
    pub(super) const fn counts(&self) -> bool {
        self.bounds.bytes_max.is_some() || self.bounds.messages_max.is_some() || self.bounds.metered.is_some()
    }

    /// Whether a frame of `payload_bytes` may still pass, which begins a message or goes on with one, given the messages
    /// and bytes of both directions so far.
    pub(super) fn admit(
        &self,
        payload_bytes: u64,
        begins_message: bool,
        (messages, bytes): (u64, u64),
    ) -> Result<(), Refusal> {
        if let Some(max) = self.bounds.messages_max
            && messages + u64::from(begins_message) > max
        {
            return Err(too_many("messages"));
        }
        if let Some(max) = self.bounds.bytes_max
            && bytes.saturating_add(payload_bytes) > max
        {
            return Err(self.bounds.too_many_bytes());
        }
        Ok(())
    }

    /// Takes the bytes of a frame off what the session's key has, before it begins to pass.
    pub(super) fn take_bytes(&self, payload_bytes: u64) -> Taking<Refusal> {
        self.bounds.metered.as_ref().map_or(Taking::Now(Ok(())), |metered| metered.take_bytes(payload_bytes))
    }
}
