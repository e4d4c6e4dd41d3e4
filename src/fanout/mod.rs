//! One stream to many sinks, none of which can hurt another.
//!
//! Each sink has a lane: a task that owns it, feeds it in order, proves, retries
//! and tells where it stands. The fan-out hands every batch to every lane; batches are shared, not
//! copied. Bytes are bounded by the budget that the batches hold leases of, so a lane may fall
//! behind until the budget is full, and then all wait. A best-effort lane over its share is skipped
//! instead, from one transaction's end to another's begin. Nothing here knows a particular sink or
//! a socket.

mod error;
mod lag;
mod lane;
mod ledger;
mod progress;
mod sender;
mod written;

use tokio::time::Instant;

use crate::event::Batch;
use crate::lsn::Lsn;
use crate::name::SinkName;

pub use error::LaneError;
pub(crate) use lag::Behind;
pub(crate) use lane::{Lane, LaneParts};
pub use lane::{LaneSettings, Retry};
pub(crate) use ledger::{Ledger, LedgerMember};
pub(crate) use progress::Gauge;
pub use progress::{LaneState, LaneStatus};
pub(crate) use sender::{Course, LaneEnd, LaneSender};

use sender::Around;

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

/// Hands batches to lanes.
#[derive(Debug)]
pub(crate) struct FanOut {
    lanes: Vec<LaneSender>,
    /// Idle progress that waits until the lanes have nothing else behind them: a sink that blocks
    /// for a day must not gather a day of it.
    idle: Option<Batch>,
}

impl FanOut {
    pub(crate) fn new(lanes: Vec<LaneSender>) -> Self {
        Self { lanes, idle: None }
    }

    /// Hand `batch` to every lane. A required lane that is gone is an error, named; all others have
    /// it.
    ///
    /// # Cancel safety
    /// Dropped, some lanes may have it and some not: only an abort may follow.
    pub(crate) async fn send(&mut self, batch: Batch) -> Result<(), SinkName> {
        if batch.is_early() {
            // It moves nothing: idle progress may wait on.
            return self.send_to(&batch, |lane| lane.takes_early).await;
        }
        if batch.is_empty() {
            self.idle = Some(batch);
            return self.send_idle().await;
        }
        self.idle = None;
        self.send_to(&batch, |_| true).await
    }

    /// Whether idle progress waits for [`send_idle`](Self::send_idle).
    pub(crate) fn has_idle(&self) -> bool {
        self.idle.is_some()
    }

    /// Hand idle progress on if the lanes have nothing else behind them.
    pub(crate) async fn send_idle(&mut self) -> Result<(), SinkName> {
        if self.lanes.iter().any(LaneSender::holds_idle) {
            return Ok(());
        }
        match self.idle.take() {
            Some(batch) => self.send_to(&batch, |_| true).await,
            None => Ok(()),
        }
    }

    /// Which sinks are too far behind at `now`, and why. `contended` says whether somebody waits
    /// for memory.
    pub(crate) fn behind(&mut self, now: Instant, contended: bool) -> Vec<(SinkName, Behind)> {
        let least_held = self.lanes.iter().map(LaneSender::held).min().unwrap_or(0);
        let around = Around { now, contended, least_held, idle_waits: self.has_idle() };
        let look = |lane: &mut LaneSender| Some((lane.name.clone(), lane.look(around)?));
        self.lanes.iter_mut().filter_map(look).collect()
    }

    /// Send nothing more to the sink `name`.
    pub(crate) fn leave(&mut self, name: &SinkName) {
        self.lanes.retain(|lane| lane.name != *name);
    }

    /// Tell every lane that the stream begins again at `from`.
    pub(crate) async fn rewound(&mut self, from: Lsn) -> Result<(), SinkName> {
        // It would pass what comes again.
        self.idle = None;
        let mut gone = None;
        for lane in &mut self.lanes {
            let told = lane.parcels.send(Parcel::Rewound { from }).await;
            if told.is_err() && lane.required {
                gone.get_or_insert_with(|| lane.name.clone());
            }
        }
        gone.map_or(Ok(()), Err)
    }

    async fn send_to(
        &mut self,
        batch: &Batch,
        is_for: impl Fn(&LaneSender) -> bool,
    ) -> Result<(), SinkName> {
        // One that is gone may be done without: the others get it all the same.
        let mut gone = None;
        for lane in self.lanes.iter_mut().filter(|lane| is_for(lane)) {
            if lane.send(batch).await.is_err() && lane.required {
                gone.get_or_insert_with(|| lane.name.clone());
            }
        }
        gone.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod early_tests;
#[cfg(test)]
mod tests;
