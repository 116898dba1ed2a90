//! Which role each operation needs: one table, and what is not in it is refused.

use http::Method;
use keymoat_core::Role;

/// What an operation asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it proves by itself who may use it, or says nothing worth hiding.
    Nothing,
    /// At least this role.
    Role(Role),
}

const OPEN: Need = Need::Nothing;
const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

/// The socket of events.
pub(crate) const SOCKET: &str = "/ws/events";

/// The paths that a token for one stream opens.
pub(crate) const STREAMS: [&str; 3] = ["/api/events", "/api/events/stream", SOCKET];

/// Every operation of the API.
pub(crate) const NEEDS: &[(Method, &str, Need)] = &[
    (Method::GET, "/api/v1/openapi.json", OPEN),
    (Method::GET, "/api/v1/errors/{code}", OPEN),
    (Method::GET, "/healthz", OPEN),
    (Method::GET, "/metrics", VIEWER),
    (Method::POST, "/api/v1/claim", OPEN),
    (Method::POST, "/api/v1/sign-in", OPEN),
    (Method::DELETE, "/api/v1/sign-in", VIEWER),
    (Method::GET, "/api/v1/me", VIEWER),
    (Method::PUT, "/api/v1/me/password", VIEWER),
    (Method::GET, "/api/v1/health", VIEWER),
    (Method::GET, "/api/v1/configuration", VIEWER),
    (Method::POST, "/api/v1/redactions", VIEWER),
    (Method::GET, "/api/v1/keys", VIEWER),
    (Method::POST, "/api/v1/keys", OPERATOR),
    (Method::GET, "/api/v1/keys/{id}", VIEWER),
    (Method::PATCH, "/api/v1/keys/{id}", OPERATOR),
    (Method::POST, "/api/v1/keys/{id}/rotate", OPERATOR),
    (Method::POST, "/api/v1/keys/{id}/retire", OPERATOR),
    (Method::POST, "/api/v1/keys/{id}/revoke", OPERATOR),
    (Method::POST, "/api/v1/keys/import", OPERATOR),
    (Method::GET, "/api/v1/tokens", VIEWER),
    (Method::POST, "/api/v1/tokens", OPERATOR),
    (Method::GET, "/api/v1/tokens/{id}", VIEWER),
    (Method::POST, "/api/v1/tokens/{id}/revoke", OPERATOR),
    (Method::GET, "/api/v1/events", VIEWER),
    (Method::GET, "/api/v1/usage", VIEWER),
    (Method::GET, "/api/events", VIEWER),
    (Method::GET, "/api/events/stream", VIEWER),
    (Method::GET, SOCKET, VIEWER),
    (Method::POST, "/api/v1/stream-tokens", VIEWER),
    (Method::GET, "/api/v1/sessions", VIEWER),
    (Method::GET, "/api/v1/sessions/{id}", VIEWER),
    (Method::POST, "/api/v1/sessions/{id}/end", OPERATOR),
    (Method::GET, "/api/v1/routes", VIEWER),
    (Method::GET, "/api/v1/routes/{name}", VIEWER),
    (Method::PUT, "/api/v1/routes/{name}/override", OPERATOR),
    (Method::DELETE, "/api/v1/routes/{name}/override", OPERATOR),
    (Method::GET, "/api/v1/sunset", VIEWER),
    (Method::GET, "/api/v1/sunset/plan", VIEWER),
    (Method::POST, "/api/v1/sunset/enforce", OPERATOR),
    (Method::GET, "/api/v1/upstreams", VIEWER),
    (Method::GET, "/api/v1/upstreams/{name}", VIEWER),
    (Method::POST, "/api/v1/upstreams/{name}/test", OPERATOR),
    (Method::PUT, "/api/v1/upstreams/{name}/secret", ADMIN),
    (Method::DELETE, "/api/v1/upstreams/{name}/secret", ADMIN),
    (Method::GET, "/api/v1/nodes", VIEWER),
    (Method::GET, "/api/v1/upstream-secrets", VIEWER),
    (Method::GET, "/api/v1/admins", ADMIN),
    (Method::POST, "/api/v1/admins", ADMIN),
    (Method::GET, "/api/v1/admins/{id}", ADMIN),
    (Method::PATCH, "/api/v1/admins/{id}", ADMIN),
    (Method::DELETE, "/api/v1/admins/{id}", ADMIN),
];

/// What the operation at `path`, as the router has it, needs; `None` for what is no operation. `HEAD` is `GET`.
pub(crate) fn of(method: &Method, path: &str) -> Option<Need> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    NEEDS.iter().find(|(known, at, _)| known == method && *at == path).map(|(_, _, need)| *need)
}
