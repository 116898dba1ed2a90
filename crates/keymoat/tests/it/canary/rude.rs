//! An upstream that puts a canary into everything that it says, and says it wrongly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What it answers to a plain request for `/rude/NAME`. `{}` stands for the canary.
pub(crate) const ANSWERS: &[(&str, &str)] = &[
    ("reason", "HTTP/1.1 500 {}\r\nContent-Length: 0\r\n\r\n"),
    ("body", "HTTP/1.1 500 Oops\r\nContent-Length: {length}\r\n\r\n{}"),
    ("unauthorized", "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer error=\"{}\"\r\nContent-Length: {length}\r\n\r\n{}"),
    ("headers", "HTTP/1.1 302 Found\r\nLocation: /x?key={}\r\nSet-Cookie: {}\r\nX-{}: {}\r\nContent-Length: 0\r\n\r\n"),
    ("garbage", "{}\r\n\r\n"),
    ("version", "HTTP/{} 200 OK\r\n\r\n"),
    ("status", "HTTP/1.1 {} OK\r\n\r\n"),
    ("header", "HTTP/1.1 200 OK\r\n{} {}\r\n\r\n"),
    ("length", "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}"),
    ("short", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}"),
    ("chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n{}"),
    ("encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: {}\r\n\r\n{}"),
    ("switch", "HTTP/1.1 101 Switching\r\nUpgrade: {}\r\nConnection: upgrade\r\n\r\n{}"),
    ("event", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n"),
    ("silence", ""),
];

/// What it answers to the opening of a WebSocket. `{accept}` is the right answer to the key, `{101}` a right beginning.
pub(crate) const OPENINGS: &[(&str, &str)] = &[
    ("refused", "HTTP/1.1 403 {}\r\nContent-Length: {length}\r\n\r\n{}"),
    ("no accept", "HTTP/1.1 101 {}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n{}"),
    ("wrong accept", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"),
    ("selection", "{101}Sec-WebSocket-Protocol: {}\r\n\r\n"),
    ("extension", "{101}Sec-WebSocket-Extensions: {}\r\n\r\n"),
    ("message", "{101}\r\n{text}{close}"),
    ("close", "{101}\r\n{close}"),
    ("garbage", "{101}\r\n{}{}"),
    ("bad close", "{101}\r\n{badclose}"),
    ("cut off", "{101}\r\n{text}"),
];

/// Starts it; `canary` is in all it says. It lives as long as the test's process.
pub(crate) fn start(canary: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let canary = canary.clone();
            thread::spawn(move || serve(stream, &canary));
        }
    });
    address
}

fn serve(mut stream: TcpStream, canary: &str) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => head.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    if head.starts_with(b"PRI ") {
        let _ = stream.write_all(&goaway(canary));
    } else {
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.contains("/rude/silence") {
            // Silent until the gateway gives up.
            let _ = stream.read(&mut buffer);
        }
        let _ = stream.write_all(&answer(&head, canary));
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

fn answer(head: &str, canary: &str) -> Vec<u8> {
    let lower = head.to_ascii_lowercase();
    let key = lower.find("sec-websocket-key: ").and_then(|at| head.get(at + 19..)?.split("\r\n").next());
    let path = head.split(' ').nth(1).unwrap_or_default();
    let name = path.trim_start_matches("/rude/").replace("%20", " ");
    let table = if key.is_some() { OPENINGS } else { ANSWERS };
    let template = table.iter().find(|(known, _)| *known == name).map_or("", |(_, template)| template);
    let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{}{GUID}", key.unwrap_or_default()).as_bytes());
    let switch = format!(
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        STANDARD.encode(accept)
    );
    let text = template.replace("{101}", &switch).replace("{length}", &canary.len().to_string());
    let short = char::from(u8::try_from(canary.len()).expect("short"));
    let close = char::from(u8::try_from(canary.len() + 2).expect("short"));
    let text = text.replace("{text}", &format!("{}{short}{canary}", '\u{81}'));
    let text = text.replace("{close}", &format!("{}{close}\u{0f}\u{a1}{canary}", '\u{88}'));
    // 1005 may not be sent.
    let text = text.replace("{badclose}", &format!("{}{close}\u{03}\u{ed}{canary}", '\u{88}'));
    // Every character is one byte.
    text.replace("{}", canary).chars().map(|letter| u8::try_from(u32::from(letter)).expect("a byte")).collect()
}

/// What is hashed with the key (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// HTTP/2: settings, and the end of the connection with the canary as its debug data (RFC 9113 section 6.8).
fn goaway(canary: &str) -> Vec<u8> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = u8::try_from(8 + canary.len()).expect("short");
    let head = [0, 0, length, 7, 0, 0, 0, 0, 0];
    [&settings[..], &head, &[0; 4], &[0, 0, 0, 11], canary.as_bytes()].concat()
}
