//! Envelope encryption of one secret: AES-256-GCM under a data key (DEK) used once, itself wrapped under a key (KEK)
//! that is derived from the master key.
//!
//! ```text
//! master key ──HKDF──▶ KEK ──wraps──▶ DEK ──seals──▶ secret
//! ```
//! Both boxes are bound to upstream, version and KEK id, so that neither opens in another row. Which KEK a box needs is
//! told by its id; no key is ever tried out.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use keymoat_core::Secret;
use zeroize::Zeroizing;

use crate::error::{StoreError, Unopenable};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What the associated data of every box starts with.
const FORMAT: &[u8] = b"keymoat/upstream-secret/v1";

/// The name of a KEK: derived like it, and telling nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KekId(pub(crate) [u8; 16]);

/// The key that wraps data keys, derived from the master key (RFC 5869) with the label `upstream-kek/v1`.
pub(crate) struct Kek {
    key: RandomizedNonceKey,
    id: KekId,
}

/// Which row a sealed secret belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) upstream: &'a str,
    pub(crate) version: u32,
}

/// A secret as it is stored. Each box is nonce, ciphertext and tag.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) kek_id: KekId,
    pub(crate) wrapped_dek: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
}

/// What a box holds, so that one kind cannot stand for the other.
#[derive(Clone, Copy)]
enum Holds {
    Dek,
    Secret,
}

impl Kek {
    /// Derives the KEK from a master key of at least 32 random bytes.
    pub(crate) fn derive(master: &Secret) -> Self {
        // HKDF reads the master key; nothing of it is kept.
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(master.expose());
        let expand = |label: &[u8]| {
            let (mut bytes, info) = (Zeroizing::new([0; KEY_BYTES]), [label]);
            let okm = extracted.expand(&info, &AES_256_GCM);
            okm.and_then(|okm| okm.fill(&mut *bytes)).expect("32 bytes are within HKDF's bound");
            bytes
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &*expand(b"upstream-kek/v1"));
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *expand(b"upstream-kek-id/v1");
        let id = KekId([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]);
        Self { key: key.expect("32 bytes are an AES-256 key"), id }
    }

    /// Seals `secret` for `row` under a new data key.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn seal(&self, row: Row<'_>, secret: &Secret) -> Result<Sealed, StoreError> {
        let mut dek = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(&mut *dek).map_err(|_| StoreError::Random)?;
        let data_key = data_key(&*dek).ok_or(StoreError::Random)?;
        // The secret is encrypted in its own copy, which is then no secret any more.
        let plain = secret.expose();
        let sealed = close(&data_key, &aad(Holds::Secret, row, self.id), plain)?;
        let wrapped_dek = close(&self.key, &aad(Holds::Dek, row, self.id), &*dek)?;
        Ok(Sealed { kek_id: self.id, wrapped_dek, sealed })
    }

    /// Opens what was sealed for `row`.
    ///
    /// # Errors
    /// [`StoreError::SecretUnopenable`] when it was sealed under another KEK, for another row, or is damaged.
    pub(crate) fn open(&self, row: Row<'_>, sealed: &Sealed) -> Result<Secret, StoreError> {
        let failed = |why| StoreError::SecretUnopenable { upstream: row.upstream.to_owned(), why };
        if sealed.kek_id != self.id {
            return Err(failed(Unopenable::OtherMasterKey));
        }
        let damaged = || failed(Unopenable::Damaged);
        let dek = open(&self.key, &aad(Holds::Dek, row, self.id), &sealed.wrapped_dek).ok_or_else(damaged)?;
        let data_key = data_key(&dek).ok_or_else(damaged)?;
        let mut plain = open(&data_key, &aad(Holds::Secret, row, self.id), &sealed.sealed).ok_or_else(damaged)?;
        Ok(Secret::new(std::mem::take(&mut *plain)))
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(..)")
    }
}

fn data_key(bytes: &[u8]) -> Option<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, bytes).ok()
}

/// `format ‖ kind ‖ length of the name ‖ name ‖ version ‖ kek id`: no two rows give the same bytes.
fn aad(holds: Holds, Row { upstream, version }: Row<'_>, KekId(kek_id): KekId) -> Vec<u8> {
    let kind = match holds {
        Holds::Dek => 0,
        Holds::Secret => 1,
    };
    let length = upstream.len() as u64;
    [FORMAT, &[kind], &length.to_be_bytes(), upstream.as_bytes(), &version.to_be_bytes(), &kek_id].concat()
}

/// Encrypts into nonce, ciphertext and tag.
fn close(key: &RandomizedNonceKey, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut room = Zeroizing::new(Vec::with_capacity(plain.len()));
    room.extend_from_slice(plain);
    let (nonce, tag) = key.seal_in_place_separate_tag(Aad::from(aad), &mut room).map_err(|_| StoreError::Random)?;
    Ok([nonce.as_ref().as_slice(), &room, tag.as_ref()].concat())
}

