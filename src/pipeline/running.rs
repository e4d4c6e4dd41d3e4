//! A pipeline's changes and lanes while they run.
//!
//! [`Running`] reads the changes, hands them to the lanes and watches who ends and who falls
//! behind. A sink whose policy says so is left behind rather than waited for, but never the last
//! that the slot waits for: then there is nothing more to confirm, and the run ends. What is saved
//! and told to the slot is not its affair.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::Member;
use super::changes::Changes;
use super::error::PipelineError;
use super::seat::{House, Known, LaneResult, Seat};
use crate::budget::Budget;
use crate::checkpoint::Apart;
use crate::event::Batch;
use crate::fanout::{FanOut, LedgerMember};
use crate::monitor::Monitor;
use crate::name::{SinkName, SlotName};
use crate::shutdown::Shutdown;
use crate::{Error, ErrorKind, Result};

/// How often idle progress that waits for the lanes is tried again, and lanes are looked at.
const LOOK_GAP: Duration = Duration::from_millis(100);

/// What is put together to run.
pub(super) struct Parts {
    pub(super) changes: Changes,
    pub(super) slot: SlotName,
    pub(super) sinks: Vec<Member>,
    pub(super) drain_timeout: Duration,
}

/// A pipeline's changes and lanes while they run.
pub(super) struct Running {
    pub(super) changes: Changes,
    fan_out: Option<FanOut>,
    lanes: JoinSet<(SinkName, LaneResult)>,
    seats: Vec<Seat>,
    rewind: mpsc::Receiver<()>,
    /// Whether somebody waits for memory.
    contention: watch::Receiver<bool>,
    drain_timeout: Duration,
    /// When idle progress is tried again, and who falls behind is looked at.
    look_at: Instant,
}

/// Why a pipeline stops serving.
pub(super) enum Stop {
    /// It was asked to: read on to the end of an open transaction, prove, confirm.
    Drain,
    /// It was asked to let go.
    Abort,
    /// There is nothing more: prove, however long that takes.
    Ended,
    /// The stream is over; what was handed out can still be proven.
    Stream(Error),
    /// A required sink gave up.
    Lane(Error),
}

impl Running {
    /// `known` says how far sinks are; of others nothing is known.
    pub(super) fn assemble(parts: Parts, known: &Known, budget: &Budget) -> Self {
        let Parts { changes, slot, sinks, drain_timeout } = parts;
        let (rewind_in, rewind) = mpsc::channel(1);
        let place = (slot, changes.lineage(), changes.handed_out());
        let house = House::of(&sinks, place, budget, rewind_in);
        let mut lanes = JoinSet::new();
        let (mut seats, mut senders) = (Vec::new(), Vec::new());
        for member in sinks {
            let entry = known.sinks.get(&member.name).copied();
            if let Some(Apart::Detached) = known.apart.get(&member.name) {
                tracing::warn!(sink = %member.name, "the sink was left behind before");
            }
            let (seat, sender, lane) = Seat::take(member, entry, &house);
            lanes.spawn(lane);
            seats.push(seat);
            senders.push(sender);
        }
        let fan_out = Some(FanOut::new(senders));
        let contention = budget.contention();
        let look_at = Instant::now();
        Self { changes, fan_out, lanes, seats, rewind, contention, drain_timeout, look_at }
    }

    /// The lanes, as a ledger sees them.
    pub(super) fn members(&self) -> Vec<LedgerMember> {
        self.seats.iter().map(|seat| seat.member.clone()).collect()
    }

    /// Hand batches to the lanes until there is a reason to stop.
    pub(super) async fn serve(&mut self, shutdown: &mut Shutdown, monitor: &Monitor) -> Stop {
        let mut drain_asked = shutdown.clone();
        let mut drain = pin!(drain_asked.drain());
        let watches = self.seats.iter().any(|seat| seat.may_leave);
        loop {
            let has_idle = self.fan_out.as_ref().is_some_and(FanOut::has_idle);
            let next = tokio::select! {
                biased;
                () = &mut drain => return Stop::Drain,
                Some(ended) = self.lanes.join_next() => {
                    match self.lane_ended(ended) {
                        Some(stop) => return stop,
                        None => continue,
                    }
                }
                Some(()) = self.rewind.recv() => Next::Rewind,
                batch = self.changes.next() => match batch {
                    Ok(Some(batch)) => Next::Batch(batch),
                    Ok(None) => return Stop::Ended,
                    Err(error) => return Stop::Stream(error),
                },
                () = tokio::time::sleep_until(self.look_at), if has_idle || watches => Next::Idle,
            };
            if let Next::Batch(batch) = &next {
                monitor.handed_out(batch);
            }
            // A full lane may keep this waiting: the end may be asked for meanwhile, or a lane end.
            if let Some(stop) = self.hand_over(next, shutdown).await {
                return stop;
            }
            let now = Instant::now();
            if now >= self.look_at {
                self.look_at = now + LOOK_GAP;
                if let Some(stop) = self.leave_behind(now) {
                    return stop;
                }
            }
        }
    }

    /// Leave behind who is too far behind. `Some` when it is the last that the slot waits for.
    fn leave_behind(&mut self, now: Instant) -> Option<Stop> {
        let contended = *self.contention.borrow();
        let behind = self.fan_out.as_mut()?.behind(now, contended);
        behind.into_iter().find_map(|(sink, why)| {
            let why = why.to_string();
            if self.is_last(&sink) {
                let error = PipelineError::LastSink { sink: sink.clone(), why: why.clone() };
                let seat = self.seats.iter().find(|seat| seat.member.name == sink);
                seat.into_iter().for_each(|seat| seat.fail(why.clone()));
                return Some(Stop::Lane(Error::permanent(ErrorKind::Sink, error)));
            }
            self.leave(&sink, why);
            None
        })
    }

