//! Keys are taken over from elsewhere, with the secrets that their holders have.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use keymoat_core::format::{NearMiss, Shape, canonical};
use keymoat_core::{Action, Scopes, Secret};
use keymoat_store::{Import, ImportMode, Imported, NewKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits::LimitsBody;
use super::shown::KeyShown;
use super::{rotate_after, scopes_of};
use crate::access::Caller;
use crate::api::Desk;
use crate::api::answer::Json;
use crate::api::body::Body;
use crate::api::moment::Moment;
use crate::api::problem::{Code, Problem};

/// So many are taken over at once.
const KEYS_MAX: usize = 1000;

/// How long the beginning of names may be, in characters.
const PREFIX_CHARS_MAX: usize = 80;

/// A credential in use has at least so many bytes: a shorter one could be guessed.
const SECRET_BYTES_MIN: usize = 8;

/// A credential has at most so many bytes.
const SECRET_BYTES_MAX: usize = 1024;

/// Keys to be taken over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ImportBody {
    /// One key a line, as `NAME=KEY`, `NAME KEY` or `KEY` alone; or a JSON list of keys, as in `API_KEYS`. Empty lines and those
    /// that begin with `#` are passed over.
    #[schema(format = Password, min_length = 1)]
    text: Option<String>,
    /// The keys one by one, in place of `text`.
    #[schema(min_items = 1, max_items = 1000)]
    keys: Option<Vec<ImportKey>>,
    /// What the names of keys without one begin with; a number follows.
    #[schema(min_length = 1, max_length = 80, default = "imported")]
    name_prefix: Option<String>,
    /// Who answers for all of them.
    #[schema(min_length = 1, max_length = 100)]
    owner: Option<String>,
    /// Where they may be used, as of a new key.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Option<Vec<String>>,
    /// From when on they are refused; null for never.
    expires_at: Option<Moment>,
    /// How old their secrets may become before somebody is reminded to rotate them, in seconds.
    #[schema(minimum = 1, maximum = 316_224_000)]
    rotate_after_secs: Option<u32>,
    /// From when on somebody is reminded, in place of an age.
    rotate_at: Option<Moment>,
    /// How much may be done with each.
    limits: Option<LimitsBody>,
    /// Takes over also what can be guessed, or what almost has the form of a key of Keymoat's: its holders have it.
    #[serde(default)]
    any_form: bool,
    /// Only says what would be taken over.
    #[serde(default)]
    dry_run: bool,
}

/// One key to be taken over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ImportKey {
    /// Its name; of `name_prefix` and a number where there is none.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// The secret that its holders have.
    #[schema(format = Password, min_length = 1, max_length = 1024)]
    secret: String,
}

/// What became of an import.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ImportDone {
    /// The keys that were taken over.
    imported: Vec<ImportedKey>,
    /// Those that are known already.
    known: Vec<ImportedKey>,
    /// The lines that were not taken over, each with why.
    refused: Vec<RefusedLine>,
}

/// A key of an import.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ImportedKey {
    /// The number of its line, or its place in the list, from 1 on.
    line: usize,
    /// The key.
    #[serde(flatten)]
    key: KeyShown,
}

/// A line that was not taken over.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct RefusedLine {
    /// Its number, or the place in the list, from 1 on.
    line: usize,
    /// Why.
    detail: String,
}

/// One line of an import.
struct Line {
    number: usize,
    name: Option<String>,
    secret: Secret,
}

/// Takes keys over with the secrets that their holders have. Nothing that was sent is repeated in the answer.
#[utoipa::path(post, path = "/api/v1/keys/import", tag = "keys", request_body = ImportBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Does it once, however often it is asked for.", min_length = 1, max_length = 255)),
    responses((status = 200, description = "What became of each line.", body = ImportDone)))]
pub(in crate::api) async fn import(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<ImportBody>,
) -> Result<Json<ImportDone>, Problem> {
    let ImportBody {
        text,
        keys,
        name_prefix,
        owner,
        scopes,
        expires_at,
        rotate_after_secs,
        rotate_at,
        limits,
        any_form,
        dry_run,
    } = asked;
    let template = NewKey {
        owner,
        scopes: scopes.map_or(Ok(Scopes::All), |words| scopes_of(&words))?,
        expires_at: expires_at.map(|at| at.0),
        rotate_after: rotate_after(rotate_after_secs, rotate_at)?,
        limits: limits.map(LimitsBody::limits).transpose()?.unwrap_or_default(),
        ..NewKey::named("")
    };
    let prefix = name_prefix.unwrap_or_else(|| "imported".to_owned());
    if !(1..=PREFIX_CHARS_MAX).contains(&prefix.chars().count()) {
        return Err(Problem::with(Code::FieldInvalid, "this has 1 to 80 characters").field("name_prefix"));
    }
    let lines = match (text.map(zeroize::Zeroizing::new), keys) {
        (Some(text), None) => lines_of(&text)?,
        (None, Some(keys)) => lines_of_list(keys)?,
        _ => return Err(Problem::with(Code::FieldInvalid, "write `text` or `keys`, one of both").field("text")),
    };
    let now = desk.house.now();
    let (mut refused, mut taken) = (Vec::new(), Vec::new());
    for line in lines {
        match if any_form { impossible(&line.secret) } else { fault(&line.secret) } {
            Some(detail) => refused.push(RefusedLine { line: line.number, detail: detail.to_owned() }),
            None => taken.push(line),
        }
    }
    let mode = if dry_run { ImportMode::DryRun } else { ImportMode::Commit };
    let done = desk.store(move |store| {
        let imports = taken.iter().map(|line| {
            let name = line.name.clone().unwrap_or_else(|| format!("{prefix} {}", line.number));
            Import { new: NewKey { name, ..template.clone() }, secret: &line.secret }
        });
        let imports: Vec<_> = imports.collect();
        let numbers: Vec<_> = taken.iter().map(|line| line.number).collect();
        Ok((numbers, store.import_keys(imports, mode, now)?))
    });
    let (numbers, done) = done.await?;
    let mut answer = ImportDone { imported: Vec::new(), known: Vec::new(), refused };
    for (line, one) in numbers.into_iter().zip(done) {
        match one {
            Imported::Made(key) => {
                if !dry_run {
                    desk.tell(&caller, Action::KeyImported, &key.id, Some(format!("`{}`", key.name)));
                }
                answer.imported.push(ImportedKey { line, key: KeyShown::of(&key, now) });
            }
            Imported::Known(key) => answer.known.push(ImportedKey { line, key: KeyShown::of(&key, now) }),
            Imported::Refused(error) => answer.refused.push(RefusedLine { line, detail: error.to_string() }),
        }
    }
    answer.refused.sort_by_key(|refused| refused.line);
    Ok(Json(answer))
}

