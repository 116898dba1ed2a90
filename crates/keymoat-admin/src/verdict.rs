//! What is known of an upstream and its key after it was asked once.

use keymoat_gateway::{Answer, Missed, Probe};

/// A call to Google that changes nothing and needs a key.
pub const GEMINI_TARGET: &str = "/v1beta/models?pageSize=1";

/// The same to OpenAI.
pub const OPENAI_TARGET: &str = "/v1/models";

/// What one question showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers as it should.
    Well(&'static str),
    /// It answers, but not well.
    NotWell(&'static str),
    /// It could not be asked.
    NotAsked(String),
}

/// Judges what was seen of an upstream; `own_call` is one that is known to need a key.
#[must_use]
pub fn verdict(seen: &Probe, own_call: bool, has_secret: bool) -> Verdict {
    match (&seen.answer, &seen.missed) {
        (Some(answer), _) => match meaning(answer, own_call, has_secret) {
            Ok(text) => Verdict::Well(text),
            Err(text) => Verdict::NotWell(text),
        },
        (None, Some(missed)) => Verdict::NotAsked(advised(missed)),
        (None, None) => Verdict::NotAsked("there was no answer".to_owned()),
    }
}

/// What an answer says about the key.
fn meaning(answer: &Answer, own_call: bool, has_secret: bool) -> Result<&'static str, &'static str> {
    let invalid = answer.says("API_KEY_INVALID");
    let well = match (answer.status, has_secret) {
        (200..=299, true) if own_call => "the upstream takes this key",
        (200..=299, true) => {
            "the upstream answers. Whether it looked at the key, only a path tells that needs one: `--path PATH`"
        }
        (200..=299, false) => "the upstream answers, without a key",
        (400, true) if invalid => {
            return Err("the upstream does not accept this key: it is wrong, expired or deleted");
        }
        (401 | 403, true) => {
            return Err(
                "the upstream does not accept this key: it is wrong, revoked, or may not be used for this API or \
                        from this address",
            );
        }
        (400 | 401 | 403, false) if invalid || answer.status != 400 => {
            return Err("the upstream wants a key, and has none here: `keymoat upstream add NAME --secret-file PATH`");
        }
        (404 | 405, _) if own_call => {
            return Err("the upstream does not know this call: is `url` the address of the API?");
        }
        (404 | 405, _) => {
            return Err(
                "the upstream is there, but does not know this path: name one that it knows with `--path PATH`",
            );
        }
        (429, _) => {
            return Err("the upstream is there, but takes no more requests now: its quota is used up, so nothing is \
                        known of the key");
        }
        (300..=399, _) => {
            return Err("the upstream sends its clients elsewhere, which the gateway does not follow: correct `url`");
        }
        (500..=599, _) => return Err("the upstream is there, but fails: nothing is known of the key, try again"),
        _ => return Err("the upstream is there, but does not take this request: nothing is known of the key"),
    };
    Ok(well)
}

/// Why it could not be asked, with what to do about it.
fn advised(missed: &Missed) -> String {
    match missed {
        Missed::Unreachable(why) => format!("{why}. The key was not sent"),
        Missed::Untrusted(why) => format!(
            "{why}. The key was not sent: if this upstream has an authority of its own, name its PEM file with `ca`"
        ),
        Missed::Unanswered(why) => why.clone(),
    }
}
