//! Minting: whoever comes with a key that may mint gets a token. The answer is the only place where a token appears.
//!
//! Providers' SDKs mint at their own paths, everybody else at `/keymoat/v1/tokens`.

mod rules;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use keymoat_core::carrier::Carriers;
use keymoat_core::head::{Ask, Head};
use keymoat_core::origin::Page;
use keymoat_core::record::Outcome;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::route::{Dialect, Paths, QueryPolicy, Route};
use keymoat_core::token::{MintRules, NewToken, explained, own};
use keymoat_core::{Key, Scopes, Secret, UnixMillis, format, gemini, openai, policy};
use keymoat_store::{MintDenial, MintOrder, Minted, Minting};

use crate::admission;
use crate::answer;
use crate::body::ToClient;
use crate::claim::no_answer;
use crate::clock;
use crate::exposed;
use crate::passage::Passage;

/// A request for a token may be this large.
const BODY_BYTES_MAX: usize = 64 << 10;
/// It may take this long to arrive.
const BODY_WAIT: Duration = Duration::from_secs(10);
/// Where tokens are minted and revoked in our own form.
const OWN: &str = "/keymoat/v1/tokens";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `POST …/auth_tokens`, as Google's SDKs do.
    Gemini,
    /// `POST …/realtime/client_secrets` or `…/sessions`, as OpenAI's SDKs do.
    OpenAi(openai::mint::Call),
    /// `POST /keymoat/v1/tokens`.
    Own,
    /// `DELETE /keymoat/v1/tokens/ID`.
    Revoke(String),
    /// `POST /keymoat/v1/tokens/explain`: what becomes of a client's setup under a token.
    Explain,
}

/// What is done.
struct Done {
    status: StatusCode,
    /// Holds the token, if one was minted.
    body: Secret,
    token_id: Arc<str>,
}

/// The call of a provider's SDK to mint a token, if `head` is one.
pub(crate) fn of_provider(route: &Route, head: &Head) -> Option<Asked> {
    if head.method != Method::POST || !matches!(head.ask, Ask::Http) {
        return None;
    }
    let Paths::Dialect { prefix } = &route.paths else { return None };
    match (route.dialect, head.path.strip_prefix(prefix.as_str())?) {
        (Dialect::Gemini, "/v1/auth_tokens" | "/v1beta/auth_tokens" | "/v1alpha/auth_tokens") => Some(Asked::Gemini),
        (Dialect::OpenAi, "/v1/realtime/client_secrets") => Some(Asked::OpenAi(openai::mint::Call::ClientSecrets)),
        (Dialect::OpenAi, "/v1/realtime/sessions") => Some(Asked::OpenAi(openai::mint::Call::Sessions)),
        (Dialect::Gemini | Dialect::OpenAi | Dialect::Generic, _) => None,
    }
}

/// Another method than the one that a path of ours takes.
#[derive(Debug)]
pub(crate) struct WrongMethod {
    pub(crate) refusal: Refusal,
    /// What `Allow` says (RFC 9110 section 10.2.1).
    pub(crate) allowed: &'static str,
}

/// The same in our own form; a refusal for another method there.
pub(crate) fn of_own(head: &Head) -> Option<Result<Asked, WrongMethod>> {
    let below = head.path.strip_prefix(OWN)?;
    let wrong_method =
        |allowed, taken| Err(WrongMethod { refusal: Refusal::new(Code::MethodNotAllowed, taken), allowed });
    match below.strip_prefix('/') {
        None if below.is_empty() => Some(match head.method {
            Method::POST => Ok(Asked::Own),
            _ => wrong_method("POST", "tokens are minted with POST"),
        }),
        Some("explain") => Some(match head.method {
            Method::POST => Ok(Asked::Explain),
            _ => wrong_method("POST", "a setup is explained with POST"),
        }),
        Some(id) if !id.is_empty() && !id.contains('/') => Some(match head.method {
            Method::DELETE => Ok(Asked::Revoke(id.to_owned())),
            _ => wrong_method("DELETE", "a token is revoked with DELETE"),
        }),
        _ => None,
    }
}

/// The route that our own form stands for: keys in headers, and nothing else.
pub(crate) fn own_route() -> &'static Route {
    static ROUTE: LazyLock<Route> = LazyLock::new(|| {
        let carriers = Carriers::parse(["header:authorization", "header:x-api-key"]).expect("well formed");
        let paths = Paths::Patterns(Vec::new());
        Route { query: QueryPolicy::Refuse, ..Route::new("keymoat", "", Dialect::Generic, paths, carriers) }
    });
    &ROUTE
}

