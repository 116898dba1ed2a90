//! Whatever the text, the redactor gives the same for every cut of it, comes to an end when it is applied again and again, drops no
//! line for an error, and lets no registered secret through.
//!
//! The first byte is the size of the pieces; the rest is the text.
#![no_main]

use std::sync::{Arc, LazyLock};

use keymoat_redact::{Known, KnownSecrets, Options, Redactor, Rules};
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"Kn0wn/Secret+of=Registered-Value";

/// After so many passes nothing changes any more.
const PASSES: usize = 8;

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(Arc::default);

fuzz_target!(|data: &[u8]| {
    let Some((&size, text)) = data.split_first() else { return };
    let whole = redacted(text, usize::MAX);
    assert!(redacted(text, usize::from(size) + 1) == whole, "the cut matters");
    // Of several values the mark of one may swallow the quote or the space that ended another one, which a second pass then masks
    // further. Of one value alone a property test wants that nothing changes.
    let mut again = whole.clone();
    let stable = (0..PASSES).any(|_| {
        let next = redacted(&again, usize::MAX);
        std::mem::replace(&mut again, next.clone()) == next
    });
    assert!(stable, "never the same");
    assert!(!whole.windows(SECRET.len()).any(|window| window == SECRET));
});

/// The text without credentials.
fn redacted(text: &[u8], size: usize) -> Vec<u8> {
    let known = KnownSecrets::default();
    known.replace(Known::new([SECRET]));
    let mut redactor = Redactor::new(Arc::clone(&RULES), Options { known, ..Options::default() });
    let mut out = Vec::new();
    for piece in text.chunks(size.min(text.len().max(1))) {
        redactor.write(piece, &mut out).expect("memory");
    }
    redactor.finish(&mut out).expect("memory");
    assert_eq!(redactor.stats().lines_dropped, 0);
    out
}
