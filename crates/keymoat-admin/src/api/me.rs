//! Who asks.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::SET_COOKIE;
use keymoat_core::{Action, Secret};
use keymoat_store::{Admin, AdminChange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Desk;
use super::admins::{RoleWord, role_word};
use super::answer::Json;
use super::body::Body;
use super::moment::Moment;
use super::problem::{Code, Problem};
use super::sign_in::cookie;
use crate::access::session::SessionDigest;
use crate::access::throttle::Guess;
use crate::access::{Caller, Who};

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    /// `person`, `key`, or `command` for one on the machine.
    #[schema(example = "person")]
    kind: &'static str,
    /// The id; null for a command.
    id: Option<String>,
    /// The name; null for a command.
    name: Option<String>,
    /// How much you may do.
    role: RoleWord,
    /// Until when.
    expires_at: Option<Moment>,
    /// What a page sends as `X-CSRF-Token` with every change; null for whoever has no session.
    csrf_token: Option<String>,
}

impl Me {
    /// A person with the session that begins.
    pub(super) fn of_person(admin: &Admin, session: &SessionDigest) -> Self {
        Self { csrf_token: Some(session.csrf_token()), ..Self::of_admin(admin) }
    }

    /// An admin.
    pub(super) fn of_admin(admin: &Admin) -> Self {
        Self {
            kind: admin.kind.word(),
            id: Some(admin.id.to_string()),
            name: Some(admin.name.to_string()),
            role: role_word(admin.role),
            expires_at: admin.expires_at.map(Moment),
            csrf_token: None,
        }
    }
}

/// Says who you are and how much you may do.
#[utoipa::path(get, path = "/api/v1/me", tag = "access", responses((status = 200, description = "Who you are.", body = Me)))]
pub(super) async fn show(Extension(caller): Extension<Caller>) -> Json<Me> {
    Json(match &caller.who {
        Who::Person(admin, session) => Me::of_person(admin, session),
        Who::Key(admin) => Me::of_admin(admin),
        Who::Command => {
            let role = role_word(caller.role);
            Me { kind: "command", id: None, name: None, role, expires_at: None, csrf_token: None }
        }
    })
}

/// A new password in place of the one that there is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The one that there is.
    #[schema(format = Password, min_length = 12, max_length = 1024)]
    current_password: String,
    /// At least 12 characters, at most 1024 bytes.
    #[schema(format = Password, min_length = 12, max_length = 1024)]
    password: String,
}

/// Changes your own password. All your sessions end, but for a new one that the answer begins: `GET /me` has its
/// `csrf_token`.
#[utoipa::path(put, path = "/api/v1/me/password", tag = "access", request_body = NewPassword,
    responses((status = 204, description = "Changed.")))]
pub(super) async fn change_password(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Body(NewPassword { current_password, password }): Body<NewPassword>,
) -> Result<Response, Problem> {
    let (current, password) = (Secret::from(current_password), Secret::from(password));
    let Who::Person(admin, _) = &caller.who else {
        return Err(Problem::with(Code::Conflict, "only a person who signed in has a password to change"));
    };
    let now = desk.house.now();
    let guess = Guess { address: caller.address, account: Some(&admin.name) };
    desk.throttle.check(guess, now).map_err(Problem::wait)?;
    let name = Arc::clone(&admin.name);
    let (known, hash) =
        desk.store(move |store| store.person(&name)).await?.ok_or_else(|| Problem::of(Code::NotFound))?;
    if !desk.hasher.verify(current, Some(hash)).await? {
        desk.throttle.failed(guess, now);
        return Err(Problem::with(Code::Forbidden, "that is not your password").field("current_password"));
    }
    let hash = desk.hasher.hash(password).await??;
    let change = AdminChange { password: Some(hash), ..AdminChange::default() };
    let changed = desk.store(move |store| store.change_admin(&known.id, known.version, change, now)).await?;
    desk.sessions.end_of(&changed.id);
    desk.tell(&caller, Action::AdminChanged, &changed.id, Some("password".to_owned()));
    let (session, _) = desk.sessions.begin(&changed, now).map_err(|_| Problem::of(Code::Unavailable))?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(SET_COOKIE, cookie(&session, desk.is_tls));
    Ok(response)
}
