//! What is told of a panic: where it happened, never what it said, because its text may hold what was being worked on.

use std::io::Write;
use std::panic;
use std::thread;

/// Replaces the standard hook, which prints the payload.
pub(crate) fn install_hook() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        let mut stderr = std::io::stderr().lock();
        // Standard error may be closed; there is nowhere else to say so.
        let _ = writeln!(
            stderr,
            "keymoat: internal error at {place} in thread `{name}` (its text is withheld, for it may hold a credential): \
             please report the place"
        );
    }));
}
