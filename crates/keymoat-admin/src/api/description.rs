//! The OpenAPI description (3.1), made from the operations' own code, completed from the table of roles.

use std::sync::OnceLock;

use http::Method;
use http::header::CONTENT_TYPE;
use keymoat_core::Role;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{Modify, OpenApi};

use super::problem::Document;
use crate::access::guard::COOKIE_PLAIN;
use crate::access::needs::{self, Need};

/// What stands around the operations.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keymoat admin API",
        description = "Sees and steers a Keymoat gateway. Everything is JSON; times are RFC 3339 in UTC with milliseconds; unknown fields \
                       and parameters are refused. What cannot be done is told as a problem document (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(Document<'static>)),
    modifiers(&Schemes)
)]
struct Frame;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("kma_…")
            .description(Some("An admin key."))
            .build();
        components.add_security_scheme("admin_key", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(
            COOKIE_PLAIN,
            "The session of a person who signed in; `__Host-keymoat` where there is TLS. What changes something needs an \
             `Origin` of this listener, and JSON or `X-Keymoat-Request`.",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

pub(super) fn frame() -> utoipa::openapi::OpenApi {
    Frame::openapi()
}

/// The OpenAPI description of the admin API, in JSON.
#[must_use]
pub fn open_api() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let (_, mut description) = super::described().split_for_parts();
        complete(&mut description);
        description.to_pretty_json().expect("the description is made of texts and numbers")
    })
}

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "about", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn serve() -> impl axum::response::IntoResponse {
    ([(CONTENT_TYPE, "application/json")], open_api())
}

/// Says of every operation who may use it, and how it may fail.
fn complete(description: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut description.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            operation.operation_id = Some(id_of(&method, path));
            let need = needs::of(&method, path).unwrap_or(Need::Role(Role::Admin));
            describe_need(operation, need);
            describe_failures(operation, (&method, path), need);
        }
    }
}

/// Such as `post_keys_id_revoke`: made of what does not change.
fn id_of(method: &Method, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1").split(['/', '{', '}', '-', '.']).filter(|word| !word.is_empty());
    words.fold(method.as_str().to_ascii_lowercase(), |id, word| format!("{id}_{word}"))
}

fn describe_need(operation: &mut Operation, need: Need) {
    let Need::Role(role) = need else {
        operation.security = Some(Vec::new());
        return;
    };
    let none: [String; 0] = [];
    operation.security =
        Some(vec![SecurityRequirement::new("admin_key", none.clone()), SecurityRequirement::new("session", none)]);
    let before = operation.description.take().map(|text| format!("{}\n\n", text.trim_end())).unwrap_or_default();
    operation.description = Some(format!("{before}Needs the role `{}`.", role.word()));
}

fn describe_failures(operation: &mut Operation, (method, path): (&Method, &str), need: Need) {
    let parameters: Vec<_> = operation.parameters.iter().flatten().filter_map(inline).collect();
    let has = |place: &ParameterIn| parameters.iter().any(|parameter| parameter.parameter_in == *place);
    let (has_path, has_query) = (has(&ParameterIn::Path), has(&ParameterIn::Query));
    let has_match = parameters.iter().any(|parameter| parameter.name == "If-Match");
    let mut failures = vec![
        (400, "The request cannot be read, or has a credential in its URL."),
        (421, "The listener does not go by the host's name."),
        (403, "The role does not allow it, or a page of another origin asks."),
        (500, "Something went wrong here."),
        (503, "Not available at the moment."),
    ];
    if matches!(need, Need::Role(_)) || *method == Method::POST {
        failures.push((401, "No credential, or one that is not accepted."));
        failures.push((429, "Too many attempts."));
    }
    if has_path {
        failures.push((404, "There is no such thing."));
    }
    if operation.request_body.is_some() || *method == Method::POST {
        failures.push((404, "There is no such thing."));
        failures.push((408, "The body did not come in time."));
        failures.push((409, "It does not fit what is there, or it was done before."));
        failures.push((413, "The body is too large."));
        failures.push((415, "The body is not JSON."));
        failures.push((422, "A field is not as it should be, or does not exist."));
    }
    let has_place = parameters.iter().any(|parameter| parameter.name == "Last-Event-ID");
    if has_query || has_place {
        failures.push((422, "A parameter is not as it should be, or does not exist."));
    }
    if path == needs::SOCKET {
        failures.push((426, "It is no handshake of a WebSocket."));
    }
    if has_match {
        failures.push((409, "It does not fit what is there."));
        failures.push((412, "It has changed since."));
        failures.push((428, "`If-Match` is missing."));
    }
    for (status, text) in failures {
        let known = &mut operation.responses.responses;
        known.entry(status.to_string()).or_insert_with(|| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            RefOr::T(ResponseBuilder::new().description(text).content("application/problem+json", content).build())
        });
    }
}

fn inline(parameter: &RefOr<Parameter>) -> Option<&Parameter> {
    match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    }
}
