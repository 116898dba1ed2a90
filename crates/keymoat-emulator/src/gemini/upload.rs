//! Resumable file upload, as the SDKs do it: a start that names an absolute URL, then pieces sent to that URL.
//!
//! The second step carries no key: the id in the URL is what admits it, which is why a gateway has to stand in for
//! that URL as well. The bytes are counted, not kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{VERSIONS, admission, error, field, rest};
use crate::answer::{self, Body};
use crate::credential;
use crate::emulator::Emulator;
use crate::websocket::End;

/// How many uploads are kept; the oldest is forgotten first.
const UPLOADS_MAX: usize = 1024;
/// The largest file, as at Google.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Every upload that was started.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    uploads: HashMap<String, Upload>,
    order: VecDeque<String>,
}

#[derive(Debug, Clone)]
struct Upload {
    file: String,
    display_name: Option<String>,
    mime: String,
    declared: u64,
    received: u64,
    complete: bool,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `/upload/{version}/files`.
    Upload(&'static str),
    /// `/{version}/files/{name}`.
    File(String),
}

/// Reads a path of the file API.
pub(crate) fn call(path: &str) -> Option<Call> {
    let version = |written: &str| VERSIONS.into_iter().find(|known| *known == written);
    if let Some(rest) = path.strip_prefix("/upload/") {
        return rest.strip_suffix("/files").and_then(version).map(Call::Upload);
    }
    let (written, name) = path.strip_prefix('/')?.split_once('/')?;
    version(written)?;
    name.strip_prefix("files/").map(|name| Call::File(name.to_owned()))
}

/// Answers a call.
pub(crate) fn answer(emulator: &Emulator, head: &Parts, body: &[u8], call: &Call) -> Response<Body> {
    let found = credential::find(&head.headers, head.uri.query());
    if let Err(refused) = admission::refuse_url(emulator, &found, &head.uri) {
        return rest::refusal(&refused);
    }
    let upload_id = credential::parameters(head.uri.query()).find(|(name, _)| name == "upload_id");
    if let (Call::Upload(_), Some((_, id)), &Method::POST) = (call, upload_id, &head.method) {
        return piece(emulator, &head.headers, body, &id);
    }
    if let Err(refused) = admission::key(emulator, &found, &head.uri) {
        return rest::refusal(&refused);
    }
    match (call, &head.method) {
        (Call::Upload(version), &Method::POST) => start(emulator, &head.headers, body, version),
        (Call::File(name), &Method::GET) => match emulator.uploads.finished(name) {
            Some(upload) => answer::json(StatusCode::OK, &described(&upload)),
            None => {
                error(StatusCode::FORBIDDEN, "PERMISSION_DENIED", "You do not have permission or it may not exist.")
            }
        },
        _ => error(StatusCode::NOT_FOUND, "NOT_FOUND", "Requested entity was not found."),
    }
}

fn start(emulator: &Emulator, headers: &HeaderMap, body: &[u8], version: &str) -> Response<Body> {
    if text(headers, "x-goog-upload-protocol") != "resumable" || text(headers, "x-goog-upload-command") != "start" {
        return rest::invalid_argument("expected X-Goog-Upload-Protocol: resumable and X-Goog-Upload-Command: start");
    }
    let declared = text(headers, "x-goog-upload-header-content-length").parse().ok();
    let Some(declared) = declared.filter(|declared| (1..=FILE_BYTES_MAX).contains(declared)) else {
        return rest::invalid_argument("X-Goog-Upload-Header-Content-Length must be 1 byte to 2 GiB");
    };
    let display_name = match display_name(body) {
        Ok(name) => name,
        Err(end) => return rest::refused_request(end),
    };
    let number = emulator.next_id();
    let id = format!("emulated-upload-{number}");
    let mime = text(headers, "x-goog-upload-header-content-type").to_owned();
    let file = format!("emulated-{number}");
    let upload = Upload { file, display_name, mime, declared, received: 0, complete: false };
    emulator.uploads.keep(&id, upload);
    let url = format!(
        "{}/upload/{version}/files?upload_id={id}&upload_protocol=resumable",
        emulator.upload_origin.trim_end_matches('/')
    );
    let mut response = status(answer::json(StatusCode::OK, &json!({})), "active");
    if let Ok(url) = HeaderValue::try_from(url) {
        response.headers_mut().insert("x-goog-upload-url", url);
    }
    response
}

fn piece(emulator: &Emulator, headers: &HeaderMap, body: &[u8], id: &str) -> Response<Body> {
    let mut kept = emulator.uploads.kept();
    let Some(upload) = kept.uploads.get_mut(id).filter(|upload| !upload.complete) else {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "Upload has already been terminated.");
    };
    let commands: Vec<_> = text(headers, "x-goog-upload-command").split(',').map(str::trim).collect();
    if commands == ["query"] {
        let mut response = status(answer::empty(StatusCode::OK), "active");
        response.headers_mut().insert("x-goog-upload-size-received", upload.received.into());
        return response;
    }
    if commands != ["upload"] && commands != ["upload", "finalize"] {
        return rest::invalid_argument("X-Goog-Upload-Command must be `upload` or `upload, finalize`");
    }
    if text(headers, "x-goog-upload-offset").parse() != Ok(upload.received) {
        let message = format!("X-Goog-Upload-Offset must be {}", upload.received);
        return status(rest::invalid_argument(&message), "active");
    }
    let received = upload.received.saturating_add(body.len() as u64);
    let finalize = commands.len() == 2;
    if received > upload.declared || (finalize && received != upload.declared) {
        let message = format!("{received} bytes were sent of {} declared", upload.declared);
        return status(rest::invalid_argument(&message), "active");
    }
    upload.received = received;
    upload.complete = finalize;
    match finalize {
        false => status(answer::empty(StatusCode::OK), "active"),
        true => status(answer::json(StatusCode::OK, &json!({"file": described(upload)})), "final"),
    }
}

