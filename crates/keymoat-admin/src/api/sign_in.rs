//! People sign in with name and password, and out again.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use keymoat_core::{Action, Actor, Secret};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Desk;
use super::answer::Json;
use super::body::{Body, NoBody};
use super::me::Me;
use super::problem::{Code, Problem};
use crate::access::guard::{COOKIE_PLAIN, COOKIE_TLS, is_good};
use crate::access::password::PASSWORD_BYTES_MAX;
use crate::access::throttle::Guess;
use crate::access::{Caller, Who};
use crate::listener::Peer;

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    /// The name.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The password.
    #[schema(format = Password, min_length = 12, max_length = 1024)]
    password: String,
}

/// Signs a person in: the answer sets a cookie, which is another one each time.
///
/// A session ends after an hour without use, after twelve hours, and with a change of the password or the role.
#[utoipa::path(post, path = "/api/v1/sign-in", tag = "access", request_body = SignIn,
    responses((status = 200, description = "Who you are.", body = Me)))]
pub(super) async fn sign_in(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    Body(SignIn { name, password }): Body<SignIn>,
) -> Result<Response, Problem> {
    let password = Secret::from(password);
    let now = desk.house.now();
    let guess = Guess { address: peer.address(), account: Some(&name) };
    desk.throttle.check(guess, now).map_err(Problem::wait)?;
    let known = {
        let name = name.clone();
        desk.store(move |store| store.person(&name)).await?
    };
    let (admin, hash) = known.filter(|(admin, _)| is_good(admin, now)).unzip();
    let is_right = password.len() <= PASSWORD_BYTES_MAX && desk.hasher.verify(password, hash).await?;
    let Some(admin) = admin.filter(|_| is_right) else {
        desk.throttle.failed(guess, now);
        let place = peer.address().map_or_else(|| "the machine".to_owned(), |address| address.to_string());
        desk.house.tell(
            Actor::Keymoat,
            Action::SignInRefused,
            None,
            Some(format!("a sign-in was refused from {place}")),
        );
        return Err(Problem::with(Code::CredentialInvalid, "there is no such name, or that is not the password"));
    };
    desk.throttle.succeeded(guess);
    let (session, digest) = desk.sessions.begin(&admin, now).map_err(|_| Problem::of(Code::Unavailable))?;
    desk.house.tell(Actor::Admin(admin.id.clone()), Action::SignedIn, Some(&admin.id), None);
    let mut response = Json(Me::of_person(&admin, &digest)).into_response();
    response.headers_mut().insert(SET_COOKIE, cookie(&session, desk.is_tls));
    Ok(response)
}

/// Signs out: the session is over, and the cookie is taken back.
#[utoipa::path(delete, path = "/api/v1/sign-in", tag = "access", responses((status = 204, description = "Signed out.")))]
pub(super) async fn sign_out(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    _: NoBody,
) -> Response {
    if let Who::Person(admin, digest) = &caller.who {
        desk.sessions.end(*digest);
        desk.tell(&caller, Action::SignedOut, &admin.id, None);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let (name, secure) = named(desk.is_tls);
    let gone = format!("{name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{secure}");
    response.headers_mut().insert(SET_COOKIE, HeaderValue::try_from(gone).expect("visible ASCII"));
    response
}

/// The cookie of a session: no script reads it, and no other site sends it.
pub(super) fn cookie(session: &Secret, is_tls: bool) -> HeaderValue {
    let (name, secure) = named(is_tls);
    let mut text = format!("{name}=").into_bytes();
    // The browser that signed in gets the session, this once.
    text.extend_from_slice(session.expose());
    text.extend_from_slice(format!("; Path=/; HttpOnly; SameSite=Strict{secure}").as_bytes());
    let mut value = HeaderValue::try_from(text).expect("base62 and words are visible ASCII");
    value.set_sensitive(true);
    value
}

/// The cookie's name, and whether it is `Secure`. Plain text is served on loopback only: Chromium and Firefox would take such a
/// cookie there, and Safari would not.
fn named(is_tls: bool) -> (&'static str, &'static str) {
    if is_tls { (COOKIE_TLS, "; Secure") } else { (COOKIE_PLAIN, "") }
}
