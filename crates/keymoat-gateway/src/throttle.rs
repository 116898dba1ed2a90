//! Slows whoever tries out credentials, by the address that they come from, and bounds how many connections one address has.
//!
//! An address may fail so many times at once, and so many more a minute. Beyond that its failing attempts are answered 429
//! and not 401. Whoever has a good credential is served all the same, because many share one address: what cannot
//! be guessed is looked up as ever, Keymoat's own with a right checksum and others that are long. What is short enough to
//! be guessed is not looked up any more until the address has waited, and tokens only so many a second, because each is
//! a question to the store.
//!
//! An IPv6 client has a whole /64, and counts as one address with all of it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keymoat_core::refusal::{Code, Refusal};
use tokio::time::Instant;

/// So many addresses are remembered in each of the [`SHARDS`]; those that have waited longest make room.
const ADDRESSES_MAX: usize = 4096;
/// Parts of the table, so that threads seldom meet.
const SHARDS: usize = 16;
/// So many tokens of a throttled address are looked up in a second.
const TOKENS_PER_SECOND: u32 = 20;

/// How often an address may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// So many times a minute on average, and as often at once.
    pub failures_per_minute: u32,
}

/// Failures by address.
#[derive(Debug)]
pub(crate) struct Throttle {
    origin: Instant,
    shards: [Mutex<HashMap<IpAddr, Failing>>; SHARDS],
}

/// One address that has failed. Both are moments of the clock of [`Throttle`], in nanoseconds, as of the generic cell
/// rate algorithm.
#[derive(Clone, Copy, Debug, Default)]
struct Failing {
    due: u64,
    tokens_due: u64,
}

/// What may be tried by an address that has failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everything.
    Good,
    /// What cannot be guessed; after so many seconds everything again.
    Throttled {
        /// How long to wait.
        wait_secs: u32,
    },
}

