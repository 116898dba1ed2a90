//! Stands before every route: host, origin, credentials in the query, who asks, and whether they may.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, HOST, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use keymoat_core::{Action, Actor, Secret, UnixMillis, format};
use keymoat_store::Admin;

use super::needs::{self, Need};
use super::origin::{self, Foreign};
use super::throttle::Guess;
use super::{Caller, Who};
use crate::api::problem::{Code, Problem};
use crate::api::{Desk, query};
use crate::listener::Peer;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The cookie's name where there is TLS; a browser takes it with `Secure` and `Path=/` only.
pub(crate) const COOKIE_TLS: &str = "__Host-keymoat";

/// The cookie's name on loopback in plain text.
pub(crate) const COOKIE_PLAIN: &str = "keymoat";

/// Whoever opens the socket is not let in: it is opened and closed with this code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// 4001 or 4003.
    pub(crate) close_code: u16,
}

/// A credential that came with a request.
enum Presented {
    /// In `Authorization` or `X-API-Key`.
    Key(Secret),
    /// In our cookie.
    Cookie(Secret),
}

/// Lets a request through with its [`Caller`], or answers it.
pub(crate) async fn stand(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    match admit(&desk, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn admit(desk: &Arc<Desk>, request: &mut Request) -> Result<(), Problem> {
    let peer = request.extensions().get::<Peer>().copied().ok_or_else(|| Problem::of(Code::Internal))?;
    let is_command = matches!(peer, Peer::Command);
    if !is_command {
        check_host(desk, request.headers(), request.uri())?;
        // A link in a mail or a chat may lead to the console: its pages hold no data and do nothing by themselves.
        if !is_page(request) {
            origin::check(request.headers(), desk.is_tls).map_err(foreign)?;
        }
    }
    query::refuse_credentials(request.uri().query())?;
    let Some(path) = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()) else {
        return Ok(());
    };
    // What is no operation is answered by the router: 404, or 405 with what is allowed.
    let Some(need) = needs::of(request.method(), &path) else { return Ok(()) };
    let now = desk.house.now();
    let Need::Role(role) = need else {
        request.extensions_mut().insert(peer);
        return Ok(());
    };
    let admitted = match peer {
        Peer::Command => Ok(Caller { who: Who::Command, role: keymoat_core::Role::Admin, address: None }),
        Peer::Client(address) => identify(desk, request, (&path, address.ip()), now).await,
    };
    let admitted = admitted.and_then(|caller| {
        if caller.role.may(role) {
            return Ok(caller);
        }
        let detail = format!("this needs the role `{}`, and yours is `{}`", role.word(), caller.role.word());
        Err(Problem::with(Code::Forbidden, detail))
    });
    let caller = match admitted {
        Ok(caller) => caller,
        // A browser reads nothing but a close code.
        Err(problem) if path == needs::SOCKET && is_about_credential(problem.code) => {
            let close_code = if problem.code == Code::Forbidden { 4003 } else { 4001 };
            request.extensions_mut().insert(Refused { close_code });
            return Ok(());
        }
        Err(problem) => return Err(problem),
    };
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(caller);
    Ok(())
}

/// Whether a page or file of the console is asked for, and nothing of the API.
fn is_page(request: &Request) -> bool {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    matches!(*request.method(), Method::GET | Method::HEAD)
        && matches!(matched, Some("/" | "/assets/{name}" | "/{*place}"))
}

fn check_host(desk: &Desk, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Problem::with(Code::RequestMalformed, "a request names its host once"));
    };
    let host = host.to_str().unwrap_or_default();
    let is_same = uri.authority().is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(host));
    if is_same && desk.hosts.take(host) { Ok(()) } else { Err(Problem::of(Code::HostUnknown)) }
}

fn foreign(foreign: Foreign) -> Problem {
    match foreign {
        Foreign::Origin => Problem::of(Code::OriginRefused),
        Foreign::Unproven => Problem::of(Code::CsrfRefused),
    }
}

fn is_about_credential(code: Code) -> bool {
    matches!(
        code,
        Code::CredentialMissing
            | Code::CredentialInvalid
            | Code::CredentialAmbiguous
            | Code::Forbidden
            | Code::RateLimited
    )
}

async fn identify(
    desk: &Arc<Desk>,
    request: &mut Request,
    (path, address): (&str, IpAddr),
    now: UnixMillis,
) -> Result<Caller, Problem> {
    let of_subprotocol = if path == needs::SOCKET { subprotocol(request.headers_mut()) } else { None };
    let presented = match (take(request.headers_mut(), desk.is_tls)?, of_subprotocol) {
        (Some(Presented::Key(key)), _) | (_, Some(key)) => Some(Presented::Key(key)),
        (presented, None) => presented,
    };
    match presented {
        None => Err(Problem::of(Code::CredentialMissing)),
        Some(Presented::Key(token)) if needs::STREAMS.contains(&path) && is_token(&token) => {
            desk.stream_tokens.take(&token, now).ok_or_else(|| {
                Problem::with(
                    Code::CredentialInvalid,
                    "this token is used or over: `POST /api/v1/stream-tokens` gives one",
                )
            })
        }
        Some(Presented::Key(key)) => of_key(desk, key, address, now).await,
        Some(Presented::Cookie(cookie)) => {
            origin::check_change(request.method(), request.headers()).map_err(foreign)?;
            let proof = request.headers().get(origin::CSRF_HEADER).cloned();
            let caller = of_cookie(desk, cookie, address, now).await?;
            match (&caller.who, proof) {
                // It may be left out, but not be another one.
                (Who::Person(_, session), Some(proof)) if proof.as_bytes() != session.csrf_token().as_bytes() => {
                    Err(Problem::of(Code::CsrfRefused))
                }
                _ => Ok(caller),
            }
        }
    }
}