    /// Whether the slot waits for the sink `name` and for no other.
    fn is_last(&self, name: &SinkName) -> bool {
        let mut counting = self.seats.iter().filter(|seat| seat.counts());
        counting.next().is_some_and(|seat| seat.member.name == *name) && counting.next().is_none()
    }

    fn leave(&mut self, name: &SinkName, why: String) {
        if let Some(fan_out) = &mut self.fan_out {
            fan_out.leave(name);
        }
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.member.name == *name) {
            seat.leave(why);
        }
    }

    async fn hand_over(&mut self, next: Next, shutdown: &mut Shutdown) -> Option<Stop> {
        let Self { fan_out: Some(fan_out), lanes, changes, drain_timeout, .. } = self else {
            return None;
        };
        if matches!(next, Next::Rewind)
            && let Err(error) = changes.rewind().await
        {
            return Some(Stop::Stream(error));
        }
        let mut drain_asked = shutdown.clone();
        let deadline = async {
            drain_asked.drain().await;
            tokio::time::sleep(*drain_timeout).await;
        };
        let from = changes.handed_out();
        let send = async {
            match next {
                Next::Batch(batch) => fan_out.send(batch).await,
                Next::Idle => fan_out.send_idle().await,
                Next::Rewind => fan_out.rewound(from).await,
            }
        };
        tokio::select! {
            biased;
            sent = send => match sent {
                Ok(()) => return None,
                // The lane is gone; how it ended is told by its task.
                Err(sink) => tracing::debug!(%sink, "a lane takes no more"),
            },
            () = deadline => return Some(Stop::Abort),
            () = shutdown.abort() => return Some(Stop::Abort),
        }
        match lanes.join_next().await {
            Some(ended) => self.lane_ended(ended),
            None => Some(Stop::Abort),
        }
    }

    /// What the end of a lane means for the pipeline; `None` when it may go on.
    fn lane_ended(&mut self, ended: Result<(SinkName, LaneResult), JoinError>) -> Option<Stop> {
        match ended {
            Ok((_, Ok(()))) => None,
            Ok((name, Err(error))) => {
                let seat = self.seats.iter().find(|seat| seat.member.name == name)?;
                if seat.may_leave && !self.is_last(&name) {
                    self.leave(&name, error.to_string());
                    return None;
                }
                seat.member.required.then(|| Stop::Lane(error.into()))
            }
            Err(_) => Some(Stop::Lane(panicked("a sink's lane"))),
        }
    }

    /// Bring what was handed out to its end, as far as the reason to stop allows.
    pub(super) async fn settle(&mut self, stop: Stop, shutdown: &mut Shutdown) -> Result<()> {
        let by = Instant::now() + self.drain_timeout;
        let mut drain_asked = shutdown.clone();
        let (has_ended, grace) = (matches!(stop, Stop::Ended), self.drain_timeout);
        let deadline = async move {
            if has_ended {
                drain_asked.drain().await;
                return tokio::time::sleep(grace).await;
            }
            tokio::time::sleep_until(by).await;
        };
        let outcome = match stop {
            Stop::Abort => {
                let late = self.late_sinks();
                self.lanes.shutdown().await;
                let error = PipelineError::NotDrained { sinks: late };
                return Err(Error::permanent(ErrorKind::Sink, error));
            }
            Stop::Drain => {
                let read_on = self.read_to_commit(shutdown);
                tokio::time::timeout_at(by, read_on).await.unwrap_or(Ok(()))
            }
            Stop::Ended => Ok(()),
            Stop::Stream(error) | Stop::Lane(error) => Err(error),
        };
        // The lanes prove what they have and end.
        self.fan_out = None;
        let ended = tokio::select! {
            ended = join_all(&mut self.lanes) => Some(ended),
            () = deadline => None,
            () = shutdown.abort() => None,
        };
        match (outcome, ended) {
            (Err(error), _) => {
                self.lanes.shutdown().await;
                Err(error)
            }
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => {
                let sinks = self.late_sinks();
                self.lanes.shutdown().await;
                let error = PipelineError::NotDrained { sinks };
                Err(Error::permanent(ErrorKind::Sink, error))
            }
        }
    }

    /// Where part of a transaction was handed out, hand out the rest.
    async fn read_to_commit(&mut self, shutdown: &mut Shutdown) -> Result<()> {
        while self.changes.in_transaction() {
            let batch = tokio::select! {
                batch = self.changes.next() => batch?,
                () = shutdown.abort() => return Ok(()),
            };
            let (Some(batch), Some(fan_out)) = (batch, self.fan_out.as_mut()) else {
                return Ok(());
            };
            if fan_out.send(batch).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn late_sinks(&self) -> Vec<SinkName> {
        let handed_out = self.changes.handed_out();
        let late = |seat: &&Seat| {
            let member = &seat.member;
            seat.counts() && member.status.borrow().progress.cursor < handed_out
        };
        self.seats.iter().filter(late).map(|seat| seat.member.name.clone()).collect()
    }
}

enum Next {
    Batch(Batch),
    Idle,
    Rewind,
}

async fn join_all(lanes: &mut JoinSet<(SinkName, LaneResult)>) -> Result<()> {
    let mut first = Ok(());
    while let Some(ended) = lanes.join_next().await {
        let ended = match ended {
            Ok((_, ended)) => ended.map_err(Error::from),
            Err(_) => Err(panicked("a sink's lane")),
        };
        first = first.and(ended);
    }
    first
}

pub(super) fn panicked(task: &'static str) -> Error {
    Error::permanent(ErrorKind::Sink, PipelineError::Panicked { task })
}
