//! An upstream whose sealed secret does not open is not asked without it, and everything else is served.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::harness::{Emulated, Folder, Keymoat, PATIENCE, open_websocket, request, status};
use crate::upstreams::{CANARY, add, refused, well};

/// What whoever can write to the database may do to the row of `broken`.
const DAMAGES: [(&str, &str, &str); 3] = [
    ("the KEK is another one", "kek_id = zeroblob(16)", "it was sealed under another master key"),
    (
        "the row is another upstream's",
        "(wrapped_dek, sealed) = (SELECT wrapped_dek, sealed FROM upstream_secret WHERE upstream = 'good')",
        "it is damaged, or was moved there from another row",
    ),
    ("bytes are changed", "sealed = zeroblob(length(sealed))", "it is damaged, or was moved there from another row"),
];

/// A folder with two upstreams, both the emulator, each with a sealed secret, and a client's key.
fn folder(emulated: &Emulated) -> (Arc<Folder>, String) {
    let folder = Folder::new();
    let url = emulated.url();
    let text = format!(
        "[tls]\nmode = \"disabled\"\n[log]\nlevel = \"trace\"\n\
         [upstream.broken]\nurl = \"{url}\"\ninject = \"header:X-API-Key\"\n\
         [upstream.good]\nurl = \"{url}\"\ninject = \"header:X-API-Key\"\n\
         [route.broken]\nupstream = \"broken\"\npaths = [\"/demo/*\"]\n\
         [route.good]\nupstream = \"good\"\npaths = [\"/api/*\"]\n"
    );
    folder.write("keymoat.toml", &text);
    add(&folder, "broken", CANARY);
    add(&folder, "good", &emulated.key());
    let key = well(&folder, &["key", "create", "client"], &[]).trim().to_owned();
    (folder.into(), key)
}

fn damage(folder: &Folder, set: &str) {
    let database = Connection::open(folder.path().join(".keymoat/keymoat.db")).expect("the store");
    let changed = database
        .execute(&format!("UPDATE upstream_secret SET {set} WHERE upstream = 'broken' AND retired_at IS NULL"), []);
    assert_eq!(changed, Ok(1));
}

fn status_of(keymoat: &Keymoat, target: &str, key: &str) -> u16 {
    status(&request(keymoat.address(), "GET", target, &[("X-API-Key", key)]))
}

fn until(keymoat: &Keymoat, target: &str, key: &str, expected: u16) {
    let deadline = Instant::now() + PATIENCE;
    while status_of(keymoat, target, key) != expected {
        assert!(Instant::now() < deadline, "{target} is not answered {expected}:\n{}", keymoat.output());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn f81_a_sealed_secret_that_does_not_open_is_503_for_its_upstream_alone_until_it_is_entered_again() {
    let emulated = Emulated::start();
    for (what, set, why) in DAMAGES {
        let (folder, key) = folder(&emulated);
        damage(&folder, set);
        let told = refused(&folder, &["check"], &[], 2);
        for text in ["upstream `broken` does not open: ", why, "keymoat upstream rotate broken"] {
            assert!(told.contains(text), "{what}: {told}");
        }
        assert!(refused(&folder, &["upstream", "test", "broken"], &[], 2).contains(why), "{what}");
        let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
        let alarm = keymoat.wait_for_line("its requests are answered 503");
        assert!(alarm.contains("ERROR") && alarm.contains(why), "{what}: {alarm}");
        assert!(alarm.contains("keymoat upstream rotate broken --secret-file"), "{what}: {alarm}");

        let answer = request(keymoat.address(), "GET", "/demo/echo", &[("X-API-Key", &key)]);
        assert!(status(&answer) == 503 && answer.contains("\"code\":\"unavailable\""), "{what}: {answer}");
        assert!(!answer.contains("rotate") && !answer.contains("master"), "nobody outside is told why: {answer}");
        assert_eq!(close_code_of(&keymoat, &key), 1013, "{what}");
        assert_eq!(status_of(&keymoat, "/api/events", &key), 200, "{what}: the other upstream is served");
        assert_eq!(status_of(&keymoat, "/demo/echo", "nobody's-key"), 401, "{what}");
        let record: Value =
            serde_json::from_str(&keymoat.wait_for_line("\"status\":503")).expect("a record is one JSON object");
        assert!(record["cause"].as_str().is_some_and(|cause| cause.contains("upstream rotate broken")), "{record}");

        // The way out works on the running gateway.
        folder.write("again", &emulated.key());
        well(&folder, &["upstream", "rotate", "broken", "--secret-file", "again"], &[]);
        until(&keymoat, "/demo/echo", &key, 200);
        let output = keymoat.output();
        assert!(!output.contains(CANARY) && !output.contains(&emulated.key()), "{what}: {output}");
    }
}

/// The code with which a WebSocket of the broken upstream is closed.
fn close_code_of(keymoat: &Keymoat, key: &str) -> u16 {
    let (head, mut socket) = open_websocket(keymoat.address(), "/demo/ws", &[("X-API-Key", key)]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut close = [0; 4];
    socket.read_exact(&mut close).expect("a close frame");
    assert_eq!(close[0], 0x88);
    u16::from_be_bytes([close[2], close[3]])
}

#[test]
fn f81_a_running_gateway_keeps_the_secret_in_use_when_the_row_is_damaged() {
    let emulated = Emulated::start();
    let (folder, key) = folder(&emulated);
    folder.write("real", &emulated.key());
    well(&folder, &["upstream", "rotate", "broken", "--secret-file", "real"], &[]);
    let keymoat = Keymoat::in_folder(Arc::clone(&folder), &[], &[]);
    assert_eq!(status_of(&keymoat, "/demo/echo", &key), 200);
    damage(&folder, "sealed = zeroblob(length(sealed))");
    keymoat.signal(rustix::process::Signal::HUP);
    keymoat.wait_for_line("the one in force stays");
    keymoat.wait_for_line("the sealed secret of upstream `broken` does not open");
    assert_eq!(status_of(&keymoat, "/demo/echo", &key), 200);
}
