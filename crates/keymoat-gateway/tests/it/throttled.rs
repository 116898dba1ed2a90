//! Whoever tries out credentials is slowed, by address, and whoever has a good one is not. One address has so many
//! connections and no more.

use std::io::Write;

use keymoat_core::{Code, Scopes};
use keymoat_gateway::settings::Limits;
use keymoat_gateway::throttle::Patience;

use crate::stand::{Stand, close_of, read_all, read_frame, read_head, wait_until};
use crate::tokens::TokenStand;

fn impatient() -> Limits {
    Limits { failed_credentials: Some(Patience { failures_per_minute: 5 }), ..Limits::default() }
}

fn stand() -> Stand {
    Stand::with(impatient(), |settings| {
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
}

/// Asks with a credential, from an address that a trusted proxy tells of.
fn ask(stand: &Stand, credential: &str, client: &str) -> String {
    stand.fetch("/demo/echo", &format!("X-API-Key: {credential}\r\nX-Forwarded-For: {client}\r\n"))
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer")
}

fn stranger(fill: u8) -> String {
    let key = keymoat_core::format::generate(keymoat_core::format::Kind::Key, &mut |bytes| bytes.fill(fill));
    // The tests play the stranger.
    String::from_utf8(key.expose().to_vec()).expect("base62")
}

#[test]
fn failing_attempts_of_one_address_are_answered_429_after_a_while() {
    let stand = stand();
    let answers: Vec<String> = (1..=8).map(|number| ask(&stand, &stranger(number), "192.0.2.1")).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| status(answer)).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    let last = answers.last().expect("eight");
    let wait = crate::scripted::header(last, "retry-after").and_then(|secs| secs.parse::<u32>().ok());
    assert!(wait.is_some_and(|secs| (1..=12).contains(&secs)), "{last}");
    assert!(last.contains("\"code\":\"rate_limited\"") && !last.contains("km_"), "{last}");
    assert_eq!(status(&ask(&stand, &stranger(1), "192.0.2.2")), 401, "another address is not slowed");
    let (_, mut socket) =
        stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\nX-Forwarded-For: 192.0.2.1\r\n", stranger(9)));
    let (code, reason) = close_of(&read_frame(&mut socket));
    assert!(code == 4029 && reason.starts_with("rate_limited: retry_after="), "{code} {reason}");
}

#[test]
fn a_good_key_is_let_in_from_an_address_that_is_throttled() {
    let stand = stand();
    stand.know("a-long-key-of-another-maker", &Stand::a_key("key_long", Scopes::All));
    for number in 1..=20 {
        ask(&stand, &stranger(number), "2001:db8::1");
    }
    // The same network of 64 bits.
    assert_eq!(status(&ask(&stand, &stranger(30), "2001:db8::ffff")), 429);
    assert_eq!(status(&ask(&stand, &stand.key, "2001:db8::2")), 200);
    assert_eq!(status(&ask(&stand, "a-long-key-of-another-maker", "2001:db8::2")), 200);
}

#[test]
fn what_can_be_guessed_is_not_looked_up_while_its_address_is_throttled() {
    let stand = stand();
    stand.know("hunter2", &Stand::a_key("key_short", Scopes::All));
    assert_eq!(status(&ask(&stand, "hunter2", "192.0.2.1")), 200);
    for number in 0..20 {
        ask(&stand, &format!("hunter{number:03}"), "192.0.2.1");
    }
    assert_eq!(status(&ask(&stand, "hunter2", "192.0.2.1")), 429, "a guess would be told from a miss");
    assert_eq!(status(&ask(&stand, "hunter2", "192.0.2.2")), 200);
    let records = stand.records(23);
    let cause = records[21].cause.as_deref();
    assert_eq!((records[21].code, cause), (Some(Code::RateLimited), Some("not looked up: its address is throttled")));
    assert_eq!(records[21].client.to_string(), "192.0.2.1");
}

#[test]
fn what_is_known_and_over_is_no_guess() {
    let stand = stand();
    let revoked =
        keymoat_core::Key { revoked_at: Some(keymoat_core::UnixMillis(1)), ..Stand::a_key("key_old", Scopes::All) };
    stand.know("a-revoked-key-of-another-maker", &revoked);
    for _ in 0..20 {
        assert_eq!(status(&ask(&stand, "a-revoked-key-of-another-maker", "192.0.2.1")), 401);
    }
    assert_eq!(status(&ask(&stand, &stranger(1), "192.0.2.1")), 401, "the address has not failed yet");
    for _ in 0..20 {
        assert_eq!(status(&stand.fetch("/demo/echo", "X-Forwarded-For: 192.0.2.1\r\n")), 401, "none at all");
    }
    assert_eq!(status(&ask(&stand, &stranger(2), "192.0.2.1")), 401);
}

#[test]
fn tokens_are_guessed_no_better_and_a_good_one_is_let_in() {
    let stand = TokenStand::with(impatient(), |_| {});
    let held = stand.minted(|_| {});
    let ask = |token: &str| status(&stand.stand.fetch("/demo/echo", &format!("Authorization: Bearer {token}\r\n")));
    let guess = |fill: u8| {
        let token = keymoat_core::format::generate(keymoat_core::format::Kind::Token, &mut |bytes| bytes.fill(fill));
        String::from_utf8(token.expose().to_vec()).expect("base62")
    };
    let statuses: Vec<u16> = (1..=8).map(|number| ask(&guess(number))).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    assert_eq!(ask(&held.text), 200);
}

#[test]
fn an_address_has_so_many_connections_and_a_trusted_proxy_any_number() {
    let limits = || Limits { connections_per_address_max: Some(2), ..Limits::default() };
    let stand = Stand::with(limits(), |_| {});
    let get = format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", stand.key);
    let mut held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = stand.connect();
            stream.write_all(get.as_bytes()).expect("sent");
            assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
            stream
        })
        .collect();
    let answer = read_all(&mut stand.connect());
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).expect("JSON")["code"], "rate_limited");
    held.pop();
    wait_until(|| {
        let mut stream = stand.connect();
        let _ = stream.write_all(get.as_bytes());
        read_head(&mut stream).starts_with("HTTP/1.1 200 ")
    });
    drop(stand);

    let trusting = Stand::with(limits(), |settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    });
    let get = format!("GET /demo/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", trusting.key);
    let held: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = trusting.connect();
            stream.write_all(get.as_bytes()).expect("sent");
            assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
            stream
        })
        .collect();
    drop(held);
}
