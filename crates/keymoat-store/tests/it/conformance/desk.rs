//! The desk as a gateway has it: uses are never given twice, deadlines decide, and nobody waits for long.

use std::sync::Arc;

use keymoat_core::token::Uses;
use keymoat_core::{Digest, UnixMillis};
use keymoat_store::{Claim, Denial, DeskError, MintDenial, TokenBytes, TokenDesk, Verdict, Watch};
use tokio::task::JoinSet;

use super::Stand;
use crate::stand::{LIVE_MILLIS, PATIENCE, START_MILLIS, claim, claim_at, denied, made, new_token, order};
use crate::{NOW, named, secret};

const GRANTED: Verdict = Verdict::Granted { resumed: false };
const RESUMED: Verdict = Verdict::Granted { resumed: true };

fn no(denial: Denial) -> Verdict {
    Verdict::Denied(denial)
}

/// Spends a token by `clients` at once, each on one of `desks`, and counts who was let in.
async fn rush(desks: &[TokenDesk], token: Digest, clients: usize) -> usize {
    let mut all = JoinSet::new();
    for client in 0..clients {
        let desk = desks[client % desks.len()].clone();
        all.spawn(async move {
            loop {
                match desk.claim(claim(token)).await {
                    // Other desks hold the lock: this is an answer too, and a client comes again.
                    Err(DeskError::Slow) => {}
                    verdict => return verdict.unwrap(),
                }
            }
        });
    }
    all.join_all().await.into_iter().filter(|verdict| *verdict == GRANTED).count()
}

#[tokio::test]
async fn d49_of_200_parallel_uses_of_one_use_one_is_admitted() {
    let stand = Stand::new();
    let (token, digest) = stand.minted(Uses::AtMost(1));
    assert_eq!(rush(std::slice::from_ref(&stand.desk), digest, 200).await, 1);
    assert_eq!(stand.uses_left(&token), Some(0));
    assert_eq!(stand.desk.claim(claim(digest)).await, Ok(no(Denial::UsedUp)));
}

#[tokio::test]
async fn d49_also_over_three_gateways_on_one_store() {
    let stand = Stand::new();
    let start = || TokenDesk::start_with(Arc::new(stand.again()), PATIENCE).unwrap();
    let desks = [stand.desk.clone(), start(), start()];
    for uses in [1, 7] {
        let (token, digest) = stand.minted(Uses::AtMost(uses));
        assert_eq!(rush(&desks, digest, 200).await, uses as usize);
        assert_eq!(stand.uses_left(&token), Some(0));
    }
}

#[tokio::test]
async fn a_gateway_that_writes_over_and_over_leaves_another_one_its_turn() {
    let stand = Stand::new();
    let (_, digest) = stand.minted(Uses::Unlimited);
    let start = || TokenDesk::start_with(Arc::new(stand.again()), PATIENCE).unwrap();
    let (busy, other) = (start(), start());
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let desk = busy.clone();
        all.spawn(async move {
            loop {
                let _ = desk.claim(claim(digest)).await;
            }
        });
    }
    for number in 0..300 {
        assert_eq!(other.claim(claim(digest)).await, Ok(GRANTED), "claim {number}");
    }
    all.shutdown().await;
}

#[tokio::test]
async fn d50_a_token_ends_at_its_moment_by_the_time_that_is_given() {
    let stand = Stand::new();
    let (_, digest) = stand.minted(Uses::Unlimited);
    let (start_by, live_until) = (NOW.plus_millis(START_MILLIS), NOW.plus_millis(LIVE_MILLIS));
    let hour = 3_600_000;
    for (now, verdict) in [
        (NOW.plus_millis(-hour), GRANTED),
        (start_by.plus_millis(-1000), GRANTED),
        (start_by.plus_millis(-1), GRANTED),
        (start_by, no(Denial::StartPassed)),
        (start_by.plus_millis(1000), no(Denial::StartPassed)),
        (live_until.plus_millis(-1), no(Denial::StartPassed)),
        (live_until, no(Denial::Expired)),
        (live_until.plus_millis(hour), no(Denial::Expired)),
        // Whatever came before: only the time that is given decides.
        (NOW, GRANTED),
    ] {
        stand.at(now);
        assert_eq!(stand.desk.claim(claim_at(digest, now)).await, Ok(verdict), "{now:?}");
    }
}

