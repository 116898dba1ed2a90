//! What each code means, for people.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::problem::{Code, Problem};

/// What a code of a problem document means, and what to do.
#[utoipa::path(get, path = "/api/v1/errors/{code}", tag = "about", params(("code" = String, Path, description = "Such as `not_found`.")),
    responses((status = 200, description = "A text.", body = String, content_type = "text/plain")))]
pub(super) async fn explain(Path(word): Path<String>) -> Response {
    let Some(code) = Code::ALL.iter().find(|code| code.word() == word) else {
        return Problem::of(Code::NotFound).into_response();
    };
    let text = format!("{} ({})\n\n{}\n\n{}\n", code.word(), code.status().as_u16(), code.title(), code.advice());
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
