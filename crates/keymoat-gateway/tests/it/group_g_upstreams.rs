//! Group G of the bad inputs and faults: upstreams whose name leads inside, and answers that repeat the real key.

use std::io::Write;

use keymoat_core::Code;
use keymoat_core::record::Outcome;
use keymoat_core::route::QueryPolicy;
use keymoat_gateway::settings::{Limits, Origin, Upstream};

use crate::scripted::{Scripted, Then};
use crate::stand::{Stand, close_of, generic, read_frame, upstream};

/// A gateway whose `/x/*` leads to `scripted`, under another name for its address.
fn by_name(scripted: &Scripted, host: &str, change: impl FnOnce(&mut Upstream)) -> Stand {
    let origin = Origin { tls: false, host: host.into(), port: scripted.address.port() };
    let mut named = Upstream {
        allow_private: Upstream::new("x", origin.clone()).allow_private,
        origin,
        ..upstream("x", scripted.address, "x-api-key")
    };
    change(&mut named);
    Stand::with(Limits::default(), |settings| {
        settings.threads = 1;
        settings.routes.push(generic("x", "x", &["/x/*"], QueryPolicy::Tokens));
        settings.upstreams.push(named);
    })
}

fn key(stand: &Stand) -> String {
    format!("X-API-Key: {}\r\n", stand.key)
}

fn answering_ok() -> Scripted {
    Scripted::start(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Then::KeepAlive
    })
}

#[test]
fn g91_a_name_that_leads_inside_is_not_dialled() {
    let scripted = answering_ok();
    // Spellings that only the resolver reads as an address; to everybody else they are names.
    for host in ["127.1", "2130706433", "0x7f.0.0.1"] {
        let stand = by_name(&scripted, host, |_| {});
        let answer = stand.fetch("/x/y", &key(&stand));
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_failed"), "{host}: {answer}");
        assert!(!answer.contains("127.0.0.1"), "the client is not told what is inside: {answer}");
        let (_, mut stream) = stand.open_websocket("/x/y", &key(&stand));
        assert_eq!(close_of(&read_frame(&mut stream)).0, 1014);
        for record in stand.records(2) {
            assert_eq!((record.outcome, record.code), (Outcome::Failed, Some(Code::UpstreamFailed)));
            let cause = record.cause.unwrap_or_default();
            assert!(cause.contains("127.0.0.1 is loopback") && cause.contains("allow_private"), "{cause}");
        }
    }
    assert_eq!(scripted.accepted(), 0, "no connection, and so no key");
}

#[test]
fn g91_an_address_that_was_written_out_and_a_name_that_may_lead_inside_are_dialled() {
    let scripted = answering_ok();
    for stand in [
        by_name(&scripted, "127.0.0.1", |_| {}),
        by_name(&scripted, "localhost", |_| {}),
        by_name(&scripted, "127.1", |upstream| upstream.allow_private = true),
    ] {
        assert!(stand.fetch("/x/y", &key(&stand)).starts_with("HTTP/1.1 200 "));
    }
    let stand = by_name(&scripted, "localhost", |upstream| upstream.allow_private = false);
    assert!(stand.fetch("/x/y", &key(&stand)).starts_with("HTTP/1.1 502 "));
}
