//! Any bytes as the frames of one direction flow as a plain reading of RFC 6455 says, however they are cut into reads.
//!
//! Four bytes choose the direction, the cuts and the caps. Then come frames in shorthand, three bytes each (so that a
//! short input makes long frames and many, and so that seeds are text), up to an `R`; what follows is taken as it is.
#![no_main]

use keymoat_core::websocket::flow::{EMPTY_FRAGMENTS_MAX, FRAGMENTS_MAX};
use keymoat_core::websocket::{Caps, Close, Direction, Flow, FrameError, Header, Opcode, Step};
use libfuzzer_sys::fuzz_target;

/// Inputs make streams up to about this long.
const STREAM_BYTES_MAX: usize = 200_000;

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, cut, frame_cap, message_cap], script)) = data.split_first_chunk::<4>() else { return };
    let direction = if choice & 1 == 0 { Direction::FromClient } else { Direction::FromUpstream };
    let cap = |shift: u8| (1_u64 << (shift % 24)) - 1;
    let caps = Caps { frame_bytes_max: cap(frame_cap), message_bytes_max: cap(message_cap) };
    let stream = stream(script, direction);
    check_header(&stream);
    let wanted = model(&stream, direction, caps);
    for chunk_bytes in [usize::MAX, 1 + usize::from(cut)] {
        check(&wanted, &run(direction, caps, &stream, chunk_bytes));
    }
    if stream.len() < 2000 {
        check(&wanted, &run(direction, caps, &stream, 1));
    }
});

/// Writes out the shorthand. First the opcode, as `0` to `?`, or as `p` on for a frame without FIN; bit 7 puts the mask
/// to the wrong side, and other bits than those of `0` and `p` are reserved ones. Then the length; 126 and 127 are
/// followed by longer ones that the third byte gives. Otherwise the third byte is how many frames there are, if bit 7
/// of the length is set. It fills the payload, too.
fn stream(mut script: &[u8], direction: Direction) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((&[first, second, third], rest)) = script.split_first_chunk::<3>() {
        if first == b'R' {
            stream.extend_from_slice(script.get(1..).unwrap_or_default());
            return stream;
        }
        script = rest;
        let fin = if first & 0x40 == 0 { 0x80 } else { 0 };
        let masked = (direction == Direction::FromClient) != (first & 0x80 != 0);
        let short = second & 0x7F;
        let (length, repeat) = match short {
            126 => (u64::from(third) * 9, 1),
            127 => (u64::from(third) << 9, 1),
            _ => (u64::from(short), 1 + if second & 0x80 == 0 { 0 } else { usize::from(third) * 5 }),
        };
        for _ in 0..repeat {
            if stream.len() > STREAM_BYTES_MAX {
                return stream;
            }
            stream.push(fin | (first & 0x3F ^ 0x30));
            stream.push(short | if masked { 0x80 } else { 0 });
            match short {
                126 => stream.extend_from_slice(&(length as u16).to_be_bytes()),
                127 => stream.extend_from_slice(&length.to_be_bytes()),
                _ => {}
            }
            if masked {
                stream.extend_from_slice(&[third, 1, 2, 3]);
            }
            stream.extend((0..length).map(|index| third ^ (index as u8)));
        }
    }
    stream
}

/// A header has one form: what was read is written as it was, and read again as it is.
fn check_header(bytes: &[u8]) {
    let Ok(Some((header, length))) = Header::parse(bytes) else { return };
    let mut again = Vec::new();
    header.write(&mut again);
    assert_eq!(again, bytes[..length]);
    assert_eq!(Header::parse(&again), Ok(Some((header, length))));
    for cut in 0..length {
        assert_eq!(Header::parse(&again[..cut]), Ok(None));
    }
}

/// What came of a stream.
#[derive(Debug, Default, PartialEq)]
struct Passed {
    forwarded: Vec<u8>,
    controls: Vec<(Opcode, Vec<u8>)>,
    /// Messages that ended, and bytes of payload.
    counts: (u64, u64),
    /// Where frames begin and end among what was forwarded. Of a run, where it said that they do.
    boundaries: Vec<usize>,
    fault: bool,
    /// The end is inside a header or a control frame, whose fault may be visible already.
    cut: bool,
}

fn check(wanted: &Passed, found: &Passed) {
    assert_eq!((&found.forwarded, found.counts), (&wanted.forwarded, wanted.counts));
    assert_eq!(found.controls, wanted.controls);
    assert!(found.fault == wanted.fault || found.fault && wanted.cut);
    assert!(found.boundaries.iter().all(|boundary| wanted.boundaries.binary_search(boundary).is_ok()));
}

