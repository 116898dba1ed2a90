//! The web console: files that were built into the binary, under a policy that runs nothing else. They hold no data: what
//! the console shows, it asks the API for, as whoever has signed in.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use http::{HeaderName, HeaderValue, Method};
use rust_embed::Embed;

use crate::api::problem::{Code, Problem};

/// What Vite has built; `build.rs` says what to do when it is not there.
#[derive(Embed)]
#[folder = "../../console/dist"]
struct Files;

/// What a page of the console may do: load and ask this listener, and nothing else. There is no inline code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A page can do without all of these.
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

/// Every page of the console, and the files that it loads. Who may see them: everybody who may connect.
pub(crate) fn console() -> Router {
    Router::new().route("/", get(page)).route("/assets/{name}", get(asset)).route("/{*place}", any(place))
}

/// The one page; its script shows the screen that the address names.
async fn page() -> Response {
    answer("index.html", "no-store")
}

/// A screen of the console. What is in the API's part of the tree and got here is no operation.
async fn place(method: Method, Path(place): Path<String>) -> Response {
    let first = place.split('/').next().unwrap_or_default();
    // `//host/path` and its kin are no screen either.
    let is_other = matches!(first, "" | "api" | "ws" | "assets" | "metrics" | "healthz") || place.contains(['.', '\\']);
    if is_other || !matches!(method, Method::GET | Method::HEAD) {
        return Problem::of(Code::NotFound).into_response();
    }
    page().await
}

/// A file whose name changes with its content, so that it can be kept for good.
async fn asset(Path(name): Path<String>) -> Response {
    answer(&format!("assets/{name}"), "private, max-age=31536000, immutable")
}

fn answer(path: &str, kept: &'static str) -> Response {
    let Some(file) = Files::get(path) else { return Problem::of(Code::NotFound).into_response() };
    let mut response = file.data.into_response();
    let headers = response.headers_mut();
    let fixed = [
        (CONTENT_TYPE, kind(path)),
        (CACHE_CONTROL, kept),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.remove(ETAG);
    response
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> String {
        let file = Files::get(path).expect("a file of the console");
        String::from_utf8(file.data.into_owned()).expect("text")
    }

    #[test]
    fn the_page_has_no_inline_code_and_names_files_that_are_there() {
        let page = text("index.html");
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("javascript:"), "{page}");
        assert!(!page.split("<script").skip(1).any(|rest| !rest.contains("src=\"/assets/")), "{page}");
        for named in page.split("\"/assets/").skip(1).filter_map(|rest| rest.split_once('"')) {
            assert!(Files::get(&format!("assets/{}", named.0)).is_some(), "{}", named.0);
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for path in Files::iter().filter(|path| !path.ends_with(".svg")) {
            let text = text(&path);
            for place in ["@import", "url(http", "url(//", "src=\"http", "eval(", "new Function("] {
                assert!(!text.contains(place), "{place} in {path}");
            }
        }
    }

    #[tokio::test]
    async fn screens_are_the_page_and_what_looks_like_the_api_is_not() {
        for (path, status) in [
            ("keys/key_1", 200),
            ("traffic", 200),
            ("api/v2/keys", 404),
            ("ws/x", 404),
            ("x.php", 404),
            ("/etc/passwd", 404),
        ] {
            assert_eq!(place(Method::GET, Path(path.to_owned())).await.status().as_u16(), status, "{path}");
        }
        assert_eq!(place(Method::POST, Path("keys".to_owned())).await.status().as_u16(), 404);
        let page = page().await;
        assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(asset(Path("../index.html".to_owned())).await.status().as_u16(), 404);
    }
}
