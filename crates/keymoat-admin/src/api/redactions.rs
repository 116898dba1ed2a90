//! Credentials in a text are masked, as in every line that Keymoat writes.

use std::sync::Arc;

use axum::extract::State;
use keymoat_redact::{Options, Redactor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::Desk;
use super::answer::Json;
use super::body::Body;
use super::problem::{Code, Problem};

/// A text with credentials in it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedactionBody {
    /// The text.
    text: String,
}

/// The text without them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Redaction {
    /// The text with every credential masked.
    text: String,
    /// The rules that found something.
    rules: Vec<RuleHit>,
}

/// A rule that found something.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleHit {
    /// The word in the mark, such as `api_key`.
    name: String,
    /// How often.
    count: u64,
}

/// Masks the credentials in a text and says which rules found them. Nothing of the text is kept.
#[utoipa::path(post, path = "/api/v1/redactions", tag = "about", request_body = RedactionBody,
    responses((status = 200, description = "The masked text.", body = Redaction)))]
pub(super) async fn redact(
    State(desk): State<Arc<Desk>>,
    Body(RedactionBody { text }): Body<RedactionBody>,
) -> Result<Json<Redaction>, Problem> {
    let text = Zeroizing::new(text);
    let (rules, known) = (desk.house.rules.load_full(), desk.house.known.clone());
    let masked = tokio::task::spawn_blocking(move || {
        let mut redactor = Redactor::new(rules, Options { known, ..Options::default() });
        let shown = String::from_utf8_lossy(&redactor.redact(text.as_bytes())).into_owned();
        let hits = redactor
            .stats()
            .kinds()
            .map(|(kind, count)| RuleHit { name: redactor.rules().word(kind).to_owned(), count });
        Redaction { rules: hits.collect(), text: shown }
    });
    masked.await.map(Json).map_err(|_| Problem::of(Code::Internal))
}
