//! Memory for what is made of frames, had before they are taken in.
//!
//! What the fields of a row take beside their bytes can be many times those: a NULL is one byte on
//! the wire. Whoever makes batches has room for one before it begins, makes none that is larger,
//! and gives back what the batch does not need. Charging afterwards would tell the reader to wait
//! when it is too late.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Budget, Room};
use crate::event::Lease;

/// What a batch takes beside its frames is at most this part of the budget.
const BATCH_SHARE: usize = 32;
/// It need not be more than so many times the frames of an ordinary batch.
const TIMES_FRAMES: usize = 4;
const BYTES_MIN: usize = 256 * 1024;
/// Vectors that grow have up to twice the memory they use.
const GROWTH: usize = 2;

/// See the [module](self).
pub(crate) struct MakingRoom {
    budget: Budget,
    bytes: usize,
    had: Option<Room>,
    waiting: Option<Pin<Box<dyn Future<Output = Room> + Send>>>,
}

impl MakingRoom {
    /// Room in `budget` for batches of about `batch_bytes` of frames.
    pub(crate) fn new(budget: Budget, batch_bytes: usize) -> Self {
        let enough = batch_bytes.saturating_mul(TIMES_FRAMES).max(BYTES_MIN);
        let bytes = enough.min(budget.limit() / BATCH_SHARE);
        Self { budget, bytes, had: None, waiting: None }
    }

    /// What a batch may use beside its frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Have room, as soon as there is.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.had.is_none() {
            let (budget, bytes) = (&self.budget, self.bytes * GROWTH);
            let waiting = self.waiting.get_or_insert_with(|| {
                let budget = budget.clone();
                Box::pin(async move { budget.room(bytes).await })
            });
            self.had = Some(ready!(waiting.as_mut().poll(cx)));
            self.waiting = None;
        }
        Poll::Ready(())
    }

    /// Wait for room.
    ///
    /// # Cancel safety
    /// Safe: the place in the queue is kept for the next call.
    pub(crate) async fn had(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    /// A batch was made that takes `bytes` beside its frames.
    pub(crate) fn settle(&mut self, bytes: usize) -> Lease {
        match self.had.take() {
            Some(room) => self.budget.settle(room, bytes),
            None => self.budget.charge(bytes),
        }
    }

    /// Nothing is being made.
    pub(crate) fn rest(&mut self) {
        self.had = None;
    }
}

impl fmt::Debug for MakingRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakingRoom").field("had", &self.had).finish_non_exhaustive()
    }
}
