//! Resumable upload.

use serde_json::json;

use crate::support::{Answer, Bench, KEY, WITH_KEY};

const START: &str = "/upload/v1beta/files";

async fn begin(bench: &Bench, length: &str) -> Answer {
    let headers = [
        WITH_KEY[0],
        ("x-goog-upload-protocol", "resumable"),
        ("x-goog-upload-command", "start"),
        ("x-goog-upload-header-content-length", length),
        ("x-goog-upload-header-content-type", "text/plain"),
    ];
    bench.call("POST", START, &headers, r#"{"file": {"mime_type": "text/plain", "size_bytes": 10}}"#).await
}

async fn send(bench: &Bench, target: &str, command: &str, offset: &str, piece: &str) -> Answer {
    let headers = [("x-goog-upload-command", command), ("x-goog-upload-offset", offset)];
    bench.call("POST", target, &headers, piece).await
}

#[tokio::test]
async fn a_file_is_sent_in_pieces_to_the_url_that_the_start_names() {
    let bench = Bench::start().await;
    let begun = begin(&bench, "10").await;
    assert_eq!(begun.headers["x-goog-upload-status"], "active");
    let url = begun.headers["x-goog-upload-url"].to_str().unwrap();
    let target = url.strip_prefix(&format!("http://{}", bench.running.address())).unwrap();
    let first = send(&bench, target, "upload", "0", "01234").await;
    assert_eq!((first.status.as_u16(), &first.headers["x-goog-upload-status"]), (200, &"active".parse().unwrap()));
    let wrong = send(&bench, target, "upload, finalize", "3", "56789").await;
    assert!(wrong.status == 400 && wrong.text.contains("must be 5"), "{}", wrong.text);
    let short = send(&bench, target, "upload, finalize", "5", "567").await;
    assert!(short.status == 400 && short.text.contains("8 bytes were sent of 10"), "{}", short.text);
    let last = send(&bench, target, "upload, finalize", "5", "56789").await;
    assert_eq!(last.headers["x-goog-upload-status"], "final");
    let file = last.json()["file"].clone();
    assert_eq!((&file["sizeBytes"], &file["state"]), (&json!("10"), &json!("ACTIVE")));
    assert_eq!(bench.running.recorder().places_of(KEY), ["header:x-goog-api-key"]);
    let name = format!("/v1beta/{}", file["name"].as_str().unwrap());
    assert_eq!(bench.call("GET", &name, &WITH_KEY, "").await.json(), file);
    assert_eq!(send(&bench, target, "upload, finalize", "10", "").await.status, 404);
}

#[tokio::test]
async fn a_start_needs_the_key_and_a_length_and_a_piece_needs_a_known_id() {
    let bench = Bench::start().await;
    assert_eq!(bench.call("POST", START, &[], "").await.status, 403);
    assert_eq!(begin(&bench, "0").await.status, 400);
    let in_url = format!("{START}?upload_id=made-up&key={KEY}");
    assert_eq!(send(&bench, &in_url, "upload", "0", "x").await.status, 401);
    assert_eq!(send(&bench, &format!("{START}?upload_id=made-up"), "upload", "0", "x").await.status, 404);
}

#[tokio::test]
async fn the_upload_can_be_at_another_origin() {
    let bench =
        Bench::with(|options| options.gemini.upload_origin = Some("https://elsewhere.test:1/".to_owned())).await;
    let begun = begin(&bench, "10").await;
    assert!(
        begun.headers["x-goog-upload-url"].to_str().unwrap().starts_with("https://elsewhere.test:1/upload/v1beta/")
    );
}
