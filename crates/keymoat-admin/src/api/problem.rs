//! What is told when something cannot be done (RFC 9457), with a code that does not change.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use keymoat_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::masked;
use crate::access::password::{Busy, PasswordError};
use crate::access::throttle::Wait;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $status:ident, $title:literal, $advice:literal;)+) => {
        /// What is wrong. The words are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in `code`.
            pub(crate) const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The status of its answers.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// What it is, in few words.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// What to do about it.
            pub(crate) const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)+ }
            }
        }
    };
}

codes! {
    /// Not the HTTP or JSON that it should be.
    RequestMalformed = "request_malformed", BAD_REQUEST, "the request cannot be read", "Send what the OpenAPI description says.";
    /// A credential stands in the URL.
    CredentialInQuery = "credential_in_query", BAD_REQUEST, "a credential stands in the URL", "Send it as `Authorization: Bearer kma_…`. A credential that stood in a URL is in logs and histories: replace it.";
    /// None came.
    CredentialMissing = "credential_missing", UNAUTHORIZED, "no credential", "Send `Authorization: Bearer kma_…`, or sign in.";
    /// It opens nothing here.
    CredentialInvalid = "credential_invalid", UNAUTHORIZED, "the credential is not accepted", "Use an admin key that was neither removed nor has expired, or sign in again.";
    /// Two different ones came.
    CredentialAmbiguous = "credential_ambiguous", BAD_REQUEST, "two different credentials", "Send one.";
    /// The claim link is used or over.
    ClaimInvalid = "claim_invalid", UNAUTHORIZED, "the claim link is not accepted", "Print another one with `keymoat admin claim`.";
    /// The role does not allow it.
    Forbidden = "forbidden", FORBIDDEN, "your role does not allow this", "Ask somebody with the role `admin`.";
    /// A page of another origin asks.
    OriginRefused = "origin_refused", FORBIDDEN, "another origin's page may not use this", "Use the console of this listener, or a program that sends no `Origin`.";
    /// A cookie came with a change that no page of ours is proven to have sent.
    CsrfRefused = "csrf_refused", FORBIDDEN, "nothing shows that a page of ours sent this", "Send JSON, or the header `X-Keymoat-Request: 1`, from a page of this origin.";
    /// The host is none of ours.
    HostUnknown = "host_unknown", MISDIRECTED_REQUEST, "this listener does not go by that name", "Use an address or `localhost`, or name the host in `hosts` of [admin].";
    /// There is no such thing.
    NotFound = "not_found", NOT_FOUND, "there is no such thing", "Look at the list of what there is.";
    /// It exists, but not for this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "not with this method", "`Allow` says with which.";
    /// What is there does not allow it.
    Conflict = "conflict", CONFLICT, "this does not fit what is there", "Look at what is there, then ask again.";
    /// It was done under this idempotency key, and its secret is told once.
    IdempotencyReplay = "idempotency_replay", CONFLICT, "this was done before, and its secret is told only once", "Look at what was made (`created_id`); if its secret is lost, rotate or remove it.";
    /// It is being done under this idempotency key.
    IdempotencyRunning = "idempotency_running", CONFLICT, "this is being done", "Ask again in a moment.";
    /// The idempotency key stands for another request.
    IdempotencyMismatch = "idempotency_mismatch", CONFLICT, "this idempotency key stands for another request", "Draw a new one for each new request.";
    /// It has changed since it was looked at.
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "it has changed since", "Look again, and send the new `ETag` in `If-Match`.";
    /// It must be said which state is to be changed.
    PreconditionRequired = "precondition_required", PRECONDITION_REQUIRED, "`If-Match` is missing", "Send the `ETag` of what you looked at in `If-Match`.";
    /// The body is too large.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "the body is too large", "Send 1 MiB at most.";
    /// The body came too slowly.
    BodySlow = "body_slow", REQUEST_TIMEOUT, "the body did not come in time", "Ask again.";
    /// The body is not JSON by its type.
    MediaType = "media_type", UNSUPPORTED_MEDIA_TYPE, "the body is not JSON", "Send `Content-Type: application/json`.";
    /// It is for WebSockets only.
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED, "this is for WebSockets only", "Open it with a WebSocket (RFC 6455, version 13).";
    /// A field or parameter is wrong.
    FieldInvalid = "field_invalid", UNPROCESSABLE_ENTITY, "a field is not as it should be", "`field` names it, `detail` says what belongs there.";
    /// A field or parameter does not exist.
    FieldUnknown = "field_unknown", UNPROCESSABLE_ENTITY, "there is no such field", "`detail` names those that there are. What is misspelled would otherwise be lost.";
    /// Too many guesses.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "too many attempts", "Wait for as long as `Retry-After` says.";
    /// Something went wrong here.
    Internal = "internal", INTERNAL_SERVER_ERROR, "something went wrong here", "The log says more.";
    /// Not now.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "not available at the moment", "Ask again in a moment.";
}

/// An answer that says what is wrong. Never holds a credential.
#[derive(Debug)]
pub(crate) struct Problem {
    /// What is wrong.
    pub(crate) code: Code,
    more: Box<More>,
}

