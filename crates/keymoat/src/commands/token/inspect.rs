//! `keymoat token inspect`: what a token may do, why it would be refused, and what becomes of a setup under its lock.

use std::path::Path;

use anyhow::Context;
use keymoat_core::format::{Shape, canonical};
use keymoat_core::token::Token;
use keymoat_core::{UnixMillis, gemini};
use keymoat_store::{Store, StoreError, TokenState};
use serde::Serialize;

use super::super::{Found, print, table, to_json};
use super::create::object_in;
use super::{Shown, words};
use crate::config;
use crate::output::time::rfc3339;

/// Shows a token, and a setup under its lock where one is given.
///
/// # Errors
/// The setup cannot be read, or would be refused.
pub(super) fn run(state: &TokenState, setup: Option<&Path>, json: bool, now: UnixMillis) -> anyhow::Result<()> {
    let explained = setup.map(|path| explained(&state.token, path)).transpose()?;
    if json {
        let setup = explained.as_ref().map(ShownSetup::of);
        return print(&to_json(&Inspected { about: Shown::of(state, now), setup })?);
    }
    let setup = explained.as_ref().map_or_else(String::new, |explained| format!("\n{}", setup_text(explained)));
    print(&format!("{}{setup}", details(state, now)))
}

/// The token that standard input holds, in any of its spellings.
///
/// # Errors
/// There is none, it is something else, or the store does not know it.
pub(super) fn from_stdin(store: &Store, now: UnixMillis) -> anyhow::Result<TokenState> {
    let (credential, _) = config::secret_from(Path::new("-"))?;
    let (credential, shape) = canonical(credential);
    match shape {
        Shape::Token { .. } => {}
        Shape::NearMiss(miss) => return Err(Found(format!("this is no token: {}", miss.hint())).into()),
        Shape::Key => return Err(Found("this is a key: `keymoat key show` tells of it by its id".to_owned()).into()),
        Shape::Foreign => return Err(Found("this is no token: tokens start with `kmt_`".to_owned()).into()),
    }
    // The digest is all that is looked up.
    let digest = store.pepper().digest(credential.expose());
    match store.token_of(&digest, now) {
        Err(error @ StoreError::TokenNotFound) => Err(anyhow::Error::from(error)),
        state => Ok(state?),
    }
}

/// A token and a setup in JSON.
#[derive(Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    about: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup: Option<ShownSetup<'a>>,
}

#[derive(Serialize)]
struct ShownSetup<'a> {
    fields: Vec<ShownField<'a>>,
    effective: serde_json::Value,
}

#[derive(Serialize)]
struct ShownField<'a> {
    path: &'a str,
    fate: &'static str,
}

impl<'a> ShownSetup<'a> {
    fn of(explained: &'a gemini::Explanation) -> Self {
        let fields = explained.fields.iter().map(|field| ShownField { path: &field.path, fate: field.fate.words() });
        Self { fields: fields.collect(), effective: effective(explained) }
    }
}

/// It was rendered by us; if it were not JSON, there would be nothing to show.
fn effective(explained: &gemini::Explanation) -> serde_json::Value {
    serde_json::from_str(&explained.effective.render()).unwrap_or_default()
}

fn explained(token: &Token, path: &Path) -> anyhow::Result<gemini::Explanation> {
    let setup = object_in(path, "setup").context("--setup")?;
    let refused =
        |refusal: keymoat_core::Refusal| Found(format!("--setup: a session that asks for this is refused: {refusal}"));
    let lock = token.constraint.for_gemini().map_err(refused)?;
    Ok(lock.explain(setup).map_err(refused)?)
}

fn setup_text(explained: &gemini::Explanation) -> String {
    let rows = explained.fields.iter().map(|field| [field.path.clone(), field.fate.to_string()]);
    let fields = table(["FIELD OF THE SETUP", "IN THE SESSION"], rows);
    let effective = serde_json::to_string_pretty(&effective(explained)).unwrap_or_default();
    format!("{fields}\nthe session is opened with:\n{effective}\n")
}

