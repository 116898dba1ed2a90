//! Holds plain requests of a key, or a token, with a list of models to it. Where only the body names the model, it is read whole.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use keymoat_core::head::Head;
use keymoat_core::models::{self, Place};
use keymoat_core::policy::Access;
use keymoat_core::refusal::{Code, Refusal};

use crate::body::Source;
use crate::passage::Passage;

/// The body, once it is known that what it asks for is listed. Without a list nothing is looked at.
///
/// # Errors
/// `forbidden` for another model, and for a request whose model cannot be read; `body_too_large` for more than
/// [`crate::settings::Limits::watched_bytes_max`], `request_invalid`, `request_timeout`.
pub(crate) async fn held(
    passage: &Passage<'_>,
    head: &Head,
    path: &str,
    access: &Access,
    body: Incoming,
) -> Result<Source, Refusal> {
    let dialect = passage.route.dialect;
    let mut is_in_body = false;
    for list in access.model_lists() {
        is_in_body |= models::place(list, dialect, &head.method, path, &head.headers)? == Place::Body;
    }
    if !is_in_body {
        return Ok(Source::Incoming(body));
    }
    let body = read(passage, body).await?;
    for list in access.model_lists() {
        models::check_body(list, dialect, &body)?;
    }
    Ok(Source::Held(Some(body)))
}

async fn read(passage: &Passage<'_>, body: Incoming) -> Result<Bytes, Refusal> {
    let limits = &passage.plan.limits;
    let bytes_max = usize::try_from(limits.watched_bytes_max).unwrap_or(usize::MAX);
    let body = tokio::time::timeout(limits.body_idle, Limited::new(body, bytes_max).collect()).await;
    let body = body.map_err(|_| Refusal::new(Code::RequestTimeout, "the body took too long: send it at once"))?;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let text = format!("a body whose model is read has at most {bytes_max} bytes here");
            return Refusal::new(Code::BodyTooLarge, text);
        }
        Refusal::new(Code::RequestInvalid, "the body ended before its time")
    })?;
    Ok(body.to_bytes())
}