/// Mints or revokes, and answers.
pub(crate) async fn serve(
    mut passage: Passage<'_>,
    head: Head,
    body: Incoming,
    page: Page<'_>,
    asked: Asked,
) -> Response<ToClient> {
    let done = match act(&mut passage, head, body, page, &asked).await {
        Ok(done) => done,
        Err(refusal) => {
            let broken = passage.switch.body_error().map(answer::of_gate);
            return passage.refuse(broken.as_ref().unwrap_or(&refusal));
        }
    };
    let record = &mut passage.ledger.record;
    (record.outcome, record.status) = (Outcome::Allowed, Some(done.status.as_u16()));
    record.token_id = Some(done.token_id);
    record.bytes_out = done.body.len() as u64;
    // The one answer that a token is in, to whoever minted it.
    let text = Bytes::copy_from_slice(done.body.expose());
    let mut response = Response::new(ToClient::own(text));
    *response.status_mut() = done.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    exposed::keep_private(headers, Some(passage.route));
    response
}

async fn act(
    passage: &mut Passage<'_>,
    mut head: Head,
    body: Incoming,
    page: Page<'_>,
    asked: &Asked,
) -> Result<Done, Refusal> {
    let key = minter(passage, &mut head, page, asked).await?;
    let now = clock::now();
    if let Asked::Revoke(id) = asked {
        return revoke(passage, &key, id, now).await;
    }
    let body = read(body, passage).await?;
    let plan = passage.plan;
    let rules = &passage.route.tokens;
    let of_route = || Scopes::Only(vec![passage.route.name.clone()]);
    let refused = |error: String| Refusal::new(Code::RequestInvalid, error);
    match asked {
        Asked::Gemini => {
            let parts = gemini::mint::read(&body, now, rules).map_err(|error| refused(error.to_string()))?;
            let minted = mint(passage, parts.minted_from(key.id.clone(), of_route()), rules, now).await?;
            Ok(Done::minted(&minted, gemini::mint::answer(&minted.secret)))
        }
        Asked::OpenAi(call) => {
            let asked = openai::mint::read(&body, *call, now, rules).map_err(|error| refused(error.to_string()))?;
            let new = asked.parts.clone().minted_from(key.id.clone(), of_route());
            let minted = mint(passage, new, rules, now).await?;
            let answer = asked.answer(&minted.secret, minted.token.start_by);
            Ok(Done::minted(&minted, answer))
        }
        Asked::Explain => explain(passage, &key, &body).await,
        Asked::Own | Asked::Revoke(_) => {
            let (mut parts, rules) = rules::read_own(&body, now, &key, &plan.routes)?;
            parts.idempotency_key = parts.idempotency_key.or(idempotency_key(&head.headers)?);
            let new = parts.minted_from(key.id.clone(), rules::all_of(&key));
            policy::may_give(&key, &new.scopes)?;
            new.limits.check_within(&key.limits)?;
            let minted = mint(passage, new, &rules, now).await?;
            Ok(Done::minted(&minted, own::answer(&minted.token, &minted.secret)))
        }
    }
}

/// The key that may mint, and at a provider's path may use the route, too.
async fn minter(
    passage: &mut Passage<'_>,
    head: &mut Head,
    page: Page<'_>,
    asked: &Asked,
) -> Result<Arc<Key>, Refusal> {
    let arrived = admission::arrive(passage, head, page)?;
    let presented = arrived.presented?;
    let (identity, _) = admission::identify(passage, presented).await?;
    let record = &mut passage.ledger.record;
    let key = policy::may_mint(&identity, record)?;
    if matches!(asked, Asked::Gemini | Asked::OpenAi(_)) {
        policy::decide(identity, passage.route, &head.ask, &arrived.named, record)?;
    }
    passage.metered = passage.worker.shared.meters.admit(&key).await?;
    Ok(key)
}

async fn read(body: Incoming, passage: &mut Passage<'_>) -> Result<Bytes, Refusal> {
    let body = tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body = body.map_err(|_| Refusal::new(Code::RequestTimeout, "the body took too long: send it at once"))?;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return Refusal::new(Code::BodyTooLarge, "a request for a token has at most 64 KiB");
        }
        Refusal::new(Code::RequestInvalid, "the body ended before its time")
    })?;
    let body = body.to_bytes();
    passage.ledger.record.bytes_in = body.len() as u64;
    Ok(body)
}

