//! OpenAI's API: which paths it has, what they become upstream, what of a client's request must not reach it, what a
//! token locks of a session, and the bodies that mint tokens.

mod field;
mod lock;
pub mod mint;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::head::Ask;
use crate::refusal::{Code, Refusal};

pub use lock::{EVENT_BYTES_MAX, Later, Lock, LockError, refuses_lock};

/// The subprotocol that Realtime selects, and the only one that goes upstream.
pub const LABEL: &str = "realtime";

const OPENAI_BETA: HeaderName = HeaderName::from_static("openai-beta");

/// What the WebSockets of the API are, exactly or, with a slash at the end, below.
const SOCKETS: [&str; 5] =
    ["/v1/realtime", "/v1/realtime/translations", "/v1/responses", "/v1/live/sessions", "/v1/live/sessions/"];

/// First segments behind `/v1/` that are OpenAI's and not also Google's (`models`, `files` and `batches` are both's).
const FAMILIES: [&str; 21] = [
    "assistants",
    "audio",
    "chat",
    "completions",
    "containers",
    "conversations",
    "embeddings",
    "evals",
    "fine_tuning",
    "images",
    "live",
    "moderations",
    "organization",
    "projects",
    "realtime",
    "responses",
    "skills",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A Realtime session, over WebSocket.
    Realtime,
    /// Another WebSocket: translations, Responses, Live.
    OtherSocket,
    /// Everything over HTTP, event streams too.
    Rest,
}

/// Where a request goes upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is called.
    pub call: Call,
    /// The upstream's path. The query goes along: it names the model or the call.
    pub path: String,
}

/// How closely a path below the route's prefix is one of OpenAI's, or `None` if it is none.
pub(crate) fn closeness(path: &str) -> Option<usize> {
    let rest = path.strip_prefix("/v1/")?;
    let family = rest.split('/').next().unwrap_or_default();
    let known = if FAMILIES.contains(&family) { family.len() } else { 0 };
    Some("/v1/".len() + known)
}

/// Says what a canonical `path` calls and where that is upstream; `prefix` is the route's own.
///
/// # Errors
/// `route_unknown` for a path that the API does not have, for a WebSocket path asked for without an upgrade and the
/// reverse, and for what hands out credentials of OpenAI's own (client secrets, ChatKit sessions, the administration):
/// they would lead past this gateway.
pub fn target(path: &str, prefix: &str, ask: &Ask) -> Result<Target, Refusal> {
    let unknown = |detail: &'static str| Refusal::new(Code::RouteUnknown, detail);
    let own = path.strip_prefix(prefix).filter(|own| own.starts_with('/'));
    let own = own.ok_or_else(|| unknown("this path is not below the route's prefix"))?;
    let rest = own.strip_prefix("/v1/").ok_or_else(|| unknown("OpenAI paths start with `/v1/`"))?;
    let to = |call| Ok(Target { call, path: own.to_owned() });
    match ask {
        Ask::WebSocket(_) if own == "/v1/realtime" => return to(Call::Realtime),
        Ask::WebSocket(_) if is_socket(own) => return to(Call::OtherSocket),
        Ask::WebSocket(_) => return Err(unknown("this path is no WebSocket: Realtime is `/v1/realtime`")),
        Ask::Http if own == "/v1/realtime" => {
            return Err(unknown("this path is a WebSocket: open it with an upgrade"));
        }
        Ask::Http => {}
    }
    let segments: Vec<&str> = rest.split('/').collect();
    match segments.as_slice() {
        ["realtime", "client_secrets" | "sessions" | "transcription_sessions", ..]
        | ["realtime", _, "client_secrets", ..]
        | ["chatkit", "sessions", ..] => {
            Err(unknown("OpenAI's own client secrets are not minted here: they would lead past this gateway"))
        }
        ["organization" | "projects", ..] => {
            Err(unknown("OpenAI's administration is not passed on: its keys would lead past this gateway"))
        }
        _ => to(Call::Rest),
    }
}

fn is_socket(path: &str) -> bool {
    SOCKETS.iter().any(|socket| path == *socket || socket.ends_with('/') && path.starts_with(socket))
}

/// Whether a header must not reach OpenAI: each place that it or Azure reads a credential from, what says who the
/// client or its page is, and what chooses who is billed: that is the upstream's key's business.
pub(crate) fn withholds_header(name: &str) -> bool {
    crate::carrier::KNOWN_HEADERS.contains(&name)
        || matches!(name, "cookie" | "origin" | "referer" | "forwarded" | "x-real-ip")
        || matches!(name, "openai-organization" | "openai-project")
        || name.starts_with("x-forwarded-")
}

