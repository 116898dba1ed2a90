//! Any body mints nothing, or a token within the rules whose constraint is read again as it was kept.
//!
//! The first byte chooses the dialect and the rules; the rest is the body.
#![no_main]

use keymoat_core::token::{Calls, MintRules, NewTokenParts, Uses, own};
use keymoat_core::{Constraint, UnixMillis, gemini, openai};
use libfuzzer_sys::fuzz_target;

/// 2026-06-12T12:00:00Z.
const NOW: UnixMillis = UnixMillis(1_781_265_600_000);

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    let strict =
        MintRules { uses_max: Some(3), unlimited_allowed: false, live_millis_max: 600_000, live_tokens_max: 1 };
    let rules = if choice & 4 == 0 { MintRules::default() } else { strict };
    let parts = match choice & 3 {
        0 => gemini::mint::read(body, NOW, &rules).ok(),
        1 => own::read(body, NOW, &rules).ok(),
        2 => openai::mint::read(body, openai::mint::Call::ClientSecrets, NOW, &rules).ok().map(|minting| minting.parts),
        _ => openai::mint::read(body, openai::mint::Call::Sessions, NOW, &rules).ok().map(|minting| minting.parts),
    };
    if let Some(parts) = parts {
        check(&parts, &rules);
    }
});

fn check(parts: &NewTokenParts, rules: &MintRules) {
    let latest = NOW.plus_millis(rules.live_millis_max);
    assert!(NOW < parts.start_by && parts.start_by <= parts.live_until && parts.live_until <= latest);
    match parts.uses {
        Uses::Unlimited => assert!(rules.allow_unlimited()),
        Uses::AtMost(uses) => assert!(uses >= 1 && rules.uses_max.is_none_or(|most| uses <= most)),
    }
    if parts.constraint != Constraint::None {
        assert_eq!(parts.calls, Calls::LiveOnly);
    }
    let kept = parts.constraint.to_json();
    assert_eq!(Constraint::from_json(&kept).expect("what is kept is read").to_json(), kept);
}
