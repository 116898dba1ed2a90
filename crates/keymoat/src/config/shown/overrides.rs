//! What the store overrides in the configuration that is shown.

use keymoat_core::RouteOverride;
use toml::Value;

use super::{Shown, text, texts};
use crate::output::time::rfc3339;

/// Puts what overrides say in the place of what the file says. The setting as it is shown makes it permanent.
pub(crate) fn show_overrides(shown: &mut [Shown], overrides: &[RouteOverride]) {
    for over in overrides {
        let fields = &over.fields;
        let section = format!("route.{}", over.route);
        let query = fields.query.map(|query| text(query.word()));
        let sunset = fields.sunset.and_then(|sunset| rfc3339(sunset).parse().ok()).map(Value::Datetime);
        let carriers = fields.carriers.as_ref().map(texts);
        for (name, value) in [("query", query), ("sunset", sunset), ("carriers", carriers)] {
            let Some(value) = value else { continue };
            for row in shown.iter_mut().filter(|row| row.section == section && row.name == name) {
                row.value = Some(value.clone());
                let (at, by) = (rfc3339(over.made_at), &over.made_by);
                row.source = format!("override in the store, {at} by {by}; in place of: {}", row.source);
            }
        }
    }
}