fn details(state: &TokenState, now: UnixMillis) -> String {
    let token = &state.token;
    let standing = match state.denial {
        None => "live: it opens new sessions".to_owned(),
        Some(denial) => format!("{}: {}", words::state(state.denial), words::why(denial, state, now)),
    };
    format!(
        "id          {}\nkey         {}\nstate       {standing}\nuses        {}\ncreated     {}\nstart by    {}\n\
         live until  {}\nrevoked     {}\nroutes      {}\ncalls       {}\norigins     {}\nlimits      {}\nconstraint  {}\n",
        token.id,
        token.key_id,
        words::uses(state),
        rfc3339(token.created_at),
        words::moment(token.start_by, now),
        words::moment(token.live_until, now),
        token.revoked_at.map_or_else(|| "never".to_owned(), |at| words::moment(at, now)),
        words::routes(token),
        words::calls(token.calls),
        words::origins(&token.origins),
        words::limits(token),
        words::constraint(&token.constraint),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keymoat_core::json::{self, Caps, Value};
    use keymoat_core::token::{Calls, Constraint, Uses};
    use keymoat_core::{Origin, Scopes};
    use keymoat_store::Denial;

    use super::super::tests::{NOW, state};
    use super::*;

    fn object(text: &str) -> json::Object {
        match json::parse(text.as_bytes(), &Caps::default()) {
            Ok(Value::Object(object)) => object,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_told_in_clear_words() {
        let mut live = state("tok_a", Uses::AtMost(10), Some(3), None);
        let token = Arc::make_mut(&mut live.token);
        token.scopes = Scopes::from_words(["voice", "music"]);
        token.calls = Calls::LiveOnly;
        token.origins = vec![Origin::parse("https://app.example").expect("an origin")];
        token.limits.duration_secs_max = Some(600);
        token.limits.messages_max = Some(5);
        insta::assert_snapshot!(details(&live, NOW), @r"
        id          tok_a
        key         key_a
        state       live: it opens new sessions
        uses        3 of 10 left
        created     2025-11-22T00:28:37.005Z
        start by    2025-11-22T00:29:37.005Z (in 45 s)
        live until  2025-11-22T00:58:37.005Z (in 29 min)
        revoked     never
        routes      voice, music
        calls       live sessions only
        origins     https://app.example
        limits      10 min, 5 messages in a session
        constraint  none
        ");
        let spent = state("tok_b", Uses::AtMost(1), Some(0), Some(Denial::UsedUp));
        insta::assert_snapshot!(details(&spent, NOW), @r"
        id          tok_b
        key         key_a
        state       used up: no use is left; a session that it opened may still be resumed
        uses        0 of 1 left
        created     2025-11-22T00:28:37.005Z
        start by    2025-11-22T00:29:37.005Z (in 45 s)
        live until  2025-11-22T00:58:37.005Z (in 29 min)
        revoked     never
        routes      * (every route of its key)
        calls       requests and live sessions
        origins     those of the route
        limits      those of the route
        constraint  none
        ");
    }

    #[test]
    fn every_reason_says_what_it_is() {
        let mut revoked = state("tok_a", Uses::AtMost(1), Some(1), Some(Denial::Revoked));
        Arc::make_mut(&mut revoked.token).revoked_at = Some(NOW.plus_millis(-5_000));
        let later = NOW.plus_millis(3_600_000);
        let all = [
            Denial::Revoked,
            Denial::KeyRevoked,
            Denial::KeyExpired,
            Denial::Expired,
            Denial::StartPassed,
            Denial::UsedUp,
        ];
        let told: Vec<String> = all.iter().map(|denial| words::why(*denial, &revoked, later)).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        it was revoked, 2025-11-22T00:28:47.005Z (60 min ago): mint another one
        its key key_a was revoked or is gone: mint one with another key
        its key key_a has expired: mint one with another key
        it has expired, 2025-11-22T00:58:37.005Z (30 min ago): mint another one
        the time to open new sessions has passed, 2025-11-22T00:29:37.005Z (59 min ago); a session that it opened may still be resumed
        no use is left; a session that it opened may still be resumed
        ");
    }

    #[test]
    fn a_setup_is_explained_field_by_field() {
        let own = object(r#"{"model":"models/a","generationConfig":{"temperature":0.5}}"#);
        let mask = gemini::FieldMask::parse("model,temperature,tools").expect("known fields");
        let lock = gemini::Lock::new(Some(own), mask).expect("a lock");
        let constraint = Constraint::Gemini(lock);
        let asked = object(r#"{"model":"models/b","tools":[{}],"systemInstruction":{"parts":[{"text":"hi"}]}}"#);
        let explained = constraint.for_gemini().expect("Gemini's").explain(asked).expect("allowed");
        insta::assert_snapshot!(setup_text(&explained), @r#"
        FIELD OF THE SETUP            IN THE SESSION
        model                         from the token
        generationConfig.temperature  from the token
        tools                         cleared
        systemInstruction.parts       from the client

        the session is opened with:
        {
          "generationConfig": {
            "temperature": 0.5
          },
          "model": "models/a",
          "systemInstruction": {
            "parts": [
              {
                "text": "hi"
              }
            ]
          }
        }
        "#);
    }
}
