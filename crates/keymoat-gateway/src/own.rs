//! The gateway's own endpoints on the data listener, under `/keymoat/` so that they shadow nobody's paths.

use http::Method;
use keymoat_core::head::Head;
use keymoat_core::refusal::Code;

/// One of our own answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// `GET /keymoat/livez`: the process serves.
    Live,
    /// `GET /keymoat/readyz`: it takes new work.
    Ready,
    /// `GET /keymoat/errors/CODE`: what a refusal means and what to do.
    Explain(Code),
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
        }
    }
}
