//! What was asked of the API under an idempotency key, so that a repetition does nothing twice, on whatever node.

use deadpool_postgres::Transaction;
use keymoat_core::{Digest, UnixMillis};

use super::Postgres;
use super::error::failed;
use crate::admin::{Order, OrderAnswer};
use crate::error::StoreError;
use crate::sqlite::admin_orders::{CONTENT, KEPT_MAX, KEPT_MILLIS, LOST_MILLIS, ORDER};

impl Postgres {
    pub(crate) fn begin_order(&self, order: &[u8], content: &[u8], now: UnixMillis) -> Result<Order, StoreError> {
        let Digest(digest) = self.shared.pepper.digest(&[ORDER, order].concat());
        let Digest(content) = self.shared.pepper.digest(&[CONTENT, content].concat());
        self.ask(move |shared| async move {
            let begin = async |change: &mut Transaction<'_>| begin(change, &digest, &content, now).await;
            shared.in_one(begin).await
        })
    }

    pub(crate) fn end_order(&self, order: &[u8], answer: Option<OrderAnswer>) -> Result<(), StoreError> {
        let Digest(digest) = self.shared.pepper.digest(&[ORDER, order].concat());
        self.ask(move |shared| async move {
            let end = async |change: &mut Transaction<'_>| {
                let digest = &digest[..];
                let done = match &answer {
                    None => change.execute("DELETE FROM admin_order WHERE digest = $1", &[&digest]).await,
                    Some(OrderAnswer { status, text, is_whole }) => {
                        let sql = "UPDATE admin_order SET status = $2, answer = $3, is_whole = $4 WHERE digest = $1";
                        change.execute(sql, &[&digest, &i64::from(*status), text, is_whole]).await
                    }
                };
                done.map(drop).map_err(|error| failed(&error))
            };
            shared.in_one(end).await
        })
    }
}

async fn begin(change: &Transaction<'_>, digest: &[u8], content: &[u8], now: UnixMillis) -> Result<Order, StoreError> {
    let (old, lost) = (now.0.saturating_sub(KEPT_MILLIS), now.0.saturating_sub(LOST_MILLIS));
    let sql = "DELETE FROM admin_order WHERE begun_at <= $1 OR (status IS NULL AND begun_at <= $2)";
    change.execute(sql, &[&old, &lost]).await.map_err(|error| failed(&error))?;
    let sql = "DELETE FROM admin_order WHERE digest IN
               (SELECT digest FROM admin_order WHERE digest <> $2 ORDER BY begun_at DESC OFFSET $1)";
    change.execute(sql, &[&(KEPT_MAX - 1), &digest]).await.map_err(|error| failed(&error))?;
    // Whoever asks for the same at the same moment waits here until this one is known.
    let sql = "INSERT INTO admin_order (digest, content, begun_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    if change.execute(sql, &[&digest, &content, &now.0]).await.map_err(|error| failed(&error))? == 1 {
        return Ok(Order::New);
    }
    let sql = "SELECT content, status, answer, is_whole FROM admin_order WHERE digest = $1";
    let row = change.query_opt(sql, &[&digest]).await.map_err(|error| failed(&error))?;
    // It was given up between the two statements: whoever repeats it begins it.
    let Some(row) = row else { return Ok(Order::Running) };
    let known = || -> Result<Order, tokio_postgres::Error> {
        if row.try_get::<_, &[u8]>(0)? != content {
            return Ok(Order::Other);
        }
        let Some(status) = row.try_get::<_, Option<i64>>(1)? else { return Ok(Order::Running) };
        Ok(Order::Done(OrderAnswer {
            status: u16::try_from(status).unwrap_or(500),
            text: row.try_get::<_, Option<String>>(2)?.unwrap_or_default(),
            is_whole: row.try_get(3)?,
        }))
    };
    known().map_err(|error| failed(&error))
}
