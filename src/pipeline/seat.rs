//! A sink's place in a running pipeline: its lane, both ends of it, and how to take it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::{Member, OnLag};
use crate::budget::Budget;
use crate::checkpoint::{Apart, SinkProgress};
use crate::codec::EventFormat;
use crate::fanout::{
    Course, Gauge, Lane, LaneEnd, LaneError, LaneParts, LaneSender, LaneState, LaneStatus,
    LedgerMember,
};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{SinkName, SlotName};
use crate::sink::OpenContext;

/// A batch counts for at least this many bytes, so a lane's queue never fills before the budget.
const PARCEL_BYTES_MIN: usize = 512;
/// All sinks together that do not hold up the others may hold this part of the budget. What they
/// hold keeps more in memory than it weighs, and beside it there has to be room to read on.
const SHARE: usize = 4;

/// How a sink is reached while its lane runs, and after.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) member: LedgerMember,
    /// Whether it is left behind rather than waited for.
    pub(super) may_leave: bool,
    status: watch::Sender<LaneStatus>,
    leave: Option<oneshot::Sender<String>>,
}

/// What is the same for all sinks of a pipeline.
#[derive(Debug)]
pub(super) struct House<'a> {
    pub(super) slot: SlotName,
    pub(super) lineage: Arc<Lineage>,
    /// Before this the stream sends nothing.
    pub(super) start: Lsn,
    pub(super) budget: &'a Budget,
    pub(super) rewind: mpsc::Sender<()>,
    /// How many bytes a sink may hold that does not hold up the others.
    pub(super) share: usize,
    pub(super) formats: Vec<EventFormat>,
}

/// What a checkpoint says of the sinks.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) sinks: BTreeMap<SinkName, SinkProgress>,
    pub(super) apart: BTreeMap<SinkName, Apart>,
}

/// A lane at work, until it ends or is told to leave.
pub(super) type LaneResult = Result<(), LaneError>;

impl<'a> House<'a> {
    /// The house of `sinks`.
    pub(super) fn of(
        sinks: &[Member],
        (slot, lineage, start): (SlotName, Arc<Lineage>, Lsn),
        budget: &'a Budget,
        rewind: mpsc::Sender<()>,
    ) -> Self {
        let formats = sinks.iter().filter_map(|member| member.format.clone()).collect();
        let sharing = sinks.iter().filter(|member| member.on_lag != OnLag::Block).count();
        let share = budget.limit() / SHARE / sharing.max(1);
        Self { slot, lineage, start, budget, rewind, share, formats }
    }

    fn context(&self, name: &SinkName, format: Option<EventFormat>) -> OpenContext {
        let mut context =
            OpenContext::new(name.clone(), self.slot.clone(), Arc::clone(&self.lineage));
        let same = |it: EventFormat| self.formats.iter().filter(|other| **other == it).count();
        context.share_encoding = format.is_some_and(|format| same(format) > 1);
        context
    }
}

impl Seat {
    /// Seat `member`, of which the checkpoint says `entry`: its seat, the end that batches go to,
    /// and its lane, which ends by itself or when the seat is [left](Self::leave).
    pub(super) fn take(
        member: Member,
        entry: Option<SinkProgress>,
        house: &House<'_>,
    ) -> (Self, LaneSender, impl Future<Output = (SinkName, LaneResult)> + Send + use<>) {
        let Member { name, required, settings, on_lag, format, sink } = member;
        let (is_new, takes_early) = (entry.is_none(), sink.takes_uncommitted());
        let entry = entry.unwrap_or(SinkProgress { cursor: house.start, data_end: None });
        let (status, status_out) =
            watch::channel(LaneStatus { placed: !is_new, ..LaneStatus::at(entry) });
        let (parcels_in, parcels) = mpsc::channel(house.budget.limit() / PARCEL_BYTES_MIN + 64);
        let gauge = Arc::<Gauge>::default();
        let lane = Lane::new(LaneParts {
            sink,
            context: house.context(&name, format),
            settings,
            stream_start: house.start,
            parcels,
            gauge: Arc::clone(&gauge),
            contention: house.budget.contention(),
            status: status.clone(),
            is_new,
            required,
            rewind: house.rewind.clone(),
        });
        let course = match on_lag {
            OnLag::Block => Course::Wait,
            OnLag::Skip => Course::skip(house.share),
            OnLag::Detach { after } => Course::leave(after, house.share),
        };
        let end = LaneEnd { parcels: parcels_in, gauge, status: status_out.clone() };
        let sender = LaneSender::new((name.clone(), required), course, end, house.start);
        let sender = sender.taking_early(takes_early);
        let (leave, left) = oneshot::channel();
        let task = serve(name.clone(), lane, left, status.clone());
        let member = LedgerMember { name, required, status: status_out };
        let may_leave = matches!(on_lag, OnLag::Detach { .. });
        (Self { member, may_leave, status, leave: Some(leave) }, sender, task)
    }

    /// Whether the slot waits for it, and nobody has said that it shall be left behind.
    pub(super) fn counts(&self) -> bool {
        self.leave.is_some() && self.member.counts()
    }

    /// Leave the sink behind because of `why`. Its lane ends, and with it everything it holds; then
    /// the sink is said to be detached.
    pub(super) fn leave(&mut self, why: String) {
        tracing::error!(sink = %self.member.name, why, "the sink is left behind");
        let leave = self.leave.take();
        // A lane that has ended listens no more, and says nothing more either.
        if let Some(Err(why)) = leave.map(|leave| leave.send(why)) {
            mark_detached(&self.status, why);
        }
    }

    /// The sink gave up, or is given up, and everything ends for it.
    pub(super) fn fail(&self, why: String) {
        self.status.send_modify(|status| {
            status.state = LaneState::Failed;
            status.error = Some(why);
        });
    }
}

async fn serve(
    name: SinkName,
    lane: Lane,
    left: oneshot::Receiver<String>,
    status: watch::Sender<LaneStatus>,
) -> (SinkName, LaneResult) {
    let left = async {
        match left.await {
            Ok(why) => why,
            Err(_) => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        biased;
        why = left => why,
        ended = lane.run() => return (name, ended),
    };
    // The lane is gone by now: nobody else writes what the sink's state is.
    mark_detached(&status, why);
    (name, Ok(()))
}

fn mark_detached(status: &watch::Sender<LaneStatus>, why: String) {
    status.send_modify(|status| {
        status.state = LaneState::Detached;
        let at = status.progress.cursor;
        let last = status.error.take().map(|error| format!("; its last error: {error}"));
        let last = last.unwrap_or_default();
        status.error = Some(format!(
            "{why}{last}. It was left behind at {at}, and what comes after that is not kept for it: \
             load it anew and give it a new name"
        ));
    });
}

/// How long a sink may hold up the others, or prove nothing, before it is left behind.
pub(super) const DETACH_AFTER: Duration = Duration::from_secs(60);
