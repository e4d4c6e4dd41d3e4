//! Streamed and prepared transactions on their way through memory and disk.
//!
//! A [`Hold`] carries out what [`Streamed`] asks for: it keeps frames in the [`Spill`], reads them
//! back as the budget has room, and takes them away. When someone waits for the budget, what is
//! held makes room: it goes to the spill. It makes prepared transactions durable among
//! the [`PreparedTransactions`] before anything that follows them goes on. One piece of work at a
//! time runs on a thread for blocking calls. What cannot be held is told; nothing is lost by it,
//! because nothing of it was handed out or confirmed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::sync::watch;

use super::confirmer::Shared;
use super::prepared::{PreparedTransactions, Unsealed};
use super::prepared_error::PreparedError;
use super::source::{Source, StreamedDelivery};
use super::spill::{Spill, SpillError, SpillSettings};
use crate::budget::Budget;
use crate::event::{Chunk, Lease};
use crate::journal::SegmentReader;
use crate::lsn::Lsn;
use crate::net::Streaming;
use crate::session::{EarlyStep, Kept, Progress, Step, Streamed, Unheld};
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
    /// Where frames are kept; with the work while there is any.
    store: Option<Store>,
    work: Option<Work>,
    /// How much is confirmed: committed transactions are kept until then.
    progress: watch::Receiver<Progress>,
    shortage: Shortage,
}

/// Whether someone waits for the budget.
struct Shortage {
    contended: watch::Receiver<bool>,
    /// Wakes us when it begins.
    begins: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// Where frames are kept that do not fit the memory, or have to outlive it.
#[derive(Debug)]
struct Store {
    spill: Option<Spill>,
    prepared: Option<PreparedTransactions>,
    /// The transaction that is being prepared.
    unsealed: Option<Unsealed>,
    /// The prepared transaction that is delivered.
    restoring: Option<SegmentReader>,
}

type Work = Pin<Box<dyn Future<Output = Result<Done, HoldError>> + Send>>;

/// What a piece of work came to.
struct Done {
    store: Store,
    outcome: Outcome,
}

enum Outcome {
    Nothing,
    /// These were prepared before.
    Kept(Kept),
    /// The next frames of the transaction that is delivered.
    Recalled(Option<(Vec<u8>, Lease)>),
}

/// What comes out of the hold.
#[derive(Debug)]
pub(super) enum Out {
    /// Frames to assemble, which are of protocol 1.
    Frames(Chunk),
    /// What to show of a transaction that has not committed.
    Early(EarlyStep),
}

/// Why streamed or prepared transactions cannot be held.
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
    /// A prepared transaction cannot be kept, or is not what was kept.
    #[error(transparent)]
    Prepared(#[from] PreparedError),
    /// The thread that kept them is gone.
    #[error("the work on the spill was given up")]
    GivenUp,
}

/// Where a connection's streamed and prepared transactions wait, if it has any.
pub(super) fn hold_of(
    source: &Source,
    shared: &Shared,
    streaming: Streaming,
    prepared: Option<&PreparedTransactions>,
) -> Option<Hold> {
    let spill = |settings: &SpillSettings| {
        let generation = shared.connections.fetch_add(1, Ordering::Relaxed);
        Spill::new(settings.clone(), generation, Arc::clone(&shared.spill_bytes))
    };
    let spill = source.spill.as_ref().map(spill);
    let prepared = prepared.map(PreparedTransactions::for_connection);
    (streaming != Streaming::Off || prepared.is_some()).then(|| {
        let (budget, progress) = (shared.budget.clone(), shared.progress.subscribe());
        let mut hold = Hold::new(budget, Store::new(spill, prepared), progress);
        if source.streamed_delivery == StreamedDelivery::Early {
            hold.streamed.show_early();
        }
        hold
    })
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("streamed", &self.streamed).finish_non_exhaustive()
    }
}

impl Hold {
    /// Nothing held yet; `store` takes what exceeds this stream's share of `budget`, and what is
    /// prepared.
    fn new(budget: Budget, store: Store, progress: watch::Receiver<Progress>) -> Self {
        let streamed = Streamed::new(budget.limit() / MEMORY_SHARE);
        let shortage = Shortage { contended: budget.contention(), begins: None };
        let mut hold =
            Self { streamed, budget, store: Some(store), work: None, progress, shortage };
        if hold.store.as_ref().is_some_and(|store| store.prepared.is_some()) {
            hold.begin(|store| {
                Ok(store.prepared.as_ref().map_or(Outcome::Nothing, |it| Outcome::Kept(it.kept())))
            });
        }
        hold
    }

