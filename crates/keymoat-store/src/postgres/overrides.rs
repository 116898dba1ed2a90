//! Overrides of routes: statements, and what the store does with them.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use keymoat_core::{OverrideFields, RouteOverride, UnixMillis};
use tokio_postgres::Row;

use super::error::failed;
use super::{Postgres, keys};
use crate::error::StoreError;

/// Starts every statement that reads overrides with [`read`].
macro_rules! select {
    ($($rest:literal)*) => {
        concat!("SELECT route, query, carriers, sunset, made_at, made_by, note FROM route_override ", $($rest),*)
    };
}

impl Postgres {
    pub(crate) fn override_route(&self, over: &RouteOverride) -> Result<(), StoreError> {
        if over.fields.is_empty() || over.fields.read_carriers().is_err() {
            return Err(StoreError::OverrideSenseless);
        }
        let over = over.clone();
        self.ask(move |shared| async move {
            let replace = async |change: &mut Transaction<'_>| {
                let RouteOverride { route, fields, made_at, made_by, note } = &over;
                let query = fields.query.map(keymoat_core::QueryPolicy::word);
                let carriers = fields.carriers.as_ref().map(|carriers| carriers.join("\n"));
                let (sunset, note) = (fields.sunset.map(|sunset| sunset.0), note.as_deref());
                let sql = "INSERT INTO route_override (route, query, carriers, sunset, made_at, made_by, note)
                           VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (route) DO UPDATE
                           SET (query, carriers, sunset, made_at, made_by, note) = (excluded.query, excluded.carriers,
                               excluded.sunset, excluded.made_at, excluded.made_by, excluded.note)";
                let (route, made_by) = (&**route, &**made_by);
                let done =
                    change.execute(sql, &[&route, &query, &carriers, &sunset, &made_at.0, &made_by, &note]).await;
                done.map_err(|error| failed(&error))?;
                keys::count_change(change).await
            };
            shared.holding(replace).await
        })
    }

    pub(crate) fn remove_override(&self, route: &str) -> Result<RouteOverride, StoreError> {
        let route = route.to_owned();
        self.ask(move |shared| async move {
            let remove = async |change: &mut Transaction<'_>| {
                let sql = select!("WHERE route = $1");
                let row = change.query_opt(sql, &[&route]).await.map_err(|error| failed(&error))?;
                let removed = read(&row.ok_or(StoreError::OverrideUnknown)?).map_err(|error| failed(&error))?;
                let done = change.execute("DELETE FROM route_override WHERE route = $1", &[&route]).await;
                done.map_err(|error| failed(&error))?;
                keys::count_change(change).await?;
                Ok(removed)
            };
            shared.holding(remove).await
        })
    }

    pub(crate) fn route_overrides(&self) -> Result<Vec<RouteOverride>, StoreError> {
        self.ask(|shared| async move { shared.at_one_moment(async |moment| all(moment).await).await })
    }

    pub(crate) fn note_sunset(&self, route: &str, sunset: UnixMillis, now: UnixMillis) -> Result<bool, StoreError> {
        let route = route.to_owned();
        self.ask(move |shared| async move {
            let note = async |change: &mut Transaction<'_>| {
                let sql = "INSERT INTO sunset_reached (route, sunset, noted_at) VALUES ($1, $2, $3)
                           ON CONFLICT DO NOTHING";
                let noted = change.execute(sql, &[&route, &sunset.0, &now.0]).await;
                Ok(noted.map_err(|error| failed(&error))? > 0)
            };
            shared.in_one(note).await
        })
    }
}

/// All overrides, by route.
pub(super) async fn all(moment: &Transaction<'_>) -> Result<Vec<RouteOverride>, StoreError> {
    let rows = moment.query(select!("ORDER BY route COLLATE \"C\""), &[]).await;
    rows.and_then(|rows| rows.iter().map(read).collect()).map_err(|error| failed(&error))
}

fn read(row: &Row) -> Result<RouteOverride, tokio_postgres::Error> {
    let query: Option<&str> = row.try_get(1)?;
    let carriers: Option<&str> = row.try_get(2)?;
    Ok(RouteOverride {
        route: row.try_get::<_, &str>(0)?.into(),
        fields: OverrideFields {
            // The schema allows no other words.
            query: query.and_then(|word| word.parse().ok()),
            carriers: carriers.map(|lines| lines.lines().map(Arc::from).collect()),
            sunset: row.try_get::<_, Option<i64>>(3)?.map(UnixMillis),
        },
        made_at: UnixMillis(row.try_get(4)?),
        made_by: row.try_get::<_, &str>(5)?.into(),
        note: row.try_get::<_, Option<&str>>(6)?.map(Into::into),
    })
}
