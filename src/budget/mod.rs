//! How many bytes may be in flight.
//!
//! One [`Budget`] bounds everything between the socket and the sinks. The reader waits for its
//! share before it reads; whoever holds bytes holds a [`Lease`](crate::event::Lease) of it, and
//! dropping the last clone gives the bytes back. A single share that is large beside the whole
//! budget has a place of its own: who reads a row of any size can read on while it is held. When
//! the reader has to wait, that is known to all: lanes flush then, whatever their linger.

mod room;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

use crate::event::{Lease, Lender};
pub(crate) use room::MakingRoom;

/// A bound on bytes in flight, shared by clones.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    held: AtomicUsize,
    /// Bytes of the one share that is large, beyond `held`; 0 when there is none.
    large: AtomicUsize,
    /// The most that was ever held.
    peak: AtomicUsize,
    /// Wakes those who wait when bytes come back.
    freed: Notify,
    /// How many wait, and whether any does.
    waiting: AtomicUsize,
    contended: watch::Sender<bool>,
}

/// Bytes taken for what is being made, before it is known how many it will be.
#[derive(Debug)]
struct Room(Share);

/// Gives its bytes back when dropped.
#[derive(Debug)]
struct Share {
    shared: Arc<Shared>,
    bytes: usize,
    large: bool,
}

/// A share of more than one in so many of a budget's bytes is large.
const LARGE_SHARES: usize = 8;

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let shared = Shared {
            limit,
            held: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
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
        self.shared.held.load(Ordering::Relaxed) + self.shared.large.load(Ordering::Relaxed)
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
    /// One large share at a time is lent beside the budget, so that a single row of any size gets
    /// through whatever else is held.
    pub fn try_lend(&self, bytes: usize) -> Option<Lease> {
        Some(self.lease(self.try_take_beside(0, bytes)?))
    }

    fn try_take_beside(&self, reserve: usize, bytes: usize) -> Option<Share> {
        // Relaxed suffices: the numbers guard no other memory, and a waiter is woken through
        // Notify.
        if self.is_large(bytes) {
            let large = &self.shared.large;
            large.compare_exchange(0, bytes, Ordering::Relaxed, Ordering::Relaxed).ok()?;
            return Some(self.taken(bytes, true));
        }
        let fits = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum.saturating_add(reserve) <= self.shared.limit).then_some(sum)
        };
        self.shared.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(self.taken(bytes, false))
    }

    /// Whether a share of `bytes` is large, and so not lent beside another one that is.
    pub(crate) fn is_large(&self, bytes: usize) -> bool {
        bytes > self.shared.limit / LARGE_SHARES
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
        self.lease(self.take_beside(reserve, bytes).await)
    }

    async fn take_beside(&self, reserve: usize, bytes: usize) -> Share {
        if let Some(share) = self.try_take_beside(reserve, bytes) {
            return share;
        }
        let _waiting = Waiting::new(&self.shared);
        loop {
            let freed = self.shared.freed.notified();
            if let Some(share) = self.try_take_beside(reserve, bytes) {
                return share;
            }
            freed.await;
        }
    }

    /// Wait until there is room for something of about `bytes` to be made, and take it.
    async fn room(&self, bytes: usize) -> Room {
        Room(self.take_beside(0, bytes).await)
    }

    /// The lease of what was made in `room`, which is `bytes` large.
    fn settle(&self, room: Room, bytes: usize) -> Lease {
        let Room(mut share) = room;
        if !share.large {
            let held = &self.shared.held;
            // Never less than the greater in between: nobody else may take what is kept.
            held.fetch_add(bytes.saturating_sub(share.bytes), Ordering::Relaxed);
            held.fetch_sub(share.bytes.saturating_sub(bytes), Ordering::Relaxed);
            share.bytes = bytes;
            self.shared.peak.fetch_max(self.held(), Ordering::Relaxed);
            self.shared.freed.notify_waiters();
        }
        self.lease(share)
    }

    /// Take `bytes` whether they fit or not: for what comes with bytes that were lent before and is
    /// small beside them. The next reader waits the longer.
    pub fn charge(&self, bytes: usize) -> Lease {
        self.shared.held.fetch_add(bytes, Ordering::Relaxed);
        self.lease(self.taken(bytes, false))
    }

    fn taken(&self, bytes: usize, large: bool) -> Share {
        self.shared.peak.fetch_max(self.held(), Ordering::Relaxed);
        Share { shared: Arc::clone(&self.shared), bytes, large }
    }

    fn lease(&self, share: Share) -> Lease {
        Lease::new(share).of(self.clone())
    }
}

