//! Group B of the bad inputs: WebSocket framing, through the gateway.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use keymoat_core::Code;
use keymoat_core::record::{Outcome, Side};
use keymoat_gateway::settings::Limits;

use crate::scripted::{Scripted, Then, header, in_front_of, switch};
use crate::stand::{Stand, close_of, frame, read_all, read_all_or_reset, read_frame, wait_until};

/// An open session on the echo.
fn session(stand: &Stand) -> TcpStream {
    let (head, mut stream) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(&frame(1, b"before")).expect("sent");
    assert_eq!(read_frame(&mut stream), (1, b"before".to_vec()));
    stream
}

/// After these bytes the client is closed with `code`, and the upstream never saw more than the first message.
fn closes(bytes: &[u8], code: u16) {
    let stand = Stand::start();
    let mut stream = session(&stand);
    let _ = stream.write_all(bytes);
    let told = close_of(&read_frame(&mut stream));
    assert_eq!(told.0, code, "{told:?} after {:?}", bytes.get(..20));
    let _ = stream.write_all(&frame(8, &code.to_be_bytes()));
    read_all_or_reset(&mut stream);
    drop(stream);
    let record = &stand.records(1)[0];
    assert_eq!(
        (record.close_code, record.closed_by, record.outcome),
        (Some(code), Some(Side::Keymoat), Outcome::Failed)
    );
    let seen = &stand.recorder.requests()[0];
    assert_eq!(seen.messages.len(), 1, "{seen:?}");
    wait_until(|| stand.recorder.requests()[0].client_close.as_ref().is_some_and(|close| close.code == 1001));
}

#[test]
fn b25_an_unmasked_frame_of_a_client_is_1002() {
    closes(b"\x81\x05hello", 1002);
}

#[test]
fn b26_lengths_that_cannot_be_are_1002_and_large_ones_1009() {
    closes(b"\x82\xff\x80\0\0\0\0\0\0\0mask", 1002);
    closes(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask", 1009);
    closes(b"\x82\xfe\0\x05maskhello", 1002);
}

#[test]
fn b27_a_message_of_empty_continuations_is_ended() {
    let mut flood = b"\x01\x80mask".to_vec();
    flood.extend(b"\x00\x80mask".repeat(2000));
    let stand = Stand::start();
    let mut stream = session(&stand);
    let _ = stream.write_all(&flood);
    assert!(matches!(close_of(&read_frame(&mut stream)).0, 1008 | 1009));
}

#[test]
fn b28_a_flood_of_pings_is_ended_and_none_crosses() {
    let stand = Stand::start();
    let mut stream = session(&stand);
    let mut writer = stream.try_clone().expect("a second handle");
    let sending = std::thread::spawn(move || {
        let _ = writer.write_all(&frame(9, b"x").repeat(10_000));
    });
    let mut pongs = 0;
    let told = loop {
        match read_frame(&mut stream) {
            (10, payload) => {
                assert_eq!(payload, b"x");
                pongs += 1;
            }
            other => break close_of(&other),
        }
    };
    assert_eq!(told.0, 1008, "{told:?}");
    assert!(pongs <= 100, "{pongs}");
    drop(stream);
    sending.join().expect("no panic");
}

#[test]
fn b29_long_and_fragmented_control_frames_are_1002() {
    closes(&[&b"\x89\xfe\0\x7emask"[..], &[b'x'; 126]].concat(), 1002);
    closes(b"\x09\x80mask", 1002);
    closes(b"\x08\x80mask", 1002);
}

#[test]
fn b30_close_frames_that_may_not_be_are_answered_and_do_not_cross() {
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535] {
        closes(&frame(8, &code.to_be_bytes()), 1002);
    }
    closes(&frame(8, b"\x03"), 1002);
    closes(&frame(8, b"\x03\xe8\xff\xfe"), 1007);
}

#[test]
fn b30_close_codes_that_may_be_cross_intact() {
    for code in [1000_u16, 1001, 1003, 1007, 1011, 3000, 4001, 4999] {
        let stand = Stand::start();
        let mut stream = session(&stand);
        stream.write_all(&frame(8, &[&code.to_be_bytes()[..], "tschüß".as_bytes()].concat())).expect("sent");
        assert_eq!(close_of(&read_frame(&mut stream)), (code, "tschüß".to_owned()));
        assert_eq!(read_all(&mut stream), "");
        let seen = stand.recorder.requests()[0].client_close.clone().expect("the emulator was told");
        assert_eq!((seen.code, seen.reason.as_str()), (code, "tschüß"));
        let record = &stand.records(1)[0];
        assert_eq!((record.close_code, record.closed_by), (Some(code), Some(Side::Client)));
        assert_eq!(record.close_reason, None, "what a client says may be anything");
    }
}

