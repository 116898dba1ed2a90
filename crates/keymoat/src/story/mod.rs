//! The story that `keymoat demo` tells: a token that nobody could connect with, and the same token through Keymoat.
//!
//! ```text
//! mint at the provider ─▶ three attempts, refused in its own words
//! mint at Keymoat      ─▶ the same three attempts talk
//! revoke the key       ─▶ the voice stops, the reason can be read
//! search               ─▶ every log line and everything that the provider was sent, for every secret of the story
//! ```
//! Nothing is played: the gateway is this binary in a process of its own, the provider is the emulated one, strict as
//! the real one about methods and carriers, and all of it is real sockets on loopback.

mod attempt;
mod mint;
mod search;
mod stage;

use std::time::Duration;

use anyhow::Context;
use keymoat_core::Secret;
use serde::Serialize;
use tokio::time::sleep;

pub(crate) use attempt::{Attempt, Carrying, Ended};
pub(crate) use search::Searched;
use stage::Stage;

/// What is said in each attempt; the emulated model repeats it, in a voice of 120 ms a word.
const GREETING: &str = "Hello, can you hear me?";

/// What is being said when the key is revoked: long enough that the end of it is never heard.
const LONG_STORY: &str = "Once upon a time there was a key that was shown to nobody. It was not in the address of any \
     page, not in the history of any browser, and not in the log of any server between here and the sea. Those who \
     wanted to talk were given a small token instead, good for a few calls and a few minutes, and when it was over \
     somebody said stop, and in the middle of a sentence the voice";

/// How much of the long story is heard before the key is revoked.
const HEARD_BEFORE: Duration = Duration::from_millis(1500);

/// One scene, as it has come out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "scene")]
pub(crate) enum Scene {
    /// The three attempts at the provider itself.
    Direct { attempts: Vec<Attempt> },
    /// The same three through Keymoat.
    ThroughKeymoat { attempts: Vec<Attempt> },
    /// The key is revoked while the model speaks.
    Revoked { heard_millis: u64, whole_millis: u64, ended_after_millis: u64, ended: Ended },
    /// The search for the secrets.
    Searched(Searched),
}

impl Scene {
    /// What did not come out as the story says, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Direct { attempts } if attempts.iter().any(|attempt| attempt.talked()) => {
                Some("the provider took a token that it should have refused")
            }
            Self::ThroughKeymoat { attempts } if !attempts.iter().all(|attempt| attempt.talked()) => {
                Some("an attempt through Keymoat did not come to talk")
            }
            Self::Revoked { heard_millis, whole_millis, ended, .. } => {
                let readable = ended.reason.starts_with("credential_revoked");
                (!readable || heard_millis >= whole_millis).then_some("the revocation did not stop the voice")
            }
            Self::Searched(searched) if !searched.found.is_empty() => Some("a secret was found where none may be"),
            Self::Direct { .. } | Self::ThroughKeymoat { .. } | Self::Searched(_) => None,
        }
    }
}

/// Plays the story; each scene is handed to `told` when it is over, and what comes next to `announced` before it begins.
/// `told` gives how long to wait then.
///
/// Dropped before its end, it ends all that it has started.
///
/// # Errors
/// Whatever keeps the stage from being set. A scene that does not come out as it should is no error here: it says so.
pub(crate) async fn play(
    mut announced: impl FnMut(&str),
    mut told: impl FnMut(&Scene) -> anyhow::Result<Duration>,
) -> anyhow::Result<()> {
    let stage = Stage::set().await.context("setting up the demo")?;

    announced("A backend mints a token at the provider, with its API key.");
    let token = mint::token(stage.provider(), stage.provider_key()).await.context("minting at the provider")?;
    let direct = Scene::Direct { attempts: attempts(stage.provider(), &token).await };
    sleep(told(&direct)?).await;
    stage.forget_record();

    announced("The same backend mints at Keymoat, with a Keymoat key.");
    let token = mint::token(stage.gateway(), stage.client_key()).await.context("minting at Keymoat")?;
    let through = Scene::ThroughKeymoat { attempts: attempts(stage.gateway(), &token).await };
    sleep(told(&through)?).await;

    announced("The model tells a long story. In the middle of it, the backend's key is revoked.");
    let revoked = revoke(&stage, &token).await?;
    sleep(told(&revoked)?).await;

    announced("Last: is any of the secrets in a log, or anywhere that the provider could see?");
    let record = stage.record();
    let (log, keys) = stage.end()?;
    let secrets =
        [("the Keymoat key", &keys.client), ("the token", &token), ("the provider's API key", &keys.provider)];
    sleep(told(&Scene::Searched(search::search(&secrets, &log, &record)))?).await;
    Ok(())
}

/// The forum's three attempts, one after the other.
async fn attempts(host: &str, token: &Secret) -> Vec<Attempt> {
    let mut attempts = Vec::with_capacity(Carrying::ALL.len());
    for carrying in Carrying::ALL {
        attempts.push(attempt::make(host, token, carrying, GREETING).await);
    }
    attempts
}

async fn revoke(stage: &Stage, token: &Secret) -> anyhow::Result<Scene> {
    let mut talk = attempt::Talk::open(stage.gateway(), token, Carrying::GoogleHeader).await?;
    talk.say(LONG_STORY).await?;
    let heard = talk.listen_for(HEARD_BEFORE).await?;
    stage.revoke_client_key()?;
    let revoked_at = std::time::Instant::now();
    let (more, ended) = talk.listen_to_the_end().await;
    let ended_after_millis = attempt::millis(revoked_at.elapsed());
    let whole_millis = attempt::millis(Duration::from_millis(120)) * LONG_STORY.split_whitespace().count() as u64;
    Ok(Scene::Revoked { heard_millis: heard + more, whole_millis, ended_after_millis, ended })
}
