//! Looks for a credential where none may be: as it is, in part, percent-encoded, or in base64 at any alignment.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A made-up credential that a suite uses, and every spelling it might leak in.
#[derive(Debug)]
pub(crate) struct Canary {
    name: &'static str,
    spellings: Vec<Vec<u8>>,
}

impl Canary {
    /// The canary `credential`, called `name` in what is reported.
    pub(crate) fn new(name: &'static str, credential: &str) -> Self {
        // Its second half alone would be a leak too, and every spelling of the whole holds that of the half.
        let half = credential.as_bytes().get(credential.len() / 2..).unwrap_or_default();
        let mut spellings = vec![half.to_vec()];
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            spellings
                .extend((0..3).map(|offset| inner_base64(engine.encode(shifted(half, offset)), half.len(), offset)));
        }
        spellings.dedup();
        Self { name, spellings }
    }

    /// Its name, never itself.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether any spelling of it stands in `bytes`.
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        let decoded: Vec<u8> = percent_encoding::percent_decode(bytes).collect();
        let found = |text: &[u8]| self.spellings.iter().any(|spelling| contains(text, spelling));
        found(bytes) || found(&decoded)
    }

    /// The files under `folder` that hold it, but for `allowed`.
    pub(crate) fn files(&self, folder: &Path, allowed: &[&Path]) -> Result<Vec<String>> {
        let mut holding = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
            let entry = entry.with_context(|| format!("cannot list `{}`", folder.display()))?;
            let path = entry.path();
            let kind = entry.file_type().with_context(|| format!("cannot look at `{}`", path.display()))?;
            if kind.is_dir() {
                holding.extend(self.files(&path, allowed)?);
            } else if kind.is_file() && !allowed.contains(&path.as_path()) {
                // SQLite removes its own journal files while they are being listed.
                let Ok(bytes) = fs::read(&path) else { continue };
                if self.is_in(&bytes) {
                    holding.push(path.display().to_string());
                }
            }
        }
        Ok(holding)
    }
}

/// `bytes` after `offset` others, as base64 of a longer text has them.
fn shifted(bytes: &[u8], offset: usize) -> Vec<u8> {
    [&[0; 2][..offset], bytes].concat()
}

/// Those characters of `encoded` that stand for the canary alone, whatever is before and behind it.
fn inner_base64(encoded: String, length: usize, offset: usize) -> Vec<u8> {
    let start = (offset * 8).div_ceil(6);
    let end = (offset + length) * 8 / 6;
    encoded.into_bytes().get(start..end).unwrap_or_default().to_vec()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && memchr::memmem::find(text, part).is_some()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    const KEY: &str = "km_Canary0Canary0Canary0Canary0?>~ÿCanary0";

    #[test]
    fn finds_every_spelling_anywhere() {
        let canary = Canary::new("key", KEY);
        for before in ["", "a", "ab", "abc", "api-key."] {
            let text = format!("{before}{KEY}after");
            assert!(canary.is_in(text.as_bytes()));
            assert!(canary.is_in(STANDARD_NO_PAD.encode(&text).as_bytes()), "base64 after `{before}`");
            assert!(canary.is_in(URL_SAFE_NO_PAD.encode(&text).as_bytes()), "base64url after `{before}`");
        }
        let percent: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert!(canary.is_in(format!("/ws?api_key={percent}&x=1").as_bytes()));
    }

    #[test]
    fn does_not_cry_over_another_key() {
        let canary = Canary::new("key", KEY);
        assert!(!canary.is_in(b"km_Another0Another0Another0Another0Another0Another0"));
        assert!(!canary.is_in(b""));
    }

    #[test]
    fn searches_folders_but_not_the_allowed_file() {
        let folder = tempfile::tempdir().unwrap();
        let (allowed, leak) = (folder.path().join("key"), folder.path().join("deep/log"));
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(&allowed, KEY).unwrap();
        fs::write(&leak, format!("GET /?key={KEY}")).unwrap();
        let found = Canary::new("key", KEY).files(folder.path(), &[&allowed]).unwrap();
        assert_eq!(found, [leak.display().to_string()]);
    }
}
