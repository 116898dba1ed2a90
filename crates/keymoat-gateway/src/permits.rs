//! How many connections may be open at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::throttle::Connections;

/// The connections that may be open at once, over all threads.
#[derive(Debug)]
pub(crate) struct Permits {
    open: AtomicUsize,
    max: AtomicUsize,
}

/// One open connection's place.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    /// Where it counts as one of its address, too.
    of_address: Option<(Arc<Connections>, IpAddr)>,
}

impl Permits {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), max: AtomicUsize::new(max) })
    }

    /// A place, unless all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Permit> {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.max.load(Ordering::Relaxed) {
            return Some(Permit { permits: self.clone(), of_address: None });
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Changes how many there are. Those that are open stay.
    pub(crate) fn allow(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

impl Permit {
    /// The same permit, counted among those of `client`, of which there may be `most`.
    pub(crate) fn counted(mut self, connections: &Arc<Connections>, client: IpAddr, most: usize) -> Option<Self> {
        if !connections.open(client, most) {
            return None;
        }
        self.of_address = Some((Arc::clone(connections), client));
        Some(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.open.fetch_sub(1, Ordering::Release);
        if let Some((connections, client)) = self.of_address.take() {
            connections.close(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_come_back() {
        let permits = Permits::new(1);
        let permit = permits.take().expect("one is free");
        assert!(permits.take().is_none());
        drop(permit);
        assert!(permits.take().is_some());
    }
}
