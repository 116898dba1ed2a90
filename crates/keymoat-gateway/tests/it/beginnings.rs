//! Where every beginning has to be kept, nothing goes upstream before it is, and nothing at all when it cannot be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use keymoat_core::record::{Outcome, Protocol, Record};
use keymoat_core::refusal::Code;

use crate::stand::{Stand, close_of, read_frame};

/// What was kept, with how many requests the upstream had seen until then.
type Kept = Arc<Mutex<Vec<(Record, usize)>>>;

fn stand() -> (Stand, Kept, Arc<AtomicBool>) {
    let stand = Stand::start();
    let (kept, works) = (Kept::default(), Arc::new(AtomicBool::new(true)));
    let (keep, can_keep, recorder) = (kept.clone(), works.clone(), stand.recorder.clone());
    stand.running.as_ref().expect("it runs").keep_beginnings_by(Arc::new(move |record| {
        let (keep, can_keep, recorder) = (keep.clone(), can_keep.clone(), recorder.clone());
        Box::pin(async move {
            tokio::task::yield_now().await;
            keep.lock().expect("no panic").push((record, recorder.requests().len()));
            can_keep.load(Ordering::SeqCst)
        })
    }));
    (stand, kept, works)
}

#[test]
fn a_request_s_beginning_is_kept_before_the_upstream_sees_it() {
    let (stand, kept, _) = stand();
    let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let kept = kept.lock().expect("no panic").clone();
    let [(begun, seen_before)] = &kept[..] else { panic!("one beginning: {kept:?}") };
    assert_eq!((*seen_before, stand.recorder.requests().len()), (0, 1));
    let ended = &stand.records(1)[0];
    assert_eq!((begun.id, &begun.route, &begun.key_id), (ended.id, &ended.route, &ended.key_id));
}

#[test]
fn nothing_goes_upstream_that_cannot_be_written_down() {
    let (stand, _, works) = stand();
    works.store(false, Ordering::SeqCst);
    let answer = stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    let (_, mut socket) = stand.open_websocket("/ws/events", &format!("X-API-Key: {}\r\n", stand.key));
    assert_eq!(close_of(&read_frame(&mut socket)).0, 1013);
    assert_eq!(stand.recorder.requests().len(), 0);
    for record in stand.records(2) {
        assert_eq!((record.outcome, record.code), (Outcome::Refused, Some(Code::Unavailable)));
    }
    works.store(true, Ordering::SeqCst);
    assert!(stand.fetch("/demo/echo", &format!("X-API-Key: {}\r\n", stand.key)).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_socket_s_beginning_is_kept_and_a_refusal_has_none() {
    let (stand, kept, _) = stand();
    assert!(stand.fetch("/demo/echo", "X-API-Key: wrong\r\n").starts_with("HTTP/1.1 401"));
    assert_eq!(kept.lock().expect("no panic").len(), 0);
    let (head, _socket) = stand.open_websocket("/ws/events", &format!("X-API-Key: {}\r\n", stand.key));
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let kept = kept.lock().expect("no panic").clone();
    assert_eq!((kept.len(), kept[0].0.protocol, kept[0].1), (1, Protocol::WebSocket, 0));
}

#[test]
fn live_sessions_are_counted_by_route() {
    let stand = Stand::start();
    let running = stand.running.clone().expect("it runs");
    assert!(running.live_sessions_by_route().is_empty());
    let (_, _one) = stand.open_websocket("/ws/events", &format!("X-API-Key: {}\r\n", stand.key));
    let (_, _two) = stand.open_websocket("/demo/ws", &format!("X-API-Key: {}\r\n", stand.key));
    let counts = running.live_sessions_by_route();
    assert_eq!((counts.values().sum::<usize>(), counts.get("demo").copied()), (2, Some(1)));
}
