//! A keyed fingerprint: tells whether two masked values are the same, and nothing else to whoever has no key.

use aws_lc_rs::hmac;

use crate::view::decoded_value;

/// How long the key must be, in bytes.
pub const FINGERPRINT_KEY_BYTES_MIN: usize = 32;
/// A shorter value gets no fingerprint: it could be guessed.
pub const FINGERPRINT_VALUE_BYTES_MIN: usize = 20;

/// Keeps fingerprints apart from whatever else the key may be used for.
const DOMAIN: &[u8] = b"keymoat redact fingerprint 1\0";
const PLACE_DOMAIN: &[u8] = b"keymoat redact place 1\0";
const KEY_ID_DOMAIN: &[u8] = b"keymoat redact key id 1\0";

/// The key is shorter than [`FINGERPRINT_KEY_BYTES_MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint key has at least {FINGERPRINT_KEY_BYTES_MIN} bytes")]
pub struct FingerprintKeyTooShort;

/// Makes fingerprints with one key: the first 32 bits of HMAC-SHA-256 over the decoded value.
#[derive(Clone)]
pub struct Fingerprinter(hmac::Key);

impl Fingerprinter {
    /// With a random key that belongs to one installation.
    ///
    /// # Errors
    /// The key is too short.
    pub fn new(key: &[u8]) -> Result<Self, FingerprintKeyTooShort> {
        if key.len() < FINGERPRINT_KEY_BYTES_MIN {
            return Err(FingerprintKeyTooShort);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// Of a value as it stood in the text: the same for `a%2Fb` and `a/b`. `None` for a short one.
    #[must_use]
    pub fn of(&self, value: &[u8]) -> Option<u32> {
        let value = zeroize::Zeroizing::new(decoded_value(value));
        (value.len() >= FINGERPRINT_VALUE_BYTES_MIN).then(|| self.first_bits(DOMAIN, &value))
    }

    /// The first 48 bits of the same, for reports over many files: the first 32 of them are [`Self::of`].
    #[must_use]
    pub fn long_of(&self, value: &[u8]) -> Option<u64> {
        let value = zeroize::Zeroizing::new(decoded_value(value));
        (value.len() >= FINGERPRINT_VALUE_BYTES_MIN).then(|| self.first_48_bits(DOMAIN, &[&value]))
    }

    /// Names a place, for what has no fingerprint of its value. No part of it is a value.
    #[must_use]
    pub fn of_place(&self, parts: &[&[u8]]) -> u64 {
        self.first_48_bits(PLACE_DOMAIN, parts)
    }

    /// Names the key itself, for reports that are compared.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.first_bits(KEY_ID_DOMAIN, &[])
    }

    fn first_48_bits(&self, domain: &[u8], parts: &[&[u8]]) -> u64 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(domain);
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                context.update(&[0]);
            }
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first) >> 16)
    }

    fn first_bits(&self, domain: &[u8], value: &[u8]) -> u32 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(domain);
        context.update(value);
        let tag = context.sign();
        tag.as_ref().first_chunk().map_or(0, |first| u32::from_be_bytes(*first))
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_forms_have_one_fingerprint() {
        let one = Fingerprinter::new(&[7; 32]).expect("long enough");
        let other = Fingerprinter::new(&[8; 32]).expect("long enough");
        let print = one.of(b"auth_tokens/Zk7Qw2Lr9TnXb4Vm").expect("long enough");
        assert_eq!(one.of(b"auth_tokens%2FZk7Qw2Lr9TnXb4Vm"), Some(print));
        assert_eq!(one.of(b"auth_tokens%252fZk7Qw2Lr9TnXb4Vm"), Some(print));
        assert_ne!(other.of(b"auth_tokens/Zk7Qw2Lr9TnXb4Vm"), Some(print));
        assert_eq!(one.long_of(b"auth_tokens%2FZk7Qw2Lr9TnXb4Vm").map(|long| long >> 16), Some(u64::from(print)));
        assert_eq!(one.long_of(b"hunter2"), None);
        assert_ne!(one.of_place(&[b"a", b"b"]), one.of_place(&[b"ab"]));
        assert_eq!(one.of(b"hunter2"), None);
        assert_eq!(Fingerprinter::new(&[7; 31]).err(), Some(FingerprintKeyTooShort));
        assert_ne!(one.key_id(), other.key_id());
    }
}