#[test]
fn b31_reserved_bits_and_opcodes_are_1002() {
    for first in [0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f] {
        closes(&[first, 0x80, b'm', b'a', b's', b'k'], 1002);
    }
    closes(b"\x80\x80mask", 1002);
}

#[test]
fn b32_compression_is_declined_and_not_offered_upstream() {
    let stand = Stand::start();
    let extensions = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let (head, mut stream) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n{extensions}", stand.key));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "sec-websocket-extensions"), None);
    assert_eq!(stand.recorder.requests()[0].header("sec-websocket-extensions"), None);
    stream.write_all(b"\xc1\x80mask").expect("sent");
    assert_eq!(close_of(&read_frame(&mut stream)).0, 1002);
}

#[test]
fn b33_a_bad_opening_is_no_websocket() {
    let stand = Stand::start();
    let version = "Sec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (lines, status) in [
        (version.to_owned(), 400),
        (format!("{version}Sec-WebSocket-Key: short\r\n"), 400),
        (format!("{version}Sec-WebSocket-Key: \r\n"), 400),
        (format!("{version}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n"), 400),
        (format!("{version}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=\r\n"), 400),
        (format!("{version}{key}{key}"), 400),
        (key.to_owned(), 426),
        (format!("{key}Sec-WebSocket-Version: 12\r\n"), 426),
        (format!("{key}Sec-WebSocket-Version: 013\r\n"), 426),
        (format!("{key}{version}{version}"), 426),
    ] {
        let answer = stand.exchange(&format!(
            "GET /demo/ws HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{lines}\r\n",
            stand.key
        ));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{lines}: {answer}");
        assert_eq!(header(&answer, "sec-websocket-version").is_some(), status == 426, "{answer}");
        assert_eq!(header(&answer, "connection").as_deref(), Some("close"), "{answer}");
    }
    assert!(stand.recorder.requests().is_empty());
}

#[test]
fn b33_an_upgrade_that_cannot_be_is_a_plain_request() {
    let stand = Stand::start();
    for (line, lines) in [
        ("POST /demo/echo HTTP/1.1", "Content-Length: 0\r\n"),
        ("GET /demo/echo HTTP/1.0", ""),
        ("GET /demo/echo HTTP/1.1", "Upgrade: other\r\n"),
    ] {
        let upgrade = if lines.contains("other") { "" } else { "Upgrade: websocket\r\n" };
        let answer = stand.exchange(&format!(
            "{line}\r\nHost: a\r\nX-API-Key: {}\r\nConnection: Upgrade, close\r\n{upgrade}{lines}\r\n",
            stand.key
        ));
        assert!(answer.get(8..13) == Some(" 200 "), "{line}: {answer}");
    }
    assert!(stand.recorder.requests().iter().all(|request| request.header("upgrade").is_none()));
}

