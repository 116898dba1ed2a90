//! Sessions that go on on another connection, and those that must not.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::time::Duration;

use keymoat_client::gemini::{Event, Session};
use keymoat_client::{Client, Credential, Error, Reconnect};
use serde_json::{Value, json};

use crate::scripted::{Scripted, Step};
use crate::support::{Bench, PATIENCE, say, text_setup, turn};

const FAST: Reconnect =
    Reconnect { attempts_max: 3, wait_min: Duration::from_millis(1), wait_max: Duration::from_millis(2) };

fn complete() -> Step {
    Step::Send(json!({"setupComplete": {}}))
}

fn handle(name: &str) -> Step {
    Step::Send(json!({"sessionResumptionUpdate": {"newHandle": name, "resumable": true}}))
}

fn go_away(left: &str) -> Step {
    Step::Send(json!({"goAway": {"timeLeft": left}}))
}

async fn connect(server: &Scripted) -> Session {
    let client = Client::new(server.endpoint.clone(), Credential::api_key("made-up-key")).unwrap();
    client.live().reconnecting(FAST).connect(text_setup()).await.unwrap()
}

/// Reads until the session fails.
async fn until_it_fails(session: &mut Session) -> (Vec<Event>, Error) {
    let mut events = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, session.receive()).await.expect("in time") {
            Ok(event) => events.push(event),
            Err(error) => return (events, error),
        }
    }
}

/// The handles that the setups named, one for each connection.
fn handles(server: &Scripted) -> Vec<Option<String>> {
    let setup =
        |heard: &Vec<String>| serde_json::from_str::<Value>(heard.first().map_or("null", String::as_str)).unwrap();
    let named =
        |setup: Value| setup.pointer("/setup/sessionResumption/handle").and_then(Value::as_str).map(str::to_owned);
    server.heard().iter().map(setup).map(named).collect()
}

#[tokio::test]
async fn a_session_that_is_told_to_go_away_goes_on_with_its_context() {
    let bench = Bench::with(|options| {
        options.gemini.connection_life = Duration::from_millis(600);
        options.gemini.go_away_before = Duration::from_millis(300);
    })
    .await;
    let mut session = bench.gemini().live().reconnecting(FAST).connect(text_setup()).await.unwrap();
    assert!(say(&mut session, "remember the heron").await.contains("Turn 1"));
    loop {
        if tokio::time::timeout(PATIENCE, session.receive()).await.expect("in time").unwrap() == Event::Reconnected {
            break;
        }
    }
    assert!(session.handle().is_some());
    let told = say(&mut session, "again").await;
    assert!(told.contains("Turn 2") && told.contains("remember the heron"), "{told}");
    // An attempt may come before the emulator has noticed the close; each one is a resumption.
    assert!(bench.requests().len() >= 2);
}

#[tokio::test]
async fn a_session_without_a_policy_ends_with_the_server_s_close() {
    let server = Scripted::websocket(vec![vec![complete(), handle("h1"), Step::Close(1011, "Deadline expired")]]).await;
    let client = Client::new(server.endpoint.clone(), Credential::api_key("made-up-key")).unwrap();
    let mut session = client.live().connect(text_setup().resumable()).await.unwrap();
    let (events, error) = until_it_fails(&mut session).await;
    assert!(matches!(&events[..], [Event::Resumption(Some(_))]), "{events:?}");
    assert!(matches!(error, Error::Closed(close) if close.code == 1011));
    assert_eq!(server.heard().len(), 1);
    assert!(matches!(session.receive().await, Err(Error::Lost { .. })), "it stays over");
}

#[tokio::test]
async fn the_last_handle_is_used_whatever_ended_the_connection() {
    for end in [Step::Close(1011, "internal"), Step::Close(1001, ""), Step::Close(1012, "draining"), Step::Vanish] {
        let first = vec![complete(), handle("h1"), handle("h2"), end];
        let server = Scripted::websocket(vec![first, vec![complete(), Step::Close(1000, "")]]).await;
        let mut session = connect(&server).await;
        let (events, error) = until_it_fails(&mut session).await;
        assert!(events.contains(&Event::Reconnected), "{events:?}");
        assert!(matches!(error, Error::Closed(close) if close.code == 1000), "a normal close is the end");
        assert_eq!(handles(&server), [None, Some("h2".to_owned())]);
    }
}

