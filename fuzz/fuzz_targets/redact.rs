//! Whatever the text, the redactor gives the same for every cut of it, leaves the mark of a single value alone, drops no line for an
//! error, and lets no registered secret through.
//!
//! The first byte is the size of the pieces; the rest is the text.
#![no_main]

use std::sync::{Arc, LazyLock};

use keymoat_redact::{Known, KnownSecrets, Options, Redactor, Rules};
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"Kn0wn/Secret+of=Registered-Value";

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(Arc::default);

fuzz_target!(|data: &[u8]| {
    let Some((&size, text)) = data.split_first() else { return };
    let (whole, masked) = redacted(text, usize::MAX);
    assert!(redacted(text, usize::from(size) + 1).0 == whole, "the cut matters");
    // Of several values the mark of one may swallow the quote that ended another one, which a second pass then masks further.
    assert!(masked > 1 || redacted(&whole, usize::MAX).0 == whole, "not idempotent");
    assert!(!whole.windows(SECRET.len()).any(|window| window == SECRET));
});

/// The text without credentials, and how many there were.
fn redacted(text: &[u8], size: usize) -> (Vec<u8>, u64) {
    let known = KnownSecrets::default();
    known.replace(Known::new([SECRET]));
    let mut redactor = Redactor::new(Arc::clone(&RULES), Options { known, ..Options::default() });
    let mut out = Vec::new();
    for piece in text.chunks(size.min(text.len().max(1))) {
        redactor.write(piece, &mut out).expect("memory");
    }
    redactor.finish(&mut out).expect("memory");
    assert_eq!(redactor.stats().lines_dropped, 0);
    (out, redactor.stats().masked)
}