#[test]
fn b34_a_client_that_reads_nothing_is_given_up() {
    let scripted = Scripted::start(|stream, head| {
        let _ = stream.write_all(switch(head, "").as_bytes());
        let message = [&b"\x82\x7e\xff\xff"[..], &[b'x'; 65535]].concat();
        while stream.write_all(&message).is_ok() {}
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits { write_stall: Duration::from_millis(150), ..Limits::default() });
    let (head, stream) = stand.open_websocket("/x/ws", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let record = &stand.records(1)[0];
    assert_eq!((record.close_code, record.outcome), (Some(1006), Outcome::Failed), "{record:?}");
    assert!(record.cause.as_deref().is_some_and(|cause| cause.contains("read nothing")), "{record:?}");
    drop(stream);
}

#[test]
fn b35_an_upstream_s_bad_frames_are_1011_to_the_client() {
    let limits = Limits { frame_bytes_max: 1000, message_bytes_max: 1000, ..Limits::default() };
    let cases: [&[u8]; 6] = [
        b"\x81\x85maskhello",
        b"\xc1\x05hello",
        b"\x82\x7f\x80\0\0\0\0\0\0\0",
        b"\x82\x7e\xff\xff",
        b"\x88\x02\x03\xee",
        b"\x80\x00",
    ];
    for bytes in cases {
        let scripted = Scripted::start(move |stream, head| {
            let _ = stream.write_all(switch(head, "").as_bytes());
            let _ = stream.write_all(&[b"\x81\x02hi", bytes].concat());
            read_all_or_reset(stream);
            Then::Close
        });
        let stand = in_front_of(&scripted, limits);
        let (_, mut stream) = stand.open_websocket("/x/ws", &format!("X-API-Key: {}\r\n", stand.key));
        assert_eq!(read_frame(&mut stream), (1, b"hi".to_vec()), "what came before crosses");
        let (code, reason) = close_of(&read_frame(&mut stream));
        assert_eq!(code, 1011, "{bytes:?}: {reason}");
        assert!(reason.starts_with("upstream_failed"), "{reason}");
        drop(stream);
        let record = &stand.records(1)[0];
        assert_eq!((record.outcome, record.code), (Outcome::Failed, Some(Code::UpstreamFailed)));
    }
}

#[test]
fn b35_an_upstream_that_vanishes_is_told_to_the_client() {
    let scripted = Scripted::start(|stream, head| {
        let _ = stream.write_all(switch(head, "").as_bytes());
        let _ = stream.write_all(b"\x81\x02hi");
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits::default());
    let (_, mut stream) = stand.open_websocket("/x/ws", &format!("X-API-Key: {}\r\n", stand.key));
    assert_eq!(read_frame(&mut stream), (1, b"hi".to_vec()));
    let (code, reason) = close_of(&read_frame(&mut stream));
    assert_eq!(code, 1014);
    assert!(reason.starts_with("upstream_failed"), "{reason}");
    drop(stream);
    assert_eq!(stand.records(1)[0].close_code, Some(1006));
}

#[test]
fn b36_a_client_is_pinged_and_an_idle_session_is_ended() {
    let limits = Limits {
        ping_every: Duration::from_millis(50),
        websocket_idle: Duration::from_millis(400),
        ..Limits::default()
    };
    let stand = Stand::with(limits, |_| {});
    let mut stream = session(&stand);
    let mut pings = 0;
    let told = loop {
        match read_frame(&mut stream) {
            (9, payload) => {
                pings += 1;
                stream.write_all(&frame(10, &payload)).expect("sent");
            }
            other => break close_of(&other),
        }
    };
    assert!(pings >= 2, "{pings}");
    assert_eq!(told.0, 1001, "pings and pongs are not traffic");
    stream.write_all(&frame(8, &1001_u16.to_be_bytes())).expect("sent");
    assert_eq!(read_all(&mut stream), "");
    assert_eq!(stand.records(1)[0].closed_by, Some(Side::Keymoat));
}

#[test]
fn b36_a_client_that_vanishes_is_told_to_the_upstream() {
    let stand = Stand::start();
    drop(session(&stand));
    let record = &stand.records(1)[0];
    assert_eq!((record.outcome, record.close_code), (Outcome::Aborted, Some(1006)));
    assert_eq!(record.closed_by, Some(Side::Client));
    wait_until(|| stand.recorder.requests()[0].client_close.as_ref().is_some_and(|close| close.code == 1001));
}

#[test]
fn b37_both_sides_closing_at_once_leave_one_record() {
    let scripted = Scripted::start(|stream, head| {
        let _ = stream.write_all(&[switch(head, "").as_bytes(), b"\x88\x02\x0f\xa1"].concat());
        read_all_or_reset(stream);
        Then::Close
    });
    let stand = in_front_of(&scripted, Limits::default());
    for _ in 0..20 {
        let mut stream = stand.connect();
        let opening = format!(
            "GET /x/ws HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            stand.key
        );
        stream.write_all(&[opening.as_bytes(), &frame(8, &4002_u16.to_be_bytes())].concat()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end");
        assert!(answer.ends_with(b"\x88\x02\x0f\xa1") || answer.ends_with(b"\x88\x02\x0f\xa2"), "{answer:?}");
    }
    let records = stand.records(20);
    assert_eq!(records.len(), 20);
    assert!(records.iter().all(|record| matches!(record.close_code, Some(4001 | 4002))));
    assert!(records.iter().all(|record| record.outcome == Outcome::Allowed));
    wait_until(|| stand.running.as_ref().expect("running").live_sessions() == 0);
    assert_eq!(stand.records.lock().expect("no panic").len(), 20);
}
