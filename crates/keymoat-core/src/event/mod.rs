//! Everything that happens is an event: a request or session that begins or ends, an act, or a loss of events.
//!
//! An event has a type such as `request.refused` or `key.revoked`, a severity, and one JSON object that is the same
//! wherever it is shown: in the store, in a file, in the API and in live streams. A number is given to it by the store.

mod line;

use std::fmt;
use std::sync::Arc;

use crate::act::{Act, Action};
use crate::record::{Outcome, Protocol, Record};
use crate::refusal::Code;
use crate::time::UnixMillis;

pub use line::{Written, record_line};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request or session was allowed and is about to go upstream. Only told where every event has to be kept.
    Begun(Arc<Record>),
    /// A request or session came to its end, or was refused.
    Decision(Arc<Record>),
    /// Somebody did something to Keymoat.
    Act(Box<Act>),
    /// Events were lost: they were more than could be kept.
    Lost(Lost),
}

/// Events that were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When it was noticed.
    pub at: UnixMillis,
    /// Where to they could not be brought.
    pub sink: Sink,
    /// How many.
    pub count: u64,
}

/// Where events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    /// The queue before all others.
    Queue,
    /// The store.
    Store,
    /// A file of JSON lines.
    File,
    /// Standard output.
    Stdout,
    /// A collector that speaks OTLP.
    Otlp,
}

impl Sink {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Queue, Self::Store, Self::File, Self::Stdout, Self::Otlp];

    /// The word in events and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Store => "store",
            Self::File => "file",
            Self::Stdout => "stdout",
            Self::Otlp => "otlp",
        }
    }
}

/// What sort of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request or session was allowed and is about to go upstream.
    Begun,
    /// A request or session came to its end, or was refused.
    Decision,
    /// Somebody did something to Keymoat.
    Act,
    /// Events were lost.
    Lost,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Begun, Self::Decision, Self::Act, Self::Lost];

    /// The word in the API and in the store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Decision => "decision",
            Self::Act => "act",
            Self::Lost => "lost",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// How much an event matters to whoever watches over security.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// All is as it should be.
    Low,
    /// Worth a look when there are many.
    Medium,
    /// Worth a look.
    High,
    /// Somebody has to act.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word in the API and in live streams.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.word() == word)
    }

    /// Of how a request or session ended.
    const fn of_decision(outcome: Outcome, code: Option<Code>) -> Self {
        match (outcome, code) {
            (Outcome::Refused, Some(Code::CredentialRevoked)) => Self::High,
            (
                Outcome::Refused,
                Some(
                    Code::CredentialInvalid
                    | Code::CredentialAmbiguous
                    | Code::CredentialInQuery
                    | Code::Forbidden
                    | Code::RateLimited
                    | Code::HostMisdirected,
                ),
            )
            | (Outcome::Failed, _) => Self::Medium,
            (Outcome::Allowed | Outcome::Aborted | Outcome::Refused, _) => Self::Low,
        }
    }

    /// Of an act.
    const fn of_act(action: Action) -> Self {
        match action {
            Action::SignInRefused | Action::AdminClaimed | Action::AdminCreated => Self::High,
            Action::KeyRevoked
            | Action::TokenRevoked
            | Action::UpstreamSecretSealed
            | Action::UpstreamSecretRemoved
            | Action::RouteOverridden
            | Action::RouteOverrideRemoved
            | Action::SunsetEnforced
            | Action::AdminChanged
            | Action::AdminRemoved => Self::Medium,
            _ => Self::Low,
        }
    }
}