/// What is told beside the code.
#[derive(Debug)]
struct More {
    detail: Cow<'static, str>,
    field: Option<String>,
    created_id: Option<String>,
    retry_after_secs: Option<u64>,
    allow: Option<HeaderValue>,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "/api/v1/errors/not_found", "title": "there is no such thing", "status": 404, "code": "not_found",
    "detail": "no key has this id"
}))]
pub(crate) struct Document<'a> {
    /// Where the code is explained, on this listener.
    r#type: String,
    /// What it is, in few words.
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The stable word for it.
    code: &'a str,
    /// What it is in this case.
    detail: String,
    /// The field or parameter that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What was made before under the same idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_id: Option<String>,
}

impl Problem {
    /// The problem in its own words.
    pub(crate) fn of(code: Code) -> Self {
        Self::with(code, code.advice())
    }

    /// The problem with what it is in this case.
    pub(crate) fn with(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let more = More { detail: detail.into(), field: None, created_id: None, retry_after_secs: None, allow: None };
        Self { code, more: Box::new(more) }
    }

    /// The same, naming the field that is meant.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.more.field = Some(field.into()).filter(|field| !field.is_empty());
        self
    }

    /// The same, naming what was made.
    pub(crate) fn created(mut self, id: String) -> Self {
        self.more.created_id = Some(id);
        self
    }

    /// The same, with the methods that there are.
    pub(crate) fn allowing(mut self, allow: Option<HeaderValue>) -> Self {
        self.more.allow = allow;
        self
    }

    fn retry_after(mut self, secs: u64) -> Self {
        self.more.retry_after_secs = Some(secs);
        self
    }

    /// Whoever guesses has to wait.
    pub(crate) fn wait(Wait { secs }: Wait) -> Self {
        let detail = format!("too many attempts: try again in {secs} s");
        Self::with(Code::RateLimited, detail).retry_after(secs)
    }
}

impl From<Busy> for Problem {
    fn from(_: Busy) -> Self {
        Self::of(Code::Unavailable).retry_after(1)
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Length => Self::with(Code::FieldInvalid, error.to_string()).field("password"),
            PasswordError::Failed => Self::of(Code::Unavailable),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::KeyUnknown
            | StoreError::TokenUnknown
            | StoreError::TokenNotFound
            | StoreError::AdminUnknown => Self::with(Code::NotFound, text),
            StoreError::OverrideUnknown => Self::with(Code::NotFound, "the route has no override"),
            StoreError::OverrideSenseless => Self::with(Code::FieldInvalid, text),
            StoreError::SecretUnknown => Self::with(Code::NotFound, "the upstream has no sealed secret"),
            StoreError::NameTaken { .. } | StoreError::AdminNameTaken { .. } => {
                Self::with(Code::Conflict, text).field("name")
            }
            StoreError::SecretExists { .. }
            | StoreError::SecretTaken
            | StoreError::LastAdmin
            | StoreError::KeyRevoked { .. }
            | StoreError::KeyExpired { .. }
            | StoreError::AlreadyRotated { .. }
            | StoreError::NotRotating { .. } => Self::with(Code::Conflict, text),
            StoreError::AdminChanged | StoreError::KeyChangedMeanwhile => Self::of(Code::PreconditionFailed),
            StoreError::ClaimInvalid => Self::of(Code::ClaimInvalid),
            StoreError::NameInvalid | StoreError::UpstreamNameInvalid => {
                Self::with(Code::FieldInvalid, text).field("name")
            }
            StoreError::OwnerInvalid => Self::with(Code::FieldInvalid, text).field("owner"),
            StoreError::ScopesInvalid => Self::with(Code::FieldInvalid, text).field("scopes"),
            StoreError::ExpiryPassed { .. } => {
                Self::with(Code::FieldInvalid, "the expiry lies in the past").field("expires_at")
            }
            StoreError::Limits(_) => Self::with(Code::FieldInvalid, text).field("limits"),
            StoreError::OverlapInvalid => Self::with(Code::FieldInvalid, text).field("overlap_secs"),
            StoreError::SecretLength => Self::with(Code::FieldInvalid, text).field("secret"),
            _ => {
                tracing::error!(error = text, "the store does not answer the admin listener");
                Self::of(Code::Unavailable).retry_after(1)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { code, more } = self;
        let More { detail, field, created_id, retry_after_secs, allow } = *more;
        let status = code.status();
        let document = Document {
            r#type: format!("/api/v1/errors/{}", code.word()),
            title: code.title(),
            status: status.as_u16(),
            code: code.word(),
            // What was composed may repeat what was sent; our own words do not.
            detail: match detail {
                Cow::Borrowed(own) => own.to_owned(),
                Cow::Owned(composed) => masked(&composed),
            },
            field: field.map(|field| masked(&field)),
            created_id,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if let Some(secs) = retry_after_secs {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if let Some(allow) = allow {
            headers.insert(ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"keymoat admin\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own_and_says_what_to_do() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(!code.title().ends_with('.') && code.advice().ends_with('.'), "{}", code.word());
        }
    }
}
