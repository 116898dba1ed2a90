//! Whatever the gate lets through, hyper must read as the gate does. The first byte says how the stream is cut.
#![no_main]

#[path = "../../crates/keymoat-gateway/tests/it/differential.rs"]
mod differential;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let cut = if *cut == 0 { stream.len() } else { usize::from(*cut) };
    differential::check(stream, cut);
});
