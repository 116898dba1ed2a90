//! The gate as a whole: every probe, at every cut.

use proptest::prelude::*;

use super::*;

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Gives `stream` to a gate in inputs that end at `cuts`. Returns what went on, how it ended, and the heads.
fn run(stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> (Vec<u8>, Step, u64) {
    let mut gate = Gate::new(Limits::default());
    let mut passed = 0;
    let mut last = Step::More;
    for end in cuts.into_iter().chain([stream.len()]) {
        while passed < end {
            last = gate.step(&stream[passed..end]);
            match last {
                Step::Pass(length) => passed += length,
                Step::More | Step::Hold => break,
                Step::Reject(_) | Step::Abort(_) => return (stream[..passed].to_vec(), last, gate.heads()),
            }
        }
    }
    let last = if matches!(last, Step::Pass(_)) { Step::More } else { last };
    (stream[..passed].to_vec(), last, gate.heads())
}

#[test]
fn refuses_every_probe_with_its_reason() {
    let probes = probes::bad();
    assert!(probes.len() >= 52);
    for probe in probes {
        let (passed, step, heads) = run(&probe.bytes, []);
        if probe.in_body {
            assert_eq!((step, heads), (Step::Abort(probe.error), 1), "{}", probe.name);
            assert!(!passed.ends_with(b"0\r\n\r\n"), "{}: the body seems to have ended", probe.name);
        } else {
            assert_eq!((step, heads), (Step::Reject(probe.error), 0), "{}", probe.name);
            assert!(passed.is_empty(), "{}: {}", probe.name, passed.escape_ascii());
        }
    }
}

#[test]
fn refuses_every_probe_byte_by_byte_and_behind_a_good_request() {
    let first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    for probe in probes::bad() {
        let stream = [first, &probe.bytes[..]].concat();
        let whole = run(&stream, []);
        assert_eq!(run(&stream, 0..stream.len()), whole, "{}", probe.name);
        assert_eq!(whole.2, 1 + u64::from(probe.in_body), "{}", probe.name);
        assert!(whole.0.starts_with(first), "{}", probe.name);
    }
}

#[test]
fn lets_every_good_stream_through_as_it_is() {
    for (name, stream, heads) in probes::good() {
        let (passed, step, seen) = run(&stream, []);
        assert_eq!(passed, stream, "{name}: {step:?}");
        assert_eq!(seen, heads, "{name}");
        assert_eq!(run(&stream, 0..stream.len()).0, stream, "{name}, byte by byte");
    }
}

#[test]
fn every_reason_is_ascii_lower_case_and_has_no_full_stop() {
    for probe in probes::bad() {
        let text = probe.error.to_string();
        assert!(text.starts_with(|first: char| first == '`' || first == '#' || first.is_ascii_lowercase()), "{text}");
        assert!(!text.ends_with('.'), "{text}");
    }
}

#[test]
fn holds_everything_behind_an_upgrade_until_it_is_open() {
    let mut gate = Gate::new(Limits::default());
    let stream = [UPGRADE, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(gate.step(&stream), Step::Pass(UPGRADE.len()));
    assert!(gate.is_waiting());
    assert_eq!(gate.step(&stream[UPGRADE.len()..]), Step::Hold);
    gate.open();
    assert_eq!(gate.step(b"\x81\x80\0\0\0\0"), Step::Pass(6));
    assert_eq!(gate.heads(), 1);
}

#[test]
fn opens_nothing_that_is_not_an_upgrade() {
    let mut gate = Gate::new(Limits::default());
    gate.open();
    assert_eq!(gate.step(b"\x81\x80\0\0\0\0"), Step::Reject(GateError::TargetNonAscii));
}

#[test]
fn a_deadline_rejects_only_a_head_that_has_begun() {
    let mut gate = Gate::new(Limits::default());
    gate.expire();
    assert!(!gate.is_mid_head());
    assert_eq!(gate.step(b"GET / HT"), Step::More);
    assert!(gate.is_mid_head());
    gate.expire();
    assert_eq!(gate.step(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Step::Reject(GateError::HeadTimeout));
}

#[test]
fn a_verdict_is_final() {
    let mut gate = Gate::new(Limits::default());
    assert_eq!(gate.step(b"\r\n"), Step::Reject(GateError::LeadingLine));
    assert_eq!(gate.step(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Step::Reject(GateError::LeadingLine));
}

#[test]
fn no_byte_of_a_slow_head_is_scanned_twice() {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(10_000)).into_bytes();
    let mut gate = Gate::new(Limits::default());
    for end in 1..head.len() {
        assert_eq!(gate.step(&head[..end]), Step::More);
        let State::Head(head) = &gate.state else { panic!("left the head at {end}") };
        // A carriage return alone is looked at again, nothing else.
        assert!(head.scanned() + 1 >= end, "scanned {} of {end}", head.scanned());
    }
    assert_eq!(gate.step(&head), Step::Pass(head.len()));
}

#[test]
fn smaller_limits_hold_too() {
    let limits = Limits { head_bytes_max: 64, url_bytes_max: 8, fields_max: 2 };
    let judge = |input: &str| Gate::new(limits).step(input.as_bytes());
    assert_eq!(judge("GET /1234567 HTTP/1.1\r\nHost: a\r\n\r\n"), Step::Pass(34));
    assert_eq!(judge("GET /12345678 HTTP/1.1\r\nHost: a\r\n\r\n"), Step::Reject(GateError::UrlTooLong));
    assert_eq!(judge("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nX: y\r\n"), Step::Reject(GateError::FieldsTooMany));
    let padded = |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(length));
    assert_eq!(judge(&padded(48)), Step::Pass(16 + 64));
    assert_eq!(judge(&padded(49)), Step::Reject(GateError::HeadTooLarge));
}

/// Streams made of probes and good requests, with a few bytes changed.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let corpus: Vec<Vec<u8>> = probes::bad()
        .into_iter()
        .map(|probe| probe.bytes)
        .chain(probes::good().into_iter().map(|(_, bytes, _)| bytes))
        .chain([UPGRADE.to_vec()])
        .filter(|bytes| bytes.len() < 1000)
        .collect();
    let parts = proptest::collection::vec(proptest::sample::select(corpus), 1..4);
    let odd = prop_oneof![any::<u8>(), proptest::sample::select(b"\r\n \t:;,0/".to_vec())];
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), odd), 0..3);
    (parts, changes).prop_map(|(parts, changes)| {
        let mut stream = parts.concat();
        for (at, byte) in changes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_verdict_does_not_depend_on_the_cuts(stream in streams(), mut cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
        let whole = run(&stream, []);
        let mut ends: Vec<usize> = cuts.drain(..).map(|cut| cut.index(stream.len() + 1)).collect();
        ends.sort_unstable();
        prop_assert_eq!(run(&stream, ends), whole.clone());
        prop_assert_eq!(run(&stream, 0..stream.len()), whole);
    }
}