#[tokio::test]
async fn d53_a_token_without_a_use_is_not_minted_and_one_without_a_limit_is_not_counted() {
    let stand = Stand::new();
    let senseless = [
        stand.new_token(Uses::AtMost(0)),
        keymoat_core::NewToken { start_by: NOW, ..stand.new_token(Uses::AtMost(1)) },
        keymoat_core::NewToken { live_until: NOW, ..stand.new_token(Uses::AtMost(1)) },
        keymoat_core::NewToken { live_until: UnixMillis(i64::MIN), ..stand.new_token(Uses::AtMost(1)) },
    ];
    for new in senseless {
        assert_eq!(denied(stand.desk.mint(order(new)).await.unwrap()), MintDenial::Senseless);
    }
    for uses in [Uses::Unlimited, Uses::AtMost(u32::MAX)] {
        let (token, digest) = stand.minted(uses);
        for _ in 0..3 {
            assert_eq!(stand.desk.claim(claim(digest)).await, Ok(GRANTED));
        }
        let left = if uses == Uses::Unlimited { None } else { Some(u32::MAX - 3) };
        assert_eq!((token.uses, stand.uses_left(&token)), (uses, left));
    }
}

#[tokio::test]
async fn d56_an_order_that_is_repeated_gets_the_same_token_and_another_one_a_conflict() {
    let stand = Stand::new();
    let repeatable =
        |uses, key: &str| order(keymoat_core::NewToken { idempotency_key: Some(key.into()), ..stand.new_token(uses) });
    let one = made(stand.desk.mint(repeatable(Uses::AtMost(1), "a")).await.unwrap());
    let mut later = repeatable(Uses::AtMost(1), "a");
    later.now = NOW.plus_millis(5_000);
    later.token.start_by = later.token.start_by.plus_millis(5_000);
    let two = made(stand.desk.mint(later).await.unwrap());
    assert_eq!(one.token, two.token);
    assert!(one.secret.matches(&two.secret));
    let digest = stand.digest(&one.secret);
    assert_eq!(stand.desk.find(digest).await.unwrap().as_ref(), Some(&one.token));

    let other = made(stand.desk.mint(repeatable(Uses::AtMost(1), "b")).await.unwrap());
    assert!(!other.secret.matches(&one.secret) && other.token.id != one.token.id);
    let mut foreign = repeatable(Uses::AtMost(1), "a");
    foreign.token.key_id = stand.store.create_key(named("other"), &secret("other"), NOW).unwrap().id;
    assert_ne!(made(stand.desk.mint(foreign).await.unwrap()).token.id, one.token.id, "each key has its own");

    let conflict = |outcome| assert_eq!(denied(outcome), MintDenial::Conflict);
    conflict(stand.desk.mint(repeatable(Uses::AtMost(2), "a")).await.unwrap());
    assert_eq!(stand.desk.claim(claim(digest)).await, Ok(GRANTED));
    // It would be a token that opens nothing.
    conflict(stand.desk.mint(repeatable(Uses::AtMost(1), "a")).await.unwrap());
}

