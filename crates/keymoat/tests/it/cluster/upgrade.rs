//! The upgrade of the binary with the store on PostgreSQL, beside another node.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use keymoat_postgres_stand::Durability;

use super::balanced::Ends;
use super::{Cluster, minted};
use crate::crashes::{KEY, now, tell};
use crate::upgrade::line::{Line, ask, echo, open};

const UPGRADES: u32 = 2;
const WEBSOCKETS: usize = 50;
const USES: u32 = 600;

/// So many uses are left for the process that comes next, however slow an upgrade is.
const LEFT: u32 = 100;

/// What those who spend the token were told.
#[derive(Default)]
struct Sum {
    admitted: AtomicU32,
    /// 503: the store did not answer in time, on a busy machine. The use may be gone.
    unsure: AtomicU32,
    /// How many upgrades are done.
    upgrades: AtomicU32,
    visits: AtomicU32,
    is_over: AtomicBool,
}

impl Sum {
    fn spent(&self) -> u32 {
        self.admitted.load(Ordering::Relaxed) + self.unsure.load(Ordering::Relaxed)
    }

    /// Whether those who spend have to wait for an upgrade: each process gets its share.
    fn is_held(&self) -> bool {
        let ahead = UPGRADES - self.upgrades.load(Ordering::Relaxed);
        ahead > 0 && self.spent() > USES - LEFT * ahead && !self.is_over.load(Ordering::Relaxed)
    }

    /// Spends the token until it is used up.
    fn spend(&self, address: &str, bearer: &str) -> io::Result<()> {
        loop {
            while self.is_held() {
                std::thread::sleep(Duration::from_millis(1));
            }
            match ask(address, "/demo/echo", ("Authorization", bearer))? {
                200 => self.admitted.fetch_add(1, Ordering::Relaxed),
                503 => self.unsure.fetch_add(1, Ordering::Relaxed),
                401 => return Ok(()),
                other => return Err(io::Error::other(format!("status {other}"))),
            };
        }
    }

    /// Comes again and again with a key.
    fn visit(&self, address: &str) -> io::Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            match ask(address, "/demo/echo", ("X-API-Key", KEY))? {
                200 => self.visits.fetch_add(1, Ordering::Relaxed),
                other => return Err(io::Error::other(format!("status {other}"))),
            };
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h99_upgrades_under_load_refuse_nobody_and_uses_are_exact_over_the_nodes() {
    let mut cluster = Cluster::start(2, Durability::Full).await;
    let line = Line::new(cluster.nodes.remove(0));
    let (own, other) = (line.first.address().to_owned(), cluster.nodes[0].address().to_owned());
    let (token, id) = minted(&own, USES);
    let bearer = format!("Bearer {token}");
    let mut sockets: Vec<_> = (0..WEBSOCKETS).map(|_| open(&own, KEY).expect("a WebSocket")).collect();
    let sum = Sum::default();
    std::thread::scope(|scope| {
        let ends = Ends(&sum.is_over);
        let spending = [&own, &own, &other].map(|address| scope.spawn(|| sum.spend(address, &bearer)));
        let visiting = [(); 2].map(|()| scope.spawn(|| sum.visit(&own)));
        for number in 1..=UPGRADES {
            let visits = sum.visits.load(Ordering::Relaxed);
            line.until("clients before the upgrade", || sum.visits.load(Ordering::Relaxed) > visits + 20);
            line.upgrade();
            let (visits, spent) = (sum.visits.load(Ordering::Relaxed), sum.spent());
            sum.upgrades.store(number, Ordering::Relaxed);
            line.until("clients after the upgrade", || {
                sum.visits.load(Ordering::Relaxed) > visits + 20 && sum.spent() > spent + 20
            });
            for socket in &mut sockets {
                echo(socket, "still open").expect("a session goes on in its own process");
            }
        }
        for client in spending {
            client.join().expect("no panic").expect("nobody is refused a connection");
        }
        drop(ends);
        for client in visiting {
            client.join().expect("no panic").expect("nobody is refused a connection");
        }
    });
    assert_eq!(line.pids().len(), 1 + UPGRADES as usize);
    let (admitted, unsure) = (sum.admitted.into_inner(), sum.unsure.into_inner());
    assert!(admitted <= USES && admitted + unsure >= USES, "{admitted} admitted, {unsure} unsure of {USES}");
    let store = cluster.store();
    assert_eq!(store.token(&id, now()).expect("it is kept").uses_left, Some(0));
    tell(&format!(
        "{UPGRADES} upgrades over PostgreSQL: {admitted} of {USES} uses admitted, {unsure} answered with 503, {} visits, \
         none refused",
        sum.visits.into_inner(),
    ));
}
