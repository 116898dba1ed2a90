//! The search for the story's secrets, in all that was written and all that the provider was sent.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use keymoat_core::Secret;
use keymoat_core::format::canonical;
use keymoat_emulator::Recorded;
use memchr::memmem;
use serde::Serialize;

/// Where the real key belongs, and the one place where it may be found.
const ITS_PLACE: &str = "header:x-goog-api-key";

/// What the search has come to.
#[derive(Debug, Serialize)]
pub(crate) struct Searched {
    /// How many secrets were looked for.
    pub(crate) secrets: usize,
    /// How many lines the gateway has written.
    pub(crate) log_lines: usize,
    /// How many requests the provider has got.
    pub(crate) requests: usize,
    /// How often the real key stood in its header, where it belongs.
    pub(crate) in_their_place: usize,
    /// Which secret stood where it may not.
    pub(crate) found: Vec<String>,
}

/// Searches for each of the named secrets, plain and in base64.
pub(crate) fn search(secrets: &[(&str, &Secret)], log: &[u8], record: &[Recorded]) -> Searched {
    let mut found = Vec::new();
    let mut in_their_place = 0;
    for (name, secret) in secrets {
        let needles = spellings(secret);
        if needles.iter().any(|needle| memmem::find(log, needle.as_bytes()).is_some()) {
            found.push(format!("{name} in the gateway's log"));
        }
        for request in record {
            for place in needles.iter().flat_map(|needle| request.places_of(needle)) {
                if place == ITS_PLACE && *name == "the provider's API key" {
                    in_their_place += 1;
                } else {
                    found.push(format!("{name} in request {} at the provider: {place}", request.id));
                }
            }
        }
    }
    let log_lines = log.iter().filter(|byte| **byte == b'\n').count();
    Searched { secrets: secrets.len(), log_lines, requests: record.len(), in_their_place, found }
}

/// How a secret could stand in a text: itself, and in base64 at each of the three alignments.
///
/// The credentials of the story are letters and digits, which percent encoding leaves alone.
fn spellings(secret: &Secret) -> Vec<String> {
    // A copy is needed to compare with; it is dropped at the end of the search.
    let (bare, _) = canonical(Secret::new(secret.expose().to_vec()));
    let bare = bare.expose();
    let mut spellings = vec![String::from_utf8_lossy(bare).into_owned()];
    for skipped in 0..3 {
        let aligned = bare.get(skipped..bare.len() - (bare.len() - skipped) % 3).unwrap_or_default();
        spellings.push(STANDARD_NO_PAD.encode(aligned));
        spellings.push(URL_SAFE_NO_PAD.encode(aligned));
    }
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_plain_and_in_base64_at_every_alignment() {
        let secret = Secret::from("km_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG000000");
        let text = "km_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG000000";
        for before in ["", "a", "ab", "abc"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{before}{text}--"));
            for log in [format!("{before}{text}"), encoded] {
                let searched = search(&[("the key", &secret)], log.as_bytes(), &[]);
                assert_eq!(searched.found, ["the key in the gateway's log"], "{before}");
            }
        }
        assert!(search(&[("the key", &secret)], b"km_0123456789\n", &[]).found.is_empty());
    }
}
