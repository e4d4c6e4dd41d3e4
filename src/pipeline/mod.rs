//! One source, many sinks, progress that survives.
//!
//! A [`Pipeline`] is described, then [`run`](Pipeline::run). Running, it reads the checkpoint,
//! opens the stream where that says, gives each sink a lane, and lets nothing reach the slot that
//! is not in a saved checkpoint. Three tasks carry it besides the lanes: the wire task on a thread
//! of its own, so that a sink that blocks its executor cannot starve the server of answers; the
//! fan-out, which reads the stream; and the bookkeeper, which saves and confirms.
//!
//! ```text
//!   stream ─► fan-out ─┬─► lane 1 ─┐ status
//!                      ├─► lane 2 ─┼────────► bookkeeper: tally, save, then confirm ─► stream
//!                      └─► lane N ─┘
//! ```

mod bookkeeper;
mod changes;
mod error;
mod run;
mod running;
mod seat;
mod wire_thread;

use std::path::PathBuf;
use std::time::Duration;

use crate::checkpoint::{CheckpointStore as _, FileStore, Release, Rule};
use crate::codec::EventFormat;
use crate::fanout::LaneSettings;
use crate::monitor::{Monitor, Status, Stopped};
use crate::name::SinkName;
use crate::recording::Replay;
use crate::shutdown::Shutdown;
use crate::sink::{BoxSink, Sink};
use crate::stream::{Source, StreamedDelivery};
use crate::{Error, ErrorKind, Result};

pub use error::PipelineError;

/// The file in the state directory that says how far everyone is.
const CHECKPOINT: &str = "checkpoint";
/// The directory in it for open transactions that do not fit the memory.
const SPILL: &str = "spill";
/// The directory in it for prepared transactions.
const PREPARED: &str = "prepared";
/// Bytes on disk for open transactions by default.
const SPILL_DEFAULT: u64 = 8 * 1024 * 1024 * 1024;
/// Bytes in flight by default.
const MEMORY_DEFAULT: usize = 64 * 1024 * 1024;
/// The least that a pipeline can work with.
const MEMORY_MIN: usize = 1024 * 1024;

/// Streams a source into sinks. See the [module](self).
///
/// ```no_run
/// use walcast::sinks::file::FileSink;
/// use walcast::{Pipeline, Shutdown, Source};
/// # async fn example() -> walcast::Result<()> {
/// let source = Source::new("postgres://localhost/shop", "walcast", ["shop"])?.create_slot(true);
/// let pipeline = Pipeline::new(source, "./walcast-state").sink("audit",
/// FileSink::new("audit.jsonl"))?; pipeline.run(Shutdown::on_signals()?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pipeline {
    source: Source,
    state: PathBuf,
    memory: usize,
    spill: u64,
    rule: Rule,
    drain_timeout: Duration,
    sinks: Vec<Member>,
    monitor: Monitor,
}

/// A sink of the pipeline.
struct Member {
    name: SinkName,
    required: bool,
    settings: LaneSettings,
    on_lag: OnLag,
    format: Option<EventFormat>,
    sink: BoxSink,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name)
            .field("required", &self.required)
            .finish()
    }
}

/// How a sink takes part in a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Whether the slot waits for it. A sink that is not required skips changes rather than hold
    /// anything up.
    pub required: bool,
    /// How it is treated.
    pub settings: LaneSettings,
    /// What happens when it falls behind; when `None`, everything waits for a required sink, and
    /// any other skips.
    pub on_lag: Option<OnLag>,
    /// What it encodes changes as, if that is one of the formats: an encoding that several sinks
    /// use is made once.
    pub format: Option<EventFormat>,
}

impl Default for Membership {
    fn default() -> Self {
        let settings = LaneSettings::default();
        Self { required: true, settings, on_lag: None, format: None }
    }
}

/// What happens when a sink falls behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLag {
    /// Everything waits for it once the memory is full; the slot is held, the connection lives.
    /// Only for a required sink.
    Block,
    /// It leaves out whole transactions, and says so. Only for a sink that is not required.
    Skip,
    /// It is left behind, and the others go on: its position is saved, what comes after that is not
    /// kept for it, and it has to be loaded anew. The last sink that the slot waits for is not: the
    /// run ends instead.
    Detach {
        /// How long it may prove nothing, or hold memory that others wait for.
        after: Duration,
    },
}

impl OnLag {
    /// [`Detach`](Self::Detach) after a minute.
    pub const fn detach() -> Self {
        Self::Detach { after: seat::DETACH_AFTER }
    }

    /// Whether WAL may go that the sink has not proven.
    fn outlives_lag(self) -> bool {
        matches!(self, Self::Detach { .. })
    }
}

impl Pipeline {
    /// A pipeline from `source` that keeps its state in the directory `state`, made if need be.
    pub fn new(source: Source, state: impl Into<PathBuf>) -> Self {
        Self {
            source,
            state: state.into(),
            memory: MEMORY_DEFAULT,
            spill: SPILL_DEFAULT,
            rule: Rule::default(),
            drain_timeout: Duration::from_secs(10),
            sinks: Vec::new(),
            monitor: Monitor::new(),
        }
    }

