//! The life of a running pipeline, from the state directory to the last status update.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use super::bookkeeper::Bookkeeper;
use super::changes::Changes;
use super::error::PipelineError;
use super::wire_thread::WireThread;
use super::{CHECKPOINT, Member, PREPARED, Pipeline, SPILL};
use crate::budget::Budget;
use crate::checkpoint::{
    Checkpoint, Checkpointer, FileStore, OriginFilter, SinkProgress, StreamOptions,
};
use crate::event::Batch;
use crate::fanout::{
    FanOut, Lane, LaneError, LaneParts, LaneSender, LaneStatus, Ledger, LedgerMember,
};
use crate::monitor::Monitor;
use crate::name::{SinkName, SlotName};
use crate::recording::Replay;
use crate::shutdown::Shutdown;
use crate::sink::OpenContext;
use crate::state_dir::StateDir;
use crate::stream::{ReplicationStream, Source, StreamStartPoint};
use crate::{Error, ErrorKind, Result};

/// A batch counts for at least this many bytes, so a lane's queue never fills before the budget.
const PARCEL_BYTES_MIN: usize = 512;
/// All best-effort sinks together may hold this part of the budget. What they hold keeps more in
/// memory than it weighs, and beside it there has to be room to read on.
const BEST_EFFORT_SHARE: usize = 4;
/// How often idle progress that waits for the lanes is tried again.
const IDLE_RETRY: Duration = Duration::from_millis(100);
/// How long the last save may take once the lanes have ended.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(pipeline: Pipeline, mut shutdown: Shutdown) -> Result<()> {
    let Pipeline { mut source, state, memory, spill, quorum, drain_timeout, sinks, monitor } =
        pipeline;
    let state = StateDir::open(state)?;
    if spill > 0 && source.spill.is_none() {
        source = source.spill(state.join(SPILL), spill);
    }
    if source.two_phase && source.prepared.is_none() {
        source = source.prepared(state.join(PREPARED));
    }
    let mut checkpointer =
        Checkpointer::open(FileStore::new(state.join(CHECKPOINT))).await.map_err(Error::from)?;
    let thread = WireThread::start()
        .map_err(|error| Error::permanent(ErrorKind::Io, PipelineError::Thread(error)))?;
    let budget = Budget::new(memory);
    let start = start_point(&checkpointer, (&source, &sinks), &budget, &thread)?;
    let connecting = ReplicationStream::start(source.clone(), start);
    let stream = tokio::select! {
        stream = connecting => stream?,
        () = shutdown.drain() => return Ok(()),
    };
    let first = first_checkpoint(checkpointer.saved(), &source, &stream, &sinks);
    checkpointer.begin(first).await.map_err(Error::from)?;
    let control = monitor.serve(&state)?;
    let status_interval = source.status_interval;
    let confirmer = stream.confirmer();
    let changes = Changes::Live(Box::new(stream));
    let parts = Parts { changes, slot: source.slot().clone(), sinks, drain_timeout };
    let known = checkpointer.saved().map(|saved| saved.sinks.clone()).unwrap_or_default();
    let mut running = Running::assemble(parts, &known, &budget);
    let ledger = Ledger::new(running.members.clone(), quorum);
    monitor.attach(confirmer.clone(), &ledger, &source, &budget);
    let (finished_in, finished) = watch::channel(false);
    let bookkeeper = Bookkeeper {
        ledger,
        checkpointer,
        confirmer,
        monitor: monitor.clone(),
        status_interval,
        finished,
    };
    let bookkeeper = AbortOnDrop(tokio::spawn(bookkeeper.run()));
    let ended = running.serve(&mut shutdown, &monitor).await;
    let settled = running.settle(ended, &mut shutdown).await;
    finished_in.send_replace(true);
    let saved = bookkeeper.join().await;
    running.changes.finish().await;
    drop(control);
    settled.and(saved)
}