#[tokio::test]
async fn d57_a_token_ends_with_its_key() {
    let stand = Stand::new();
    let expires_at = Some(NOW.plus_millis(10));
    let short =
        stand.store.create_key(keymoat_store::NewKey { expires_at, ..named("short") }, &secret("short"), NOW).unwrap();
    let (_, digest) = stand.minted(Uses::AtMost(9));
    let of_short =
        stand.digest(&made(stand.store.mint_token(order(new_token(&short.id, Uses::AtMost(9)))).unwrap()).secret);
    let of_file =
        stand.digest(&made(stand.store.mint_token(order(new_token("file_a", Uses::AtMost(9)))).unwrap()).secret);
    let at = |digest, millis| {
        stand.at(NOW.plus_millis(millis));
        stand.desk.claim(claim_at(digest, NOW.plus_millis(millis)))
    };
    assert_eq!(at(digest, 0).await, Ok(GRANTED));
    assert_eq!(at(of_short, 9).await, Ok(GRANTED));
    assert_eq!(at(of_short, 10).await, Ok(no(Denial::KeyExpired)));
    assert_eq!(at(of_short, 9).await, Ok(GRANTED));

    let session = claim(digest);
    assert_eq!(stand.desk.claim(session).await, Ok(GRANTED));
    // Another process does it, and no feed has told this one.
    stand.again().revoke_key("parent", NOW).unwrap();
    assert_eq!(at(digest, 0).await, Ok(no(Denial::KeyRevoked)));
    assert_eq!(stand.desk.claim(session).await, Ok(no(Denial::KeyRevoked)), "not even what was granted before");
    let orphan = stand.desk.mint(order(stand.new_token(Uses::AtMost(1)))).await.unwrap();
    assert_eq!(denied(orphan), MintDenial::KeyRevoked);
    let nobodys = stand.desk.mint(order(new_token("key_000000000000", Uses::AtMost(1)))).await.unwrap();
    assert_eq!(denied(nobodys), MintDenial::KeyRevoked);
    assert_eq!(at(of_file, 0).await, Ok(GRANTED), "a key of the configuration is the gateway's to judge");
}

#[tokio::test]
async fn e73_a_session_goes_on_by_a_handle_of_its_own_token_only_and_pays_nothing() {
    let stand = Stand::new();
    let (token, digest) = stand.minted(Uses::AtMost(1));
    let (other, other_digest) = stand.minted(Uses::AtMost(5));
    let (mine, theirs) = (stand.handle("mine"), stand.handle("theirs"));
    assert_eq!(stand.desk.claim(claim(digest)).await, Ok(GRANTED));
    for _ in 0..2 {
        stand.desk.note_handle(Arc::clone(&token.id), mine, NOW).await.unwrap();
    }
    stand.desk.note_handle(Arc::clone(&other.id), theirs, NOW).await.unwrap();
    stand.desk.note_handle("tok_gone".into(), mine, NOW).await.unwrap();

    let resumed = |token, handle, millis| {
        let claim = Claim { resumes: Some(handle), ..claim_at(token, NOW.plus_millis(millis)) };
        stand.at(claim.now);
        stand.desk.claim(claim)
    };
    assert_eq!(resumed(digest, mine, 0).await, Ok(RESUMED), "although no use is left");
    assert_eq!(resumed(digest, mine, START_MILLIS + 1).await, Ok(RESUMED), "although the start has passed");
    assert_eq!(resumed(digest, mine, LIVE_MILLIS).await, Ok(no(Denial::Expired)));
    assert_eq!(resumed(digest, theirs, 0).await, Ok(no(Denial::ForeignHandle)));
    assert_eq!(resumed(other_digest, mine, 0).await, Ok(no(Denial::ForeignHandle)));
    assert_eq!(resumed(digest, stand.handle("never"), 0).await, Ok(no(Denial::ForeignHandle)));
    assert_eq!((stand.uses_left(&token), stand.uses_left(&other)), (Some(0), Some(5)));
    stand.desk.revoke(&token.id, None, NOW).await.unwrap();
    assert_eq!(resumed(digest, mine, 0).await, Ok(no(Denial::Revoked)));
}

