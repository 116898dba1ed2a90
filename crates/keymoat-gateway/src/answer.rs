//! Our own HTTP answers: refusals as problem documents (RFC 9457), in the form that the dialect's SDKs can read.

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use keymoat_core::gate::GateError;
use keymoat_core::record::Outcome;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::{Dialect, Route};
use serde_json::{Map, Value, json};

use crate::body::ToClient;
use crate::exposed;
use crate::ledger::Ledger;
use crate::own::Own;
use crate::upstream::Failure;

/// What a page of ours may load and do: show itself.
const WHY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The answer to a request that goes nowhere.
pub(crate) fn refusal(refusal: &Refusal, route: Option<&Route>, mut ledger: Ledger) -> Response<ToClient> {
    ledger.refused(refusal, Outcome::Refused, refusal.code.status());
    let away = exposed::led_away(refusal.code, &ledger);
    let is_away = away.is_some();
    let mut response = away.unwrap_or_else(|| problem(refusal, route.map(|route| route.dialect)));
    ledger.record.status = Some(response.status().as_u16());
    let headers = response.headers_mut();
    exposed::keep_private(headers, route);
    exposed::forget(headers, ledger.record.in_url);
    if let Some(route) = route.filter(|_| refusal.code == Code::CredentialInQuery) {
        exposed::sunset(headers, route);
    }
    if is_away {
        headers.append(header::VARY, HeaderValue::from_static("sec-fetch-mode, accept"));
    }
    response
}

/// What the gate found, as a refusal.
pub(crate) fn of_gate(rejection: GateError) -> Refusal {
    Refusal::new(rejection.code(), rejection.to_string())
}

/// The same answer as the last one on its connection: nothing that follows can be trusted, or read.
pub(crate) fn closing(mut response: Response<ToClient>) -> Response<ToClient> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer when the upstream could not be used.
pub(crate) fn failure(failure: &Failure, route: Option<&Route>, mut ledger: Ledger) -> Response<ToClient> {
    let refusal = failure.refusal();
    ledger.refused(&refusal, Outcome::Failed, refusal.code.status());
    ledger.record.cause = Some(failure.to_string());
    problem(&refusal, route.map(|route| route.dialect))
}

/// The answer to a client that ended in the middle of its body. It has most likely gone, and the record says so.
pub(crate) fn cut_short(route: Option<&Route>, mut ledger: Ledger) -> Response<ToClient> {
    ledger.record.cause = Some(String::from("the client ended before its body did"));
    let refusal = Refusal::new(Code::RequestInvalid, "the body ended before its time");
    problem(&refusal, route.map(|route| route.dialect))
}