/// Takes the credential out of the request. A header goes before a cookie.
fn take(headers: &mut HeaderMap, is_tls: bool) -> Result<Option<Presented>, Problem> {
    let authorization: Vec<_> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
    let api_keys: Vec<_> = headers.get_all(X_API_KEY).iter().cloned().collect();
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
    for name in [AUTHORIZATION, X_API_KEY, COOKIE] {
        headers.remove(name);
    }
    let mut keys = Vec::new();
    for value in &authorization {
        let bytes = value.as_bytes();
        let scheme = bytes.get(..7).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(Problem::with(Code::CredentialInvalid, "write `Authorization: Bearer kma_…`"));
        }
        keys.push(Secret::new(bytes.get(7..).unwrap_or_default().trim_ascii().to_vec()));
    }
    keys.extend(api_keys.iter().map(|value| Secret::new(value.as_bytes().trim_ascii().to_vec())));
    keys.retain(|key| !key.is_empty());
    if let Some(key) = keys.pop() {
        if keys.iter().any(|other| !other.matches(&key)) {
            return Err(Problem::of(Code::CredentialAmbiguous));
        }
        return Ok(Some(Presented::Key(key)));
    }
    let name = if is_tls { COOKIE_TLS } else { COOKIE_PLAIN };
    let pairs = cookies.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut own = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    match (own.next(), own.next()) {
        (Some(value), None) => Ok(Some(Presented::Cookie(Secret::new(value.to_vec())))),
        (None, _) => Ok(None),
        // Somebody has planted a second one.
        (Some(_), Some(_)) => Err(Problem::of(Code::CredentialAmbiguous)),
    }
}

fn is_token(credential: &Secret) -> bool {
    matches!(format::shape(credential), format::Shape::Token { .. })
}

/// Takes the credential out of `Sec-WebSocket-Protocol`; other entries stay.
fn subprotocol(headers: &mut HeaderMap) -> Option<Secret> {
    let values: Vec<_> = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    let mut found = None;
    for entry in values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        if let Some(key) = entry.strip_prefix(b"api-key.") {
            found = Some(Secret::new(key.to_vec()));
        } else if let Some(encoded) = entry.strip_prefix(b"keymoat.token.") {
            found = URL_SAFE_NO_PAD.decode(encoded).ok().map(Secret::new);
        } else if entry == b"keymoat.v1" {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("keymoat.v1"));
        }
    }
    found
}

async fn of_key(desk: &Arc<Desk>, key: Secret, address: IpAddr, now: UnixMillis) -> Result<Caller, Problem> {
    let guess = Guess { address: Some(address), account: None };
    // Whoever comes with a good key is let in, whatever others at its address have tried: nobody guesses 256 bits.
    let refused = || {
        let wait = desk.throttle.check(guess, now).map_err(Problem::wait);
        desk.throttle.failed(guess, now);
        wait
    };
    if !format::is_admin(&key) {
        refused()?;
        let detail = match format::shape(&key) {
            format::Shape::Key | format::Shape::Token { .. } => {
                "this is a credential for the data listener: the admin listener takes admin keys (`kma_…`) only"
            }
            _ => "this is no admin key (`kma_…`)",
        };
        return Err(Problem::with(Code::CredentialInvalid, detail));
    }
    let admin = desk.store(move |store| store.admin_of_key(&key)).await?;
    let Some(admin) = admin.filter(|admin| is_good(admin, now)) else {
        refused()?;
        desk.house.tell(
            Actor::Keymoat,
            Action::SignInRefused,
            None,
            Some(format!("an admin key was refused from {address}")),
        );
        return Err(Problem::of(Code::CredentialInvalid));
    };
    let role = admin.role;
    Ok(Caller { who: Who::Key(admin), role, address: Some(address) })
}

async fn of_cookie(desk: &Arc<Desk>, cookie: Secret, address: IpAddr, now: UnixMillis) -> Result<Caller, Problem> {
    let over = || Problem::with(Code::CredentialInvalid, "the session is over: sign in again");
    let (digest, id, version) = desk.sessions.find(&cookie, now).ok_or_else(over)?;
    let admin = match desk.store(move |store| store.admin(&id)).await {
        Ok(admin) => admin,
        Err(problem) if problem.code == Code::NotFound => return Err(over()),
        Err(problem) => return Err(problem),
    };
    if !is_good(&admin, now) || admin.version != version {
        desk.sessions.end(digest);
        return Err(over());
    }
    let role = admin.role;
    Ok(Caller { who: Who::Person(admin, digest), role, address: Some(address) })
}

/// Whether it has not expired; one that was removed is not found.
pub(crate) fn is_good(admin: &Admin, now: UnixMillis) -> bool {
    admin.expires_at.is_none_or(|expires_at| expires_at > now)
}