    /// Take in frames, once [`poll`](Self::poll) wants more.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.streamed.push(chunk);
    }

    /// What comes next; `None` when more input is wanted.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Out>, HoldError>> {
        loop {
            if let Some(work) = &mut self.work {
                let done = ready!(work.as_mut().poll(cx));
                self.work = None;
                // A store that failed is gone, and so is what it held.
                let Done { store, outcome } = done?;
                self.store = Some(store);
                match outcome {
                    Outcome::Nothing => {}
                    Outcome::Kept(kept) => self.streamed.expect_prepared(kept),
                    Outcome::Recalled(frames) => self.streamed.recalled(frames)?,
                }
            }
            if self.store.as_ref().is_some_and(|store| store.spill.is_some()) {
                self.streamed.memory_is_short(self.shortage.poll(cx));
            }
            let budget = &self.budget;
            match self.streamed.poll(|bytes| budget.charge(bytes))? {
                None => return Poll::Ready(Ok(None)),
                Some(Step::Assemble(chunk)) => return Poll::Ready(Ok(Some(Out::Frames(chunk)))),
                Some(Step::Early(step)) => return Poll::Ready(Ok(Some(Out::Early(step)))),
                Some(Step::GiveUp(unheld)) => return Poll::Ready(Err(unheld.into())),
                Some(Step::Lost { gid, end_lsn }) => {
                    let lost = PreparedError::Lost { gid, end_lsn, cause: None };
                    return Poll::Ready(Err(lost.into()));
                }
                Some(Step::Recall { xid }) => {
                    self.read(move |store, bytes| Ok(store.spill()?.read(xid, bytes)?))
                }
                Some(Step::Restore { xid, end_lsn }) => {
                    self.read(move |store, bytes| store.restore(xid, end_lsn, bytes));
                }
                Some(step) => {
                    let confirmed = self.progress.borrow().flush;
                    self.begin(move |store| store.keep(step, confirmed).map(|()| Outcome::Nothing));
                }
            }
        }
    }

    /// Let `act` on the store.
    fn begin(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<Outcome, HoldError> + Send + 'static,
    ) {
        let Some(mut store) = self.store.take() else { return self.give_up() };
        let acting = tokio::task::spawn_blocking(move || {
            let outcome = act(&mut store)?;
            Ok(Done { store, outcome })
        });
        self.work =
            Some(Box::pin(async { acting.await.map_err(|_| HoldError::GivenUp).flatten() }));
    }

    /// Read on in a transaction, as soon as there is room for it.
    fn read(
        &mut self,
        read: impl FnOnce(&mut Store, usize) -> Result<Option<Vec<u8>>, HoldError> + Send + 'static,
    ) {
        let Some(mut store) = self.store.take() else { return self.give_up() };
        let budget = self.budget.clone();
        let bytes = RECALL_BYTES_MAX.min(budget.limit() / RECALLS_PER_BUDGET);
        self.work = Some(Box::pin(async move {
            let lease = budget.lend(bytes).await;
            let reading = tokio::task::spawn_blocking(move || {
                let frames = read(&mut store, bytes)?;
                Ok::<_, HoldError>((store, frames))
            });
            let (store, frames) = reading.await.map_err(|_| HoldError::GivenUp).flatten()?;
            let frames = frames.map(|frames| match frames.capacity() {
                // A large row. One that waits to be taken in may have the place for large shares,
                // and waits for this one.
                more if more > bytes => (frames, budget.charge(more)),
                _ => (frames, lease),
            });
            Ok(Done { store, outcome: Outcome::Recalled(frames) })
        }));
    }

    /// The store went with work that failed.
    fn give_up(&mut self) {
        self.work = Some(Box::pin(std::future::ready(Err(HoldError::GivenUp))));
    }
}

impl Shortage {
    /// Whether it is so now; otherwise we are woken when it is.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if *self.contended.borrow() {
            self.begins = None;
            return true;
        }
        let begins = self.begins.get_or_insert_with(|| {
            let mut contended = self.contended.clone();
            Box::pin(async move { drop(contended.wait_for(|contended| *contended).await) })
        });
        let has_begun = begins.as_mut().poll(cx).is_ready();
        self.begins.take_if(|_| has_begun);
        has_begun
    }
}

impl Store {
    /// A place for what does not fit the memory, and one for what is prepared.
    fn new(spill: Option<Spill>, prepared: Option<PreparedTransactions>) -> Self {
        Self { spill, prepared, unsealed: None, restoring: None }
    }

    fn spill(&mut self) -> Result<&mut Spill, HoldError> {
        self.spill.as_mut().ok_or(HoldError::Unheld(Unheld::Memory))
    }

    fn prepared(&mut self) -> Result<&mut PreparedTransactions, HoldError> {
        // None is asked for without them.
        self.prepared.as_mut().ok_or(HoldError::GivenUp)
    }

    /// Carry out a step that only keeps or takes away.
    fn keep(&mut self, step: Step, confirmed: Lsn) -> Result<(), HoldError> {
        match step {
            Step::Spill { xid, frames } => self.spill()?.append(xid, &frames)?,
            Step::Forget { xid } => self.spill()?.forget(xid),
            Step::Keep { xid, frames } => {
                let unsealed = match self.unsealed.take().filter(|unsealed| unsealed.xid() == xid) {
                    Some(unsealed) => unsealed,
                    None => self.prepared()?.begin(xid)?,
                };
                self.unsealed.insert(unsealed).append(&frames)?;
            }
            Step::Seal(head) => {
                let unsealed = self.unsealed.take().filter(|it| it.xid() == head.xid);
                self.prepared()?.seal(head, unsealed, confirmed)?;
            }
            Step::Discard { xid } => self.prepared()?.discard(xid)?,
            _ => {}
        }
        Ok(())
    }

    /// The next frames of a prepared transaction that commits, about `bytes` of them.
    fn restore(
        &mut self,
        xid: u32,
        end_lsn: Lsn,
        bytes: usize,
    ) -> Result<Option<Vec<u8>>, HoldError> {
        let mut reader = match self.restoring.take() {
            Some(reader) => reader,
            None => match self.prepared()?.commit(xid, end_lsn)? {
                Some(reader) => reader,
                None => return Ok(None),
            },
        };
        let frames = self.prepared()?.read(xid, &mut reader, bytes)?;
        self.restoring = frames.is_some().then_some(reader);
        Ok(frames)
    }
}
