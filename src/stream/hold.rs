//! Streamed transactions on their way through memory and disk.
//!
//! A [`Hold`] carries out what [`Streamed`] asks for: it keeps frames in the [`Spill`], reads them
//! back as the budget has room, and takes them away. One piece of work at a time runs on a thread
//! for blocking calls. What cannot be held is told; nothing is lost by it, because nothing of an
//! uncommitted transaction was handed out or confirmed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::spill::{Spill, SpillError};
use crate::budget::Budget;
use crate::event::{Chunk, Lease};
use crate::session::{Step, Streamed, Unheld};
use crate::wire::DecodeError;

/// What is held in memory may take this part of the budget.
const MEMORY_SHARE: usize = 4;
/// This much is read back at a time, or a smaller share of a small budget.
const RECALL_BYTES_MAX: usize = 256 * 1024;
const RECALLS_PER_BUDGET: usize = 64;

/// See the [module](self).
pub(super) struct Hold {
    streamed: Streamed,
    budget: Budget,
    store: Store,
}

/// Where frames are kept that do not fit the memory.
enum Store {
    Nowhere,
    Idle(Spill),
    Busy(Work),
}

type Work = Pin<Box<dyn Future<Output = Result<Done, HoldError>> + Send>>;

/// What a piece of work came to.
enum Done {
    Kept(Spill),
    /// The next frames of the transaction that is delivered.
    Recalled(Spill, Option<(Vec<u8>, Lease)>),
}

/// Why streamed transactions cannot be held.
#[derive(Debug, thiserror::Error)]
pub(super) enum HoldError {
    /// The server sent what the protocol does not allow.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// They are more than can be held, or cannot be told apart.
    #[error(transparent)]
    Unheld(#[from] Unheld),
    /// They cannot be kept on disk.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// The thread that kept them is gone.
    #[error("the work on the spill was given up")]
    GivenUp,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("streamed", &self.streamed).finish_non_exhaustive()
    }
}

impl Hold {
    /// Nothing held yet; `spill` takes what exceeds this stream's share of `budget`.
    pub(super) fn new(budget: Budget, spill: Option<Spill>) -> Self {
        Self {
            streamed: Streamed::new(budget.limit() / MEMORY_SHARE),
            budget,
            store: spill.map_or(Store::Nowhere, Store::Idle),
        }
    }

    /// Take in frames, once [`poll`](Self::poll) wants more.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.streamed.push(chunk);
    }

    /// The next frames to assemble, which are of protocol 1; `None` when more input is wanted.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Chunk>, HoldError>> {
        loop {
            if let Store::Busy(work) = &mut self.store {
                let done = ready!(work.as_mut().poll(cx));
                // A spill that failed is gone, and so is what it held.
                self.store = Store::Nowhere;
                match done? {
                    Done::Kept(spill) => self.store = Store::Idle(spill),
                    Done::Recalled(spill, frames) => {
                        self.store = Store::Idle(spill);
                        self.streamed.recalled(frames)?;
                    }
                }
            }
            let budget = &self.budget;
            match self.streamed.poll(|bytes| budget.charge(bytes))? {
                None => return Poll::Ready(Ok(None)),
                Some(Step::Assemble(chunk)) => return Poll::Ready(Ok(Some(chunk))),
                Some(Step::GiveUp(unheld)) => return Poll::Ready(Err(unheld.into())),
                Some(Step::Spill { xid, frames }) => self.work(move |mut spill| {
                    spill.append(xid, &frames)?;
                    Ok(spill)
                })?,
                Some(Step::Forget { xid }) => self.work(move |mut spill| {
                    spill.forget(xid);
                    Ok(spill)
                })?,
                Some(Step::Recall { xid }) => self.recall(xid)?,
            }
        }
    }

    /// Let `act` on the spill.
    fn work(
        &mut self,
        act: impl FnOnce(Spill) -> Result<Spill, SpillError> + Send + 'static,
    ) -> Result<(), HoldError> {
        let spill = self.take_spill()?;
        let acting = tokio::task::spawn_blocking(move || act(spill));
        self.store = Store::Busy(Box::pin(async {
            let spill = acting.await.map_err(|_| HoldError::GivenUp)?;
            Ok(Done::Kept(spill?))
        }));
        Ok(())
    }

    /// Read on in transaction `xid`, as soon as there is room for it.
    fn recall(&mut self, xid: u32) -> Result<(), HoldError> {
        let mut spill = self.take_spill()?;
        let budget = self.budget.clone();
        let bytes = RECALL_BYTES_MAX.min(budget.limit() / RECALLS_PER_BUDGET);
        self.store = Store::Busy(Box::pin(async move {
            let lease = budget.lend(bytes).await;
            let reading = tokio::task::spawn_blocking(move || {
                let frames = spill.read(xid, bytes)?;
                Ok::<_, SpillError>((spill, frames))
            });
            let (spill, frames) = reading.await.map_err(|_| HoldError::GivenUp)??;
            let frames = frames.map(|frames| match frames.capacity() {
                // A large row. One that waits to be taken in may have the place for large shares,
                // and waits for this one.
                more if more > bytes => (frames, budget.charge(more)),
                _ => (frames, lease),
            });
            Ok(Done::Recalled(spill, frames))
        }));
        Ok(())
    }

    fn take_spill(&mut self) -> Result<Spill, HoldError> {
        match std::mem::replace(&mut self.store, Store::Nowhere) {
            Store::Idle(spill) => Ok(spill),
            Store::Nowhere | Store::Busy(_) => Err(Unheld::Memory.into()),
        }
    }
}