impl Uploads {
    fn keep(&self, id: &str, upload: Upload) {
        let mut kept = self.kept();
        if kept.order.len() >= UPLOADS_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.uploads.remove(&oldest);
        }
        kept.order.push_back(id.to_owned());
        kept.uploads.insert(id.to_owned(), upload);
    }

    fn finished(&self, file: &str) -> Option<Upload> {
        self.kept().uploads.values().find(|upload| upload.complete && upload.file == file).cloned()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The display name in the body of a start, if there is one.
fn display_name(body: &[u8]) -> Result<Option<String>, End> {
    if body.is_empty() {
        return Ok(None);
    }
    let body = super::session::parse(body)?;
    let fields = field::object(&body, "", &["file"])?;
    let Some(file) = fields.get("file") else { return Ok(None) };
    let file = field::object(file, "file", &["name", "displayName", "mimeType", "sizeBytes"])?;
    Ok(field::string(&file, "displayName", "file")?.map(str::to_owned))
}

/// A `File`. Its URI names Google's host, as it does at Google: it is a reference, not an address to call.
fn described(upload: &Upload) -> Value {
    json!({
        "name": format!("files/{}", upload.file),
        "displayName": upload.display_name,
        "mimeType": upload.mime,
        "sizeBytes": upload.received.to_string(),
        "uri": format!("https://generativelanguage.googleapis.com/v1beta/files/{}", upload.file),
        "state": "ACTIVE",
        "source": "UPLOADED",
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn status(mut response: Response<Body>, status: &'static str) -> Response<Body> {
    response.headers_mut().insert("x-goog-upload-status", HeaderValue::from_static(status));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_paths_of_the_file_api() {
        assert_eq!(call("/upload/v1beta/files"), Some(Call::Upload("v1beta")));
        assert_eq!(call("/v1/files/abc"), Some(Call::File("abc".to_owned())));
        assert_eq!(call("/upload/v9/files"), None);
        assert_eq!(call("/v1/models"), None);
    }
}
