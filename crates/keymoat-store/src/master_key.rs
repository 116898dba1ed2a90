//! The master key: 32 random bytes in a file that only its owner can read, from which the pepper is derived.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use keymoat_core::Secret;

use crate::error::StoreError;
use crate::private_file::{self, Created, Readers};

const MASTER_BYTES: usize = 32;

/// Where the master key of the store in `dir` is kept.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("master.key")
}

/// Reads the master key; `None` when there is no file.
pub(crate) fn read(dir: &Path) -> Result<Option<Secret>, StoreError> {
    let path = path(dir);
    let Some(text) = private_file::read(&path)? else { return Ok(None) };
    // The digits are read to become the key itself.
    let digits = text.expose();
    decode(digits).map(Some).ok_or(StoreError::MasterKeyMalformed { path })
}

/// Draws a master key and writes it, durably, unless another process was faster; then that one is read.
pub(crate) fn create(dir: &Path) -> Result<Secret, StoreError> {
    let mut bytes = vec![0; MASTER_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::Random)?;
    let master = Secret::new(bytes);
    // The key is written to its own file, the one place where it is kept.
    let digits = encode(master.expose());
    let path = path(dir);
    // The digits go to the disk.
    let created = private_file::create(&path, digits.expose(), Readers::Owner)?;
    match created {
        Created::Now => Ok(master),
        Created::Before => read(dir)?.ok_or(StoreError::MasterKeyMissing { path }),
    }
}

fn encode(bytes: &[u8]) -> Secret {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut digits = Vec::with_capacity(2 * bytes.len() + 1);
    for byte in bytes {
        digits.push(DIGITS[usize::from(byte >> 4)]);
        digits.push(DIGITS[usize::from(byte & 15)]);
    }
    digits.push(b'\n');
    Secret::new(digits)
}

fn decode(text: &[u8]) -> Option<Secret> {
    let digits = text.trim_ascii();
    if digits.len() != 2 * MASTER_BYTES {
        return None;
    }
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = Vec::with_capacity(MASTER_BYTES);
    for pair in digits.chunks_exact(2) {
        let [high, low] = pair else { return None };
        bytes.push(value(high)? << 4 | value(low)?);
    }
    Some(Secret::new(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn reads_back_what_it_created_and_creates_only_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_none());
        let first = create(dir.path()).unwrap();
        assert_eq!(first.len(), MASTER_BYTES);
        assert!(create(dir.path()).unwrap().matches(&first));
        assert!(read(dir.path()).unwrap().unwrap().matches(&first));
    }

    #[test]
    fn takes_only_64_hexadecimal_digits() {
        let good = "0123456789abcdefABCDEF".repeat(3);
        assert!(decode(&good.as_bytes()[..64]).is_some());
        assert!(decode(&good.as_bytes()[..62]).is_none());
        assert!(decode(&good.as_bytes()[..66]).is_none());
        assert!(decode("g".repeat(64).as_bytes()).is_none());
        assert!(decode(b"").is_none());
    }
}
