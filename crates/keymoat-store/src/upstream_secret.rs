//! What is told of an upstream's sealed secret: its versions and dates, its changes, and what a name may look like.

use std::sync::Arc;

use keymoat_core::{RouteOverride, Secret, Snapshot, UnixMillis};

use crate::error::StoreError;

/// An upstream's name may have this many characters.
pub const UPSTREAM_CHARS_MAX: usize = 64;

/// An upstream's secret may be this long, in bytes.
pub const SECRET_BYTES_MAX: usize = 16 << 10;

/// One version of an upstream's secret, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Counts up from 1 for each upstream.
    pub version: u32,
    /// When it was sealed.
    pub created_at: UnixMillis,
    /// When it was replaced or removed; from then on nobody can open it.
    pub retired_at: Option<UnixMillis>,
}

/// What one look at the store found anew.
#[derive(Debug)]
pub struct Change {
    /// Everything that decisions need.
    pub snapshot: Snapshot,
    /// The upstreams whose sealed secret is another one than at the look before.
    pub secrets: Vec<SecretChange>,
    /// All overrides of routes.
    pub overrides: Vec<RouteOverride>,
}

/// An upstream whose sealed secret is another one than before.
#[derive(Debug)]
pub struct SecretChange {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// What there is in its place.
    pub becomes: SecretState,
}

/// What there is of an upstream's sealed secret.
#[derive(Debug)]
pub enum SecretState {
    /// A secret for every session that is opened from here on.
    Opened {
        /// Its version.
        version: u32,
        /// The secret itself.
        secret: Secret,
    },
    /// There is one, and it cannot be opened: the upstream must not be asked without it.
    Unopenable(StoreError),
    /// None any more.
    Removed,
}

/// A name stands in configurations, logs and commands.
pub(crate) fn check_name(upstream: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let ours = ["km_", "kmt_", "kma_"].iter().any(|prefix| upstream.starts_with(prefix));
    if ours || !(1..=UPSTREAM_CHARS_MAX).contains(&upstream.len()) || !upstream.bytes().all(plain) {
        return Err(StoreError::UpstreamNameInvalid);
    }
    Ok(())
}

/// An empty secret would open nothing, and one without end is none.
pub(crate) fn check_secret(secret: &Secret) -> Result<(), StoreError> {
    if (1..=SECRET_BYTES_MAX).contains(&secret.len()) { Ok(()) } else { Err(StoreError::SecretLength) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_names_of_upstreams_and_repeats_no_other() {
        for name in ["gemini", "a", "My-API_2", &"x".repeat(UPSTREAM_CHARS_MAX)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "canary\n", "ü", "a.b", "km_canary", "kmt_canary", &"x".repeat(65)] {
            let refused = check_name(name).expect_err("refused");
            assert!(!refused.to_string().contains("canary"), "{refused}");
        }
    }

    #[test]
    fn refuses_a_secret_of_nothing_and_one_without_end() {
        let of = |length| check_secret(&Secret::new(vec![b'x'; length]));
        assert!(of(1).is_ok() && of(SECRET_BYTES_MAX).is_ok());
        assert!(of(0).is_err() && of(SECRET_BYTES_MAX + 1).is_err());
    }
}
