//! Who may administer.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use keymoat_core::format::Kind;
use keymoat_core::{Action, Role, Secret};
use keymoat_store::{Admin, AdminChange, AdminKind, NewAdmin, Proof};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Desk;
use super::answer::Json;
use super::answer::{MadeWithSecret, Tagged, allow_match, demand_match};
use super::body::{Body, NoBody};
use super::moment::{Moment, present};
use super::page::{Page, Part};
use super::problem::{Code, Problem};
use super::query::Query;
use crate::access::Caller;
use crate::random::new_secret;

/// How much somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub(super) enum RoleWord {
    /// Looks, and changes nothing.
    Viewer,
    /// Makes, changes and ends keys, tokens and sessions, and steers the routes.
    Operator,
    /// Also says who may administer, and sets the upstreams' secrets.
    Admin,
}

/// The word of a role.
pub(super) fn role_word(role: Role) -> RoleWord {
    match role {
        Role::Viewer => RoleWord::Viewer,
        Role::Operator => RoleWord::Operator,
        Role::Admin => RoleWord::Admin,
    }
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Viewer => Self::Viewer,
            RoleWord::Operator => Self::Operator,
            RoleWord::Admin => Self::Admin,
        }
    }
}

/// Somebody who may administer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Admin)]
pub(super) struct AdminShown {
    /// Such as `adm_7f3k…`.
    id: String,
    /// The name.
    name: String,
    /// `person` or `key`.
    #[schema(example = "key")]
    kind: &'static str,
    /// How much it may do.
    role: RoleWord,
    /// When it was made.
    created_at: Moment,
    /// From when on it is refused; null for never.
    expires_at: Option<Moment>,
}

impl AdminShown {
    /// An admin.
    pub(super) fn of(admin: &Admin) -> Self {
        Self {
            id: admin.id.to_string(),
            name: admin.name.to_string(),
            kind: admin.kind.word(),
            role: role_word(admin.role),
            created_at: Moment(admin.created_at),
            expires_at: admin.expires_at.map(Moment),
        }
    }
}

/// An admin to be made: a person with a password, or, without one, a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAdminBody {
    /// The name, unique among the admins.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// How much it may do.
    role: RoleWord,
    /// A person, who needs a password, or a key. Where nothing is said it is a person with a password, and a key without.
    kind: Option<KindWord>,
    /// A person's password: at least 12 characters, at most 1024 bytes.
    #[schema(format = Password, min_length = 12, max_length = 1024)]
    password: Option<String>,
    /// From when on it is refused; null for never.
    expires_at: Option<Moment>,
}

/// How an admin proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AdminKind)]
pub(super) enum KindWord {
    /// A person with a password.
    Person,
    /// A program with a key.
    Key,
}

/// What was made.
#[derive(Serialize, ToSchema)]
pub(super) struct AdminMade {
    /// The admin.
    #[serde(flatten)]
    admin: AdminShown,
    /// The admin key, this once; null for a person.
    secret: Option<String>,
}

/// What is to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminChangeBody {
    /// Another name.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Another role.
    role: Option<RoleWord>,
    /// Another password, for a person.
    #[schema(format = Password, min_length = 12, max_length = 1024)]
    password: Option<String>,
    /// Another expiry; null for never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Moment>)]
    expires_at: Option<Option<Moment>>,
}

/// Lists those who may administer, the newest first.
#[utoipa::path(get, path = "/api/v1/admins", tag = "admins", params(Part), responses((status = 200, description = "A page.", body = Page<AdminShown>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<AdminShown>>, Problem> {
    let admins = desk.store(|store| store.admins()).await?;
    let shown =
        admins.iter().rev().map(|admin| (format!("{:020} {}", admin.created_at.0, admin.id), AdminShown::of(admin)));
    let page = part.of(shown, |(place, _)| place.clone())?;
    Ok(Json(Page { items: page.items.into_iter().map(|(_, shown)| shown).collect(), next_cursor: page.next_cursor }))
}

/// Makes a person with a password, or a key, which is shown this once.
#[utoipa::path(post, path = "/api/v1/admins", tag = "admins", request_body = NewAdminBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Does it once, however often it is asked for.", min_length = 1, max_length = 255)),
    responses((status = 201, description = "Made.", body = AdminMade)))]
