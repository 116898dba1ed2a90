//! The Gemini surface: Live, Live Music, REST, with Google's words for what is refused.

pub(crate) mod admission;
pub(crate) mod context;
pub(crate) mod field;
pub(crate) mod heard;
pub(crate) mod live;
pub(crate) mod mask;
pub(crate) mod music;
pub(crate) mod rest;
pub(crate) mod resumption;
pub(crate) mod session;
pub(crate) mod setup;
pub(crate) mod token;
pub(crate) mod upload;

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use crate::answer::{self, Body};
use crate::emulator::Emulator;
use crate::recorder::Entry;
use crate::websocket::{self, End};

/// API versions in use.
const VERSIONS: [&str; 3] = ["v1", "v1beta", "v1alpha"];

/// A WebSocket method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `BidiGenerateContent`, by API key.
    Live,
    /// `BidiGenerateContentConstrained`, by ephemeral token.
    Constrained,
    /// `BidiGenerateMusic`, by API key.
    Music,
}

/// A WebSocket path of Google's shape; `method` is none for a method that does not exist.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SocketPath {
    pub(crate) version: &'static str,
    pub(crate) method: Option<Method>,
}

/// Reads `/ws/google.ai.generativelanguage.{version}.GenerativeService.{method}`, doubled slashes already joined.
pub(crate) fn socket_path(path: &str) -> Option<SocketPath> {
    let rest = path.strip_prefix("/ws/google.ai.generativelanguage.")?;
    let (version, method) = rest.split_once(".GenerativeService.")?;
    let version = VERSIONS.into_iter().find(|known| *known == version)?;
    let method = match method {
        "BidiGenerateContent" => Some(Method::Live),
        "BidiGenerateContentConstrained" => Some(Method::Constrained),
        "BidiGenerateMusic" => Some(Method::Music),
        _ => None,
    };
    Some(SocketPath { version, method })
}

/// Accepts a Live or Live Music connection. A bad credential is refused after the 101, as Google does.
pub(crate) fn socket(
    emulator: &Arc<Emulator>,
    request: Request<Incoming>,
    entry: &Entry,
    path: SocketPath,
) -> Response<Body> {
    let served = path.version != "v1" || emulator.gemini.v1;
    let Some(method) = path.method.filter(|_| served) else {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "Requested entity was not found.");
    };
    let admitted = admission::socket(emulator, request.headers(), request.uri(), method);
    let shared = Arc::clone(emulator);
    websocket::accept(emulator, request, entry, None, move |mut socket| async move {
        let end = match (admitted, method) {
            (Err(end), _) => end,
            (Ok(_), Method::Music) => music::run(&shared, &mut socket, path.version).await,
            (Ok(caller), Method::Live | Method::Constrained) => {
                live::run(&shared, &mut socket, path.version, caller).await
            }
        };
        socket.end(end).await;
    })
}

/// An error in the shape of Google's REST APIs.
pub(crate) fn error(code: StatusCode, status: &str, message: &str) -> Response<Body> {
    let error = json!({"error": {"code": code.as_u16(), "message": message, "status": status}});
    answer::json(code, &error)
}

/// What a WebSocket is closed with when its message cannot be read.
pub(crate) fn invalid(reason: impl Into<String>) -> End {
    End::Close(1007, reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_methods_in_three_versions() {
        for version in VERSIONS {
            for (name, method) in [
                ("BidiGenerateContent", Some(Method::Live)),
                ("BidiGenerateContentConstrained", Some(Method::Constrained)),
                ("BidiGenerateMusic", Some(Method::Music)),
                ("BidiGenerateVideo", None),
            ] {
                let path = format!("/ws/google.ai.generativelanguage.{version}.GenerativeService.{name}");
                assert_eq!(socket_path(&path), Some(SocketPath { version, method }));
            }
        }
        assert_eq!(socket_path("/ws/google.ai.generativelanguage.v9.GenerativeService.BidiGenerateContent"), None);
        assert_eq!(socket_path("/ws/events"), None);
    }
}
