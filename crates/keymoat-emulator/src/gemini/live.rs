//! One Live connection: setup first, then messages in and paced steps out, and an end that is announced.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::admission::Caller;
use super::context::Context;
use super::session::{self, Session, Step};
use super::setup::{self, Setup};
use super::{invalid, token};
use crate::emulator::Emulator;
use crate::gemini::resumption::Open;
use crate::websocket::{End, Received, Socket};

/// Serves a connection until it ends.
pub(crate) async fn run(emulator: &Emulator, socket: &mut Socket, version: &str, caller: Caller) -> End {
    match serve(emulator, socket, version, caller).await {
        Ok(()) => End::Gone,
        Err(end) => end,
    }
}

async fn serve(emulator: &Emulator, socket: &mut Socket, version: &str, caller: Caller) -> Result<(), End> {
    let options = &emulator.gemini;
    let ends = Instant::now() + options.connection_life;
    let goes_away = ends.checked_sub(options.go_away_before).unwrap_or(ends);
    let token_ends = match &caller {
        Caller::Key => None,
        Caller::Token(token) => Some(Instant::now() + until(token.expires())),
    };
    let Some(first) = first_message(socket, ends).await? else { return Ok(()) };
    let (mut session, _open, connection) = begin(emulator, &first, version, &caller)?;
    let frames = options.answers;
    let session_id = format!("session-{connection}");
    socket.send(&json!({"setupComplete": {"sessionId": session_id}}), frames).await?;

    let (mut told, mut next_at, mut handles) = (false, Instant::now(), 0_u64);
    loop {
        tokio::select! {
            biased;
            () = sleep_until(ends) => {
                return Err(End::Close(1011, "Deadline expired before operation could complete.".to_owned()));
            }
            () = sleep_until(token_ends.unwrap_or(ends)), if token_ends.is_some() => {
                return Err(End::Close(1008, "Ephemeral token expired: expireTime has passed.".to_owned()));
            }
            () = sleep_until(goes_away), if !told => {
                told = true;
                let left = ends.saturating_duration_since(Instant::now());
                let left = format!("{}s", left.as_millis() as f64 / 1000.0);
                socket.send(&json!({"goAway": {"timeLeft": left}}), frames).await?;
            }
            message = socket.receive() => match message {
                Received::Text(text) => session.take(text.as_bytes())?,
                Received::Binary(bytes) => session.take(&bytes)?,
                Received::Gone => return Ok(()),
            },
            () = sleep_until(next_at), if session.has_steps() => match session.next_step() {
                Some(Step::Send(value, pause)) => {
                    socket.send(&value, frames).await?;
                    next_at = Instant::now() + pause;
                }
                Some(Step::Save) => {
                    handles += 1;
                    let handle = format!("emulated-handle-{connection}-{handles}");
                    let (model, context) = session.state();
                    emulator.resumptions.save(&handle, connection, model, context);
                    socket.send(&session.resumption_update(&handle), frames).await?;
                }
                None => {}
            },
        }
    }
}

/// Reads the message that has to be the setup; none when the client left.
pub(crate) async fn first_message(socket: &mut Socket, ends: Instant) -> Result<Option<Vec<u8>>, End> {
    let received = tokio::select! {
        received = socket.receive() => received,
        () = sleep_until(ends) => {
            return Err(End::Close(1011, "Deadline expired before operation could complete.".to_owned()));
        }
    };
    match received {
        Received::Text(text) => Ok(Some(text.into_bytes())),
        Received::Binary(bytes) => Ok(Some(bytes.to_vec())),
        Received::Gone => Ok(None),
    }
}

/// Checks the setup, applies the token's locks, and begins or resumes the session.
fn begin(emulator: &Emulator, first: &[u8], version: &str, caller: &Caller) -> Result<(Session, Open, u64), End> {
    let message = session::parse(first)?;
    let (name, asked) = session::member(&message)?;
    if name != "setup" {
        return Err(invalid("setup must be the first message of a session, and only the first."));
    }
    let asked = setup::canonical(asked, "setup")?;
    let effective = match caller {
        Caller::Key => asked,
        Caller::Token(token) => token.effective(asked, emulator.gemini.lock_hides_handle),
    };
    let setup = Setup::read(effective, version)?;
    let context = match &setup.handle {
        Some(handle) => emulator.resumptions.resume(handle, &setup.model)?,
        None => Context::default(),
    };
    if let (Caller::Token(token), None) = (caller, &setup.handle) {
        emulator.tokens.claim(token, token::now())?;
    }
    let connection = emulator.next_id();
    let open = emulator.resumptions.open(connection);
    Ok((Session::new(setup, context, emulator.gemini.clone()), open, connection))
}

fn until(time: jiff::Timestamp) -> Duration {
    Duration::try_from(time.duration_since(token::now())).unwrap_or(Duration::ZERO)
}