/// Mints, and has it kept where that is demanded: before it is, the token is given to nobody.
async fn mint(
    passage: &mut Passage<'_>,
    token: NewToken,
    rules: &MintRules,
    now: UnixMillis,
) -> Result<Minted, Refusal> {
    let is_repeatable = token.idempotency_key.is_some();
    let secret = format::generate(format::Kind::Token, &mut |bytes| {
        aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
    });
    let desk = passage.worker.shared.desk()?;
    let order = MintOrder { token, secret, live_tokens_max: rules.live_tokens_max, now };
    let minted = match desk.mint(order).await.map_err(no_answer)? {
        Minting::Made(minted) => minted,
        Minting::Denied(denial) => return Err(denied(denial)),
    };
    let record = &mut passage.ledger.record;
    (record.token_id, record.token_minted) = (Some(minted.token.id.clone()), true);
    let Err(refusal) = passage.ledger.keep_beginning(&passage.worker.shared).await else { return Ok(minted) };
    passage.ledger.record.token_minted = false;
    // Nobody has it, so that it only takes a place among the live ones of its key. That of an order which may be repeated
    // waits for the repetition. If the store does not answer now, it ends by itself.
    if !is_repeatable {
        let _ = desk.revoke(&minted.token.id, Some(&minted.token.key_id), now).await;
    }
    Err(refusal)
}

fn denied(denial: MintDenial) -> Refusal {
    match denial {
        MintDenial::Senseless => {
            Refusal::new(Code::RequestInvalid, "such a token could not be used: look at its uses, times and routes")
        }
        MintDenial::KeyRevoked => Refusal::new(Code::CredentialRevoked, "this key was revoked: ask for a new one"),
        MintDenial::TooManyLive { live_tokens_max } => Refusal::new(
            Code::RateLimited,
            format!(
                "this key has {live_tokens_max} live tokens, which is all that it may: let some end, or revoke them"
            ),
        )
        .retry_after_secs(60),
        MintDenial::Conflict => Refusal::new(
            Code::RequestInvalid,
            "the idempotency key stands for another token, or for one that is over: choose another",
        ),
    }
}

/// Revokes a token of `key`, and ends its sessions here at once; elsewhere the feed does.
async fn revoke(passage: &Passage<'_>, key: &Key, id: &str, now: UnixMillis) -> Result<Done, Refusal> {
    let shared = &passage.worker.shared;
    let revoked = shared.desk()?.revoke(id, Some(&key.id), now).await.map_err(no_answer)?;
    let Some(token) = revoked else {
        return Err(Refusal::new(Code::RouteUnknown, "this key has no token with this id"));
    };
    shared.end_sessions_of_token(&token.id);
    Ok(Done { status: StatusCode::NO_CONTENT, body: Secret::new(Vec::new()), token_id: token.id.clone() })
}

/// Tells whoever minted a token what becomes of a client's setup under it; its holder is not told what it locks.
async fn explain(passage: &Passage<'_>, key: &Key, body: &[u8]) -> Result<Done, Refusal> {
    let (token, setup) = explained::read(body).map_err(own::TokenRequestError::refusal)?;
    let shared = &passage.worker.shared;
    // The digest is all that is looked up.
    let digest = shared.snapshots.load().pepper.digest(token.expose());
    drop(token);
    let found = shared.desk()?.find(digest).await.map_err(no_answer)?;
    let Some(token) = found.filter(|token| token.key_id == key.id) else {
        return Err(Refusal::new(Code::RouteUnknown, "this key has no such token"));
    };
    let explained = token.constraint.for_gemini()?.explain(setup)?;
    let body = explained::answer(&token, &explained);
    Ok(Done { status: StatusCode::OK, body, token_id: token.id.clone() })
}

/// What the header says that some clients set by themselves when they repeat a request.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().and_then(own::idempotency_key);
    key.map(Some)
        .ok_or_else(|| Refusal::new(Code::RequestInvalid, "`Idempotency-Key` must be 1 to 255 visible characters"))
}

impl Done {
    fn minted(minted: &Minted, body: Secret) -> Self {
        Self { status: StatusCode::OK, body, token_id: minted.token.id.clone() }
    }
}
