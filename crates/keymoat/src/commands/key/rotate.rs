//! `keymoat key rotate` and `keymoat key retire`.

use anyhow::Context;
use keymoat_store::{OVERLAP_MILLIS_MAX, Rotated, Rotation, WhileRotating};

use super::shown::Shown;
use super::{Created, millis};
use crate::commands::{print, remark, to_json};
use crate::hand::Hand;
use crate::output::time::{now, rfc3339};

/// Reads what was asked for.
///
/// # Errors
/// What to write.
pub(super) fn asked(overlap: &str, if_older_than: Option<&str>, end_oldest: bool) -> anyhow::Result<Rotation> {
    let fits = |millis: &i64| (0..=OVERLAP_MILLIS_MAX).contains(millis);
    let overlap_millis = millis(overlap).filter(fits);
    let age = |text: &str| millis(text).context("--if-older-than: write an age such as 30d");
    Ok(Rotation {
        overlap_millis: overlap_millis.context("--overlap: write a time such as 24h or 7d, up to 366d; 0s is none")?,
        while_rotating: if end_oldest { WhileRotating::EndOldest } else { WhileRotating::Refuse },
        unless_younger_than_millis: if_older_than.map(age).transpose()?,
    })
}

pub(super) fn rotate(hand: &Hand<'_>, key: &str, rotation: Rotation, json: bool) -> anyhow::Result<()> {
    let now = now();
    match hand.rotate_key(key, rotation, now)? {
        (Rotated::NotDue(key), _) | (Rotated::Done(key), None) => {
            remark(&format!("{} ({}) has a secret that is younger than that: nothing was changed", key.id, key.name));
            if json { print(&to_json(&Shown::of(&key, now))?) } else { Ok(()) }
        }
        (Rotated::Done(key), Some(secret)) => {
            // The one time that the secret is shown: whoever asked for it must get it.
            let plain = std::str::from_utf8(secret.expose())?;
            if json {
                return print(&to_json(&Created { key: plain, about: Shown::of(&key, now) })?);
            }
            print(&format!("{plain}\n"))?;
            let old = match key.ending_secret(now).and_then(|secret| secret.ends_at) {
                Some(until) => format!("The old one works until {}", rfc3339(until)),
                None => "The old one works no longer".to_owned(),
            };
            remark(&format!(
                "{} ({}) has this new secret. {old}. Keep it safe: it is not shown again.",
                key.id, key.name
            ));
            Ok(())
        }
    }
}

pub(super) fn retire(hand: &Hand<'_>, key: &str, json: bool) -> anyhow::Result<()> {
    let now = now();
    let key = hand.retire_key(key, now)?;
    let text = format!("the old secret of {} ({}) works no longer; its sessions go on\n", key.id, key.name);
    print(&if json { to_json(&Shown::of(&key, now))? } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_a_time_that_is_not_too_long() {
        let overlap = |text| asked(text, None, false).map(|asked| asked.overlap_millis).ok();
        assert_eq!((overlap("24h"), overlap("0s")), (Some(86_400_000), Some(0)));
        assert_eq!((overlap("367d"), overlap("soon"), overlap("")), (None, None, None));
        assert!(asked("1h", Some("x"), false).is_err());
    }
}