/// The plain reading: frame after frame, with all the bytes at hand.
fn model(stream: &[u8], direction: Direction, caps: Caps) -> Passed {
    let mut passed = Passed { boundaries: vec![0], ..Passed::default() };
    let (mut open, mut message_bytes, mut frames, mut empty_frames) = (false, 0_u64, 0, 0);
    let mut rest = stream;
    while !rest.is_empty() {
        let Some((header_bytes, length, key)) = plain_header(rest) else {
            passed.cut = true;
            break;
        };
        let (fin, reserved, opcode) = (rest[0] & 0x80 != 0, rest[0] & 0x70 != 0, rest[0] & 0x0F);
        let control = opcode & 8 != 0;
        let minimal = match rest[1] & 0x7F {
            126 => length >= 126,
            127 => length >= 1 << 16 && length < 1 << 63,
            _ => true,
        };
        let wrong_mask = key.is_some() != (direction == Direction::FromClient);
        let wrong_place = !control && open != (opcode == 0);
        let too_much = !control
            && (length > caps.frame_bytes_max
                || message_bytes.saturating_add(length) > caps.message_bytes_max
                || frames >= FRAGMENTS_MAX
                || length == 0 && empty_frames >= EMPTY_FRAGMENTS_MAX);
        let wrong_control = control && (!fin || length > 125);
        let unknown = !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
        if reserved || unknown || !minimal || wrong_mask || wrong_place || too_much || wrong_control {
            passed.fault = true;
            break;
        }
        let whole = usize::try_from(length).ok().and_then(|length| rest.get(..header_bytes + length));
        if control {
            let Some(whole) = whole else {
                passed.cut = true;
                break;
            };
            let unmasked = whole[header_bytes..].iter().zip(key.unwrap_or_default().into_iter().cycle());
            let opcode = [Opcode::Close, Opcode::Ping, Opcode::Pong][usize::from(opcode & 3)];
            passed.controls.push((opcode, unmasked.map(|(byte, key)| byte ^ key).collect()));
            rest = &rest[whole.len()..];
            continue;
        }
        let here = whole.unwrap_or(rest);
        passed.forwarded.extend_from_slice(here);
        passed.counts.1 += (here.len() - header_bytes) as u64;
        rest = &rest[here.len()..];
        (open, message_bytes, frames) = (true, message_bytes + length, frames + 1);
        empty_frames += u32::from(length == 0);
        if whole.is_some() {
            passed.boundaries.push(passed.forwarded.len());
            if fin {
                (open, message_bytes, frames, empty_frames) = (false, 0, 0, 0);
                passed.counts.0 += 1;
            }
        }
    }
    passed
}

/// The length of a whole header, that of the payload, and the mask.
fn plain_header(bytes: &[u8]) -> Option<(usize, u64, Option<[u8; 4]>)> {
    let second = *bytes.get(1)?;
    let (at, length) = match second & 0x7F {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    if second & 0x80 == 0 {
        return Some((at, length, None));
    }
    Some((at + 4, length, Some(bytes.get(at..at + 4)?.try_into().ok()?)))
}

/// The flow's own reading, with so many bytes at hand at a time.
fn run(direction: Direction, caps: Caps, stream: &[u8], chunk_bytes: usize) -> Passed {
    let mut passed = Passed::default();
    let mut flow = Flow::new(direction, caps);
    let (mut start, mut end) = (0, 0);
    while end < stream.len() {
        end = end.saturating_add(chunk_bytes).min(stream.len());
        loop {
            let bytes = match step(&mut flow, &stream[start..end], &mut passed) {
                Ok(0) => break,
                Ok(bytes) => bytes,
                Err(error) => {
                    assert!(flow.at_boundary(), "{error}");
                    passed.fault = true;
                    passed.counts = (flow.messages(), flow.payload_bytes());
                    return passed;
                }
            };
            start += bytes;
        }
        assert!(end - start < 14 + 125);
    }
    passed.counts = (flow.messages(), flow.payload_bytes());
    passed
}

fn step(flow: &mut Flow, rest: &[u8], passed: &mut Passed) -> Result<usize, FrameError> {
    match flow.advance(rest)? {
        Step::Incomplete => Ok(0),
        Step::Forward { bytes, boundary } => {
            assert!(bytes > 0 && boundary.is_none_or(|boundary| boundary <= bytes));
            assert!(flow.at_boundary() == (boundary == Some(bytes)));
            passed.boundaries.extend(boundary.map(|boundary| passed.forwarded.len() + boundary));
            passed.forwarded.extend_from_slice(&rest[..bytes]);
            Ok(bytes)
        }
        Step::Control { bytes, control } => {
            assert!(bytes > 0 && control.opcode().is_control());
            if let (Opcode::Close, Ok(Some(close))) = (control.opcode(), Close::parse(control.payload())) {
                assert_eq!(close.payload(), control.payload());
            }
            passed.controls.push((control.opcode(), control.payload().to_vec()));
            Ok(bytes)
        }
    }
}
