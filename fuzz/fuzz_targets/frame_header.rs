//! Any bytes as the frames of one direction: no panic, and how they are cut into reads changes nothing.
#![no_main]

use keymoat_core::websocket::{Caps, Close, Control, Direction, Flow, FrameError, Header, Opcode, Step};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (from_client, chunk_bytes, bytes) = input;
    if let Ok(Some((header, length))) = Header::parse(bytes) {
        let mut again = Vec::new();
        header.write(&mut again);
        assert_eq!(again, bytes[..length]);
    }
    let direction = if from_client { Direction::FromClient } else { Direction::FromUpstream };
    let whole = run(direction, bytes, bytes.len().max(1));
    let cut = run(direction, bytes, usize::from(chunk_bytes).max(1));
    assert_eq!(whole, cut);
});

fn run(direction: Direction, bytes: &[u8], chunk_bytes: usize) -> (Vec<u8>, Vec<Control>, Option<FrameError>) {
    let (mut forwarded, mut controls) = (Vec::new(), Vec::new());
    let mut flow = Flow::new(direction, Caps { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 21 });
    let mut carry: Vec<u8> = Vec::new();
    for chunk in bytes.chunks(chunk_bytes) {
        let read = [&carry[..], chunk].concat();
        let mut rest = &read[..];
        loop {
            let taken = match flow.advance(rest) {
                Ok(Step::Forward { bytes, boundary }) => {
                    assert!(bytes > 0 && boundary.is_none_or(|boundary| boundary <= bytes));
                    forwarded.extend_from_slice(&rest[..bytes]);
                    bytes
                }
                Ok(Step::Control { bytes, control }) => {
                    if control.opcode() == Opcode::Close {
                        let _ = Close::parse(control.payload());
                    }
                    controls.push(control);
                    bytes
                }
                Ok(Step::Incomplete) => break,
                Err(error) => return (forwarded, controls, Some(error)),
            };
            rest = &rest[taken..];
        }
        assert!(rest.len() < 14 + 125);
        carry = rest.to_vec();
    }
    (forwarded, controls, None)
}
