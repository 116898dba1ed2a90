//! Who is let in: origin → credential → identity → policy, on one snapshot and, for a token, one question to the store.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use keymoat_core::credential::{self, Presented};
use keymoat_core::format::Shape;
use keymoat_core::head::{Ask, Head};
use keymoat_core::identity::{self, Identity};
use keymoat_core::origin::{Named, Page};
use keymoat_core::policy::{self, Access};
use keymoat_core::record::InUrl;
use keymoat_core::refusal::{Code, Refusal};
use keymoat_core::{Digest, Snapshot, Token};
use tokio::time::Instant;

use crate::claim;
use crate::clock;
use crate::cors;
use crate::dialect;
use crate::ledger::Ledger;
use crate::passage::Passage;
use crate::serve::draining;
use crate::throttle::{self, Standing};
use crate::worker::Shared;

/// How much of a client's own name is kept.
const USER_AGENT_CHARS_MAX: usize = 128;
/// How much of the origin of a page is kept.
const ORIGIN_BYTES_MAX: usize = 128;

/// A word in the name of a host that is told has at most so many bytes.
const LABEL_BYTES_MAX: usize = 24;
/// So long it takes at most until a key that was made just now is in the view of the store.
const NEWS_WAIT: Duration = Duration::from_millis(400);
/// How often it is looked whether there is a new view.
const NEWS_LOOK: Duration = Duration::from_millis(20);
/// So many requests may wait for a new view at once; others are decided by the one that there is.
pub(crate) const AWAITING_NEWS_MAX: usize = 1024;

/// A request that may go on.
pub(crate) struct Admitted {
    pub(crate) access: Access,
    /// The path that the upstream knows it by.
    pub(crate) path: String,
    /// The use that it costs, if it came by a token.
    pub(crate) unclaimed: Option<Unclaimed>,
}

/// A token's use that is not claimed yet.
pub(crate) struct Unclaimed {
    pub(crate) token: Arc<Token>,
    pub(crate) digest: Digest,
}

/// What a request brought, before anything is decided about it. Its head holds no credential any more.
pub(crate) struct Arrived {
    pub(crate) presented: Result<Presented, Refusal>,
    /// The page that it named.
    pub(crate) named: Named,
}

/// Takes the credential out of the request, unless it comes from a page that has no business here.
pub(crate) fn arrive(passage: &mut Passage<'_>, head: &mut Head, page: Page<'_>) -> Result<Arrived, Refusal> {
    if let Some(refusal) = draining(passage.worker) {
        return Err(refusal);
    }
    if page == Page::Foreign {
        return Err(cors::foreign());
    }
    let shared = &passage.worker.shared;
    if matches!(head.ask, Ask::WebSocket(_)) {
        shared.sessions.check_room()?;
    }
    let named = Named::by(head, passage.peer.tls);
    let snapshot = shared.snapshots.load();
    let record = &mut passage.ledger.record;
    let presented = credential::take(head, passage.route, &snapshot, record);
    if matches!(head.ask, Ask::WebSocket(_))
        && let Named::Page { origin, .. } = &named
        && head.headers.contains_key(header::ORIGIN)
    {
        // One with a credential in it has just been removed.
        record.origin = Some(told_origin(origin.as_str()).into());
    }
    if record.in_url != InUrl::Nothing {
        record.user_agent = user_agent(head);
    }
    Ok(Arrived { presented, named })
}

/// An origin as it may be written down: one that is built like the names that pages have. Anybody can send another one, with
/// whatever in it.
fn told_origin(origin: &str) -> &str {
    const HIDDEN: &str = "•";
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    let is_name = |label: &str| {
        let digits = label.bytes().filter(u8::is_ascii_digit).count();
        label.len() <= LABEL_BYTES_MAX && (digits <= 4 || digits == label.len())
    };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
    let is_host = host.bytes().all(is_plain) && host.split(['.', '-', ':', '[', ']']).all(is_name);
    if origin.len() <= ORIGIN_BYTES_MAX && is_host { origin } else { HIDDEN }
}

/// The client's own name for itself, cut short: whoever runs it is to be told that its key is in a URL.
fn user_agent(head: &Head) -> Option<String> {
    let name = head.headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(name.chars().take(USER_AGENT_CHARS_MAX).collect())
}

/// Decides whether the request may go on.
pub(crate) async fn admit(passage: &mut Passage<'_>, head: &mut Head, page: Page<'_>) -> Result<Admitted, Refusal> {
    let Arrived { presented, named } = arrive(passage, head, page)?;
    let route = passage.route;
    if route.is_public(&head.path) {
        let access = policy::pass_unasked(presented, &mut passage.ledger.record)?;
        return Ok(Admitted { access, path: dialect::upstream_path(route, head)?, unclaimed: None });
    }
    let (identity, digest) = identify(passage, presented?).await?;
    let grant = policy::decide(identity, route, &head.ask, &named, &mut passage.ledger.record)?;
    meter(passage, &grant.identity).await?;
    let token = grant.identity.holder.token().cloned();
    let unclaimed = token.zip(digest).map(|(token, digest)| Unclaimed { token, digest });
    Ok(Admitted { access: Access::Keyed(grant), path: dialect::upstream_path(route, head)?, unclaimed })
}

