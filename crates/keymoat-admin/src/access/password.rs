//! Passwords of people: argon2id with the parameters that OWASP recommends (m = 19 MiB, t = 2, p = 1).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use keymoat_core::Secret;
use tokio::sync::Semaphore;

/// A password has at least so many characters (NIST SP 800-63B, section 3.1.1.2, asks for no composition).
pub const PASSWORD_CHARS_MIN: usize = 12;

/// A password has at most so many bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const SALT_BYTES: usize = 16;

/// So many are computed at once, each in 19 MiB.
const AT_ONCE_MAX: usize = 2;

/// So many may wait; one more is told to come again.
const WAITING_MAX: usize = 16;

/// Why a password is not taken. It is never repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("a password has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes")]
    Length,
    /// The system gave no random bytes, or no memory.
    #[error("the password could not be hashed")]
    Failed,
}

/// Hashes a new password, with a salt of its own. Takes some tens of milliseconds and 19 MiB.
///
/// # Errors
/// A password that is too short or too long.
pub fn hash_password(password: &Secret) -> Result<String, PasswordError> {
    // Only the number of its characters is told.
    let chars = String::from_utf8_lossy(password.expose()).chars().count();
    if chars < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::Length);
    }
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| PasswordError::Failed)?;
    // The hash is all that is kept.
    let hashed = argon2().hash_password_with_salt(password.expose(), &salt);
    hashed.map(|hash| hash.to_string()).map_err(|_| PasswordError::Failed)
}

/// Whether `password` is the one that was hashed.
fn is_password(password: &Secret, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    // It is compared with the hash, by argon2's own comparison.
    argon2().verify_password(password.expose(), &hash).is_ok()
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("the parameters are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Computes hashes on threads that may wait, a few at a time.
#[derive(Debug)]
pub(crate) struct Hasher {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// What is compared with when there is no such person, so that both answers take as long.
    nobody: std::sync::OnceLock<String>,
}

/// Too many wait for a hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy;

impl Hasher {
    pub(crate) fn new() -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Self { places, waiting: AtomicUsize::new(0), nobody: std::sync::OnceLock::new() }
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Secret) -> Result<Result<String, PasswordError>, Busy> {
        self.compute(move || hash_password(&password)).await
    }

    /// Whether it is the password of `hash`; without one it takes as long and says no.
    pub(crate) async fn verify(self: &Arc<Self>, password: Secret, hash: Option<String>) -> Result<bool, Busy> {
        let own = Arc::clone(self);
        self.compute(move || match hash {
            Some(hash) => is_password(&password, &hash),
            None => {
                let nobody = own
                    .nobody
                    .get_or_init(|| hash_password(&Secret::from("nobody has this password")).unwrap_or_default());
                // The outcome does not matter, only that it took as long.
                let _ = is_password(&password, nobody);
                false
            }
        })
        .await
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Busy);
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let place = place.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        done.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_told_from_others_and_hashed_anew_each_time() {
        let password = || Secret::from("correct horse battery");
        let (one, two) = (hash_password(&password()).expect("hashed"), hash_password(&password()).expect("hashed"));
        assert_ne!(one, two);
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert!(is_password(&password(), &one) && is_password(&password(), &two));
        assert!(!is_password(&Secret::from("correct horse batterx"), &one));
        assert!(!is_password(&password(), "no hash"));
    }

    #[test]
    fn a_length_is_asked_for_and_nothing_else() {
        let of = |text: &str| hash_password(&Secret::from(text)).err();
        assert_eq!(of("elevenchars"), Some(PasswordError::Length));
        assert_eq!(of("aaaaaaaaaaaa"), None);
        assert_eq!(of("päßwörter…!!"), None, "characters are counted, not bytes");
        assert_eq!(of(&"a".repeat(PASSWORD_BYTES_MAX + 1)), Some(PasswordError::Length));
    }
}
