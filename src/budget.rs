//! How many bytes may be in flight.
//!
//! One [`Budget`] bounds everything between the socket and the sinks. The reader waits for its
//! share before it reads; whoever holds bytes holds a [`Lease`](crate::event::Lease) of it, and
//! dropping the last clone gives the bytes back. When the reader has to wait, that is known to all:
//! lanes flush then, whatever their linger.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

use crate::event::Lease;

/// A bound on bytes in flight, shared by clones.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    held: AtomicUsize,
    /// The most that was ever held.
    peak: AtomicUsize,
    /// Wakes the reader when bytes come back.
    freed: Notify,
    /// Whether the reader waits.
    contended: watch::Sender<bool>,
}

/// Gives its bytes back when dropped.
#[derive(Debug)]
struct Share {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let shared = Shared {
            limit,
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            freed: Notify::new(),
            contended: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The bound, in bytes.
    pub fn limit(&self) -> usize {
        self.shared.limit
    }

    /// Bytes in flight now.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever in flight.
    pub fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::Relaxed)
    }

    /// Follow whether someone waits for bytes.
    pub(crate) fn contention(&self) -> watch::Receiver<bool> {
        self.shared.contended.subscribe()
    }

    /// Take `bytes` now, if they fit.
    ///
    /// One share larger than the whole budget fits when nothing else is held, so that a single row
    /// of any size gets through.
    pub fn try_lend(&self, bytes: usize) -> Option<Lease> {
        self.try_lend_beside(0, bytes)
    }

    fn try_lend_beside(&self, reserve: usize, bytes: usize) -> Option<Lease> {
        let fits = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum.saturating_add(reserve) <= self.shared.limit).then_some(sum)
        };
        // Relaxed suffices: the number guards no other memory, and a waiter is woken through
        // Notify.
        self.shared.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(self.lent(bytes))
    }

    /// Wait until `bytes` fit, and take them.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub async fn lend(&self, bytes: usize) -> Lease {
        self.lend_beside(0, bytes).await
    }

    /// Wait until `bytes` fit and `reserve` beside them, and take them: the reserve is for what
    /// will be [charged](Self::charge) for bytes that are on their way.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(crate) async fn lend_beside(&self, reserve: usize, bytes: usize) -> Lease {
        if let Some(lease) = self.try_lend_beside(reserve, bytes) {
            return lease;
        }
        let _waiting = Waiting::new(&self.shared);
        loop {
            let freed = self.shared.freed.notified();
            if let Some(lease) = self.try_lend_beside(reserve, bytes) {
                return lease;
            }
            freed.await;
        }
    }

    /// Take `bytes` whether they fit or not: for what comes with bytes that were lent before and is
    /// small beside them. The next reader waits the longer.
    pub fn charge(&self, bytes: usize) -> Lease {
        self.shared.held.fetch_add(bytes, Ordering::Relaxed);
        self.lent(bytes)
    }

    fn lent(&self, bytes: usize) -> Lease {
        self.shared.peak.fetch_max(self.held(), Ordering::Relaxed);
        Lease::new(Share { shared: Arc::clone(&self.shared), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.freed.notify_waiters();
    }
}

/// Says that someone waits, for as long as it lives.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.contended.send_replace(true);
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.contended.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_back_when_the_last_clone_is_dropped() {
        let budget = Budget::new(10);
        let lease = budget.try_lend(8).unwrap();
        assert!(budget.try_lend(3).is_none());
        let clone = lease.clone();
        drop(lease);
        assert_eq!(budget.held(), 8);
        let mut contention = budget.contention();
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.lend(3).await }
        });
        contention.wait_for(|contended| *contended).await.unwrap();
        drop(clone);
        let lease = waiter.await.unwrap();
        assert_eq!(budget.held(), 3);
        drop(lease);
        assert_eq!((budget.held(), budget.peak()), (0, 8));
    }

    #[test]
    fn one_oversize_share_fits_an_empty_budget() {
        let budget = Budget::new(10);
        let large = budget.try_lend(100).unwrap();
        assert!(budget.try_lend(1).is_none());
        drop(large);
        assert!(budget.try_lend(1).is_some());
    }
}
