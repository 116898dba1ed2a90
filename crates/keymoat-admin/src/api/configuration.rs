//! The configuration in force, to be read.

#![expect(unused_qualifications, reason = "the macro that describes parameters writes them")]

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Desk;
use super::answer::Json;
use super::problem::Problem;
use super::query::Query;

/// The settings in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Configuration {
    /// Every setting, in the order of the file.
    settings: Vec<SettingShown>,
}

/// One setting.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Setting)]
pub(super) struct SettingShown {
    /// Such as `route.voice`.
    section: String,
    /// Such as `query`.
    name: String,
    /// Its value; null where it is not set, or not shown.
    value: Value,
    /// `default`, a place in the file, a variable, a flag, or a preset.
    source: String,
}

/// Which settings.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only those of this section, such as `tls`.
    section: Option<String>,
}

/// Shows every setting in force with where its value comes from, as `keymoat config show` does. No secret is among them.
#[utoipa::path(get, path = "/api/v1/configuration", tag = "about", params(Asked),
    responses((status = 200, description = "The settings.", body = Configuration)))]
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Configuration>, Problem> {
    let configured = desk.house.configured.load();
    let meant =
        configured.settings.iter().filter(|setting| asked.section.as_ref().is_none_or(|one| *one == setting.section));
    let settings = meant.map(|setting| SettingShown {
        section: setting.section.clone(),
        name: setting.name.clone(),
        value: setting.value.clone(),
        source: setting.source.clone(),
    });
    Ok(Json(Configuration { settings: settings.collect() }))
}
