//! The first admin, by the one-time link.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use keymoat_core::format::Kind;
use keymoat_core::{Action, Actor, Role, Secret};
use keymoat_store::{AdminKind, NewAdmin, Proof};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::admins::text_of;
use super::answer::Json;
use super::body::Body;
use super::me::Me;
use super::problem::{Code, Problem};
use super::sign_in::cookie;
use super::{Desk, masked};
use crate::access::claim;
use crate::access::throttle::Guess;
use crate::listener::Peer;
use crate::random::new_secret;

/// What the link is used for: a person, a key, or both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    /// What stands behind `#claim=` in the link.
    #[schema(format = Password)]
    claim: String,
    /// The name that the first person signs in with.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// That person's password: at least 12 characters, at most 1024 bytes.
    #[schema(format = Password, min_length = 12, max_length = 1024)]
    password: Option<String>,
    /// The name of a first admin key.
    #[schema(min_length = 1, max_length = 100)]
    key_name: Option<String>,
}

/// Who you are from here on: the person, or else the key.
#[derive(Serialize, ToSchema)]
pub(super) struct Claimed {
    /// Who you are.
    #[serde(flatten)]
    me: Me,
    /// The admin key, this once.
    secret: Option<String>,
}

/// Makes the first admin by the link that `keymoat serve` or `keymoat admin claim` printed.
///
/// The link is good for an hour and one use. The person is signed in at once: the answer sets the cookie.
#[utoipa::path(post, path = "/api/v1/claim", tag = "access", request_body = Claim,
    responses((status = 201, description = "The admins that were made.", body = Claimed)))]
pub(super) async fn claim(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    Body(asked): Body<Claim>,
) -> Result<Response, Problem> {
    let Claim { claim: text, name, password, key_name } = asked;
    let secret = claim::read(text);
    let person = match (name, password.map(Secret::from)) {
        (Some(name), Some(password)) => Some((name, password)),
        (None, None) => None,
        (Some(_), None) => return Err(Problem::with(Code::FieldInvalid, "a person needs a password").field("password")),
        (None, Some(_)) => return Err(Problem::with(Code::FieldInvalid, "a person needs a name").field("name")),
    };
    if person.is_none() && key_name.is_none() {
        let detail = "give `name` and `password` of a person, or `key_name`, or all of them";
        return Err(Problem::with(Code::FieldInvalid, detail).field("name"));
    }
    let (now, guess) = (desk.house.now(), Guess { address: peer.address(), account: None });
    desk.throttle.check(guess, now).map_err(Problem::wait)?;
    let refused = || {
        desk.throttle.failed(guess, now);
        desk.house.tell(Actor::Keymoat, Action::SignInRefused, None, Some("a claim link was refused".to_owned()));
    };
    let Some(secret) = secret else {
        refused();
        return Err(Problem::of(Code::ClaimInvalid));
    };
    let person = match person {
        Some((name, password)) => Some((name, desk.hasher.hash(password).await??)),
        None => None,
    };
    let made_key = key_name.map(|name| Ok((name, new_secret(Kind::Admin)?))).transpose();
    let made_key = made_key.map_err(|_: crate::random::RandomFailed| Problem::of(Code::Unavailable))?;
    let made = desk
        .blocking(move |store| {
            let mut new = Vec::new();
            if let Some((name, hash)) = person {
                new.push(NewAdmin { name, role: Role::Admin, expires_at: None, proof: Proof::Password(hash) });
            }
            if let Some((name, key)) = &made_key {
                let name = name.clone();
                new.push(NewAdmin { name, role: Role::Admin, expires_at: None, proof: Proof::Key(key) });
            }
            store.claim_admins(&secret, new, now).map(|admins| (admins, made_key))
        })
        .await?;
    let (admins, made_key) = made.map_err(|error| {
        let problem = Problem::from(error);
        if problem.code == Code::ClaimInvalid {
            refused();
        }
        problem
    })?;
    desk.throttle.succeeded(guess);
    for admin in &admins {
        let detail = format!("{} `{}`", admin.kind.word(), admin.name);
        desk.house.tell(Actor::Admin(admin.id.clone()), Action::AdminClaimed, Some(&admin.id), Some(masked(&detail)));
    }
    let person = admins.iter().find(|admin| admin.kind == AdminKind::Person);
    let session = person.map(|person| desk.sessions.begin(person, now)).transpose();
    let session = session.map_err(|_| Problem::of(Code::Unavailable))?;
    let me = match (person, &session, admins.first()) {
        (Some(person), Some((_, session)), _) => Me::of_person(person, session),
        (_, _, Some(key)) => Me::of_admin(key),
        (_, _, None) => return Err(Problem::of(Code::Internal)),
    };
    let body = Claimed { me, secret: made_key.map(|(_, key)| text_of(&key)) };
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Some((cookie_value, _)) = session {
        response.headers_mut().insert(SET_COOKIE, cookie(&cookie_value, desk.is_tls));
    }
    Ok(response)
}