/// Decrypts nonce, ciphertext and tag; `None` when anything about them is wrong.
fn open(key: &RandomizedNonceKey, aad: &[u8], closed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = closed.split_at_checked(NONCE_BYTES)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let length = rest.len().checked_sub(TAG_BYTES)?;
    let mut room = Zeroizing::new(rest.to_vec());
    key.open_in_place(nonce, Aad::from(aad), &mut room).ok()?;
    room.truncate(length);
    Some(room)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const ROW: Row<'_> = Row { upstream: "gemini", version: 1 };

    fn kek(tag: u8) -> Kek {
        Kek::derive(&Secret::new(vec![tag; 32]))
    }

    fn why(outcome: Result<Secret, StoreError>) -> Unopenable {
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("`gemini`") && !format!("{error} {error:?}").contains("canary"), "{error}");
        match error {
            StoreError::SecretUnopenable { why, .. } => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn opens_what_it_sealed_and_never_seals_twice_alike() {
        for length in [1, 39, 16 << 10] {
            let secret = Secret::new(vec![b'x'; length]);
            let (one, two) = (kek(1).seal(ROW, &secret).unwrap(), kek(1).seal(ROW, &secret).unwrap());
            assert!(kek(1).open(ROW, &one).unwrap().matches(&secret));
            assert!(one.sealed != two.sealed && one.wrapped_dek != two.wrapped_dek);
            assert_eq!((one.wrapped_dek.len(), one.sealed.len()), (60, length + 28));
        }
    }

    #[test]
    fn another_row_or_another_box_does_not_open() {
        let sealed = kek(1).seal(ROW, &Secret::from("canary")).unwrap();
        let other = kek(1).seal(ROW, &Secret::from("canary two")).unwrap();
        let later = Row { version: 2, ..ROW };
        assert_eq!(why(kek(1).open(later, &sealed)), Unopenable::Damaged);
        let elsewhere = Row { upstream: "openai", ..ROW };
        assert!(kek(1).open(elsewhere, &sealed).unwrap_err().to_string().contains("`openai`"));
        let mixed = Sealed { sealed: other.sealed, ..sealed.clone() };
        assert_eq!(why(kek(1).open(ROW, &mixed)), Unopenable::Damaged);
        let mixed = Sealed { wrapped_dek: other.wrapped_dek, ..sealed };
        assert_eq!(why(kek(1).open(ROW, &mixed)), Unopenable::Damaged);
    }

    #[test]
    fn every_changed_byte_and_every_missing_end_is_noticed() {
        let good = kek(1).seal(ROW, &Secret::from("canary")).unwrap();
        for place in 0..good.wrapped_dek.len() {
            let mut bad = good.clone();
            bad.wrapped_dek[place] ^= 1;
            assert_eq!(why(kek(1).open(ROW, &bad)), Unopenable::Damaged);
            bad.wrapped_dek.truncate(place);
            assert_eq!(why(kek(1).open(ROW, &bad)), Unopenable::Damaged);
        }
        for place in 0..good.sealed.len() {
            let mut bad = good.clone();
            bad.sealed[place] ^= 0x80;
            assert_eq!(why(kek(1).open(ROW, &bad)), Unopenable::Damaged);
            bad.sealed.truncate(place);
            assert_eq!(why(kek(1).open(ROW, &bad)), Unopenable::Damaged);
        }
    }

    #[test]
    fn another_master_key_is_told_by_its_id_and_an_id_alone_opens_nothing() {
        let sealed = kek(1).seal(ROW, &Secret::from("canary")).unwrap();
        assert_eq!(why(kek(2).open(ROW, &sealed)), Unopenable::OtherMasterKey);
        let renamed = Sealed { kek_id: kek(2).id, ..sealed };
        assert_eq!(why(kek(2).open(ROW, &renamed)), Unopenable::Damaged);
        assert_eq!(format!("{:?}", kek(1)), "Kek(..)");
    }

    /// Made by another implementation of HKDF and AES-GCM: what is sealed today opens after every upgrade.
    #[test]
    fn a_sealed_secret_of_another_implementation_opens() {
        let unhex = |text: &str| -> Vec<u8> {
            let digits = text.as_bytes().chunks(2);
            digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
        };
        let sealed = Sealed {
            kek_id: KekId(unhex("50778ee15b2313415cd4c3deb8510253").try_into().unwrap()),
            wrapped_dek: unhex(concat!(
                "a0a0a0a0a0a0a0a0a0a0a0a0aa29a78c5ac2eac2b3fb71461b5b18567b75",
                "ea10f6ffc2f94142b8064fb15ccf06a044f2d2cc73272a7434c08c5c6118"
            )),
            sealed: unhex("b0b0b0b0b0b0b0b0b0b0b0b089cb923ef6afeac366bc1fbb948a1df1e25114cb2722a7f58e"),
        };
        assert!(kek(1).open(ROW, &sealed).unwrap().matches(&Secret::from("synthetic")));
    }
}
