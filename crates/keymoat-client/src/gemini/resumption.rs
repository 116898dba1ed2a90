//! The handle with which a session goes on on another connection.

use std::fmt;
use std::sync::Arc;

use keymoat_core::Secret;
use serde_json::Value;

/// What Google or Keymoat knows a session by. It is shown to nobody: with a credential beside it, it opens the session's context.
#[derive(Clone)]
pub struct Handle(Arc<Secret>);

impl Handle {
    /// A handle that was kept elsewhere.
    #[must_use]
    pub fn new(handle: impl Into<Secret>) -> Self {
        Self(Arc::new(handle.into()))
    }

    /// The handle itself, to be kept elsewhere.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// As a member of a setup.
    pub(crate) fn value(&self) -> Value {
        // Into the first message, which is the place for it.
        String::from_utf8_lossy(self.0.expose()).into_owned().into()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle([redacted])")
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        self.0.matches(&other.0)
    }
}

impl Eq for Handle {}
