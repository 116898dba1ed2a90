//! A fleet of old and new clients goes from the warning over the forecast to the end, and the forecast is compared with
//! what comes.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Stand;
use crate::harness::{PATIENCE, open_websocket, status};

/// How a client brings its key.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Behind the `?`.
    Url,
    /// Behind the `?` of a WebSocket.
    UrlOfSocket,
    /// In a header, with an older key behind the `?`.
    HeaderAndStale,
    /// In a header, and the same behind the `?`.
    HeaderAndCopy,
    /// In a header.
    Header,
    /// As a subprotocol of a WebSocket.
    Subprotocol,
    /// A short-lived token behind the `?`.
    Token,
}

/// A client and whether it is refused once keys in URLs are.
const FLEET: [(&str, Habit, bool); 7] = [
    ("camera", Habit::Url, true),
    ("dashboard", Habit::UrlOfSocket, true),
    ("phone", Habit::HeaderAndStale, true),
    ("music", Habit::HeaderAndCopy, false),
    ("backend", Habit::Header, false),
    ("page", Habit::Subprotocol, false),
    ("sdk", Habit::Token, false),
];

/// How often each comes, its place in the fleet counted in.
const ROUNDS: usize = 3;

struct Client {
    name: &'static str,
    habit: Habit,
    is_refused: bool,
    credential: String,
    stale: String,
}

impl Client {
    /// Comes once; says whether it was let in.
    fn comes(&self, stand: &Stand) -> bool {
        let (key, stale) = (&self.credential, &self.stale);
        let header = [("X-API-Key", key.as_str())];
        let socket = |target: &str, headers: &[(&str, &str)]| {
            let (head, mut stream) = open_websocket(stand.keymoat.address(), target, headers);
            // A refused one is upgraded as well, and closed at once: the first frame says which it is.
            let mut first = [0; 1];
            let _ = std::io::Write::write_all(&mut stream, &[0x81, 0x81, 0, 0, 0, 0, b'x']);
            let read = std::io::Read::read(&mut stream, &mut first).unwrap_or_default();
            head.starts_with("HTTP/1.1 101 ") && read == 1 && first[0] & 0x0f == 1
        };
        let get = |target: &str, headers: &[(&str, &str)]| status(&stand.get(target, headers)) == 200;
        match self.habit {
            Habit::Url | Habit::Token => get(&format!("/demo/echo?api_key={key}"), &[]),
            Habit::UrlOfSocket => socket(&format!("/demo/ws?api_key={key}"), &[]),
            Habit::HeaderAndStale => get(&format!("/demo/echo?api_key={stale}"), &header),
            Habit::HeaderAndCopy => get(&format!("/demo/echo?api_key={key}"), &header),
            Habit::Header => get("/demo/echo", &header),
            Habit::Subprotocol => {
                socket("/demo/ws", &[("Sec-WebSocket-Protocol", &format!("keymoat.v1, api-key.{key}"))])
            }
        }
    }
}

fn fleet(stand: &Stand) -> Vec<Client> {
    let stale = stand.key("before");
    let made = FLEET.iter().map(|(name, habit, is_refused)| {
        let credential = match habit {
            Habit::Token => {
                let _ = stand.key(name);
                let (code, token, stderr) =
                    stand.run(&["token", "create", "--key", name, "--uses", "unlimited", "--live-for", "1h"]);
                assert_eq!(code, Some(0), "{stderr}");
                token.trim().to_owned()
            }
            _ => stand.key(name),
        };
        Client { name, habit: *habit, is_refused: *is_refused, credential, stale: stale.clone() }
    });
    made.collect()
}

/// Everybody comes some times: the first once, the second twice, and so on, `ROUNDS` times over. Gives who was let in how
/// often.
fn drive(stand: &Stand, fleet: &[Client]) -> Vec<usize> {
    let come = |number: usize, client: &Client| (0..ROUNDS * (number + 1)).filter(|_| client.comes(stand)).count();
    fleet.iter().enumerate().map(|(number, client)| come(number, client)).collect()
}

