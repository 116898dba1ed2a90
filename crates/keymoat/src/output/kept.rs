//! The secrets that no line may hold: those in use, and those that were, because old sessions go on under them.

use std::collections::VecDeque;

use keymoat_core::Secret;
use keymoat_redact::Known;

/// So many former secrets are remembered. A session does not outlive as many changes of a configuration.
const FORMER_MAX: usize = 256;

/// Secrets in use and former ones, to the end of the process.
#[derive(Debug, Default)]
pub(super) struct Kept {
    in_use: Vec<Secret>,
    /// The latest first.
    former: VecDeque<Secret>,
}

impl Kept {
    /// Takes the secrets that are in use from now on, and gives all that are to be looked for.
    pub(super) fn replace(&mut self, in_use: Vec<Secret>) -> Option<Known> {
        self.former.retain(|former| !in_use.iter().any(|secret| secret.matches(former)));
        for secret in std::mem::replace(&mut self.in_use, in_use) {
            let stays = self.in_use.iter().chain(&self.former).any(|other| other.matches(&secret));
            if !stays {
                self.former.push_front(secret);
            }
        }
        self.former.truncate(FORMER_MAX);
        // They are copied into the one place that every written line is compared with.
        Known::new(self.in_use.iter().chain(&self.former).map(|secret| secret.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(numbers: std::ops::Range<usize>) -> Vec<Secret> {
        numbers.map(|number| Secret::from(format!("secret-number-{number:05}"))).collect()
    }

    #[test]
    fn former_secrets_stay_and_are_counted_once() {
        let mut kept = Kept::default();
        let mut count = |in_use| kept.replace(in_use).map_or(0, |known| known.len());
        assert_eq!(count(secrets(0..2)), 2);
        assert_eq!(count(secrets(1..3)), 3);
        assert_eq!(count(secrets(0..1)), 3, "one that comes back is in use again");
        assert_eq!(count(Vec::new()), 3);
    }

    #[test]
    fn former_secrets_are_bounded() {
        let mut kept = Kept::default();
        for number in 0..FORMER_MAX + 10 {
            kept.replace(secrets(number..number + 1));
        }
        assert_eq!(kept.replace(secrets(0..1)).map(|known| known.len()), Some(FORMER_MAX + 1));
        assert!(kept.former[0].matches(&secrets(FORMER_MAX + 9..FORMER_MAX + 10)[0]), "the latest stay");
    }
}