#[tokio::test]
async fn the_last_handles_of_a_token_are_known_and_older_ones_forgotten() {
    let stand = Stand::new();
    let (token, digest) = stand.minted(Uses::AtMost(1));
    for number in 0..300 {
        let handle = stand.handle(&number.to_string());
        stand.desk.note_handle(Arc::clone(&token.id), handle, NOW).await.unwrap();
    }
    for (number, verdict) in
        [(299, RESUMED), (44, RESUMED), (43, no(Denial::ForeignHandle)), (0, no(Denial::ForeignHandle))]
    {
        let claim = Claim { resumes: Some(stand.handle(&number.to_string())), ..claim(digest) };
        assert_eq!(stand.desk.claim(claim).await, Ok(verdict), "{number}");
    }
}

#[tokio::test]
async fn a_claim_that_is_repeated_costs_one_use_and_a_session_belongs_to_its_token() {
    let stand = Stand::new();
    let (token, digest) = stand.minted(Uses::AtMost(2));
    let (other, other_digest) = stand.minted(Uses::AtMost(1));
    let once = claim(digest);
    for _ in 0..3 {
        assert_eq!(stand.desk.claim(once).await, Ok(GRANTED));
    }
    assert_eq!(stand.uses_left(&token), Some(1));
    assert_eq!(stand.desk.claim(Claim { token: other_digest, ..once }).await, Ok(no(Denial::Unknown)));
    assert_eq!(stand.uses_left(&other), Some(1));
    let late = Claim { now: NOW.plus_millis(LIVE_MILLIS), ..once };
    stand.at(late.now);
    assert_eq!(stand.desk.claim(late).await, Ok(no(Denial::Expired)));
}

#[tokio::test]
async fn a_revoked_token_is_told_to_the_feed_and_refused_at_once() {
    let stand = Stand::new();
    let (token, digest) = stand.minted(Uses::AtMost(9));
    let (by_desk, by_desk_digest) = stand.minted(Uses::AtMost(9));
    let mut watch = Watch::default();
    stand.store.changed_since(&mut watch).unwrap().unwrap();
    assert_eq!(stand.desk.claim(claim(digest)).await, Ok(GRANTED));
    assert!(stand.store.changed_since(&mut watch).unwrap().is_none(), "a use is no change of what decisions read");

    stand.again().revoke_token(&token.id, NOW).unwrap();
    let seen = stand.store.changed_since(&mut watch).unwrap().unwrap().snapshot;
    assert!(seen.is_token_revoked(&token.id) && !seen.is_token_revoked(&by_desk.id));
    assert_eq!(stand.desk.claim(claim(digest)).await, Ok(no(Denial::Revoked)));
    let found = stand.desk.find(digest).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, Some(NOW), "its holder can be told");

    assert_eq!(stand.desk.revoke(&by_desk.id, Some("key_of_another"), NOW).await, Ok(None));
    assert_eq!(stand.desk.claim(claim(by_desk_digest)).await, Ok(GRANTED));
    let revoked = stand.desk.revoke(&by_desk.id, Some(&stand.key.id), NOW).await.unwrap().unwrap();
    assert_eq!((revoked.revoked_at, &revoked.id), (Some(NOW), &by_desk.id));
    let again = stand.desk.revoke(&by_desk.id, None, NOW.plus_millis(5)).await.unwrap().unwrap();
    assert_eq!(again.revoked_at, Some(NOW), "the first time stays");
    assert_eq!(stand.desk.revoke("tok_unknown", None, NOW).await, Ok(None));
    let seen = stand.store.changed_since(&mut watch).unwrap().unwrap().snapshot;
    assert!(seen.is_token_revoked(&by_desk.id) && seen.is_token_revoked(&token.id));
}

