//! The sending end of a lane, and what happens there when its sink falls behind.
//!
//! A lane may hold what the budget has. What else may happen is its [`Course`]: a best-effort lane
//! over its share is skipped, from one transaction's end to another's begin; one that may be left
//! behind is watched, and said to be behind when it is. Nothing here ends a lane.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Parcel;
use super::lag::{Behind, Lag, Look, Proven};
use super::progress::{Gauge, LaneStatus};
use crate::event::Batch;
use crate::lsn::Lsn;
use crate::name::SinkName;

/// The sending end of a lane.
#[derive(Debug)]
pub(crate) struct LaneSender {
    pub(super) name: SinkName,
    pub(super) required: bool,
    pub(super) course: Course,
    pub(super) parcels: mpsc::Sender<Parcel>,
    gauge: Arc<Gauge>,
    status: watch::Receiver<LaneStatus>,
    /// Whether it takes what has not committed.
    pub(super) takes_early: bool,
    /// The end of the last batch sent.
    sent: Lsn,
}

/// What becomes of a lane that falls behind.
#[derive(Debug)]
pub(crate) enum Course {
    /// Everything waits for it.
    Wait,
    /// It leaves out what comes while it holds more than `share` bytes.
    Skip {
        share: usize,
        /// Where it began to.
        since: Option<Lsn>,
    },
    /// It is left behind.
    Leave(Lag),
}

impl Course {
    /// For a lane that skips ahead when it holds more than `share` bytes.
    pub(crate) fn skip(share: usize) -> Self {
        Self::Skip { share, since: None }
    }

    /// For a lane that is left behind when it proves nothing for `limit`, or sooner when others
    /// wait while it holds more than `share` bytes.
    pub(crate) fn leave(limit: std::time::Duration, share: usize) -> Self {
        Self::Leave(Lag::new(limit, share))
    }
}

/// How a lane is reached from outside.
#[derive(Debug)]
pub(crate) struct LaneEnd {
    pub(crate) parcels: mpsc::Sender<Parcel>,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) status: watch::Receiver<LaneStatus>,
}

/// What is known beyond one lane when all are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    pub(super) now: Instant,
    /// Whether somebody waits for memory.
    pub(super) contended: bool,
    /// The least that any lane holds.
    pub(super) least_held: usize,
    /// Whether idle progress waits for lanes.
    pub(super) idle_waits: bool,
}

impl LaneSender {
    pub(crate) fn new(
        (name, required): (SinkName, bool),
        course: Course,
        end: LaneEnd,
        start: Lsn,
    ) -> Self {
        let LaneEnd { parcels, gauge, status } = end;
        let takes_early = false;
        Self { name, required, course, parcels, gauge, status, takes_early, sent: start }
    }

    /// The same for a sink that takes what has not committed, if so.
    pub(crate) fn taking_early(mut self, takes: bool) -> Self {
        self.takes_early = takes;
        self
    }

    /// Whether the lane has everything that it was sent behind it.
    pub(super) fn is_idle(&self) -> bool {
        self.held() == 0
    }

    pub(super) fn held(&self) -> usize {
        self.gauge.held()
    }

    /// Whether idle progress has to wait until this lane is idle.
    pub(super) fn holds_idle(&self) -> bool {
        !matches!(self.course, Course::Skip { .. }) && !self.is_idle()
    }

    /// Whether it is too far behind.
    pub(super) fn look(&mut self, around: Around) -> Option<Behind> {
        let held = self.held();
        let Course::Leave(lag) = &mut self.course else { return None };
        let proven = {
            let status = self.status.borrow();
            Proven { cursor: status.progress.cursor, times: status.proofs }
        };
        lag.look(Look {
            now: around.now,
            proven,
            owes: !self.gauge.rests() && (held > 0 || around.idle_waits),
            held,
            others_wait: around.contended && around.least_held < held / 2,
        })
    }

    /// `Err` when the lane is gone.
    pub(super) async fn send(&mut self, batch: &Batch) -> Result<(), ()> {
        let bytes = batch.weight();
        if let Course::Skip { share, since } = self.course {
            let full = !self.is_idle() && self.held() + bytes > share;
            if since.is_some() || full {
                return self.skip_or_rejoin(batch, since, full).await;
            }
        }
        self.hand_over(batch, bytes).await
    }

    /// A best-effort lane is over its share, or was and may come back between two transactions.
    async fn skip_or_rejoin(
        &mut self,
        batch: &Batch,
        skipping_since: Option<Lsn>,
        full: bool,
    ) -> Result<(), ()> {
        let from = skipping_since.unwrap_or(self.sent);
        if skipping_since.is_none() {
            self.skip_since(Some(from));
            self.parcels.send(Parcel::LeavingOut).await.map_err(drop)?;
        }
        if full
            || batch.is_early()
            || !self.is_idle()
            || !batch.begins_outside()
            || batch.is_empty()
        {
            return Ok(());
        }
        self.skip_since(None);
        let to = batch.start().max(from);
        tracing::warn!(sink = %self.name, %from, %to, "a best-effort sink skipped changes");
        self.parcels.send(Parcel::Skipped { from, to }).await.map_err(drop)?;
        self.hand_over(batch, batch.weight()).await
    }

    fn skip_since(&mut self, at: Option<Lsn>) {
        if let Course::Skip { since, .. } = &mut self.course {
            *since = at;
        }
    }

    async fn hand_over(&mut self, batch: &Batch, bytes: usize) -> Result<(), ()> {
        self.gauge.take(bytes);
        self.sent = batch.end();
        self.parcels.send(Parcel::Batch(batch.clone())).await.map_err(drop)
    }
}