/// Takes `realtime=…` out of `OpenAI-Beta`: old SDKs send it, and the service closes Realtime sessions that ask for it
/// (4000, `beta_api_shape_disabled`). Other betas stay.
pub(crate) fn drop_beta(headers: &mut HeaderMap) {
    let kept: Vec<String> = headers
        .get_all(&OPENAI_BETA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|beta| !beta.is_empty() && !beta.starts_with("realtime="))
        .map(str::to_owned)
        .collect();
    headers.remove(&OPENAI_BETA);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::try_from(kept.join(", "))) {
        headers.insert(OPENAI_BETA, value);
    }
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

    fn hint(found: Result<Target, Refusal>) -> String {
        let refusal = found.expect_err("refused");
        assert_eq!(refusal.code, Code::RouteUnknown);
        refusal.detail.into_owned()
    }

    #[test]
    fn websockets_and_rest_go_up_as_they_are_without_the_prefix() {
        for (own, call) in [
            ("/v1/realtime", Call::Realtime),
            ("/v1/realtime/translations", Call::OtherSocket),
            ("/v1/responses", Call::OtherSocket),
            ("/v1/live/sessions", Call::OtherSocket),
            ("/v1/live/sessions/live_1/attach", Call::OtherSocket),
        ] {
            let found = target(&format!("/gw{own}"), "/gw", &websocket());
            assert_eq!(found, Ok(Target { call, path: own.to_owned() }));
        }
        for own in ["/v1/models", "/v1/responses", "/v1/chat/completions", "/v1/realtime/calls", "/v1/uploads/u/parts"]
        {
            let found = target(own, "", &Ask::Http);
            assert_eq!(found, Ok(Target { call: Call::Rest, path: own.to_owned() }));
        }
    }

    #[test]
    fn a_call_is_asked_for_in_its_own_way() {
        assert!(hint(target("/v1/realtime", "", &Ask::Http)).contains("upgrade"));
        for path in ["/v1/chat/completions", "/v1/realtime/x", "/v1/realtimex", "/v1/live"] {
            assert!(hint(target(path, "", &websocket())).contains("no WebSocket"), "{path}");
        }
        for path in ["/v2/models", "/v1", "/other/v1/models", "/gwx/v1/models"] {
            let _ = hint(target(path, "/gw", &Ask::Http));
        }
    }

    #[test]
    fn nothing_that_hands_out_openai_s_own_credentials_is_passed_on() {
        for path in [
            "/v1/realtime/client_secrets",
            "/v1/realtime/translations/client_secrets",
            "/v1/realtime/sessions",
            "/v1/realtime/transcription_sessions",
            "/v1/chatkit/sessions",
            "/v1/organization/admin_api_keys",
            "/v1/projects/p/service_accounts",
        ] {
            assert!(hint(target(path, "", &Ask::Http)).contains("lead past this gateway"), "{path}");
        }
    }

    #[test]
    fn what_only_openai_has_is_closer_than_what_google_has_too() {
        let at = Paths::Dialect { prefix: String::new() };
        let closeness = |dialect, path| at.matches(dialect, path);
        for path in ["/v1/realtime", "/v1/chat/completions", "/v1/responses/resp_1"] {
            assert!(closeness(Dialect::OpenAi, path) > closeness(Dialect::Gemini, path), "{path}");
        }
        for path in ["/v1/models", "/v1/files"] {
            assert_eq!(closeness(Dialect::OpenAi, path), closeness(Dialect::Gemini, path), "{path}");
        }
        assert_eq!(closeness(Dialect::OpenAi, "/v1beta/models"), None);
        assert_eq!(closeness(Dialect::OpenAi, "/v1"), None);
    }

    #[test]
    fn only_the_realtime_beta_is_dropped() {
        let mut headers = HeaderMap::new();
        headers.append(OPENAI_BETA, HeaderValue::from_static("realtime=v1,assistants=v2"));
        headers.append(OPENAI_BETA, HeaderValue::from_static("responses_multi_agent=v1"));
        drop_beta(&mut headers);
        assert_eq!(headers[OPENAI_BETA], "assistants=v2, responses_multi_agent=v1");
        headers.insert(OPENAI_BETA, HeaderValue::from_static("realtime=v1"));
        drop_beta(&mut headers);
        assert!(!headers.contains_key(OPENAI_BETA));
    }
}
