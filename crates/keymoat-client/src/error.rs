//! What can go wrong. No error holds a credential, and URLs are shown without their query.

use std::time::Duration;

use crate::close::Close;
use crate::credential::CredentialError;
use crate::endpoint::{Endpoint, EndpointError};

/// Why something did not work. Texts of the server are masked and cut before they come in here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is refused here, before anything is sent.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The credential cannot be sent.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The client's own credential stands in the URL.
    #[error("the credential stands in the URL of {url} too: take it out there, it goes into a header")]
    CredentialInUrl {
        /// Where the request would have gone, without its query or path.
        url: String,
    },
    /// There is no authority whose certificates could be trusted.
    #[error("no certificate authority to trust: {cause}")]
    Trust {
        /// What is missing.
        cause: String,
    },
    /// There is no connection.
    #[error("cannot connect to {url}: {cause}")]
    Connect {
        /// Where to.
        url: String,
        /// What the system or TLS says.
        cause: String,
    },
    /// Something took too long.
    #[error("no {what} from {url} within {after:?}")]
    Timeout {
        /// From where.
        url: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The server refused a request.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The server does not speak WebSocket or server-sent events there.
    #[error("{url} does not answer as it should: {cause}")]
    Protocol {
        /// Who.
        url: String,
        /// What is wrong.
        cause: String,
    },
    /// The WebSocket was closed, or ended without a close (code 1006).
    #[error("closed by the server: {0}")]
    Closed(Close),
    /// The connection broke.
    #[error("the connection to {url} broke: {cause}")]
    Lost {
        /// To whom.
        url: String,
        /// What the system says.
        cause: String,
    },
    /// Something is larger than this client takes or sends.
    #[error("{what} of more than {bytes_max} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// What [`crate::Limits`] allow.
        bytes_max: usize,
    },
    /// Something is not what it should be, such as JSON of another shape.
    #[error("{what} cannot be read: {cause}")]
    Malformed {
        /// What.
        what: &'static str,
        /// What is wrong.
        cause: String,
    },
}

/// An answer with a status other than success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url} answered {status}{}: {message}", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default())]
#[non_exhaustive]
pub struct Refused {
    /// Who, without the query.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// The machine-readable code: Keymoat's `code`, Google's `error.status`, or OpenAI's `error.code`.
    pub code: Option<String>,
    /// What the server says, masked.
    pub message: String,
    /// How long to wait before the next attempt, if the server says so.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// Whether the same may work later without anybody doing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Lost { .. } => true,
            Self::Refused(refused) => matches!(refused.status, 408 | 425 | 429 | 500 | 502..=504),
            Self::Closed(close) => close.may_pass(),
            Self::Endpoint(_)
            | Self::Credential(_)
            | Self::CredentialInUrl { .. }
            | Self::Trust { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// How long the server asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) => refused.retry_after,
            Self::Closed(close) => close.retry_after(),
            _ => None,
        }
    }

    pub(crate) fn connect(endpoint: &Endpoint, cause: impl ToString) -> Self {
        Self::Connect { url: endpoint.to_string(), cause: cause.to_string() }
    }

    pub(crate) fn timeout(endpoint: &Endpoint, what: &'static str, after: Duration) -> Self {
        Self::Timeout { url: endpoint.to_string(), what, after }
    }

    pub(crate) fn protocol(endpoint: &Endpoint, cause: impl ToString) -> Self {
        Self::Protocol { url: endpoint.to_string(), cause: cause.to_string() }
    }

    pub(crate) fn lost(endpoint: &Endpoint, cause: impl ToString) -> Self {
        Self::Lost { url: endpoint.to_string(), cause: cause.to_string() }
    }
}