/// Says who presented it; for a token, also its digest.
pub(crate) async fn identify(
    passage: &mut Passage<'_>,
    presented: Presented,
) -> Result<(Identity, Option<Digest>), Refusal> {
    let shared = &passage.worker.shared;
    check_view(shared)?;
    let Some(patience) = passage.plan.limits.failed_credentials else {
        return look_up(shared, presented, &mut passage.ledger).await;
    };
    let client = passage.ledger.record.client;
    let is_token = matches!(presented.shape(), Shape::Token { .. });
    // Whoever has a key of ours, or a long one of another maker, never comes by the table.
    if (is_token || presented.is_guessable())
        && let Standing::Throttled { wait_secs } = shared.throttle.standing(client, patience)
        && (!is_token || !shared.throttle.may_ask_for_token(client))
    {
        passage.ledger.record.cause = Some(String::from("not looked up: its address is throttled"));
        return Err(throttle::refusal(wait_secs));
    }
    let looked_up = look_up(shared, presented, &mut passage.ledger).await;
    let record = &passage.ledger.record;
    let is_known = record.key_id.is_some() || record.token_id.is_some();
    match looked_up {
        Err(refusal) if refusal.code == Code::CredentialInvalid && !is_known => {
            match shared.throttle.count(client, patience) {
                Standing::Good => Err(refusal),
                Standing::Throttled { wait_secs } => Err(throttle::refusal(wait_secs)),
            }
        }
        looked_up => looked_up,
    }
}

async fn look_up(
    shared: &Shared,
    presented: Presented,
    ledger: &mut Ledger,
) -> Result<(Identity, Option<Digest>), Refusal> {
    if matches!(presented.shape(), Shape::Token { .. }) {
        return of_token(shared, presented, ledger).await;
    }
    let digest = presented.digest(&shared.snapshots.load());
    if presented.shape() == Shape::Key && !shared.snapshots.load().keys.contains_key(&digest) {
        await_news(shared).await;
    }
    let snapshot = shared.snapshots.load();
    let identity = identity::find_by(presented, &digest, &snapshot, clock::now(), &mut ledger.record)?;
    Ok((identity, None))
}

/// Waits for the next view of the store. A key of ours that is not known may have been made a moment ago, by a command that
/// is faster than the next look: that look is awaited, once. Who waits depends on the syntax of what was presented alone,
/// and so tells nobody what there is.
async fn await_news(shared: &Shared) {
    let Some(_place) = shared.awaiting_news.take() else { return };
    let before = shared.snapshots.load_full();
    let deadline = Instant::now() + NEWS_WAIT;
    while Instant::now() < deadline && Arc::ptr_eq(&shared.snapshots.load(), &before) {
        tokio::time::sleep(NEWS_LOOK).await;
    }
}

/// Counts the request towards the limits of its key, and of its token if it came by one, and has what follows counted
/// there, too.
async fn meter(passage: &mut Passage<'_>, identity: &Identity) -> Result<(), Refusal> {
    let meters = &passage.worker.shared.meters;
    passage.metered = match identity.holder.token() {
        Some(token) => meters.admit_token(&identity.key, token).await?,
        None => meters.admit(&identity.key).await?,
    };
    Ok(())
}

/// Nobody is let in on a view of the store that is too old: a revocation may have been missed.
fn check_view(shared: &Shared) -> Result<(), Refusal> {
    if shared.is_ready() {
        return Ok(());
    }
    Err(Refusal::new(Code::Unavailable, "the store cannot be read, try again").retry_after_secs(1))
}

/// Asks the store for a token, and says whose it is.
async fn of_token(
    shared: &Shared,
    presented: Presented,
    ledger: &mut Ledger,
) -> Result<(Identity, Option<Digest>), Refusal> {
    let digest = presented.digest(&shared.snapshots.load());
    let token = match shared.desk.get() {
        Some(desk) => desk.find(digest).await.map_err(claim::no_answer)?,
        // Without a store there are no tokens.
        None => None,
    };
    // The view that is current after the wait: a revocation may have come meanwhile.
    let snapshot: Arc<Snapshot> = shared.snapshots.load_full();
    let identity = identity::of_token(presented, token, &snapshot, clock::now(), &mut ledger.record)?;
    Ok((identity, Some(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_told_if_it_is_built_like_the_name_of_a_host() {
        for origin in ["https://app.example", "http://localhost:3000", "http://10.0.0.12:8080", "https://[::1]"] {
            assert_eq!(told_origin(origin), origin);
        }
        for origin in ["https://fAQOfcNnrYXb.example", "https://zk7qw2lr9tnxb4vm8p.example", "https://a b"] {
            assert_eq!(told_origin(origin), "•");
        }
    }
}
