//! What browsers are told about pages of other origins: the CORS protocol (Fetch standard, section 3.2).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use keymoat_core::origin::Page;
use keymoat_core::record::Outcome;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::Route;

use crate::body::ToClient;
use crate::ledger::Ledger;

/// How long a browser may rely on the answer to a preflight, in seconds.
const PREFLIGHT_SECS: &str = "600";
/// What a page may do: the methods that are taken at all.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What the answers to one request say to its page.
pub(crate) enum Cors {
    /// The route has no list: what the upstream says goes through.
    Untouched,
    /// Only that the answer depends on the origin.
    Silent,
    /// The page may read the answer.
    Readable(HeaderValue),
}

impl Cors {
    pub(crate) fn for_page(page: Page<'_>) -> Self {
        match page {
            Page::Unchecked => Self::Untouched,
            Page::None | Page::Own | Page::Foreign => Self::Silent,
            // The route's own text, never the request's.
            Page::Listed(origin) => HeaderValue::try_from(origin.as_str()).map_or(Self::Silent, Self::Readable),
        }
    }

    /// Puts it on an answer, in the place of what the upstream may have said. Pages never get to send cookies along:
    /// there is no `Access-Control-Allow-Credentials`.
    pub(crate) fn dress(self, headers: &mut HeaderMap) {
        if matches!(self, Self::Untouched) {
            return;
        }
        let said: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
        for name in said {
            headers.remove(name);
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Self::Readable(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
        }
    }
}

/// What a page of another origin is told, whatever credential it has.
pub(crate) fn foreign() -> Refusal {
    Refusal::new(Code::Forbidden, "pages of this origin may not use the route: add it to the route's `origins`")
}

/// The answer to a preflight of a page that is listed. It needs no credential, as browsers send none.
pub(crate) fn preflight(cors: Cors, route: &Route, mut ledger: Ledger) -> Response<ToClient> {
    ledger.record.outcome = Outcome::Allowed;
    ledger.record.status = Some(StatusCode::NO_CONTENT.as_u16());
    let mut response = Response::new(ToClient::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    cors.dress(headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(route));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECS));
    headers.append(
        header::VARY,
        HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
    );
    response
}

/// Everything but what needs to be named: the star does not speak of `Authorization` (Fetch standard, section 4.9).
/// The names that were asked for are not echoed.
fn allowed_headers(route: &Route) -> HeaderValue {
    let mut names = String::from("*, content-type");
    for name in &route.carriers.headers {
        names.push_str(", ");
        names.push_str(name.as_str());
    }
    HeaderValue::try_from(names).unwrap_or_else(|_| HeaderValue::from_static("*"))
}
