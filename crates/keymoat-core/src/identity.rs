//! From a presented credential to who it is.

use std::sync::Arc;

use crate::carrier::Carrier;
use crate::credential::{self, Presented};
use crate::digest::Digest;
use crate::format::Shape;
use crate::key::Key;
use crate::limits::DAY_MILLIS;
use crate::record::Record;
use crate::refusal::{Code, Refusal};
use crate::snapshot::{Held, Snapshot};
use crate::time::UnixMillis;
use crate::token::{Token, told};

/// Whoever presented a credential. The credential itself is gone.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The key, or the one that the token was minted from.
    pub key: Arc<Key>,
    /// Which of its secrets was presented; none for a token.
    pub secret_id: Option<Arc<str>>,
    /// Whether it is the key itself.
    pub holder: Holder,
    /// Where the credential sat.
    pub carrier: Carrier,
    /// What it looked like.
    pub shape: Shape,
}

impl Identity {
    /// The lists of models that it is held to, none of them empty: that of the key, and the token's own.
    pub fn model_lists(&self) -> impl Iterator<Item = &[Arc<str>]> {
        let of_token = self.holder.token().map(|token| &token.limits.models);
        std::iter::once(&self.key.limits.models).chain(of_token).filter(|list| !list.is_empty()).map(Vec::as_slice)
    }
}

/// What somebody holds.
#[derive(Clone, Debug)]
pub enum Holder {
    /// The long-lived key.
    Key,
    /// A token that was minted from it.
    Token(Arc<Token>),
}

impl Holder {
    /// The token, if it is one.
    #[must_use]
    pub const fn token(&self) -> Option<&Arc<Token>> {
        match self {
            Self::Key => None,
            Self::Token(token) => Some(token),
        }
    }
}

/// Finds whose credential it is and consumes it: it is zeroized when this returns.
///
/// Keys of foreign shape are found by the digest of their bytes, those of Keymoat's by that of the canonical form.
///
/// # Errors
/// `credential_invalid` for what is unknown or has expired, in the same words, with a hint that depends only on what
/// was presented, and in other words for a secret that was replaced; `credential_revoked`. The record says which.
pub fn find(
    presented: Presented,
    snapshot: &Snapshot,
    now: UnixMillis,
    record: &mut Record,
) -> Result<Identity, Refusal> {
    let digest = presented.digest(snapshot);
    find_by(presented, &digest, snapshot, now, record)
}

/// The same for whoever has the digest of `presented` already.
///
/// # Errors
/// As of [`find`].
pub fn find_by(
    presented: Presented,
    digest: &Digest,
    snapshot: &Snapshot,
    now: UnixMillis,
    record: &mut Record,
) -> Result<Identity, Refusal> {
    let Presented { credential, shape, carrier } = presented;
    drop(credential);
    let Some(Held { key, secret_id }) = snapshot.keys.get(digest) else {
        return Err(not_accepted(shape));
    };
    record.key_id = Some(Arc::clone(&key.id));
    record.secret_id = Some(Arc::clone(secret_id));
    // A clock that steps back must not bring a key back: that there is a time is enough.
    if key.revoked_at.is_some() {
        return Err(Refusal::new(Code::CredentialRevoked, "this key was revoked: ask for a new one"));
    }
    if key.expires_at.is_some_and(|at| at <= now) {
        record.cause = Some(String::from("the key has expired"));
        return Err(not_accepted(shape));
    }
    check_secret(key, secret_id, shape, now, record)?;
    Ok(Identity { key: Arc::clone(key), secret_id: Some(Arc::clone(secret_id)), holder: Holder::Key, carrier, shape })
}

/// The same for a credential of a token's shape, when the store was asked for its digest
/// ([`Presented::digest`]) and gave `token`.
///
/// The uses and the time to start are not looked at: they belong to the claim, which alone counts.
///
/// # Errors
/// `credential_invalid` for what is unknown, in the same words as everywhere; `credential_revoked` for the token or its
/// key, `token_expired`. The record says which.
pub fn of_token(
    presented: Presented,
    token: Option<Arc<Token>>,
    snapshot: &Snapshot,
    now: UnixMillis,
    record: &mut Record,
) -> Result<Identity, Refusal> {
    let Presented { credential, shape, carrier } = presented;
    drop(credential);
    let Some(token) = token else { return Err(not_accepted(shape)) };
    record.token_id = Some(Arc::clone(&token.id));
    record.key_id = Some(Arc::clone(&token.key_id));
    // That there is a time is enough: a clock that steps back must not bring a token back.
    if token.revoked_at.is_some() || snapshot.is_token_revoked(&token.id) {
        return Err(told::revoked());
    }
    let Some(key) = snapshot.key_by_id(&token.key_id) else {
        record.cause = Some(format!("the key `{}` of token `{}` is unknown", token.key_id, token.id));
        return Err(not_accepted(shape));
    };
    if key.revoked_at.is_some() {
        return Err(told::key_revoked());
    }
    if key.expires_at.is_some_and(|at| at <= now) {
        return Err(told::key_expired());
    }
    if token.live_until <= now {
        return Err(told::expired());
    }
    Ok(Identity { key: Arc::clone(key), secret_id: None, holder: Holder::Token(token), carrier, shape })
}

