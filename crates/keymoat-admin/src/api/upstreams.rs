//! The APIs behind.

pub(super) mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Path, State};
use http::Uri;
use keymoat_core::{Action, Dialect, UnixMillis};
use keymoat_gateway::settings::{Inject, UpstreamHttp};
use keymoat_gateway::{Certificate, UpstreamView};
use keymoat_store::SealedSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Desk;
use super::answer::{Json, Tagged};
use super::body::BodyOrNone;
use super::moment::Moment;
use super::page::{Page, Part, turned};
use super::problem::{Code, Problem};
use super::query::Query;
use crate::access::Caller;
use crate::verdict::{GEMINI_TARGET, OPENAI_TARGET, Verdict, verdict};

/// An upstream, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Upstream)]
pub(super) struct UpstreamShown {
    /// The NAME of `[upstream.NAME]`.
    name: String,
    /// Where it is.
    url: String,
    /// What its clients speak.
    dialect: &'static str,
    /// Where the secret is put on, such as `header:x-goog-api-key`.
    inject: String,
    /// Which HTTP version is spoken to it: `auto`, `1.1` or `2`.
    http: &'static str,
    /// What there is of its secret.
    secret: SecretSource,
    /// Why nothing is sent to it; null when it is in order.
    withheld: Option<String>,
}

/// What there is of a secret; never the secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UpstreamSecret)]
pub(super) struct SecretSource {
    /// `sealed` in the store, `configuration`, `built_in`, or `none`.
    #[schema(example = "sealed")]
    source: &'static str,
    /// Where the configuration has it from.
    reference: Option<String>,
    /// Its version in the store.
    version: Option<u32>,
    /// When it was sealed.
    set_at: Option<Moment>,
}

fn shown(view: &UpstreamView, desk: &Desk, sealed: &BTreeMap<Arc<str>, SealedSecret>) -> UpstreamShown {
    let configured = desk.house.configured.load();
    let known = configured.upstreams.get(&*view.name);
    let reference = known.and_then(|known| known.secret.clone());
    let sealed = sealed.get(&view.name).filter(|_| reference.is_none());
    let host =
        if view.origin.host.contains(':') { format!("[{}]", view.origin.host) } else { view.origin.host.clone() };
    let scheme = if view.origin.tls { "https" } else { "http" };
    UpstreamShown {
        name: view.name.to_string(),
        url: format!("{scheme}://{host}:{}{}", view.origin.port, view.path_prefix),
        dialect: dialect(desk, &view.name).word(),
        inject: match &view.inject {
            Inject::Header(name) => format!("header:{name}"),
            Inject::Query(name) => format!("query:{name}"),
        },
        http: match view.http {
            UpstreamHttp::Auto => "auto",
            UpstreamHttp::Http1 => "1.1",
            UpstreamHttp::Http2 => "2",
        },
        secret: SecretSource {
            source: match (&reference, &sealed) {
                (Some(_), _) => "configuration",
                (None, Some(_)) => "sealed",
                (None, None) if view.has_secret => "built_in",
                (None, None) => "none",
            },
            reference,
            version: sealed.map(|secret| secret.version),
            set_at: sealed.map(|secret| Moment(secret.created_at)),
        },
        withheld: view.withheld.as_ref().map(ToString::to_string),
    }
}

fn dialect(desk: &Desk, name: &str) -> Dialect {
    let of_route =
        || desk.house.running.routes().iter().find(|route| *route.upstream == *name).map(|route| route.dialect);
    let configured = desk.house.configured.load().upstreams.get(name).map(|known| known.dialect);
    configured.filter(|dialect| *dialect != Dialect::Generic).or_else(of_route).unwrap_or(Dialect::Generic)
}

/// The secrets that are sealed now.
async fn sealed(desk: &Desk) -> Result<BTreeMap<Arc<str>, SealedSecret>, Problem> {
    let all = desk.store(|store| store.sealed_secrets()).await?;
    let live = all.into_iter().filter(|secret| secret.retired_at.is_none());
    Ok(live.map(|secret| (Arc::clone(&secret.upstream), secret)).collect())
}

fn find(desk: &Desk, name: &str) -> Result<UpstreamView, Problem> {
    let found = desk.house.running.upstreams().into_iter().find(|view| *view.name == *name);
    found.ok_or_else(|| Problem::with(Code::NotFound, "no upstream has this name"))
}

