//! Google's Gemini API: which paths it has, what they become upstream, and which credentials its clients send.

mod canonical;
mod field;
mod lock;
mod mask;
pub mod mint;
mod model;

use crate::head::Ask;
use crate::refusal::{Code, Refusal};

pub use lock::{Explanation, Fate, Field, FirstMessage, Later, Lock, LockError, MESSAGE_BYTES_MAX, issued_handle};
pub use mask::{FieldMask, UnknownPath};

/// What stands before version, service and method in a WebSocket's path.
const SERVICE_PREFIX: &str = "/ws/google.ai.generativelanguage.";
const VERSIONS: [&str; 3] = ["v1", "v1beta", "v1alpha"];

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Live: `BidiGenerateContent`, with or without `Constrained`.
    Live,
    /// Live Music: `BidiGenerateMusic`.
    LiveMusic,
    /// Everything over HTTP: models, streams, files.
    Rest,
}

/// The API versions that upstream serves, since SDKs ask for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// What a Live call to `v1` becomes; newer SDKs ask for it, and Google failed the handshake (October 2026).
    pub live_v1: &'static str,
    /// What every Live Music call becomes; Google documents it for this version only.
    pub music: &'static str,
}

impl Default for Versions {
    fn default() -> Self {
        Self { live_v1: "v1beta", music: "v1alpha" }
    }
}

/// Where a request goes upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is called.
    pub call: Call,
    /// The upstream's path. A WebSocket goes there without a query.
    pub path: String,
}

/// How closely a path below the route's prefix is one of Gemini's, or `None` if it is none.
///
/// Unknown methods of its WebSocket service count, so that [`target`] can say what is wrong with them.
pub(crate) fn closeness(path: &str) -> Option<usize> {
    if path.starts_with(SERVICE_PREFIX) {
        return Some(SERVICE_PREFIX.len());
    }
    rest_version(path).map(|(matched, _)| matched)
}

/// Says what a canonical `path` calls and where that is upstream; `prefix` is the route's own.
///
/// The upstream's method is always the plain one: Google's `Constrained` method wants Google's tokens, and Keymoat
/// enforces constraints itself. REST keeps its version.
///
/// # Errors
/// `route_unknown` for a path, method or version that the API does not have, for a WebSocket path asked for without
/// an upgrade and the reverse, for minting (a token of Google's own would lead past this gateway), and for uploads
/// (their answer names a URL of Google's, to which the JavaScript SDK sends its key).
pub fn target(path: &str, prefix: &str, ask: &Ask, versions: Versions) -> Result<Target, Refusal> {
    let unknown = |detail: &'static str| Refusal::new(Code::RouteUnknown, detail);
    let own = path.strip_prefix(prefix).filter(|own| own.starts_with('/'));
    let own = own.ok_or_else(|| unknown("this path is not below the route's prefix"))?;
    if let Some(rpc) = own.strip_prefix(SERVICE_PREFIX) {
        let (call, version) = read_rpc(rpc, versions)?;
        if matches!(ask, Ask::Http) {
            return Err(unknown("this path is a WebSocket: open it with an upgrade"));
        }
        let method = if call == Call::LiveMusic { "BidiGenerateMusic" } else { "BidiGenerateContent" };
        let path = format!("{SERVICE_PREFIX}{version}.GenerativeService.{method}");
        return Ok(Target { call, path });
    }
    let Some((_, rest)) = rest_version(own) else {
        return Err(unknown("Gemini paths start with `/v1beta/` or `/ws/google.ai.generativelanguage.`"));
    };
    if matches!(ask, Ask::WebSocket(_)) {
        return Err(unknown("this path is no WebSocket: Live is `…GenerativeService.BidiGenerateContent`"));
    }
    if own.starts_with("/upload/") {
        return Err(unknown("uploads are not passed on: their second step would carry the key past this gateway"));
    }
    if rest.split(['/', ':']).next() == Some("auth_tokens") {
        return Err(unknown("Google's own tokens are not minted here: they would lead past this gateway"));
    }
    Ok(Target { call: Call::Rest, path: own.to_owned() })
}

fn read_rpc(rpc: &str, versions: Versions) -> Result<(Call, &str), Refusal> {
    let unknown = |detail: &'static str| Refusal::new(Code::RouteUnknown, detail);
    let (version, method) = rpc.split_once('.').unwrap_or((rpc, ""));
    if !VERSIONS.contains(&version) {
        return Err(unknown("unknown Gemini version: use v1, v1beta or v1alpha"));
    }
    let live = if version == "v1" { versions.live_v1 } else { version };
    match method.strip_prefix("GenerativeService.") {
        Some("BidiGenerateContent" | "BidiGenerateContentConstrained") => Ok((Call::Live, live)),
        Some("BidiGenerateMusic") => Ok((Call::LiveMusic, versions.music)),
        _ => Err(unknown("unknown Gemini method: use BidiGenerateContent or BidiGenerateMusic")),
    }
}

/// The length of `/v1beta/` or `/upload/v1beta/`, and what follows.
fn rest_version(path: &str) -> Option<(usize, &str)> {
    let tail = path.strip_prefix("/upload").filter(|tail| tail.starts_with('/')).unwrap_or(path);
    let (version, rest) = tail.strip_prefix('/')?.split_once('/')?;
    VERSIONS.contains(&version).then_some((path.len() - rest.len(), rest))
}

