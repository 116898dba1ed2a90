//! Slows down whoever guesses passwords, admin keys or claim links: by address, and by account and address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keymoat_core::UnixMillis;

/// So many failures are forgiven.
const FREE: u32 = 5;

/// The first wait after them; it doubles with every further failure.
const FIRST_WAIT_MILLIS: i64 = 1_000;

/// The longest wait.
const WAIT_MILLIS_MAX: i64 = 5 * 60 * 1_000;

/// Failures are forgotten after this time without one.
const FORGOTTEN_MILLIS: i64 = 15 * 60 * 1_000;

/// So many failures of one account, from wherever, are forgiven before its answers slow down.
const FREE_OF_ACCOUNT: u32 = 50;

/// So many addresses, and accounts, are remembered; the one that failed least lately goes for one more.
const REMEMBERED_MAX: usize = 4096;

/// Who failed how often.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    by_address: HashMap<IpAddr, Failures>,
    by_account: HashMap<[u8; 32], Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last_at: UnixMillis,
}

/// Whoever guesses has to wait so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) secs: u64,
}

/// A guess: from where, and at which account if it names one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess<'a> {
    pub(crate) address: Option<IpAddr>,
    pub(crate) account: Option<&'a str>,
}

impl Throttle {
    /// Whether a guess may be looked at.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn check(&self, guess: Guess<'_>, now: UnixMillis) -> Result<(), Wait> {
        let books = self.books();
        let of_address =
            guess.address.and_then(|address| books.by_address.get(&network(address))).map(|f| f.wait(FREE, now));
        let of_account =
            guess.account.and_then(|name| books.by_account.get(&hashed(name))).map(|f| f.wait(FREE_OF_ACCOUNT, now));
        let millis = of_address.max(of_account).unwrap_or_default();
        if millis <= 0 {
            return Ok(());
        }
        Err(Wait { secs: u64::try_from(millis.saturating_add(999) / 1000).unwrap_or(1) })
    }

    /// Counts a guess that was wrong.
    pub(crate) fn failed(&self, guess: Guess<'_>, now: UnixMillis) {
        let mut books = self.books();
        if let Some(address) = guess.address {
            count(&mut books.by_address, network(address), now);
        }
        if let Some(account) = guess.account {
            count(&mut books.by_account, hashed(account), now);
        }
    }

    /// Forgets the failures of an account that was opened.
    pub(crate) fn succeeded(&self, guess: Guess<'_>) {
        let mut books = self.books();
        if let Some(address) = guess.address {
            books.by_address.remove(&network(address));
        }
        if let Some(account) = guess.account {
            books.by_account.remove(&hashed(account));
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    /// How long is left to wait, in milliseconds.
    fn wait(self, free: u32, now: UnixMillis) -> i64 {
        let Some(beyond) = self.count.checked_sub(free) else { return 0 };
        let whole = FIRST_WAIT_MILLIS.checked_shl(beyond.min(20)).unwrap_or(WAIT_MILLIS_MAX).min(WAIT_MILLIS_MAX);
        self.last_at.plus_millis(whole).0.saturating_sub(now.0)
    }
}

fn count<K: Copy + Eq + Hash>(book: &mut HashMap<K, Failures>, key: K, now: UnixMillis) {
    if book.len() >= REMEMBERED_MAX && !book.contains_key(&key) {
        book.retain(|_, failures| failures.last_at.plus_millis(FORGOTTEN_MILLIS) > now);
        if book.len() >= REMEMBERED_MAX
            && let Some(oldest) = book.iter().min_by_key(|(_, failures)| failures.last_at).map(|(key, _)| *key)
        {
            book.remove(&oldest);
        }
    }
    let failures = book.entry(key).or_insert(Failures { count: 0, last_at: now });
    if failures.last_at.plus_millis(FORGOTTEN_MILLIS) <= now {
        failures.count = 0;
    }
    *failures = Failures { count: failures.count.saturating_add(1), last_at: now };
}

/// One customer of IPv6 has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets.iter_mut().skip(8).for_each(|octet| *octet = 0);
            IpAddr::from(octets)
        }
        address => address,
    }
}

/// A name may be a password that was typed in the wrong place, so it is not kept.
fn hashed(account: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, account.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(last: u8) -> Guess<'static> {
        Guess { address: Some(IpAddr::from([192, 0, 2, last])), account: Some("ada") }
    }

    #[test]
    fn failures_beyond_the_first_ones_cost_time_that_doubles() {
        let throttle = Throttle::default();
        for _ in 0..FREE - 1 {
            throttle.failed(guess(1), UnixMillis(0));
        }
        assert_eq!(throttle.check(guess(1), UnixMillis(0)), Ok(()));
        throttle.failed(guess(1), UnixMillis(0));
        assert_eq!(throttle.check(guess(1), UnixMillis(0)), Err(Wait { secs: 1 }));
        assert_eq!(throttle.check(guess(1), UnixMillis(1000)), Ok(()));
        throttle.failed(guess(1), UnixMillis(1000));
        assert_eq!(throttle.check(guess(1), UnixMillis(1000)), Err(Wait { secs: 2 }));
        assert_eq!(throttle.check(guess(2), UnixMillis(1000)), Ok(()), "the account's owner is not locked out");
        throttle.succeeded(guess(1));
        assert_eq!(throttle.check(guess(1), UnixMillis(1000)), Ok(()));
    }

    #[test]
    fn an_account_slows_down_under_guesses_from_everywhere() {
        let throttle = Throttle::default();
        for number in 0..=FREE_OF_ACCOUNT {
            throttle.failed(guess(u8::try_from(number).expect("small")), UnixMillis(0));
        }
        assert!(throttle.check(guess(200), UnixMillis(0)).is_err());
    }

    #[test]
    fn memory_is_bounded_and_a_network_of_ipv6_is_one_address() {
        let throttle = Throttle::default();
        for number in 0..u32::try_from(REMEMBERED_MAX).expect("small") + 10 {
            let address = Some(IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
            throttle.failed(Guess { address, account: None }, UnixMillis(i64::from(number)));
        }
        assert!(throttle.books().by_address.len() <= REMEMBERED_MAX);
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8::1"));
    }
}