impl Lender for Budget {
    fn charge(&self, bytes: usize) -> Lease {
        Budget::charge(self, bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        match self.large {
            true => self.shared.large.store(0, Ordering::Relaxed),
            false => drop(self.shared.held.fetch_sub(self.bytes, Ordering::Relaxed)),
        }
        self.shared.freed.notify_waiters();
    }
}

/// Says that someone waits, for as long as it lives.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        // Told under the channel's lock, so that the last word is the latest.
        shared.contended.send_modify(|contended| {
            shared.waiting.fetch_add(1, Ordering::Relaxed);
            *contended = true;
        });
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.contended.send_modify(|contended| {
            *contended = self.0.waiting.fetch_sub(1, Ordering::Relaxed) > 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_back_when_the_last_clone_is_dropped() {
        let budget = Budget::new(80);
        let most: Vec<_> = (0..7).map(|_| budget.try_lend(10).unwrap()).collect();
        let lease = budget.try_lend(8).unwrap();
        assert!(budget.try_lend(3).is_none());
        let clone = lease.clone();
        drop(lease);
        assert_eq!(budget.held(), 78);
        let mut contention = budget.contention();
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.lend(3).await }
        });
        contention.wait_for(|contended| *contended).await.unwrap();
        drop(clone);
        let lease = waiter.await.unwrap();
        assert_eq!(budget.held(), 73);
        drop((lease, most));
        assert_eq!((budget.held(), budget.peak()), (0, 78));
    }

    #[tokio::test]
    async fn contention_lasts_as_long_as_anyone_waits() {
        let budget = Budget::new(80);
        let most: Vec<_> = (0..8).map(|_| budget.try_lend(10).unwrap()).collect();
        let mut one = Box::pin(budget.lend(5));
        let mut other = Box::pin(budget.lend(5));
        for waiter in [&mut one, &mut other] {
            assert!(futures::poll!(waiter).is_pending());
        }
        drop(one);
        assert!(*budget.contention().borrow());
        drop(most);
        drop(other.await);
        assert!(!*budget.contention().borrow());
    }

    #[test]
    fn what_is_made_of_a_share_is_counted_beside_it() {
        let budget = Budget::new(80);
        let lease = budget.try_lend(10).unwrap();
        let more = lease.clone().more(100);
        assert_eq!(budget.held(), 110);
        drop(lease);
        assert_eq!(budget.held(), 100);
        drop(more);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn what_is_made_in_a_room_is_counted_from_its_start_and_by_what_it_is() {
        let budget = Budget::new(80);
        let room = budget.room(10).await;
        assert_eq!(budget.held(), 10);
        let less = budget.settle(room, 4);
        assert_eq!((budget.held(), budget.peak()), (4, 10));
        let more = budget.settle(budget.room(6).await, 9);
        assert_eq!((budget.held(), budget.peak()), (13, 13));
        drop((less, more));
        assert_eq!(budget.held(), 0);
        drop(budget.room(10).await);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn room_is_waited_for() {
        let budget = Budget::new(80);
        let most: Vec<_> = (0..8).map(|_| budget.try_lend(10).unwrap()).collect();
        let mut room = Box::pin(budget.room(5));
        assert!(futures::poll!(&mut room).is_pending());
        assert!(*budget.contention().borrow(), "lanes are told to flush");
        drop(most);
        assert_eq!(room.await.0.bytes, 5);
    }

    #[test]
    fn one_large_share_fits_beside_all_others() {
        let budget = Budget::new(80);
        let small = budget.try_lend(10).unwrap();
        let large = budget.try_lend(1000).unwrap();
        assert!(budget.try_lend(11).is_none(), "one at a time");
        let more = budget.try_lend(10).unwrap();
        assert_eq!(budget.held(), 1020);
        drop((small, large));
        assert!(budget.try_lend(11).is_some());
        drop(more);
        assert_eq!(budget.held(), 0);
    }
}