/// The model that a plain request's path calls, such as `models/x` of `/v1beta/models/x:generateContent`.
#[must_use]
pub fn model_in_path(path: &str) -> Option<&str> {
    let (_, rest) = rest_version(path)?;
    let (model, _method) = rest.rsplit_once(':')?;
    (model.starts_with("models/") || model.starts_with("tunedModels/")).then_some(model)
}

/// A model's name in full: `gemini-x` becomes `models/gemini-x`. `None` for what no model can be called.
#[must_use]
pub fn model_in_full(name: &str) -> Option<String> {
    model::canonical(name)
}

/// Whether a header must not reach Google: each place that it reads a credential from, and what says who the client
/// or its page is. `x-goog-api-client` and `user-agent` pass.
pub(crate) fn withholds_header(name: &str) -> bool {
    crate::carrier::KNOWN_HEADERS.contains(&name)
        || matches!(name, "cookie" | "origin" | "referer" | "forwarded" | "x-real-ip" | "x-goog-user-project")
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-goog-iam-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Opening;
    use crate::route::{Dialect, Paths};
    use crate::subprotocol::Offer;

    fn websocket() -> Ask {
        Ask::WebSocket(Opening { key: None, offer: Offer::default() })
    }

    fn live(rpc: &str) -> Result<Target, Refusal> {
        target(&format!("/gw/ws/google.ai.generativelanguage.{rpc}"), "/gw", &websocket(), Versions::default())
    }

    #[test]
    fn live_calls_become_the_plain_method_of_a_served_version() {
        for (rpc, call, upstream) in [
            ("v1.GenerativeService.BidiGenerateContent", Call::Live, "v1beta.GenerativeService.BidiGenerateContent"),
            (
                "v1beta.GenerativeService.BidiGenerateContent",
                Call::Live,
                "v1beta.GenerativeService.BidiGenerateContent",
            ),
            (
                "v1alpha.GenerativeService.BidiGenerateContentConstrained",
                Call::Live,
                "v1alpha.GenerativeService.BidiGenerateContent",
            ),
            ("v1.GenerativeService.BidiGenerateMusic", Call::LiveMusic, "v1alpha.GenerativeService.BidiGenerateMusic"),
            (
                "v1beta.GenerativeService.BidiGenerateMusic",
                Call::LiveMusic,
                "v1alpha.GenerativeService.BidiGenerateMusic",
            ),
        ] {
            let path = format!("/ws/google.ai.generativelanguage.{upstream}");
            assert_eq!(live(rpc), Ok(Target { call, path }), "{rpc}");
        }
    }

    #[test]
    fn unknown_methods_and_versions_are_refused_with_a_hint() {
        for (rpc, hint) in [
            ("v2.GenerativeService.BidiGenerateContent", "version"),
            ("v1", "method"),
            ("", "version"),
            ("v1beta.GenerativeService.BidiGenerateVideo", "method"),
            ("v1beta.GenerativeService.BidiGenerateContent/x", "method"),
            ("v1beta.OtherService.BidiGenerateContent", "method"),
            ("v1beta.GenerativeService.BidiGenerateMusicConstrained", "method"),
        ] {
            let refusal = live(rpc).expect_err(rpc);
            assert_eq!(refusal.code, Code::RouteUnknown);
            assert!(refusal.detail.contains(hint), "{rpc}: {refusal}");
        }
    }

    #[test]
    fn rest_goes_up_as_it_is_without_the_prefix() {
        for own in ["/v1beta/models/m:generateContent", "/v1/models", "/v1alpha/cachedContents/x"] {
            let found = target(&format!("/gw{own}"), "/gw", &Ask::Http, Versions::default());
            assert_eq!(found, Ok(Target { call: Call::Rest, path: own.to_owned() }));
        }
        for own in [
            "/v2/models",
            "/",
            "/upload/files",
            "/upload/v1beta/files",
            "/v1beta",
            "/v1betax/models",
            "/v1beta/auth_tokens",
            "/v1alpha/auth_tokens:create",
        ] {
            let found = target(&format!("/gw{own}"), "/gw", &Ask::Http, Versions::default());
            assert_eq!(found.expect_err(own).code, Code::RouteUnknown);
        }
        assert!(target("/other/v1beta/models", "/gw", &Ask::Http, Versions::default()).is_err());
    }

    #[test]
    fn a_call_is_asked_for_in_its_own_way() {
        let rpc = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
        assert!(target(rpc, "", &Ask::Http, Versions::default()).is_err());
        assert!(target("/v1beta/models", "", &websocket(), Versions::default()).is_err());
    }

    #[test]
    fn a_route_takes_its_dialects_paths_below_its_prefix() {
        let paths = Paths::Dialect { prefix: String::from("/gw/gemini") };
        for path in ["/gw/gemini/v1beta/models", "/gw/gemini/ws/google.ai.generativelanguage.unknown"] {
            assert!(paths.matches(Dialect::Gemini, path).is_some(), "{path}");
        }
        for path in ["/v1beta/models", "/gw/geminix/v1beta/models", "/gw/gemini", "/gw/gemini/other", "/gw/gemini/"] {
            assert!(paths.matches(Dialect::Gemini, path).is_none(), "{path}");
        }
    }
}
