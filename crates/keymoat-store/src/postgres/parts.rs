//! Parts of what keys have for a day: granted by one statement for a group, whatever node asks. The row of a key and a day
//! is locked while somebody takes of it, and counts what was granted, not what was used.

use std::collections::HashSet;

use tokio_postgres::{Client, Statement};

use super::error::failed;
use super::key_store::signed;
use crate::error::StoreError;
use crate::share::{Budget, PartAsked};

/// Grants parts: `$1` are the keys and `$2` the days, no two alike; `$3` what is asked of, `$4` what there is, `$5` what is
/// wanted at once and `$6` in advance, `$7` the part of the rest that is granted in advance. [`crate::share::part`] says
/// the same.
pub(super) const GRANT: &str = "
    WITH asked AS (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::bigint[], $5::bigint[], $6::bigint[])
            AS asked (key_id, day, of_bytes, most, least, plenty)
    ), held AS MATERIALIZED (
        SELECT key_id, day, requests, bytes FROM limit_use
        WHERE (key_id, day) IN (SELECT key_id, day FROM asked) ORDER BY key_id COLLATE \"C\", day FOR UPDATE
    ), rest AS (
        SELECT asked.*, greatest(most - CASE WHEN of_bytes THEN held.bytes ELSE held.requests END, 0) AS rest
        FROM asked JOIN held ON held.key_id = asked.key_id AND held.day = asked.day
    ), granted AS MATERIALIZED (
        SELECT key_id, day, of_bytes, least(rest, greatest(least, least(plenty, rest / $7))) AS part FROM rest
    ), counted AS (
        UPDATE limit_use SET requests = limit_use.requests + CASE WHEN of_bytes THEN 0 ELSE part END,
                             bytes = limit_use.bytes + CASE WHEN of_bytes THEN part ELSE 0 END
        FROM granted WHERE limit_use.key_id = granted.key_id AND limit_use.day = granted.day AND part > 0
        RETURNING limit_use.key_id
    )
    SELECT key_id, day, part FROM granted";

/// Decides about a group and answers in its order.
pub(super) async fn grant(
    client: &Client,
    grant: &Statement,
    asked: &[PartAsked],
) -> Result<Vec<Option<u64>>, StoreError> {
    let mut granted = vec![None; asked.len()];
    let mut ensured = false;
    loop {
        // A row is changed once by a statement: who asks for the same key again comes with the next one.
        let mut rows_asked = HashSet::new();
        let round: Vec<usize> = (0..asked.len())
            .filter(|at| granted[*at].is_none())
            .filter(|at| asked.get(*at).is_some_and(|asked| rows_asked.insert((&*asked.key_id, asked.day))))
            .collect();
        if round.is_empty() {
            return Ok(granted);
        }
        let unknown = grant_once(client, grant, asked, &round, &mut granted).await?;
        if unknown.is_empty() {
            ensured = false;
            continue;
        }
        if ensured {
            // It was there a moment ago, and is forgotten: its day is over.
            return Ok(granted);
        }
        ensured = true;
        let keys: Vec<&str> = unknown.iter().map(|asked| &*asked.key_id).collect();
        let days: Vec<i64> = unknown.iter().map(|asked| asked.day).collect();
        let sql = "INSERT INTO limit_use (key_id, day, requests, bytes)
                   SELECT key_id, day, 0, 0 FROM unnest($1::text[], $2::bigint[]) AS asked (key_id, day)
                   ON CONFLICT DO NOTHING";
        client.execute(sql, &[&keys, &days]).await.map_err(|error| failed(&error))?;
    }
}

/// Gives those of which there is no row.
async fn grant_once<'a>(
    client: &Client,
    grant: &Statement,
    asked: &'a [PartAsked],
    round: &[usize],
    granted: &mut [Option<u64>],
) -> Result<Vec<&'a PartAsked>, StoreError> {
    let of_round: Vec<&PartAsked> = round.iter().filter_map(|at| asked.get(*at)).collect();
    let keys: Vec<&str> = of_round.iter().map(|asked| &*asked.key_id).collect();
    let days: Vec<i64> = of_round.iter().map(|asked| asked.day).collect();
    let of_bytes: Vec<bool> = of_round.iter().map(|asked| asked.of == Budget::Bytes).collect();
    let most: Vec<i64> = of_round.iter().map(|asked| signed(asked.most)).collect();
    let least: Vec<i64> = of_round.iter().map(|asked| signed(asked.least)).collect();
    let plenty: Vec<i64> = of_round.iter().map(|asked| signed(asked.plenty)).collect();
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&keys, &days, &of_bytes, &most, &least, &plenty, &crate::share::PART_OF_REST];
    let rows = client.query(grant, &parameters).await.map_err(|error| failed(&error))?;
    let mut unknown = Vec::new();
    for (at, asked) in round.iter().zip(of_round) {
        let is_it = |row: &&tokio_postgres::Row| {
            row.try_get::<_, &str>(0).is_ok_and(|key| *key == *asked.key_id)
                && row.try_get::<_, i64>(1).is_ok_and(|day| day == asked.day)
        };
        match rows.iter().find(is_it) {
            Some(row) => granted[*at] = Some(row.try_get::<_, i64>(2).map_err(|error| failed(&error))?.unsigned_abs()),
            None => unknown.push(asked),
        }
    }
    Ok(unknown)
}
