//! The master key: 32 random bytes, from which the pepper and the key of the sealed secrets are derived.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use keymoat_core::Secret;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::private_file::{self, Created, Readers};

const MASTER_BYTES: usize = 32;

/// Where the master key of a store comes from. Only the one in the store's own folder is ever made by the store.
#[derive(Debug)]
pub enum MasterKey {
    /// `master.key` in the store's folder, drawn when the store is made.
    InFolder,
    /// A file that only its owner can read.
    File(PathBuf),
    /// A file that systemd put into a service's credentials folder, which nobody else can enter.
    Credential(PathBuf),
    /// The key itself.
    Given {
        /// 64 hexadecimal digits, or 32 bytes in base64.
        text: Secret,
        /// Where it was found, for errors, such as `environment variable KEYMOAT_MASTER_KEY`.
        place: String,
    },
}

/// Where a master key was looked for, for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl MasterKey {
    /// Whether a text has the form of a master key: 64 hexadecimal digits, or 32 bytes in base64.
    #[must_use]
    pub fn is_one(text: &[u8]) -> bool {
        decode(text).is_some()
    }

    /// Reads the key of the store in `dir`; `None` when there is none where it should be.
    pub(crate) fn read(&self, dir: &Path) -> Result<Option<Secret>, StoreError> {
        let read = match self {
            Self::InFolder => private_file::read(&path(dir))?,
            Self::File(path) => private_file::read(path)?,
            Self::Credential(path) => private_file::read_credential(path)?,
            Self::Given { text, .. } => {
                // The digits are read to become the key itself.
                let digits = text.expose();
                return decode(digits).map(Some).ok_or_else(|| self.malformed(dir));
            }
        };
        let Some(text) = read else { return Ok(None) };
        // The digits are read to become the key itself.
        let digits = text.expose();
        decode(digits).map(Some).ok_or_else(|| self.malformed(dir))
    }

    /// Where the master key of the store in `dir` is kept.
    #[must_use]
    pub fn place(&self, dir: &Path) -> Place {
        Place(match self {
            Self::InFolder => format!("`{}`", path(dir).display()),
            Self::File(path) | Self::Credential(path) => format!("`{}`", path.display()),
            Self::Given { place, .. } => place.clone(),
        })
    }

    fn malformed(&self, dir: &Path) -> StoreError {
        StoreError::MasterKeyMalformed { place: self.place(dir) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Draws a master key and writes it into the store's folder, durably, unless another process was faster; then that one
/// is read.
pub(crate) fn create(dir: &Path) -> Result<Secret, StoreError> {
    let mut bytes = vec![0; MASTER_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::Random)?;
    let master = Secret::new(bytes);
    // The key is written to its own file, the one place where it is kept.
    let digits = encode(master.expose());
    // The digits go to the disk.
    let created = private_file::create(&path(dir), digits.expose(), Readers::Owner)?;
    match created {
        Created::Now => Ok(master),
        Created::Before => {
            let missing = || StoreError::MasterKeyMissing { place: MasterKey::InFolder.place(dir) };
            MasterKey::InFolder.read(dir)?.ok_or_else(missing)
        }
    }
}

/// Where the master key of the store in `dir` is kept when nothing else is said.
fn path(dir: &Path) -> PathBuf {
    dir.join("master.key")
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

/// Reads 64 hexadecimal digits, or 32 bytes in base64 of either alphabet (RFC 4648 sections 4 and 5), padded or not.
fn decode(text: &[u8]) -> Option<Secret> {
    let digits = text.trim_ascii();
    if digits.len() == 2 * MASTER_BYTES {
        return from_hex(digits);
    }
    let digits = digits.strip_suffix(b"=").unwrap_or(digits);
    let mut bytes = Zeroizing::new(vec![0; MASTER_BYTES + 1]);
    let decoded = [STANDARD_NO_PAD, URL_SAFE_NO_PAD].iter().find_map(|form| form.decode_slice(digits, &mut bytes).ok());
    if decoded != Some(MASTER_BYTES) {
        return None;
    }
    bytes.truncate(MASTER_BYTES);
    Some(Secret::new(std::mem::take(&mut *bytes)))
}

fn from_hex(digits: &[u8]) -> Option<Secret> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(MASTER_BYTES));
    for pair in digits.chunks_exact(2) {
        let [high, low] = pair else { return None };
        bytes.push(value(high)? << 4 | value(low)?);
    }
    Some(Secret::new(std::mem::take(&mut *bytes)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn reads_back_what_it_created_and_creates_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let read = || MasterKey::InFolder.read(dir.path()).unwrap();
        assert!(read().is_none());
        let first = create(dir.path()).unwrap();
        assert_eq!(first.len(), MASTER_BYTES);
        assert!(create(dir.path()).unwrap().matches(&first));
        assert!(read().unwrap().matches(&first));
    }

    #[test]
    fn takes_64_hexadecimal_digits_or_32_bytes_in_base64_and_nothing_else() {
        let hex = "0123456789abcdefABCDEF".repeat(3);
        assert!(decode(&hex.as_bytes()[..64]).is_some());
        assert!(decode(&hex.as_bytes()[..62]).is_none());
        assert!(decode(&hex.as_bytes()[..66]).is_none());
        assert!(decode("g".repeat(64).as_bytes()).is_none());
        assert!(decode(b"").is_none());

        let key = Secret::new(vec![0xfb; MASTER_BYTES]);
        let standard = base64::engine::general_purpose::STANDARD.encode(vec![0xfb; MASTER_BYTES]);
        let url_safe = URL_SAFE_NO_PAD.encode(vec![0xfb; MASTER_BYTES]);
        for text in [&*"fb".repeat(32), &standard, &format!(" {standard}\n"), &url_safe] {
            assert!(decode(text.as_bytes()).is_some_and(|read| read.matches(&key)), "{text}");
        }
        for bytes in [31, 33, 48] {
            assert!(decode(URL_SAFE_NO_PAD.encode(vec![0xfb; bytes]).as_bytes()).is_none(), "{bytes}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_told_by_its_place_and_never_shown() {
        let place = "environment variable X".to_owned();
        let given = MasterKey::Given { text: Secret::from("canary"), place };
        let error = given.read(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().starts_with("environment variable X "), "{error}");
        assert!(!format!("{error} {error:?} {given:?}").contains("canary"));
    }
}