impl Event {
    /// What sort of event it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Begun(_) => Kind::Begun,
            Self::Decision(_) => Kind::Decision,
            Self::Act(_) => Kind::Act,
            Self::Lost(_) => Kind::Lost,
        }
    }

    /// The type that is searched for and subscribed to: `request.refused`, `session.allowed`, `key.revoked`,
    /// `events.lost`. The words are stable.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Begun(record) => match record.protocol {
                Protocol::WebSocket => "session.begun",
                Protocol::Http1 | Protocol::Http2 => "request.begun",
            },
            Self::Decision(record) => match (record.protocol, record.outcome) {
                (Protocol::WebSocket, Outcome::Allowed) => "session.allowed",
                (Protocol::WebSocket, Outcome::Refused) => "session.refused",
                (Protocol::WebSocket, Outcome::Failed) => "session.failed",
                (Protocol::WebSocket, Outcome::Aborted) => "session.aborted",
                (Protocol::Http1 | Protocol::Http2, Outcome::Allowed) => "request.allowed",
                (Protocol::Http1 | Protocol::Http2, Outcome::Refused) => "request.refused",
                (Protocol::Http1 | Protocol::Http2, Outcome::Failed) => "request.failed",
                (Protocol::Http1 | Protocol::Http2, Outcome::Aborted) => "request.aborted",
            },
            Self::Act(act) => act.action.word(),
            Self::Lost(_) => "events.lost",
        }
    }

    /// All types that there are: what a subscription or a filter may name.
    pub fn words() -> impl Iterator<Item = &'static str> {
        const DECISIONS: [&str; 11] = [
            "request.begun",
            "request.allowed",
            "request.refused",
            "request.failed",
            "request.aborted",
            "session.begun",
            "session.allowed",
            "session.refused",
            "session.failed",
            "session.aborted",
            "events.lost",
        ];
        DECISIONS.into_iter().chain(Action::ALL.iter().map(|action| action.word()))
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Begun(_) => Severity::Low,
            Self::Decision(record) => Severity::of_decision(record.outcome, record.code),
            Self::Act(act) => Severity::of_act(act.action),
            Self::Lost(_) => Severity::High,
        }
    }

    /// The moment that it speaks of: for a request or session the one when its head had arrived.
    #[must_use]
    pub fn happened_at(&self) -> UnixMillis {
        match self {
            Self::Begun(record) | Self::Decision(record) => record.at,
            Self::Act(act) => act.at,
            Self::Lost(lost) => lost.at,
        }
    }

    /// The request or session that it is about.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Begun(record) | Self::Decision(record) => Some(record),
            Self::Act(_) | Self::Lost(_) => None,
        }
    }
}

impl Event {
    /// As one JSON object, without the number that the store gives it, and what of it is not Keymoat's own.
    #[must_use]
    pub fn written(&self) -> Written {
        line::event(self)
    }
}

/// As one JSON object, without the number that the store gives it.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written().text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_type_is_listed_once_and_names_its_subject_and_what_happened() {
        let words: Vec<&str> = Event::words().collect();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
        for word in &words {
            let (subject, verb) = word.split_once('.').expect("a subject");
            assert!(!subject.is_empty() && !verb.is_empty() && !verb.contains('.'), "{word}");
        }
        for protocol in [Protocol::Http1, Protocol::Http2, Protocol::WebSocket] {
            for outcome in [Outcome::Allowed, Outcome::Refused, Outcome::Failed, Outcome::Aborted] {
                let mut record = Record::begin(UnixMillis(0), [127, 0, 0, 1].into(), protocol);
                record.outcome = outcome;
                assert!(words.contains(&Event::Begun(Arc::new(record.clone())).word()));
                assert!(words.contains(&Event::Decision(Arc::new(record)).word()));
            }
        }
        assert!(words.contains(&"events.lost"));
    }

    #[test]
    fn a_revoked_key_that_is_still_tried_matters_more_than_one_that_is_unknown() {
        let of = |code| Severity::of_decision(Outcome::Refused, Some(code));
        assert!(of(Code::CredentialRevoked) > of(Code::CredentialInvalid));
        assert!(of(Code::CredentialInvalid) > of(Code::RouteUnknown));
        assert!(Severity::of_act(Action::SignInRefused) > Severity::of_act(Action::SignedIn));
    }

    #[test]
    fn words_come_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_word(kind.word()), Some(kind));
        }
        for severity in Severity::ALL {
            assert_eq!(Severity::from_word(severity.word()), Some(severity));
        }
        assert_eq!(Kind::from_word("acts"), None);
    }
}
