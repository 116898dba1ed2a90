//! One Realtime connection: `session.created` first, then events in and paced events out.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::admission::{self, Admitted, Caller, Refused};
use super::config::Config;
use super::fault::Fault;
use super::session::Session;
use crate::answer::Body;
use crate::emulator::Emulator;
use crate::recorder::Entry;
use crate::websocket::{self, End, Received, Socket};
use crate::{Frames, credential};

/// The path of Realtime.
pub(crate) const PATH: &str = "/v1/realtime";
/// The subprotocol that is selected when it is offered.
const LABEL: &str = "realtime";

/// Accepts a Realtime connection. A bad credential is refused after the 101: with an `error` event, then 3000.
pub(crate) fn socket(emulator: &Arc<Emulator>, request: Request<Incoming>, entry: &Entry) -> Response<Body> {
    let admitted = admission::socket(emulator, request.headers(), request.uri());
    let offered = credential::subprotocols(request.headers());
    let protocol = offered.iter().any(|entry| entry == LABEL).then_some(LABEL);
    let shared = Arc::clone(emulator);
    websocket::accept(emulator, request, entry, protocol, move |mut socket| async move {
        let end = match admitted {
            Ok(admitted) => serve(&shared, &mut socket, &admitted).await.map_or_else(|end| end, |()| End::Gone),
            Err(refused) => refuse(&shared, &mut socket, &refused).await,
        };
        socket.end(end).await;
    })
}

async fn refuse(emulator: &Emulator, socket: &mut Socket, refused: &Refused) -> End {
    let event = failure(emulator, &refused.fault());
    match socket.send(&event, Frames::Text).await {
        Ok(()) => refused.end(),
        Err(gone) => gone.into(),
    }
}

async fn serve(emulator: &Emulator, socket: &mut Socket, admitted: &Admitted) -> Result<(), End> {
    let options = emulator.openai.clone();
    let ends = Instant::now() + options.session_life;
    let config = match &admitted.caller {
        Caller::Key => Config::new(&admitted.model),
        Caller::Secret(secret) => secret.config(&admitted.model),
    };
    let mut session = Session::new(emulator.next_id(), config, options);
    let mut next_at = Instant::now();
    loop {
        while let Some(event) = session.next_at_once() {
            socket.send(&event, Frames::Text).await?;
        }
        tokio::select! {
            biased;
            () = sleep_until(ends) => {
                let fault = Fault::new("session_expired", "Your session hit the maximum duration.");
                socket.send(&failure(emulator, &fault), Frames::Text).await?;
                return Err(End::Close(1001, String::new()));
            }
            message = socket.receive() => match message {
                Received::Text(text) => session.take(text.as_bytes()),
                Received::Binary(bytes) => session.take(&bytes),
                Received::Gone => return Ok(()),
            },
            () = sleep_until(next_at), if session.has_queue() => {
                if let Some((event, pause)) = session.next_queued() {
                    socket.send(&event, Frames::Text).await?;
                    next_at = Instant::now() + pause;
                }
            },
        }
    }
}

fn failure(emulator: &Emulator, fault: &Fault) -> Value {
    let mut error = fault.json();
    error["event_id"] = Value::Null;
    json!({"type": "error", "event_id": format!("event_{}", emulator.next_id()), "error": error})
}