/// One of our own endpoints.
pub(crate) fn own(own: Own, mut ledger: Ledger) -> Response<ToClient> {
    let status = own.status();
    ledger.record.outcome = Outcome::Allowed;
    ledger.record.status = Some(status.as_u16());
    let mut response = Response::new(ToClient::own(own.text()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(own.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Own::Why(_) = own {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(WHY_POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

fn problem(refusal: &Refusal, dialect: Option<Dialect>) -> Response<ToClient> {
    let mut response = Response::new(ToClient::own(document(refusal, dialect).to_string()));
    *response.status_mut() = StatusCode::from_u16(refusal.code.status()).expect("the table holds valid statuses");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some(secs) = refusal.retry_after_secs {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    for (name, value) in required_by(refusal.code) {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The same refusal of a method, where only these are taken.
pub(crate) fn allowing(mut response: Response<ToClient>, methods: &'static str) -> Response<ToClient> {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    }
    response
}

/// Headers that a status obliges to (RFC 9110 sections 11.6.1, 10.2.1 and 7.8; RFC 6455 section 4.4).
fn required_by(code: Code) -> &'static [(HeaderName, &'static str)] {
    match code.status() {
        401 => &[(header::WWW_AUTHENTICATE, "Bearer realm=\"keymoat\"")],
        405 => &[(header::ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")],
        426 => &[(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, "13")],
        _ => &[],
    }
}

fn document(refusal: &Refusal, dialect: Option<Dialect>) -> Value {
    let code = refusal.code;
    let mut document = Map::from_iter([
        ("type".to_owned(), json!(format!("/keymoat/errors/{code}"))),
        ("title".to_owned(), json!(code.title())),
        ("status".to_owned(), json!(code.status())),
        ("code".to_owned(), json!(code.word())),
        ("detail".to_owned(), json!(refusal.detail)),
    ]);
    // RFC 9457 allows further members.
    let error = match dialect {
        // Google's SDKs read `error.code`, `error.status` and `error.message`.
        Some(Dialect::Gemini) => {
            json!({"code": code.status(), "status": google_status(code), "message": refusal.to_string()})
        }
        Some(Dialect::OpenAi) => openai_error(refusal),
        Some(Dialect::Generic) | None => return Value::Object(document),
    };
    document.insert("error".to_owned(), error);
    Value::Object(document)
}

/// What OpenAI's SDKs read of an error: they show `message` to a person and hand `code` and `type` to the program.
fn openai_error(refusal: &Refusal) -> Value {
    let kind = if refusal.code.status() >= 500 { "server_error" } else { "invalid_request_error" };
    json!({"type": kind, "code": refusal.code.word(), "message": refusal.to_string(), "param": null})
}

/// The message that goes before the close of a refused WebSocket, for a dialect whose SDKs show that and not the close.
pub(crate) fn event(refusal: &Refusal, dialect: Dialect, record_id: &str) -> Option<String> {
    match dialect {
        Dialect::OpenAi => {
            let mut error = openai_error(refusal);
            // The id of a client's event that was at fault: here it is none.
            error["event_id"] = Value::Null;
            Some(json!({"type": "error", "event_id": record_id, "error": error}).to_string())
        }
        Dialect::Generic | Dialect::Gemini => None,
    }
}

/// The canonical status word of Google's APIs that goes with an HTTP status.
fn google_status(code: Code) -> &'static str {
    match code.status() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        502 | 503 => "UNAVAILABLE",
        408 | 504 => "DEADLINE_EXCEEDED",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_names_code_and_page() {
        let refusal = Refusal::new(Code::CredentialMissing, "send the key in header `x-api-key`");
        let document = document(&refusal, None);
        assert_eq!(document["code"], "credential_missing");
        assert_eq!(document["type"], "/keymoat/errors/credential_missing");
        assert_eq!(document["status"], 401);
        assert!(document.get("error").is_none());
    }

    #[test]
    fn google_s_sdks_find_their_own_members() {
        let refusal = Refusal::new(Code::Forbidden, "no");
        let document = document(&refusal, Some(Dialect::Gemini));
        assert_eq!(document["error"], json!({"code": 403, "status": "PERMISSION_DENIED", "message": "forbidden: no"}));
    }

    #[test]
    fn openai_s_sdks_find_their_own_members_in_documents_and_events() {
        let refusal = Refusal::new(Code::Forbidden, "no");
        let error = json!({
            "type": "invalid_request_error", "code": "forbidden", "message": "forbidden: no", "param": null,
        });
        assert_eq!(document(&refusal, Some(Dialect::OpenAi))["error"], error);
        let event: Value =
            serde_json::from_str(&event(&refusal, Dialect::OpenAi, "evt_1").expect("there is one")).expect("JSON");
        assert_eq!((&event["type"], &event["event_id"]), (&json!("error"), &json!("evt_1")));
        assert_eq!((&event["error"]["code"], &event["error"]["event_id"]), (&json!("forbidden"), &Value::Null));
        let refusal = Refusal::new(Code::Unavailable, "later");
        assert_eq!(document(&refusal, Some(Dialect::OpenAi))["error"]["type"], "server_error");
    }

    #[test]
    fn a_401_says_how_to_authenticate() {
        let response = problem(&Refusal::new(Code::CredentialInvalid, "no"), None);
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(response.headers()[header::CACHE_CONTROL], "private, no-store");
    }
}