/// Feed a recording to the sinks, each as one that nothing is known of, and prove it all.
pub(super) async fn replay(
    pipeline: Pipeline,
    replay: Replay,
    mut shutdown: Shutdown,
) -> Result<()> {
    let Pipeline { drain_timeout, sinks, monitor, .. } = pipeline;
    let (slot, budget) = (replay.slot().clone(), replay.budget().clone());
    let changes = Changes::Recorded(Box::new(replay));
    let parts = Parts { changes, slot, sinks, drain_timeout };
    let mut running = Running::assemble(parts, &BTreeMap::new(), &budget);
    let ended = running.serve(&mut shutdown, &monitor).await;
    running.settle(ended, &mut shutdown).await
}

/// Where the checkpoint says to go on.
fn start_point(
    checkpointer: &Checkpointer,
    (source, sinks): (&Source, &[Member]),
    budget: &Budget,
    thread: &WireThread,
) -> Result<StreamStartPoint> {
    let (mut confirmed, mut reached) = (None, None);
    if let Some(saved) = checkpointer.saved() {
        saved.check_source(saved.system_id, source.slot()).map_err(Error::from)?;
        let identity =
            crate::ServerIdentity { system_id: saved.system_id, timeline: saved.timeline };
        let cursors = sinks.iter().filter_map(|sink| saved.sinks.get(&sink.name));
        let furthest = cursors.map(|progress| progress.cursor).max();
        confirmed = Some(saved.confirmed);
        reached = Some((identity, furthest.unwrap_or(saved.confirmed).max(saved.confirmed)));
    }
    let versions = checkpointer.saved().map(|saved| saved.relations.clone()).unwrap_or_default();
    let (budget, runtime) = (budget.clone(), thread.handle());
    Ok(StreamStartPoint { confirmed, reached, versions, budget, runtime })
}

/// Who takes part: saved before anyone is given anything.
fn first_checkpoint(
    before: Option<&Checkpoint>,
    source: &Source,
    stream: &ReplicationStream,
    sinks: &[Member],
) -> Checkpoint {
    let start = stream.handed_out();
    let identity = stream.identity();
    let options = StreamOptions {
        publications: source.publications().to_vec(),
        origin: if source.local_only { OriginFilter::None } else { OriginFilter::Any },
        messages: source.messages.clone(),
    };
    if before.is_some_and(|saved| saved.options != options) {
        tracing::warn!(
            "publications, origin or messages changed: a redelivered transaction may \
                        have other ids than before"
        );
    }
    let entries: BTreeMap<SinkName, SinkProgress> =
        before.map(|saved| saved.sinks.clone()).unwrap_or_default();
    // A new sink is not saved before it has said where it stands: it may hold a past of its own.
    for member in sinks.iter().filter(|member| !entries.contains_key(&member.name)) {
        tracing::info!(sink = %member.name, %start, "a new sink starts where the slot is");
    }
    Checkpoint {
        system_id: identity.system_id,
        timeline: identity.timeline,
        slot: source.slot().clone(),
        consistent_point: before.and_then(|saved| saved.consistent_point).or(stream.created_at()),
        confirmed: start,
        options,
        sinks: entries,
        relations: before.map(|saved| saved.relations.clone()).unwrap_or_default(),
    }
}

type LaneResult = Result<(), LaneError>;

/// What is put together to run.
struct Parts {
    changes: Changes,
    slot: SlotName,
    sinks: Vec<Member>,
    drain_timeout: Duration,
}

/// A pipeline's changes and lanes while they run.
struct Running {
    changes: Changes,
    fan_out: Option<FanOut>,
    lanes: JoinSet<(SinkName, LaneResult)>,
    members: Vec<LedgerMember>,
    rewind: mpsc::Receiver<()>,
    drain_timeout: Duration,
}

