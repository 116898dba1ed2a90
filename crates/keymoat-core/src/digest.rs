//! Keyed digests: the only form in which a credential is kept.

use std::fmt;

use aws_lc_rs::{hkdf, hmac};

use crate::secret::Secret;

/// `HMAC-SHA-256(pepper, canonical credential)`, 32 bytes. Unique per credential; useless without the pepper.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// The key of the digests, derived from the master key (RFC 5869) with the label `key-index/v1`.
pub struct Pepper(hmac::Key);

impl Pepper {
    /// Derives the pepper from a master key of at least 32 random bytes.
    #[must_use]
    pub fn derive(master: &Secret) -> Self {
        // HKDF reads the master key; nothing of it is kept.
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(master.expose());
        let okm = extracted.expand(&[b"key-index/v1"], hmac::HMAC_SHA256).expect("32 bytes are within HKDF's bound");
        Self(hmac::Key::from(okm))
    }

    /// Digests a credential in its canonical form.
    #[must_use]
    pub fn digest(&self, canonical: &[u8]) -> Digest {
        let tag = hmac::sign(&self.0, canonical);
        Digest(tag.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_the_master_key_and_the_credential() {
        let one = Pepper::derive(&Secret::from("a master key of thirty-two bytes"));
        let two = Pepper::derive(&Secret::from("b master key of thirty-two bytes"));
        assert_eq!(one.digest(b"km_x"), one.digest(b"km_x"));
        assert_ne!(one.digest(b"km_x"), one.digest(b"km_y"));
        assert_ne!(one.digest(b"km_x"), two.digest(b"km_x"));
    }
}
