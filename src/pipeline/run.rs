//! The life of a running pipeline, from the state directory to the last status update.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::bookkeeper::Bookkeeper;
use super::changes::Changes;
use super::error::PipelineError;
use super::running::{Parts, Running, panicked};
use super::seat::Known;
use super::wire_thread::WireThread;
use super::{CHECKPOINT, Member, PREPARED, Pipeline, SPILL};
use crate::budget::Budget;
use crate::checkpoint::{
    self, Apart, Checkpoint, Checkpointer, FileStore, Held, OriginFilter, Rule, SinkProgress,
    StreamOptions, Tally,
};
use crate::fanout::Ledger;
use crate::lsn::Lsn;
use crate::name::SinkName;
use crate::recording::Replay;
use crate::shutdown::Shutdown;
use crate::state_dir::StateDir;
use crate::stream::{EarlyConsumer, ReplicationStream, Source, StreamStartPoint};
use crate::{Error, ErrorKind, Result};

/// How long the last save may take once the lanes have ended.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(pipeline: Pipeline, mut shutdown: Shutdown) -> Result<()> {
    let Pipeline { mut source, state, memory, spill, rule, drain_timeout, sinks, monitor } =
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
    let start = start_point(&checkpointer, (&source, &sinks, rule), &budget, &thread)?;
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
    let known = checkpointer
        .saved()
        .map(|saved| Known { sinks: saved.sinks.clone(), apart: saved.apart.clone() });
    let known = known.unwrap_or_default();
    let mut running = Running::assemble(parts, &known, &budget);
    let ledger = Ledger::new(running.members(), rule);
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
    let mut running = Running::assemble(parts, &Known::default(), &budget);
    let ended = running.serve(&mut shutdown, &monitor).await;
    running.settle(ended, &mut shutdown).await
}

/// Where the checkpoint says to go on.
fn start_point(
    checkpointer: &Checkpointer,
    (source, sinks, rule): (&Source, &[Member], Rule),
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
    let (budget, runtime, early) = (budget.clone(), thread.handle(), EarlyConsumer::Lanes);
    let applied = checkpointer.saved().and_then(|saved| applied_before(saved, sinks, rule));
    Ok(StreamStartPoint { confirmed, applied, reached, versions, budget, runtime, early })
}

/// What a quorum of `sinks` had proven by what was saved.
fn applied_before(saved: &Checkpoint, sinks: &[Member], rule: Rule) -> Option<Lsn> {
    let required = sinks.iter().filter(|sink| sink.required);
    let member = |sink: &Member| {
        let progress = saved.sinks.get(&sink.name).copied();
        // A new sink starts where the slot is.
        let progress = progress.unwrap_or(SinkProgress { cursor: saved.confirmed, data_end: None });
        let held = match saved.apart.get(&sink.name) {
            Some(Apart::Detached) => Held::Detached,
            _ => Held::ByCursor,
        };
        (sink.name.clone(), checkpoint::Member { progress, held, placed: true })
    };
    Tally { members: required.map(member).collect(), rule }.quorum()
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
        apart: before.map(|saved| saved.apart.clone()).unwrap_or_default(),
        relations: before.map(|saved| saved.relations.clone()).unwrap_or_default(),
    }
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