    /// Add a required sink.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name that cannot be or is taken.
    pub fn sink(self, name: &str, sink: impl Sink) -> Result<Self> {
        self.member(name, sink, Membership::default())
    }

    /// Add a sink.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name that cannot be or is taken, and for a policy that
    /// contradicts whether the sink is required.
    pub fn member(mut self, name: &str, sink: impl Sink, as_: Membership) -> Result<Self> {
        let config = |error: PipelineError| Error::permanent(ErrorKind::Config, error);
        let name = SinkName::new(name).map_err(|error| config(error.into()))?;
        if self.sinks.iter().any(|member| member.name == name) {
            return Err(config(PipelineError::DuplicateSink { name }));
        }
        let Membership { required, settings, on_lag, format } = as_;
        let on_lag = on_lag.unwrap_or(if required { OnLag::Block } else { OnLag::Skip });
        match on_lag {
            OnLag::Block if !required => {
                return Err(config(PipelineError::BlocksUnneeded { name }));
            }
            OnLag::Skip if required => return Err(config(PipelineError::SkipsNeeded { name })),
            _ => {}
        }
        let sink = BoxSink::new(sink);
        self.sinks.push(Member { name, required, settings, on_lag, format, sink });
        Ok(self)
    }

    /// The bound on bytes in flight: 64 MiB by default, 1 MiB at least.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes.max(MEMORY_MIN);
        self
    }

    /// The bound on bytes on disk for large transactions that have not committed: 8 GiB by default.
    /// With 0 there are none; past it the server keeps them, see
    /// [`Source::streaming`](Source::streaming).
    pub fn spill(mut self, bytes: u64) -> Self {
        self.spill = bytes;
        self
    }

    /// How many required sinks have to have a change for it to count as applied; all by default.
    pub fn quorum(mut self, quorum: usize) -> Self {
        self.rule.quorum = Some(quorum);
        self
    }

    /// Whose durability lets the slot release WAL: that of all required sinks by default.
    ///
    /// With [`Release::Quorum`] a crash may leave slower sinks behind, which is only allowed where
    /// each required one says so by its [`OnLag`].
    pub fn release(mut self, release: Release) -> Self {
        self.rule.release = release;
        self
    }

    /// How long draining may take before the pipeline lets go. 10 s by default.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// What shows how the pipeline does, while it runs.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// How the pipeline stands while no process runs it: what the last run saved in the state
    /// directory, which is neither made nor locked, beside what the server says now. Asks the
    /// server, three seconds at most.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn saved_status(&self) -> Status {
        let sinks = self.sinks.iter().map(|member| (&member.name, member.required)).collect();
        let stopped = Stopped { source: &self.source, sinks, memory: self.memory };
        let checkpoint = FileStore::new(self.state.join(CHECKPOINT)).load().await;
        stopped.status(checkpoint).await
    }

    /// Run until `shutdown` asks for the end, or until something is in the way for good.
    ///
    /// # Errors
    /// What stands between the stream and its slot ([`StreamError`](crate::stream::StreamError)); a
    /// sink that gave up ([`LaneError`](crate::fanout::LaneError)); a state directory that cannot
    /// be used. Nothing is lost by any of them: a new run goes on from what was confirmed.
    ///
    /// # Cancel safety
    /// Dropping the future aborts: what is unproven comes again in the next run.
    pub async fn run(self, shutdown: Shutdown) -> Result<()> {
        self.check()?;
        self.check_early()?;
        run::run(self, shutdown).await
    }

    /// Feed a recording to the sinks instead, with no server and without the state directory, and
    /// end when it is proven. Each sink goes on from where it says that it stands; one that holds
    /// nothing takes all of it.
    ///
    /// # Errors
    /// What is wrong with the recording ([`JournalError`](crate::journal::JournalError)); a sink
    /// that gave up, or that stands before the recording begins.
    ///
    /// # Cancel safety
    /// Dropping the future aborts; the recording is only read.
    pub async fn replay(self, recording: Replay, shutdown: Shutdown) -> Result<()> {
        self.check()?;
        run::replay(self, recording, shutdown).await
    }

    fn check(&self) -> Result<()> {
        let required = self.sinks.iter().filter(|member| member.required).count();
        let held = self.sinks.iter().filter(|sink| sink.required && !sink.on_lag.outlives_lag());
        let held: Vec<SinkName> = held.map(|sink| sink.name.clone()).collect();
        let error = match self.rule.quorum {
            _ if required == 0 => PipelineError::NoRequiredSink,
            Some(quorum) if quorum == 0 || quorum > required => {
                PipelineError::Quorum { quorum, required }
            }
            _ if self.rule.release == Release::Quorum && !held.is_empty() => {
                PipelineError::ReleasesNeeded { sinks: held }
            }
            _ => return Ok(()),
        };
        Err(Error::permanent(ErrorKind::Config, error))
    }

    fn check_early(&self) -> Result<()> {
        let takes = |member: &Member| member.sink.takes_uncommitted();
        if self.source.streamed_delivery == StreamedDelivery::Held || self.sinks.iter().any(takes) {
            return Ok(());
        }
        Err(Error::permanent(ErrorKind::Config, PipelineError::NoEarlySink))
    }
}
