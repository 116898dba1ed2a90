//! What holds a session of OpenAI Realtime to the lock of its token and the models of its key: the model in the URL, our own `session.update` before
//! anything of the client's, and a look at every event that follows.

use keymoat_core::head::Head;
use keymoat_core::json::Value;
use keymoat_core::openai::Lock;
use keymoat_core::query::Query;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::setup;
use keymoat_core::websocket::Opcode;

use super::Held;
use crate::relay::websocket::{Message, Mode, OpenAiWatch, Watcher};
use crate::session::{SessionControl, Setup};

/// The socket that knows `session.update`.
const REALTIME: &str = "/v1/realtime";

/// What the relay is held to. The URL in `head` asks for the token's model afterwards.
///
/// # Errors
/// `forbidden` for what the lock cannot be kept in, and for another model.
pub(super) fn hold(lock: Lock, head: &mut Head, path: &str, session: &SessionControl) -> Result<Held, Refusal> {
    if lock.is_open() {
        return Ok(Held::default());
    }
    if path != REALTIME {
        return Err(Refusal::new(
            Code::Forbidden,
            "this credential is locked to sessions of Realtime: use /v1/realtime",
        ));
    }
    let calls = head.query.take("call_id");
    if !calls.exact.is_empty() || calls.resembling > 0 {
        return Err(Refusal::new(Code::Forbidden, "this token opens its own sessions only: leave out call_id"));
    }
    check_intent(&lock, head)?;
    let asked = head.query.take("model");
    let asked = match asked.exact.as_slice() {
        [] if asked.resembling == 0 => None,
        [model] if asked.resembling == 0 => {
            // A model's name, which is no secret.
            Some(String::from_utf8_lossy(model.expose()).into_owned())
        }
        _ => return Err(Refusal::new(Code::RequestInvalid, "the URL names the model more than once")),
    };
    if let Some(model) = lock.model_for_url(asked.as_deref())? {
        session.note_model(model);
        let rest = head.query.as_str();
        let mark = if rest.is_empty() { "" } else { "&" };
        head.query = Query::parse(&format!("{rest}{mark}model={model}"));
    }
    let first = lock.opening_update().map(|payload| Message { opcode: Opcode::Text, payload });
    let effective = first.as_ref().and_then(|first| setup::shown(&first.payload));
    session.note_setup(Setup { asked: None, effective });
    let watcher = Box::new(Watcher::OpenAi(Box::new(OpenAiWatch::new(lock, session.clone()))));
    let mode = if first.is_some() { Mode::WatchBoth(watcher) } else { Mode::WatchClient(watcher) };
    Ok(Held { mode, first, ..Held::default() })
}

/// A session that only writes down what is said has other models: it is opened where the lock is for such a one.
fn check_intent(lock: &Lock, head: &mut Head) -> Result<(), Refusal> {
    let intents = head.query.take("intent");
    if intents.exact.is_empty() && intents.resembling == 0 {
        return Ok(());
    }
    let transcribes = lock.session().member("type").and_then(Value::as_str) == Some("transcription");
    if !transcribes {
        return Err(Refusal::new(Code::Forbidden, "this token is for sessions that speak: leave out intent"));
    }
    let rest = head.query.as_str();
    let mark = if rest.is_empty() { "" } else { "&" };
    head.query = Query::parse(&format!("{rest}{mark}intent=transcription"));
    Ok(())
}
