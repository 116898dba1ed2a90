//! Listens for announcements of changes. They are hints: what is lost, doubled or late is put right by the next look.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tokio::time::{interval, sleep, timeout};
use tokio_postgres::AsyncMessage;

use super::link::{self, CONNECT_WAIT, Link};
use crate::error::StoreError;

/// How soon a connection that was lost is made anew.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How often the connection is asked whether it still is one.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Listens for as long as the runtime lives.
pub(super) async fn run(link: Link, hint: Arc<Notify>) {
    let mut is_failing = false;
    loop {
        match listen(&link, &hint, &mut is_failing).await {
            Ok(()) => {}
            Err(error) if !is_failing => {
                tracing::warn!(%error, "changes by other nodes are not announced: they are looked for at intervals");
                is_failing = true;
            }
            Err(_) => {}
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Ends when the connection is lost.
async fn listen(link: &Link, hint: &Arc<Notify>, is_failing: &mut bool) -> Result<(), StoreError> {
    let (client, mut wire) = timeout(CONNECT_WAIT, link.connect()).await.map_err(|_| StoreError::DatabaseLost)??;
    let announced = Arc::clone(hint);
    let drive = async move {
        while let Some(Ok(message)) = poll_fn(|cx| wire.poll_message(cx)).await {
            if matches!(message, AsyncMessage::Notification(_)) {
                announced.notify_one();
            }
        }
    };
    let ask = async {
        link::introduce(&client).await?;
        client.batch_execute("LISTEN keymoat_change").await.map_err(|error| super::failed(&error))?;
        if std::mem::take(is_failing) {
            tracing::info!("changes by other nodes are announced again");
        }
        // What was announced meanwhile was heard by nobody.
        hint.notify_one();
        let mut probes = interval(PROBE_EVERY);
        loop {
            probes.tick().await;
            let probe = timeout(CONNECT_WAIT, client.batch_execute("")).await;
            probe.map_err(|_| StoreError::DatabaseLost)?.map_err(|error| super::failed(&error))?;
        }
    };
    match select(std::pin::pin!(drive), std::pin::pin!(ask)).await {
        Either::Left(_) => Err(StoreError::DatabaseLost),
        Either::Right((outcome, _)) => outcome,
    }
}