/// Refuses a secret that another one has replaced. Its holder has all of it, and so is told.
fn check_secret(key: &Key, secret_id: &str, shape: Shape, now: UnixMillis, record: &mut Record) -> Result<(), Refusal> {
    let Some(secret) = key.secret(secret_id) else {
        record.cause = Some(format!("the key has no secret `{secret_id}`"));
        return Err(not_accepted(shape));
    };
    let Some(ended_at) = secret.ends_at.filter(|at| *at <= now) else { return Ok(()) };
    record.cause = Some(format!("the secret `{secret_id}` was replaced, and ended at {ended_at}"));
    let day = UnixMillis(ended_at.0.saturating_sub(ended_at.0.rem_euclid(DAY_MILLIS))).to_string();
    let day = day.split('T').next().unwrap_or_default();
    let text = format!("this secret was replaced and ended on {day}: use the key's newer secret");
    Err(Refusal::new(Code::CredentialInvalid, text))
}

fn not_accepted(shape: Shape) -> Refusal {
    match shape {
        Shape::NearMiss(miss) => credential::not_accepted(miss),
        Shape::Key | Shape::Token { .. } | Shape::Foreign => {
            Refusal::new(Code::CredentialInvalid, "the credential is not accepted")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::digest::Pepper;
    use crate::format::{self, Spelling};
    use crate::key::Scopes;
    use crate::record::Protocol;
    use crate::secret::Secret;
    use crate::token::{Calls, Constraint, TokenLimits, Uses};

    fn found(expires_at: Option<i64>, now: i64, text: &str) -> Result<Identity, Refusal> {
        let key = Key { expires_at: expires_at.map(UnixMillis), ..a_key() };
        found_of(key, now, text)
    }

    fn a_key() -> Key {
        Key::new("key_1", "one", UnixMillis(0)).with_secret("sec_1", UnixMillis(0))
    }

    /// The key is found by its first secret.
    fn found_of(key: Key, now: i64, text: &str) -> Result<Identity, Refusal> {
        let pepper = Arc::new(Pepper::derive(&Secret::from("a master key of thirty-two bytes")));
        let held = Held { key: Arc::new(key), secret_id: "sec_1".into() };
        let keys = HashMap::from([(pepper.digest(b"imported"), held)]);
        let snapshot = Snapshot::new(pepper, keys);
        let (credential, shape) = format::canonical(Secret::from(text));
        let presented = Presented { credential, shape, carrier: Carrier::Subprotocol };
        let mut record = Record::begin(UnixMillis(now), Ipv4Addr::LOCALHOST.into(), Protocol::Http1);
        find(presented, &snapshot, UnixMillis(now), &mut record)
    }

    #[test]
    fn what_is_wrong_with_a_near_miss_fits_into_a_close_reason() {
        use crate::format::{Kind, NearMiss};
        for miss in [
            NearMiss::Checksum(Kind::Token),
            NearMiss::Length(Kind::Token),
            NearMiss::Alphabet(Kind::Key),
            NearMiss::TokenSpelling,
            NearMiss::Encoded,
            NearMiss::KeyAsToken,
            NearMiss::Admin,
        ] {
            let reason = credential::not_accepted(miss).reason();
            assert!(reason.ends_with(miss.hint()), "{reason}");
        }
    }

    #[test]
    fn a_key_expires_at_its_moment() {
        assert!(found(None, 1000, "imported").is_ok());
        assert!(found(Some(1000), 999, "imported").is_ok());
        assert!(found(Some(1000), 1000, "imported").is_err());
    }

    #[test]
    fn a_replaced_secret_works_until_its_end_and_its_holder_is_told_then() {
        let mut key = a_key().with_secret("sec_2", UnixMillis(500));
        key.secrets[0].ends_at = Some(UnixMillis(DAY_MILLIS + 1000));
        let identity = found_of(key.clone(), DAY_MILLIS + 999, "imported").expect("it works to the end");
        assert_eq!(identity.secret_id.as_deref(), Some("sec_1"));
        let refusal = found_of(key, DAY_MILLIS + 1000, "imported").expect_err("it has ended");
        assert_eq!(refusal.code, Code::CredentialInvalid);
        assert_eq!(refusal.detail, "this secret was replaced and ended on 1970-01-02: use the key's newer secret");
        assert!(refusal.reason().ends_with(&*refusal.detail));
    }

    #[test]
    fn a_secret_that_its_key_does_not_have_lets_nobody_in() {
        let other = Key::new("key_1", "one", UnixMillis(0)).with_secret("sec_2", UnixMillis(0));
        assert_eq!(found_of(other, 0, "imported").expect_err("unknown").detail, "the credential is not accepted");
    }

    #[test]
    fn the_whole_text_must_be_right() {
        for text in ["importe", "imported ", "Imported", ""] {
            assert_eq!(found(None, 0, text).expect_err("unknown").code, Code::CredentialInvalid);
        }
    }

    /// What the holder of a token is told, in the store's and the snapshot's state that `change` makes.
    fn told_of(change: impl FnOnce(&mut Token, &mut Key) -> Option<Arc<str>>) -> Result<Identity, Refusal> {
        let pepper = Arc::new(Pepper::derive(&Secret::from("a master key of thirty-two bytes")));
        let mut key = a_key();
        let mut token = Token {
            id: "tok_1".into(),
            key_id: "key_1".into(),
            scopes: Scopes::All,
            calls: Calls::Any,
            uses: Uses::AtMost(1),
            created_at: UnixMillis(0),
            start_by: UnixMillis(500),
            live_until: UnixMillis(1001),
            revoked_at: None,
            origins: Vec::new(),
            limits: TokenLimits::default(),
            bytes_used: 0,
            constraint: Constraint::None,
        };
        let revoked = change(&mut token, &mut key);
        let keys = HashMap::from([(pepper.digest(b"k"), Held::newest(Arc::new(key)))]);
        let snapshot = Snapshot::new(pepper, keys).with_revoked_tokens(revoked);
        let shape = Shape::Token { spelling: Spelling::Plain };
        let presented = Presented { credential: Secret::from("kmt_x"), shape, carrier: Carrier::Subprotocol };
        let mut record = Record::begin(UnixMillis(1000), Ipv4Addr::LOCALHOST.into(), Protocol::Http1);
        let identity = of_token(presented, Some(Arc::new(token)), &snapshot, UnixMillis(1000), &mut record);
        assert_eq!((record.token_id.as_deref(), record.key_id.is_some()), (Some("tok_1"), true));
        identity
    }

    #[test]
    fn a_token_stands_for_the_key_that_minted_it() {
        let identity = told_of(|_, _| None).expect("it is alive");
        assert_eq!((&*identity.key.id, &*identity.holder.token().expect("a token").id), ("key_1", "tok_1"));
    }

    #[test]
    fn d57_a_token_ends_with_its_time_its_key_or_its_revocation() {
        let code = |change: fn(&mut Token, &mut Key) -> Option<Arc<str>>| told_of(change).expect_err("over").code;
        assert_eq!(
            code(|token, _| {
                token.live_until = UnixMillis(1000);
                None
            }),
            Code::TokenExpired
        );
        assert_eq!(
            code(|token, _| {
                token.revoked_at = Some(UnixMillis(5000));
                None
            }),
            Code::CredentialRevoked
        );
        assert_eq!(code(|_, _| Some("tok_1".into())), Code::CredentialRevoked);
        assert_eq!(
            code(|_, key| {
                key.revoked_at = Some(UnixMillis(5000));
                None
            }),
            Code::CredentialRevoked
        );
        assert_eq!(
            code(|_, key| {
                key.expires_at = Some(UnixMillis(1000));
                None
            }),
            Code::TokenExpired
        );
        assert_eq!(
            code(|token, _| {
                token.key_id = "key_2".into();
                None
            }),
            Code::CredentialInvalid
        );
    }

    #[test]
    fn a_token_that_is_unknown_is_told_what_an_unknown_key_is() {
        let pepper = Arc::new(Pepper::derive(&Secret::from("a master key of thirty-two bytes")));
        let snapshot = Snapshot::new(pepper, HashMap::new());
        let refused = |of_token_shape| {
            let shape = if of_token_shape { Shape::Token { spelling: Spelling::Ek } } else { Shape::Foreign };
            let presented = Presented { credential: Secret::from("x"), shape, carrier: Carrier::Subprotocol };
            let mut record = Record::begin(UnixMillis(0), Ipv4Addr::LOCALHOST.into(), Protocol::Http1);
            if of_token_shape {
                of_token(presented, None, &snapshot, UnixMillis(0), &mut record).expect_err("unknown")
            } else {
                find(presented, &snapshot, UnixMillis(0), &mut record).expect_err("unknown")
            }
        };
        assert_eq!(refused(true), refused(false));
    }
}