/// The keys of a list.
fn lines_of_list(keys: Vec<ImportKey>) -> Result<Vec<Line>, Problem> {
    let numbered = keys.into_iter().zip(1..);
    let lines = numbered.map(|(ImportKey { name, secret }, number)| {
        // The empty text is no name, and would be the same for all.
        let name = name.filter(|name| !name.is_empty());
        Line { number, name, secret: canonical(Secret::from(secret)).0 }
    });
    counted(lines.collect(), "keys")
}

/// The keys in a text.
fn lines_of(text: &str) -> Result<Vec<Line>, Problem> {
    let lines: Vec<Line> = if text.trim_start().starts_with('[') {
        let list: Vec<String> = serde_json::from_str(text)
            .map_err(|_| Problem::with(Code::FieldInvalid, "this is no JSON list of texts").field("text"))?;
        let numbered = list.into_iter().zip(1..);
        numbered.map(|(key, number)| Line { number, name: None, secret: canonical(Secret::from(key)).0 }).collect()
    } else {
        let numbered = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
        let kept = numbered.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        kept.map(|(line, number)| line_of(line, number)).collect()
    };
    counted(lines, "text")
}

/// The same keys, if there are some and not too many; `field` is where they stand.
fn counted(lines: Vec<Line>, field: &'static str) -> Result<Vec<Line>, Problem> {
    match lines.len() {
        0 => Err(Problem::with(Code::FieldInvalid, "there is no key in it").field(field)),
        1..=KEYS_MAX => Ok(lines),
        _ => Err(Problem::with(Code::FieldInvalid, "1000 keys at most at once").field(field)),
    }
}

fn line_of(line: &str, number: usize) -> Line {
    let split = line.split_once(char::is_whitespace).or_else(|| line.split_once('='));
    // What ends with `=` is base64, and no name.
    let split = split.filter(|(name, key)| !name.is_empty() && !key.trim_matches('=').is_empty());
    let (name, key) = match split {
        Some((name, key)) => (Some(name.trim_end_matches('=').to_owned()), key.trim()),
        None => (None, line),
    };
    Line { number, name, secret: canonical(Secret::from(key)).0 }
}

/// Why a credential cannot be a key.
fn fault(secret: &Secret) -> Option<&'static str> {
    impossible(secret).or_else(|| match keymoat_core::format::shape(secret) {
        Shape::NearMiss(miss) => Some(miss.hint()),
        _ if secret.len() < SECRET_BYTES_MIN => Some("a key has 8 to 1024 bytes"),
        _ => None,
    })
}

/// Why a credential can be no key, whatever is said of it.
fn impossible(secret: &Secret) -> Option<&'static str> {
    match keymoat_core::format::shape(secret) {
        Shape::Token { .. } => Some("this is a token, and no key"),
        Shape::NearMiss(NearMiss::Admin) => Some("this is an admin credential"),
        _ if !(1..=SECRET_BYTES_MAX).contains(&secret.len()) => Some("a key has 8 to 1024 bytes"),
        Shape::NearMiss(_) | Shape::Key | Shape::Foreign => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_told_apart() {
        let text = "# comment\nbackend=first-key-1\n\napp second-key-2\nthird-key-3\ndGhpcmQta2V5LTM=\n";
        let lines = lines_of(text).expect("keys");
        let told: Vec<_> = lines.iter().map(|line| (line.number, line.name.as_deref(), line.secret.len())).collect();
        assert_eq!(told, [(2, Some("backend"), 11), (4, Some("app"), 12), (5, None, 11), (6, None, 16)]);
        assert_eq!(lines_of("[\"first-key-1\", \"second-key-2\"]").expect("keys").len(), 2);
        assert!(lines_of("# nothing\n").is_err() && lines_of("[1]").is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in ["short", "kma_0123456789abcdef", "km_tooshort"] {
            assert!(fault(&Secret::from(wrong)).is_some(), "{wrong}");
        }
        assert_eq!(fault(&Secret::from("an ordinary api key")), None);
    }
}