/// Why a pipeline stops serving.
enum Stop {
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
    fn assemble(parts: Parts, known: &BTreeMap<SinkName, SinkProgress>, budget: &Budget) -> Self {
        let Parts { changes, slot, sinks, drain_timeout } = parts;
        let start = changes.handed_out();
        let (rewind_in, rewind) = mpsc::channel(1);
        let mut lanes = JoinSet::new();
        let (mut members, mut senders) = (Vec::new(), Vec::new());
        let formats: Vec<_> = sinks.iter().filter_map(|member| member.format.clone()).collect();
        let best_effort = sinks.iter().filter(|member| !member.required).count();
        for member in sinks {
            let Member { name, required, settings, format, sink } = member;
            let is_new = !known.contains_key(&name);
            let entry = known.get(&name).copied();
            let entry = entry.unwrap_or(SinkProgress { cursor: start, data_end: None });
            let (status, status_out) =
                watch::channel(LaneStatus { placed: !is_new, ..LaneStatus::at(entry) });
            let (parcels_in, parcels) = mpsc::channel(budget.limit() / PARCEL_BYTES_MIN + 64);
            let held = Arc::new(AtomicUsize::new(0));
            let mut context = OpenContext::new(name.clone(), slot.clone(), changes.lineage());
            context.share_encoding =
                format.is_some_and(|it| formats.iter().filter(|other| **other == it).count() > 1);
            let parts = LaneParts {
                sink,
                context,
                settings,
                stream_start: start,
                parcels,
                held: Arc::clone(&held),
                contention: budget.contention(),
                status,
                is_new,
                required,
                rewind: rewind_in.clone(),
            };
            let share =
                (!required).then(|| budget.limit() / BEST_EFFORT_SHARE / best_effort.max(1));
            senders.push(LaneSender::new(name.clone(), parcels_in, held, share, start));
            members.push(LedgerMember { name: name.clone(), required, status: status_out });
            lanes.spawn(async move { (name, Lane::new(parts).run().await) });
        }
        let fan_out = Some(FanOut::new(senders));
        Self { changes, fan_out, lanes, members, rewind, drain_timeout }
    }

    /// Hand batches to the lanes until there is a reason to stop.
    async fn serve(&mut self, shutdown: &mut Shutdown, monitor: &Monitor) -> Stop {
        let mut drain_asked = shutdown.clone();
        let mut drain = pin!(drain_asked.drain());
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
                () = tokio::time::sleep(IDLE_RETRY), if has_idle => Next::Idle,
            };
            if let Next::Batch(batch) = &next {
                monitor.handed_out(batch);
            }
            // A full lane may keep this waiting: the end may be asked for meanwhile, or a lane end.
            if let Some(stop) = self.hand_over(next, shutdown).await {
                return stop;
            }
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
    fn lane_ended(&self, ended: Result<(SinkName, LaneResult), JoinError>) -> Option<Stop> {
        match ended {
            Ok((_, Ok(()))) => None,
            Ok((name, Err(error))) => {
                let required = self.members.iter().any(|it| it.name == name && it.required);
                required.then(|| Stop::Lane(error.into()))
            }
            Err(_) => Some(Stop::Lane(panicked("a sink's lane"))),
        }
    }

    /// Bring what was handed out to its end, as far as the reason to stop allows.
    async fn settle(&mut self, stop: Stop, shutdown: &mut Shutdown) -> Result<()> {
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
        let late = |member: &&LedgerMember| {
            member.required && member.status.borrow().progress.cursor < handed_out
        };
        self.members.iter().filter(late).map(|member| member.name.clone()).collect()
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

fn panicked(task: &'static str) -> Error {
    Error::permanent(ErrorKind::Sink, PipelineError::Panicked { task })
}

/// The bookkeeper's task, ended when dropped.
struct AbortOnDrop(JoinHandle<Result<()>>);

impl AbortOnDrop {
    async fn join(mut self) -> Result<()> {
        match tokio::time::timeout(LAST_SAVE_TIMEOUT, &mut self.0).await {
            Ok(Ok(saved)) => saved,
            Ok(Err(_)) => Err(panicked("the bookkeeper")),
            Err(_) => {
                let error = PipelineError::NotSaved { seconds: LAST_SAVE_TIMEOUT.as_secs() };
                Err(Error::permanent(ErrorKind::State, error))
            }
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