impl Default for Throttle {
    fn default() -> Self {
        Self { origin: Instant::now(), shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Throttle {
    /// How `client` stands.
    pub(crate) fn standing(&self, client: IpAddr, patience: Patience) -> Standing {
        let address = prefix(client);
        let due = self.shard(address).get(&address).map_or(0, |failing| failing.due);
        self.judged(due, patience)
    }

    /// Counts a failure of `client`, and says how it stands then: throttled, if this one was beyond its bound.
    pub(crate) fn count(&self, client: IpAddr, patience: Patience) -> Standing {
        let (now, address) = (self.nanos(), prefix(client));
        let mut shard = self.shard(address);
        if shard.len() >= ADDRESSES_MAX && !shard.contains_key(&address) {
            make_room(&mut shard, now);
        }
        let failing = shard.entry(address).or_default();
        let standing = self.judged(failing.due, patience);
        // What comes beyond the bound does not make the wait longer than the bound itself: it ends when the tries do.
        let most = now + each(patience) * u64::from(patience.failures_per_minute);
        failing.due = (failing.due.max(now) + each(patience)).min(most);
        standing
    }

    /// Whether a token of a throttled client may be looked up.
    pub(crate) fn may_ask_for_token(&self, client: IpAddr) -> bool {
        let (now, address) = (self.nanos(), prefix(client));
        let mut shard = self.shard(address);
        let Some(failing) = shard.get_mut(&address) else { return true };
        let each = 1_000_000_000 / u64::from(TOKENS_PER_SECOND);
        let next = failing.tokens_due.max(now) + each;
        let is_on_time = next <= now + 1_000_000_000;
        if is_on_time {
            failing.tokens_due = next;
        }
        is_on_time
    }

    fn judged(&self, due: u64, patience: Patience) -> Standing {
        let (now, each) = (self.nanos(), each(patience));
        let most = now + each * u64::from(patience.failures_per_minute);
        let next = due.max(now) + each;
        if next <= most {
            return Standing::Good;
        }
        let wait_secs = u32::try_from((next - most).div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1);
        Standing::Throttled { wait_secs }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, Failing>> {
        self.shards[shard_of(address)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told to whoever has failed too often.
pub(crate) fn refusal(wait_secs: u32) -> Refusal {
    let text = "too many credentials from this address were not accepted: check yours, and wait";
    Refusal::new(Code::RateLimited, text).retry_after_secs(wait_secs)
}

fn each(patience: Patience) -> u64 {
    let minute = u64::try_from(Duration::from_secs(60).as_nanos()).unwrap_or(u64::MAX);
    minute / u64::from(patience.failures_per_minute.max(1))
}

/// Drops every address that has waited long enough; if those are few, the half of the others whose wait is nearly over. So
/// the next many addresses find room without a search.
fn make_room(shard: &mut HashMap<IpAddr, Failing>, now: u64) {
    shard.retain(|_, failing| failing.due > now);
    if shard.len() > ADDRESSES_MAX / 2 {
        let mut dues: Vec<u64> = shard.values().map(|failing| failing.due).collect();
        let half = dues.len() / 2;
        let (_, middle, _) = dues.select_nth_unstable(half);
        let middle = *middle;
        shard.retain(|_, failing| failing.due > middle);
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits.
fn prefix(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Which part of a table an address is in.
fn shard_of(address: IpAddr) -> usize {
    let fold =
        |bytes: &[u8]| bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    match address {
        IpAddr::V4(address) => fold(&address.octets()) % SHARDS,
        IpAddr::V6(address) => fold(&address.octets()) % SHARDS,
    }
}

/// How many connections each address has open. An address without any takes no room.
#[derive(Debug)]
pub(crate) struct Connections {
    shards: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

impl Default for Connections {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Connections {
    /// Counts one more connection of `client`, unless it has `most`.
    pub(crate) fn open(&self, client: IpAddr, most: usize) -> bool {
        let address = prefix(client);
        let mut shard = self.shard(address);
        let open = shard.entry(address).or_default();
        let has_room = *open < most;
        *open += usize::from(has_room);
        has_room
    }

    /// Counts one less.
    pub(crate) fn close(&self, client: IpAddr) {
        let address = prefix(client);
        let mut shard = self.shard(address);
        let Some(open) = shard.get_mut(&address) else { return };
        *open = open.saturating_sub(1);
        if *open == 0 {
            shard.remove(&address);
        }
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.shards[shard_of(address)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { failures_per_minute: 6 };

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn fails(throttle: &Throttle, client: &str, times: usize) -> usize {
        (0..times).filter(|_| throttle.count(address(client), PATIENCE) == Standing::Good).count()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_fails_too_often_waits_and_others_do_not() {
        let throttle = Throttle::default();
        assert_eq!(fails(&throttle, "192.0.2.1", 100), 6);
        let throttled = Standing::Throttled { wait_secs: 10 };
        assert_eq!(throttle.standing(address("192.0.2.1"), PATIENCE), throttled);
        assert_eq!(throttle.standing(address("::ffff:192.0.2.1"), PATIENCE), throttled, "the same address");
        assert_eq!(throttle.standing(address("192.0.2.2"), PATIENCE), Standing::Good);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(fails(&throttle, "192.0.2.1", 100), 1);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(fails(&throttle, "192.0.2.1", 100), 6, "it is forgiven, but not more than at first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_client() {
        let throttle = Throttle::default();
        for host in 0..100 {
            fails(&throttle, &format!("2001:db8:1:2::{host:x}"), 1);
        }
        assert_ne!(throttle.standing(address("2001:db8:1:2:ffff::1"), PATIENCE), Standing::Good);
        assert_eq!(throttle.standing(address("2001:db8:1:3::1"), PATIENCE), Standing::Good);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_keeps_those_with_the_longest_wait() {
        let throttle = Throttle::default();
        fails(&throttle, "192.0.2.1", 100);
        for number in 0..200_000_u32 {
            throttle.count(IpAddr::from(number.to_be_bytes()), PATIENCE);
        }
        let held: usize = throttle.shards.iter().map(|shard| shard.lock().expect("not poisoned").len()).sum();
        assert!(held <= ADDRESSES_MAX * SHARDS, "{held}");
        assert_ne!(throttle.standing(address("192.0.2.1"), PATIENCE), Standing::Good);
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_address_asks_the_store_for_few_tokens() {
        let throttle = Throttle::default();
        assert!(throttle.may_ask_for_token(address("192.0.2.1")), "it has not failed");
        fails(&throttle, "192.0.2.1", 100);
        let asked = |times: usize| (0..times).filter(|_| throttle.may_ask_for_token(address("192.0.2.1"))).count();
        assert_eq!(asked(1000), 20);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(asked(1000), 10);
    }

    #[test]
    fn connections_are_counted_by_address_and_forgotten() {
        let connections = Connections::default();
        let (one, same, other) = (address("2001:db8::1"), address("2001:db8::2"), address("192.0.2.1"));
        assert!(connections.open(one, 2) && connections.open(same, 2));
        assert!(!connections.open(one, 2) && connections.open(other, 2));
        connections.close(same);
        assert!(connections.open(one, 2));
        for client in [one, same, other] {
            connections.close(client);
        }
        assert!(connections.shards.iter().all(|shard| shard.lock().expect("not poisoned").is_empty()));
    }
}