fn plan(stand: &Stand) -> Value {
    stand.json(&["sunset", "plan", "--since", "24h"])
}

#[test]
fn a_fleet_is_warned_forecast_and_refused_exactly_as_forecast() {
    let stand = Stand::start("");
    let fleet = fleet(&stand);
    let newest = fleet.last().expect("there are some");
    let deadline = Instant::now() + PATIENCE;
    while status(&stand.get("/demo/echo", &[("X-API-Key", &fleet[4].credential)])) != 200 || !newest.comes(&stand) {
        assert!(Instant::now() < deadline, "the keys are not known:\n{}", stand.keymoat.output());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Warned: everybody is let in, however the key comes.
    let before = drive(&stand, &fleet);
    let all: Vec<usize> = (0..fleet.len()).map(|number| ROUNDS * (number + 1)).collect();
    assert_eq!(before, all);

    // Forecast: events are written behind the requests, so it is waited for the last of them.
    let expected: usize = fleet.iter().zip(&all).filter(|(client, _)| client.is_refused).map(|(_, times)| times).sum();
    let mut forecast = plan(&stand);
    while forecast["refused_requests"] != expected {
        assert!(Instant::now() < deadline, "{forecast}");
        std::thread::sleep(Duration::from_millis(50));
        forecast = plan(&stand);
    }
    let old = forecast["routes"].as_array().expect("a list").iter().find(|route| route["route"] == "old");
    let keys = old.expect("the route")["keys"].as_array().expect("a list").clone();
    for (client, times) in fleet.iter().zip(&all) {
        let of_client = keys.iter().find(|key| key["key_name"] == client.name);
        let planned = of_client.map_or(0, |key| key["requests"].as_u64().unwrap_or_default());
        assert_eq!(planned, if client.is_refused { *times as u64 } else { 0 }, "{} {:?}", client.name, client.habit);
    }
    assert_eq!((&forecast["refused_keys"], &forecast["refused_live_keys"]), (&3.into(), &3.into()));
    let (_, told, _) = stand.run(&["sunset", "plan", "--route", "old"]);
    assert!(
        told.contains(&format!("old: enforcing now would have refused {expected} requests by 3 keys since ")),
        "{told}"
    );
    let (_, who, _) = stand.run(&["sunset", "status"]);
    assert!(who.contains("`camera` on old") && who.contains("from 127.0.0.1") && who.contains("instead: "), "{who}");

    // Nobody asks for it, so nothing is done.
    let (code, _, stderr) = stand.run(&["sunset", "enforce", "--route", "old"]);
    assert!(code == Some(1) && stderr.contains("3 live keys"), "{stderr}");
    let (code, ..) = stand.run(&["sunset", "enforce", "--route", "old", "--dry-run", "--yes"]);
    assert!(code == Some(0) && fleet[0].comes(&stand), "a dry run changes nothing");

    // The end, and the same traffic once more.
    let (code, stdout, stderr) = stand.run(&["sunset", "enforce", "--route", "old", "--yes"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    stand.until("/demo/echo", &fleet[0].credential, 401);
    let after = drive(&stand, &fleet);
    let refused: Vec<usize> = before.iter().zip(&after).map(|(before, after)| before - after).collect();
    let forecast: Vec<usize> =
        fleet.iter().zip(&all).map(|(client, times)| if client.is_refused { *times } else { 0 }).collect();
    assert_eq!(refused, forecast, "what came is what was forecast");

    // What was done is an event, and no output has a credential in it.
    let (_, events, _) = stand.run(&["audit", "tail", "--json", "-n", "1000"]);
    assert!(events.contains("sunset.enforced"), "{events}");
    let (_, status, _) = stand.run(&["sunset", "status", "--json"]);
    for client in &fleet {
        for text in [&told, &who, &stdout, &events, &status, &stand.keymoat.output()] {
            assert!(!text.contains(&client.credential) && !text.contains(&client.stale), "{}", client.name);
        }
    }
}
