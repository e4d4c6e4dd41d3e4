//! One stream to many sinks, none of which can hurt another.
//!
//! Each sink has a lane: a task that owns it, feeds it in order, proves, retries
//! and tells where it stands. The fan-out hands every batch to every lane; batches are shared, not
//! copied. Bytes are bounded by the budget that the batches hold leases of, so a lane may fall
//! behind until the budget is full, and then all wait. A best-effort lane over its share is skipped
//! instead, from one transaction's end to another's begin. Nothing here knows a particular sink or
//! a socket.

mod error;
mod lane;
mod progress;
mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::event::Batch;
use crate::lsn::Lsn;
use crate::name::SinkName;

pub use error::LaneError;
pub(crate) use lane::{Lane, LaneParts};
pub use lane::{LaneSettings, Retry};
pub use progress::{LaneState, LaneStatus};
pub(crate) use progress::{Ledger, LedgerMember};

/// What travels to a lane.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// The next batch.
    Batch(Batch),
    /// Changes from one position to the other were left out.
    Skipped { from: Lsn, to: Lsn },
    /// What follows is left out until [`Skipped`](Self::Skipped): let go of all there is.
    LeavingOut,
    /// What follows was read again from `from`, which is confirmed: it begins with what came
    /// before.
    Rewound { from: Lsn },
}

/// The sending end of a lane.
#[derive(Debug)]
pub(crate) struct LaneSender {
    name: SinkName,
    parcels: mpsc::Sender<Parcel>,
    /// Bytes sent and not proven.
    held: Arc<AtomicUsize>,
    /// The most bytes a best-effort lane may hold; `None` for a required one.
    share: Option<usize>,
    /// The end of the last batch sent.
    sent: Lsn,
    /// Where skipping began.
    skipping_since: Option<Lsn>,
}

/// Hands batches to lanes.
#[derive(Debug)]
pub(crate) struct FanOut {
    lanes: Vec<LaneSender>,
    /// Idle progress that waits until the lanes have nothing else behind them: a sink that blocks
    /// for a day must not gather a day of it.
    idle: Option<Batch>,
}

impl LaneSender {
    pub(crate) fn new(
        name: SinkName,
        parcels: mpsc::Sender<Parcel>,
        held: Arc<AtomicUsize>,
        share: Option<usize>,
        start: Lsn,
    ) -> Self {
        Self { name, parcels, held, share, sent: start, skipping_since: None }
    }

    /// Whether the lane has everything that it was sent behind it.
    fn is_idle(&self) -> bool {
        self.held.load(Ordering::Acquire) == 0
    }

    /// `Err` when the lane is gone.
    async fn send(&mut self, batch: &Batch) -> Result<(), ()> {
        let bytes = batch.weight();
        if let Some(share) = self.share {
            let full = !self.is_idle() && self.held.load(Ordering::Acquire) + bytes > share;
            if self.skipping_since.is_some() || full {
                return self.skip_or_rejoin(batch, full).await;
            }
        }
        self.hand_over(batch, bytes).await
    }

    /// A best-effort lane is over its share, or was and may come back between two transactions.
    async fn skip_or_rejoin(&mut self, batch: &Batch, full: bool) -> Result<(), ()> {
        if self.skipping_since.is_none() {
            self.skipping_since = Some(self.sent);
            self.parcels.send(Parcel::LeavingOut).await.map_err(drop)?;
        }
        let from = self.skipping_since.unwrap_or(self.sent);
        if full || !self.is_idle() || !batch.begins_outside() || batch.is_empty() {
            return Ok(());
        }
        self.skipping_since = None;
        let to = batch.start().max(from);
        tracing::warn!(sink = %self.name, %from, %to, "a best-effort sink skipped changes");
        self.parcels.send(Parcel::Skipped { from, to }).await.map_err(drop)?;
        self.hand_over(batch, batch.weight()).await
    }

    async fn hand_over(&mut self, batch: &Batch, bytes: usize) -> Result<(), ()> {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        self.sent = batch.end();
        self.parcels.send(Parcel::Batch(batch.clone())).await.map_err(drop)
    }
}

impl FanOut {
    pub(crate) fn new(lanes: Vec<LaneSender>) -> Self {
        Self { lanes, idle: None }
    }

    /// Hand `batch` to every lane. A required lane that is gone is an error, named.
    ///
    /// # Cancel safety
    /// Dropped, some lanes may have it and some not: only an abort may follow.
    pub(crate) async fn send(&mut self, batch: Batch) -> Result<(), SinkName> {
        if batch.is_empty() {
            self.idle = Some(batch);
            return self.send_idle().await;
        }
        self.idle = None;
        self.send_to_all(&batch).await
    }

    /// Whether idle progress waits for [`send_idle`](Self::send_idle).
    pub(crate) fn has_idle(&self) -> bool {
        self.idle.is_some()
    }

    /// Hand idle progress on if the lanes have nothing else behind them.
    pub(crate) async fn send_idle(&mut self) -> Result<(), SinkName> {
        if !self.lanes.iter().all(|lane| lane.share.is_some() || lane.is_idle()) {
            return Ok(());
        }
        match self.idle.take() {
            Some(batch) => self.send_to_all(&batch).await,
            None => Ok(()),
        }
    }

    /// Tell every lane that the stream begins again at `from`.
    pub(crate) async fn rewound(&mut self, from: Lsn) -> Result<(), SinkName> {
        // It would pass what comes again.
        self.idle = None;
        for lane in &mut self.lanes {
            let told = lane.parcels.send(Parcel::Rewound { from }).await;
            if told.is_err() && lane.share.is_none() {
                return Err(lane.name.clone());
            }
        }
        Ok(())
    }

    async fn send_to_all(&mut self, batch: &Batch) -> Result<(), SinkName> {
        for lane in &mut self.lanes {
            if lane.send(batch).await.is_err() && lane.share.is_none() {
                return Err(lane.name.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