#[tokio::test]
async fn a_close_that_time_does_not_help_is_not_answered_with_another_attempt() {
    for (code, reason) in [
        (1008, "token_expired: mint a new token"),
        (1008, "credential_revoked"),
        (1007, "API key not valid."),
        (1000, ""),
    ] {
        let server = Scripted::websocket(vec![vec![complete(), handle("h1"), Step::Close(code, reason)]]).await;
        let mut session = connect(&server).await;
        let (_, error) = until_it_fails(&mut session).await;
        assert!(matches!(error, Error::Closed(close) if close.reason == reason));
        assert_eq!(server.heard().len(), 1, "{code} {reason}");
    }
}

#[tokio::test]
async fn without_a_handle_nothing_is_reconnected() {
    let server = Scripted::websocket(vec![vec![complete(), go_away("0s"), Step::Close(1011, "internal")]]).await;
    let (_, error) = until_it_fails(&mut connect(&server).await).await;
    assert!(matches!(error, Error::Closed(_)));
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn attempts_are_bounded_also_where_each_connection_opens() {
    let first = vec![complete(), handle("h1"), Step::Vanish];
    for again in [vec![Step::Close(1011, "overloaded")], vec![complete(), Step::Close(1011, "overloaded")]] {
        let server = Scripted::websocket(vec![first.clone(), again]).await;
        let (_, error) = until_it_fails(&mut connect(&server).await).await;
        assert!(matches!(error, Error::Closed(close) if close.reason == "overloaded"));
        assert_eq!(server.heard().len(), 3, "one connection and two more");
    }
}

#[tokio::test]
async fn a_leaving_session_hears_its_turn_out_and_waits_for_the_handle() {
    let piece = Step::Send(json!({"serverContent": {"modelTurn": {"parts": [{"text": "all of it"}]}}}));
    let over = Step::Send(json!({"serverContent": {"turnComplete": true}}));
    let first = vec![complete(), handle("old"), Step::Hear, go_away("60s"), piece, over, handle("new")];
    let server = Scripted::websocket(vec![first, vec![complete(), Step::Hear]]).await;
    let mut session = connect(&server).await;
    session.send_text("hi").await.unwrap();
    let events = turn(&mut session).await;
    assert!(events.contains(&Event::Text("all of it".to_owned())), "{events:?}");
    while session.receive().await.unwrap() != Event::Reconnected {}
    assert_eq!(handles(&server), [None, Some("new".to_owned())]);
}

#[tokio::test]
async fn what_is_sent_meanwhile_goes_over_the_new_connection() {
    let server =
        Scripted::websocket(vec![vec![complete(), handle("h"), go_away("60s")], vec![complete(), Step::Hear]]).await;
    let mut session = connect(&server).await;
    // The handle, and the sign to leave: from here on it reconnects.
    assert!(matches!(session.receive().await.unwrap(), Event::Resumption(Some(_))));
    assert!(matches!(session.receive().await.unwrap(), Event::GoAway { .. }));
    session.send_text("are you there").await.unwrap();
    assert_eq!(session.receive().await.unwrap(), Event::Reconnected);
    while server.heard()[1].len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(server.heard()[1][1].contains("are you there"));
}

#[tokio::test]
async fn dropping_a_receive_in_the_midst_of_reconnecting_loses_nothing() {
    let server =
        Scripted::websocket(vec![vec![complete(), handle("h"), go_away("60s")], vec![complete(), handle("h2")]]).await;
    let mut session = connect(&server).await;
    let mut events = Vec::new();
    while !events.contains(&Event::Reconnected) {
        tokio::select! {
            biased;
            event = session.receive() => events.push(event.unwrap()),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(handles(&server), [None, Some("h".to_owned())]);
}