#[tokio::test]
async fn a_key_has_no_more_open_tokens_than_it_may() {
    let stand = Stand::new();
    let few = |uses| keymoat_store::MintOrder { live_tokens_max: 3, ..order(stand.new_token(uses)) };
    let mint = |order| async { stand.desk.mint(order).await.unwrap() };
    let first = made(mint(few(Uses::AtMost(1))).await);
    let second = made(mint(few(Uses::Unlimited)).await);
    made(mint(few(Uses::AtMost(1))).await);
    let full = MintDenial::TooManyLive { live_tokens_max: 3 };
    assert_eq!(denied(mint(few(Uses::AtMost(1))).await), full);
    // One that is spent, revoked or late opens no session any more, and counts no more.
    stand.desk.claim(claim(stand.digest(&first.secret))).await.unwrap();
    made(mint(few(Uses::AtMost(1))).await);
    assert_eq!(denied(mint(few(Uses::AtMost(1))).await), full);
    stand.desk.revoke(&second.token.id, None, NOW).await.unwrap();
    made(mint(few(Uses::AtMost(1))).await);
    assert_eq!(denied(mint(few(Uses::AtMost(1))).await), full);
    let mut later = few(Uses::AtMost(1));
    later.now = NOW.plus_millis(START_MILLIS);
    later.token.start_by = NOW.plus_millis(2 * START_MILLIS);
    stand.at(later.now);
    made(mint(later).await);
}

#[tokio::test]
async fn what_is_minted_elsewhere_is_found_at_once_and_comes_back_as_it_was() {
    let stand = Stand::new();
    let mut new = stand.new_token(Uses::AtMost(3));
    new.scopes = keymoat_core::Scopes::from_words(["voice", "events"]);
    new.calls = keymoat_core::token::Calls::LiveOnly;
    new.origins = vec![
        keymoat_core::Origin::parse("https://a.example").unwrap(),
        keymoat_core::Origin::parse("http://b.example:81").unwrap(),
    ];
    new.limits.bytes_max = Some(u64::from(u32::MAX) + 1);
    new.limits.duration_secs_max = Some(60);
    new.limits.requests_per_second = Some(keymoat_core::Pace { per_second: 2, burst: 9 });
    new.limits.total_bytes_max = Some(1 << 40);
    new.limits.models = vec!["models/a".into()];
    new.constraint = keymoat_core::token::Constraint::Models(vec!["models/a".into()]);
    let minted = made(stand.again().mint_token(order(new)).unwrap());
    let found = stand.desk.find(stand.digest(&minted.secret)).await.unwrap().unwrap();
    assert_eq!(found, minted.token);
    assert!(found.id.starts_with("tok_") && found.limits.messages_max.is_none());
    assert_eq!(stand.desk.find(stand.digest(&secret("unknown"))).await, Ok(None));
    assert_eq!(stand.desk.claim(claim(stand.digest(&secret("unknown")))).await, Ok(no(Denial::Unknown)));
}

#[tokio::test]
async fn what_sessions_of_a_token_carried_adds_up_over_all_processes() {
    let stand = Stand::new();
    let (token, digest) = stand.minted(Uses::Unlimited);
    let carried = |bytes| [TokenBytes { token_id: Arc::clone(&token.id), bytes }];
    assert_eq!(stand.store.add_token_bytes(&carried(700)).unwrap(), carried(700));
    assert_eq!(stand.again().add_token_bytes(&carried(300)).unwrap(), carried(1000));
    assert_eq!(stand.desk.find(digest).await.unwrap().unwrap().bytes_used, 1000);
    assert_eq!(stand.store.add_token_bytes(&carried(u64::MAX)).unwrap(), carried(1 << 62), "it stays a number");
    let gone = TokenBytes { token_id: "tok_none".into(), bytes: 1 };
    assert_eq!(stand.store.add_token_bytes(&[gone]).unwrap(), []);
}

#[tokio::test]
async fn a_desk_that_was_stopped_grants_nothing() {
    let stand = Stand::new();
    let (_, digest) = stand.minted(Uses::AtMost(2));
    stand.desk.clone().stop();
    assert_eq!(stand.desk.claim(claim(digest)).await, Err(DeskError::Stopped));
    assert_eq!(stand.desk.find(digest).await, Err(DeskError::Stopped));
}
