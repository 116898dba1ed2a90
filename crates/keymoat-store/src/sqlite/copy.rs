//! The rows of a store on their way into another one.

use rusqlite::types::ValueRef;
use rusqlite::{Row, ToSql, TransactionBehavior, params_from_iter};

use super::{Sqlite, held, keys};
use crate::copy::{Kind, Rows, TABLES, Value};
use crate::error::StoreError;

impl Sqlite {
    pub(crate) fn rows(&self) -> Result<Vec<Rows>, StoreError> {
        self.refuse_replaced()?;
        let mut reader = held(&self.reader);
        let moment = reader.transaction()?;
        let tables = TABLES.iter().map(|table| {
            let read = |row: &Row<'_>| {
                table.columns.iter().enumerate().map(|(place, (_, kind))| value(row, place, *kind)).collect()
            };
            let mut statement = moment.prepare(&table.select())?;
            let rows = statement.query_map([], read)?.collect::<Result<_, _>>()?;
            Ok(rows)
        });
        tables.collect()
    }

    pub(crate) fn fill(&self, tables: &[Rows]) -> Result<(), StoreError> {
        self.refuse_replaced()?;
        let mut writer = held(&self.writer);
        let change = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (table, rows) in TABLES.iter().zip(tables) {
            if change.prepare(&format!("SELECT 1 FROM {}", table.name))?.exists([])? {
                return Err(StoreError::CopyTargetUsed);
            }
            let mut insert = change.prepare(&table.insert())?;
            for row in rows {
                insert.execute(params_from_iter(row.iter().map(|value| match value {
                    Value::Number(number) => number as &dyn ToSql,
                    Value::Text(text) => text,
                    Value::Bytes(bytes) => bytes,
                })))?;
            }
        }
        keys::count_change(&change)?;
        change.commit()?;
        Ok(())
    }
}

fn value(row: &Row<'_>, place: usize, kind: Kind) -> rusqlite::Result<Value> {
    let is_null = matches!(row.get_ref(place)?, ValueRef::Null);
    Ok(match kind {
        Kind::Number => Value::Number(if is_null { None } else { Some(row.get(place)?) }),
        Kind::Text => Value::Text(if is_null { None } else { Some(row.get(place)?) }),
        Kind::Bytes => Value::Bytes(if is_null { None } else { Some(row.get(place)?) }),
    })
}
