//! The gateway's own endpoints on the data listener, under `/keymoat/` so that they shadow nobody's paths.

use http::{Method, StatusCode};
use keymoat_core::head::Head;
use keymoat_core::refusal::Code;

use crate::exposed;

/// One of our own answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// `GET /keymoat/livez`: the process serves.
    Live,
    /// `GET /keymoat/readyz`: it takes new work.
    Ready,
    /// `GET /keymoat/errors/CODE`: what a refusal means and what to do.
    Explain(Code),
    /// `GET /keymoat/why/CODE`: where a browser is led that opened an address with a credential in it.
    Why(Code),
}

/// Which of our own endpoints `head` asks for, if any.
pub(crate) fn answer(head: &Head) -> Option<Own> {
    if head.method != Method::GET {
        return None;
    }
    match head.path.strip_prefix("/keymoat/")? {
        "livez" => Some(Own::Live),
        "readyz" => Some(Own::Ready),
        rest => {
            if let Some(code) = exposed::page_of(&head.path) {
                return Some(Own::Why(code));
            }
            let word = rest.strip_prefix("errors/")?;
            Code::ALL.into_iter().find(|code| code.word() == word).map(Own::Explain)
        }
    }
}

impl Own {
    /// The text to answer with.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Live => String::from("alive\n"),
            Self::Ready => String::from("ready\n"),
            Self::Explain(code) => keymoat_core::refusal::page(code),
            Self::Why(code) => exposed::page(code),
        }
    }

    /// The status to answer with. Chromium remembers no visit that ends in 404, nor the address that led there: with any
    /// other status the credential would stand in its history, as the beginning of the redirect.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Why(_) => StatusCode::NOT_FOUND,
            Self::Live | Self::Ready | Self::Explain(_) => StatusCode::OK,
        }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Why(_) => "text/html; charset=utf-8",
            Self::Live | Self::Ready | Self::Explain(_) => "text/plain; charset=utf-8",
        }
    }
}
