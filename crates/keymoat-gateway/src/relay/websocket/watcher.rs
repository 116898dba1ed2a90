//! What is asked about each message of a watched direction, and what it may answer.

use std::fmt;
use std::pin::Pin;

use keymoat_core::Refusal;
use keymoat_core::websocket::Direction;

use super::gemini::GeminiWatch;
use super::openai::OpenAiWatch;

/// How closely the relay looks at what passes: the cheapest mode that holds the grant.
#[derive(Debug, Default)]
pub enum Mode {
    /// Frame headers, control frames and close codes only.
    #[default]
    Frames,
    /// Whole messages of the client, too.
    WatchClient(Box<Watcher>),
    /// Whole messages of the client, and those of the upstream that are small enough to hold a resumption handle.
    WatchBoth(Box<Watcher>),
}

/// What holds a session to its token's constraint.
#[derive(Debug)]
pub enum Watcher {
    /// A session of Gemini.
    Gemini(GeminiWatch),
    /// A session of OpenAI Realtime.
    OpenAi(Box<OpenAiWatch>),
    /// What a test says.
    #[cfg(test)]
    Scripted(fn(Direction, &[u8]) -> Verdict),
}

/// What becomes of a message.
pub enum Verdict {
    /// It goes on as it came.
    Pass,
    /// This goes on in its place.
    Forward(Vec<u8>),
    /// It goes on as it came, once something that has to be kept is kept.
    PassAfter(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Nothing goes on any more.
    Close(Refusal),
}

impl Mode {
    /// Who watches `direction`, if anybody does.
    pub(super) const fn watcher(&mut self, direction: Direction) -> Option<&mut Watcher> {
        match (self, direction) {
            (Self::WatchClient(watcher), Direction::FromClient) | (Self::WatchBoth(watcher), _) => Some(watcher),
            (Self::Frames | Self::WatchClient(_), _) => None,
        }
    }

    /// Whether `direction` is watched.
    pub(super) const fn watches(&self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::Frames, _) | (Self::WatchClient(_), Direction::FromUpstream) => false,
            (Self::WatchClient(_), Direction::FromClient) | (Self::WatchBoth(_), _) => true,
        }
    }
}

impl Watcher {
    /// Asks about one message, unmasked.
    pub(super) fn ask(&mut self, direction: Direction, message: &[u8]) -> Verdict {
        match self {
            Self::Gemini(watch) => match direction {
                Direction::FromClient => watch.of_client(message),
                Direction::FromUpstream => watch.of_upstream(message),
            },
            Self::OpenAi(watch) => match direction {
                Direction::FromClient => watch.of_client(message),
                Direction::FromUpstream => OpenAiWatch::of_upstream(message),
            },
            #[cfg(test)]
            Self::Scripted(script) => script(direction, message),
        }
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "Pass",
            Self::Forward(_) => "Forward",
            Self::PassAfter(_) => "PassAfter",
            Self::Close(_) => "Close",
        })
    }
}
