//! What becomes of a client's setup under a token: the body of `POST /keymoat/v1/tokens/explain`, and its answer.
//!
//! ```json
//! {"token": "auth_tokens/kmt_…", "setup": {"model": "models/x", "generationConfig": {"temperature": 1}}}
//! ```
//! It is for whoever minted the token: what a token locks, such as an instruction, is nothing for its holder.

use super::Token;
use super::own::{TokenRequestError, check_known, must_be, read_fields};
use crate::format::{self, Shape};
use crate::gemini::Explanation;
use crate::json::{Object, Value};
use crate::secret::Secret;

/// Reads the body: the token, canonical, and the setup that a client would send.
///
/// # Errors
/// [`TokenRequestError`], naming the field and the fix. The token is not in it.
pub fn read(body: &[u8]) -> Result<(Secret, Object), TokenRequestError> {
    let mut fields = read_fields(body)?;
    check_known(&fields, &["token", "setup"], "")?;
    let token = match fields.remove("token") {
        Some(Value::String(token)) => Secret::from(token),
        Some(other) => return Err(must_be("token", "a string", &other)),
        None => return Err(TokenRequestError::of("token", "is missing: name the token that the setup is for")),
    };
    let (token, shape) = format::canonical(token);
    match shape {
        Shape::Token { .. } => {}
        Shape::NearMiss(miss) => return Err(TokenRequestError::of("token", format!("is no token: {}", miss.hint()))),
        Shape::Key | Shape::Foreign => {
            return Err(TokenRequestError::of("token", "is no token: tokens start with `kmt_`"));
        }
    }
    match fields.remove("setup") {
        Some(Value::Object(setup)) => Ok((token, setup)),
        Some(other) => Err(must_be("setup", "an object", &other)),
        None => Err(TokenRequestError::of("setup", "is missing: give what the client sends as its `setup`")),
    }
}

/// The answer: each field with what becomes of it, and the setup that the session would be opened with.
#[must_use]
pub fn answer(token: &Token, explained: &Explanation) -> Secret {
    let field = |path: &str, fate: &str| {
        Value::from([("path", Value::from(path)), ("fate", Value::from(fate))].into_iter().collect::<Object>())
    };
    let fields: Vec<Value> = explained.fields.iter().map(|told| field(&told.path, told.fate.words())).collect();
    let whole: Object = [
        ("id", Value::from(&*token.id)),
        ("fields", Value::from(fields)),
        ("setup", Value::from(explained.effective.clone())),
    ]
    .into_iter()
    .collect();
    Secret::from(Value::from(whole).render())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "kmt_TestVector0TestVector0TestVector0TestVector13nLa6";

    #[test]
    fn every_spelling_of_a_token_is_taken_and_nothing_else() {
        for spelled in [TOKEN.to_owned(), format!("auth_tokens/{TOKEN}"), format!("ek_{TOKEN}")] {
            let (token, setup) = read(format!(r#"{{"token": "{spelled}", "setup": {{}}}}"#).as_bytes()).expect("taken");
            assert!(token.matches(&Secret::from(TOKEN)) && setup.iter().next().is_none());
        }
        for (body, told) in [
            (r#"{"setup": {}}"#.to_owned(), "`token` is missing"),
            (format!(r#"{{"token": "{TOKEN}"}}"#), "`setup` is missing"),
            (format!(r#"{{"token": "{TOKEN}x", "setup": {{}}}}"#), "`token` is no token: the length"),
            (r#"{"token": "sk-foreign-0123456789", "setup": {}}"#.to_owned(), "tokens start with `kmt_`"),
            (r#"{"token": 1, "setup": {}}"#.to_owned(), "`token` must be a string"),
            (format!(r#"{{"token": "{TOKEN}", "setup": [], "x": 1}}"#), "field 3 is unknown"),
        ] {
            let error = read(body.as_bytes()).expect_err("refused").to_string();
            assert!(error.contains(told) && !error.contains("TestVector"), "{error}");
        }
    }
}
