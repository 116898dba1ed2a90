//! New credentials, from the system's generator.

use keymoat_core::Secret;
use keymoat_core::format::{Kind, generate};

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct RandomFailed;

/// Draws a new credential.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_secret(kind: Kind) -> Result<Secret, RandomFailed> {
    let mut failed = false;
    let secret = generate(kind, &mut |bytes| failed |= aws_lc_rs::rand::fill(bytes).is_err());
    if failed { Err(RandomFailed) } else { Ok(secret) }
}
