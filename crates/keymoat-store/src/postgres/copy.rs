//! The rows of a store on their way into another one.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::failed;
use super::{Postgres, keys};
use crate::copy::{Kind, Rows, TABLES, Value};
use crate::error::StoreError;

impl Postgres {
    pub(crate) fn rows(&self) -> Result<Vec<Rows>, StoreError> {
        self.ask(|shared| async move {
            let read = async |moment: &Transaction<'_>| {
                let mut tables = Vec::with_capacity(TABLES.len());
                for table in &TABLES {
                    let rows = moment.query(&table.select(), &[]).await.map_err(|error| failed(&error))?;
                    let kinds = || table.columns.iter().enumerate();
                    let read = |row: &Row| kinds().map(|(place, (_, kind))| value(row, place, *kind)).collect();
                    let rows: Result<Rows, tokio_postgres::Error> = rows.iter().map(read).collect();
                    tables.push(rows.map_err(|error| failed(&error))?);
                }
                Ok(tables)
            };
            shared.at_one_moment(read).await
        })
    }

    pub(crate) fn fill(&self, tables: Vec<Rows>) -> Result<(), StoreError> {
        self.ask(move |shared| async move {
            let fill = async |change: &mut Transaction<'_>| {
                for (table, rows) in TABLES.iter().zip(&tables) {
                    let used = change.query_opt(&format!("SELECT FROM {} LIMIT 1", table.name), &[]).await;
                    if used.map_err(|error| failed(&error))?.is_some() {
                        return Err(StoreError::CopyTargetUsed);
                    }
                    let insert = change.prepare(&table.insert()).await.map_err(|error| failed(&error))?;
                    for row in rows {
                        let values: Vec<&(dyn ToSql + Sync)> = row.iter().map(parameter).collect();
                        change.execute(&insert, &values).await.map_err(|error| failed(&error))?;
                    }
                }
                keys::count_change(change).await
            };
            shared.holding(fill).await
        })
    }
}

fn parameter(value: &Value) -> &(dyn ToSql + Sync) {
    match value {
        Value::Number(number) => number,
        Value::Text(text) => text,
        Value::Bytes(bytes) => bytes,
    }
}

fn value(row: &Row, place: usize, kind: Kind) -> Result<Value, tokio_postgres::Error> {
    Ok(match kind {
        Kind::Number => Value::Number(row.try_get(place)?),
        Kind::Text => Value::Text(row.try_get(place)?),
        Kind::Bytes => Value::Bytes(row.try_get(place)?),
    })
}
