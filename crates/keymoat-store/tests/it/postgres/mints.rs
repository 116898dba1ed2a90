//! Mints that come together: one commit for many, and what a key may have is exact over the nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use keymoat_core::token::Uses;
use keymoat_store::{MintDenial, MintOrder, Minting, TokenDesk};
use tokio::task::JoinSet;

use super::GRANTED;
use crate::NOW;
use crate::on_postgres::Stand;
use crate::stand::{PATIENCE, claim, made, new_token, order};

fn order_of(key_id: &str, live_tokens_max: u32) -> MintOrder {
    MintOrder { live_tokens_max, ..order(new_token(key_id, Uses::AtMost(1))) }
}

#[tokio::test]
async fn a_rush_of_mints_shares_its_commits_and_every_token_is_its_own() {
    let stand = Stand::new();
    let mut minting = JoinSet::new();
    for _ in 0..200 {
        let (desk, order) = (stand.desk.clone(), order_of(&stand.key.id, 10_000));
        minting.spawn(async move { made(desk.mint(order).await.unwrap()) });
    }
    let minted = minting.join_all().await;
    let ids: BTreeSet<&str> = minted.iter().map(|minted| &*minted.token.id).collect();
    assert_eq!(ids.len(), 200);
    for minted in &minted {
        let digest = stand.digest(&minted.secret);
        assert_eq!(stand.desk.find(digest).await.unwrap().as_ref(), Some(&minted.token), "it is kept as it was told");
        assert_eq!(stand.desk.claim(claim(digest)).await, Ok(GRANTED));
    }
    let commits: u32 =
        stand.dir.server.sql("SELECT count(DISTINCT xmin::text) FROM keymoat.token_terms").parse().unwrap();
    assert!(commits < 100, "{commits} commits for 200 tokens");
}

#[tokio::test]
async fn what_a_key_may_have_is_exact_while_two_nodes_mint_from_it_in_groups() {
    let stand = Stand::new();
    let other = TokenDesk::start_with(Arc::new(stand.again()), PATIENCE).unwrap();
    let mut minting = JoinSet::new();
    for number in 0..300 {
        let desk = if number % 2 == 0 { stand.desk.clone() } else { other.clone() };
        let (order, key) = match number % 3 {
            0 => (order_of("file_b", 30), 'b'),
            _ => (order_of(&stand.key.id, 70), 'a'),
        };
        minting.spawn(async move { (key, desk.mint(order).await.unwrap()) });
    }
    let told = minting.join_all().await;
    for (key, most) in [('a', 70), ('b', 30)] {
        let of_key = || told.iter().filter(|(of, _)| *of == key).map(|(_, minting)| minting);
        assert_eq!(of_key().filter(|minting| matches!(minting, Minting::Made(_))).count(), most, "{key}");
        let others = of_key().filter(|minting| !matches!(minting, Minting::Made(_)));
        for minting in others {
            assert!(matches!(minting, Minting::Denied(MintDenial::TooManyLive { .. })), "{minting:?}");
        }
    }
    stand.store.revoke_key(&stand.key.name, NOW).unwrap();
    let (of_revoked, senseless) = (order_of(&stand.key.id, 1000), order_of("", 1000));
    let told = tokio::join!(other.mint(of_revoked), other.mint(senseless), other.mint(order_of("file_c", 1)));
    assert!(matches!(told.0, Ok(Minting::Denied(MintDenial::KeyRevoked))), "{told:?}");
    assert!(matches!(told.1, Ok(Minting::Denied(MintDenial::Senseless))), "{told:?}");
    assert!(matches!(told.2, Ok(Minting::Made(_))), "one that is denied takes no other along: {told:?}");
}
