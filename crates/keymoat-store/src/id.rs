//! The ids of keys, tokens and admins: drawn at random, safe to log, and nothing that lets anybody in.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::error::StoreError;

/// What a key's id starts with.
pub(crate) const KEY: &str = "key_";

/// What the id of a key's secret starts with.
pub(crate) const SECRET: &str = "sec_";

/// What a token's id starts with.
pub(crate) const TOKEN: &str = "tok_";

/// What an admin's id starts with.
pub(crate) const ADMIN: &str = "adm_";

/// What the id of a node starts with.
pub(crate) const NODE: &str = "node_";

/// Lower-case base32 without the letters that look like others.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const CHARS: usize = 12;

/// Draws an id that starts with `prefix`.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn draw(prefix: &str) -> Result<String, StoreError> {
    let mut random = [0; CHARS];
    SystemRandom::new().fill(&mut random).map_err(|_| StoreError::Random)?;
    // 32 divides 256, so every digit is equally likely.
    let digits = random.iter().map(|byte| char::from(DIGITS[usize::from(byte % 32)]));
    Ok(prefix.chars().chain(digits).collect())
}
