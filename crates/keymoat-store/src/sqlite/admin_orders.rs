//! What was asked of the API under an idempotency key, so that a repetition does nothing twice.

use keymoat_core::{Digest, UnixMillis};
use rusqlite::{OptionalExtension, params};

use super::Sqlite;
use crate::admin::{Order, OrderAnswer};
use crate::error::StoreError;

/// How long an answer is kept.
pub(crate) const KEPT_MILLIS: i64 = 24 * 3600 * 1000;

/// An order that is not done after this time was lost with its process.
pub(crate) const LOST_MILLIS: i64 = 60 * 1000;

/// So many are kept; beyond that the oldest are forgotten.
pub(crate) const KEPT_MAX: i64 = 10_000;

pub(crate) const ORDER: &[u8] = b"keymoat admin order v1\0";
pub(crate) const CONTENT: &[u8] = b"keymoat admin order content v1\0";

impl Sqlite {
    pub(crate) fn begin_order(&self, order: &[u8], content: &[u8], now: UnixMillis) -> Result<Order, StoreError> {
        let Digest(digest) = self.pepper().digest(&[ORDER, order].concat());
        let Digest(content) = self.pepper().digest(&[CONTENT, content].concat());
        self.write(|change| {
            change.execute(
                "DELETE FROM admin_order WHERE begun_at <= ?1 OR (status IS NULL AND begun_at <= ?2)",
                params![now.0.saturating_sub(KEPT_MILLIS), now.0.saturating_sub(LOST_MILLIS)],
            )?;
            let known = change
                .prepare_cached("SELECT content, status, answer, is_whole FROM admin_order WHERE digest = ?1")?
                .query_row([digest], |row| {
                    let known: [u8; 32] = row.get(0)?;
                    let status: Option<u16> = row.get(1)?;
                    let text: Option<String> = row.get(2)?;
                    let is_whole = row.get(3)?;
                    Ok(match status {
                        _ if known != content => Order::Other,
                        None => Order::Running,
                        Some(status) => Order::Done(OrderAnswer { status, text: text.unwrap_or_default(), is_whole }),
                    })
                })
                .optional()?;
            if let Some(known) = known {
                return Ok(known);
            }
            let count: i64 = change.query_row("SELECT COUNT(*) FROM admin_order", [], |row| row.get(0))?;
            change.execute(
                "DELETE FROM admin_order WHERE digest IN (SELECT digest FROM admin_order ORDER BY begun_at LIMIT ?1)",
                [(count - KEPT_MAX + 1).max(0)],
            )?;
            change.execute(
                "INSERT INTO admin_order (digest, content, begun_at) VALUES (?1, ?2, ?3)",
                params![digest, content, now.0],
            )?;
            Ok(Order::New)
        })
    }

    pub(crate) fn end_order(&self, order: &[u8], answer: Option<OrderAnswer>) -> Result<(), StoreError> {
        let Digest(digest) = self.pepper().digest(&[ORDER, order].concat());
        self.write(|change| {
            match answer {
                None => change.execute("DELETE FROM admin_order WHERE digest = ?1", [digest])?,
                Some(OrderAnswer { status, text, is_whole }) => change.execute(
                    "UPDATE admin_order SET status = ?2, answer = ?3, is_whole = ?4 WHERE digest = ?1",
                    params![digest, status, text, is_whole],
                )?,
            };
            Ok(())
        })
    }
}
