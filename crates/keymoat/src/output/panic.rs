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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the process that panics.
    const CANARY: &str = "KEYMOAT_TEST_PANICS_WITH";

    #[test]
    fn a_panic_is_told_without_its_text() {
        if let Ok(canary) = std::env::var(CANARY) {
            install_hook();
            let worker = thread::Builder::new().name("worker".into()).spawn(move || panic!("holding {canary}"));
            assert!(worker.expect("a thread").join().is_err());
            return;
        }
        let this_test = "output::panic::tests::a_panic_is_told_without_its_text";
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", this_test, "--nocapture"])
            .env(CANARY, "km_canary")
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("internal error at ") && told.contains("`worker`"), "{told}");
        for stream in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(stream).contains("km_canary"), "{told}");
        }
    }
}