pub(super) async fn create(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<NewAdminBody>,
) -> Result<MadeWithSecret<AdminMade>, Problem> {
    let NewAdminBody { name, role, kind, password, expires_at } = asked;
    match (kind, &password) {
        (Some(KindWord::Person), None) => {
            return Err(Problem::with(Code::FieldInvalid, "a person needs a password").field("password"));
        }
        (Some(KindWord::Key), Some(_)) => {
            return Err(Problem::with(Code::FieldInvalid, "a key has no password").field("password"));
        }
        _ => {}
    }
    let (role, expires_at, now) = (Role::from(role), expires_at.map(|at| at.0), desk.house.now());
    let (admin, secret) = match password {
        Some(password) => {
            let hash = desk.hasher.hash(Secret::from(password)).await??;
            let new = NewAdmin { name, role, expires_at, proof: Proof::Password(hash) };
            (desk.store(move |store| store.create_admin(new, now)).await?, None)
        }
        None => {
            let key = new_secret(Kind::Admin).map_err(|_| Problem::of(Code::Unavailable))?;
            let made = desk.store(move |store| {
                let new = NewAdmin { name, role, expires_at, proof: Proof::Key(&key) };
                Ok((store.create_admin(new, now)?, Some(text_of(&key))))
            });
            made.await?
        }
    };
    desk.tell(
        &caller,
        Action::AdminCreated,
        &admin.id,
        Some(format!("{} `{}`, {}", admin.kind.word(), admin.name, role.word())),
    );
    let location = format!("/api/v1/admins/{}", admin.id);
    Ok(MadeWithSecret { location, id: admin.id.to_string(), body: AdminMade { admin: AdminShown::of(&admin), secret } })
}

/// Shows somebody who may administer.
#[utoipa::path(get, path = "/api/v1/admins/{id}", tag = "admins", params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The admin; `ETag` is its state.", body = AdminShown)))]
pub(super) async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Tagged<AdminShown>, Problem> {
    let admin = desk.store(move |store| store.admin(&id)).await?;
    Ok(Tagged(AdminShown::of(&admin)))
}

/// Changes a name, role, password or expiry. A person's sessions end.
#[utoipa::path(patch, path = "/api/v1/admins/{id}", tag = "admins", request_body = AdminChangeBody,
    params(("id" = String, Path, description = "The id."), ("If-Match" = String, Header, description = "The `ETag` of what you looked at.")),
    responses((status = 200, description = "The admin as it is now.", body = AdminShown)))]
pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(asked): Body<AdminChangeBody>,
) -> Result<Tagged<AdminShown>, Problem> {
    let AdminChangeBody { name, role, password, expires_at } = asked;
    let admin = desk.store(move |store| store.admin(&id)).await?;
    demand_match(&headers, &AdminShown::of(&admin))?;
    let password = match password {
        Some(_) if admin.kind == AdminKind::Key => {
            return Err(Problem::with(Code::FieldInvalid, "a key has no password").field("password"));
        }
        Some(password) => Some(desk.hasher.hash(Secret::from(password)).await??),
        None => None,
    };
    let mut words = Vec::new();
    words.extend(name.as_ref().map(|_| "name"));
    words.extend(role.map(|_| "role"));
    words.extend(password.as_ref().map(|_| "password"));
    words.extend(expires_at.map(|_| "expiry"));
    let change =
        AdminChange { name, role: role.map(Role::from), expires_at: expires_at.map(|at| at.map(|at| at.0)), password };
    let now = desk.house.now();
    let changed = desk.store(move |store| store.change_admin(&admin.id, admin.version, change, now)).await?;
    desk.sessions.end_of(&changed.id);
    desk.tell(&caller, Action::AdminChanged, &changed.id, Some(words.join(", ")));
    Ok(Tagged(AdminShown::of(&changed)))
}

/// Removes somebody for good. The last one who may administer everything stays.
#[utoipa::path(delete, path = "/api/v1/admins/{id}", tag = "admins",
    params(("id" = String, Path, description = "The id."), ("If-Match" = Option<String>, Header, description = "The `ETag` of what you looked at.")),
    responses((status = 204, description = "Removed.")))]
pub(super) async fn remove(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, Problem> {
    let now = desk.house.now();
    let admin = desk.store(move |store| store.admin(&id)).await?;
    allow_match(&headers, &AdminShown::of(&admin))?;
    let removed = desk.store(move |store| store.remove_admin(&admin.id, Some(admin.version), now)).await?;
    desk.sessions.end_of(&removed.id);
    desk.tell(&caller, Action::AdminRemoved, &removed.id, Some(format!("{} `{}`", removed.kind.word(), removed.name)));
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A new credential as the text that is answered, this once.
pub(super) fn text_of(secret: &Secret) -> String {
    // Whoever asked for it must get it, this once.
    String::from_utf8_lossy(secret.expose()).into_owned()
}