/// Lists the upstreams in force by name.
#[utoipa::path(get, path = "/api/v1/upstreams", tag = "upstreams", params(Part), responses((status = 200, description = "A page.", body = Page<UpstreamShown>)))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<UpstreamShown>>, Problem> {
    let sealed = sealed(&desk).await?;
    let views = desk.house.running.upstreams();
    let page = part.of(views, |view: &UpstreamView| turned(&view.name))?;
    let items = page.items.iter().map(|view| shown(view, &desk, &sealed)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Shows an upstream.
#[utoipa::path(get, path = "/api/v1/upstreams/{name}", tag = "upstreams", params(("name" = String, Path, description = "The name.")),
    responses((status = 200, description = "The upstream; `ETag` is its state.", body = UpstreamShown)))]
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
) -> Result<Tagged<UpstreamShown>, Problem> {
    let view = find(&desk, &name)?;
    Ok(Tagged(shown(&view, &desk, &sealed(&desk).await?)))
}

/// How an upstream is asked.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TestBody {
    /// What is asked for with GET, in place of what its dialect has for that; it must change nothing.
    #[schema(pattern = "^/", max_length = 2048)]
    path: Option<String>,
}

/// What asking an upstream showed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpstreamTest {
    /// Whether it answers as it should.
    ok: bool,
    /// What that means, and what to do.
    detail: String,
    /// Where it is.
    url: String,
    /// What was asked for.
    path: String,
    /// What there is of its secret.
    secret: SecretSource,
    /// The address that took the connection.
    address: Option<String>,
    /// Such as `TLSv1.3`.
    tls_version: Option<String>,
    /// What it proved itself with.
    certificate: Option<CertificateShown>,
    /// Its HTTP status.
    status: Option<u16>,
    /// How long it took.
    duration_millis: u64,
}

/// A verified certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CertificateShown {
    /// The names that it is good for.
    names: Vec<String>,
    /// When it ends.
    not_after: Moment,
    /// In how many days that is.
    days_left: i64,
}

/// Asks an upstream once with its secret, as requests do, by a call that changes nothing. The body may be left out.
#[utoipa::path(post, path = "/api/v1/upstreams/{name}/test", tag = "upstreams", request_body = Option<TestBody>, params(("name" = String, Path, description = "The name.")),
    responses((status = 200, description = "What was seen.", body = UpstreamTest)))]
pub(super) async fn test(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    BodyOrNone(TestBody { path }): BodyOrNone<TestBody>,
) -> Result<Json<UpstreamTest>, Problem> {
    let view = find(&desk, &name)?;
    if let Some(why) = view.withheld {
        return Err(Problem::with(Code::Conflict, why.to_string()));
    }
    let probing = desk.house.running.probing(&name).ok_or_else(|| Problem::of(Code::NotFound))?;
    let (target, own_call) = match (path, dialect(&desk, &name)) {
        (Some(path), _) => (target(&path)?, false),
        (None, Dialect::Gemini) => (Uri::from_static(GEMINI_TARGET), true),
        (None, Dialect::OpenAi) => (Uri::from_static(OPENAI_TARGET), true),
        (None, Dialect::Generic) => (Uri::from_static("/"), false),
    };
    let UpstreamShown { url, secret, .. } = shown(&view, &desk, &sealed(&desk).await?);
    let path = target.path().to_owned();
    let began = Instant::now();
    let seen =
        tokio::task::spawn_blocking(move || probing.ask(&target)).await.map_err(|_| Problem::of(Code::Internal))?;
    let (ok, detail) = match verdict(&seen, own_call, view.has_secret) {
        Verdict::Well(text) => (true, text.to_owned()),
        Verdict::NotWell(text) => (false, text.to_owned()),
        Verdict::NotAsked(text) => (false, text),
    };
    let detail = super::masked(&detail);
    desk.tell(&caller, Action::UpstreamTested, &name, Some(detail.clone()));
    Ok(Json(UpstreamTest {
        ok,
        detail,
        url,
        path,
        secret,
        certificate: seen.certificate.as_ref().map(|certificate| CertificateShown::of(certificate, desk.house.now())),
        address: seen.address.map(|address| address.to_string()),
        status: seen.answer.as_ref().map(|answer| answer.status),
        tls_version: seen.tls_version,
        duration_millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }))
}

/// A path, with a query or without.
fn target(text: &str) -> Result<Uri, Problem> {
    let uri: Option<Uri> = text.starts_with('/').then(|| text.parse().ok()).flatten();
    uri.filter(|uri| uri.authority().is_none())
        .ok_or_else(|| Problem::with(Code::FieldInvalid, "a path begins with `/`").field("path"))
}

impl CertificateShown {
    fn of(certificate: &Certificate, now: UnixMillis) -> Self {
        Self {
            names: certificate.names.clone(),
            not_after: Moment(UnixMillis(certificate.not_after_secs.saturating_mul(1000))),
            days_left: certificate.not_after_secs.saturating_sub(now.unix_secs()) / 86_400,
        }
    }
}
