//! Whether all is well.

use std::sync::Arc;

use axum::extract::State;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use super::Desk;
use super::answer::Json;
use super::moment::Moment;

/// How the gateway is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, or `degraded` where something is not as it should be.
    #[schema(example = "ok")]
    status: &'static str,
    /// The version of this program.
    version: &'static str,
    /// When it started.
    started_at: Moment,
    /// For how long it runs.
    uptime_secs: i64,
    /// Whether it takes new work.
    is_ready: bool,
    /// Whether the store answers.
    store_answers: bool,
    /// Whether somebody may administer everything.
    is_claimed: bool,
    /// How many sessions are live: WebSockets and event streams.
    live_sessions: usize,
    /// Where the admin listener is.
    admin_url: String,
    /// Where data is served in plain text.
    gateway: Option<String>,
    /// Where data is served with TLS.
    gateway_tls: Option<String>,
    /// The addresses that it serves data at.
    listeners: Vec<String>,
}

/// Says that the listener answers.
#[utoipa::path(get, path = "/healthz", tag = "about",
    responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub(super) async fn alive() -> impl axum::response::IntoResponse {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], "ok\n")
}

/// Says how the gateway is.
#[utoipa::path(get, path = "/api/v1/health", tag = "about", responses((status = 200, description = "How it is.", body = Health)))]
pub(super) async fn show(State(desk): State<Arc<Desk>>) -> Json<Health> {
    let now = desk.house.now();
    let claimed = desk.store(move |store| store.is_claimed(now)).await;
    let running = &desk.house.running;
    let is_ready = running.is_ready();
    let is_well = is_ready && claimed.is_ok();
    Json(Health {
        status: if is_well { "ok" } else { "degraded" },
        version: desk.house.version,
        started_at: Moment(desk.house.started_at),
        uptime_secs: (now.0 - desk.house.started_at.0).max(0) / 1000,
        is_ready,
        store_answers: claimed.is_ok(),
        is_claimed: claimed.unwrap_or_default(),
        live_sessions: running.live_sessions(),
        admin_url: desk.url.clone(),
        gateway: running.addresses().first().map(|address| format!("http://{address}")),
        gateway_tls: running.addresses().get(1).map(|address| format!("https://{address}")),
        listeners: running.addresses().iter().map(ToString::to_string).collect(),
    })
}
