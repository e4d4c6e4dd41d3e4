//! A lane: the task that owns one sink.
//!
//! It writes batches in order, proves them when enough have come, when the linger is over, when the
//! budget is contended or when nothing more comes, and keeps each until it is proven. After any
//! error it opens the sink again and feeds it from where it stands. A transaction that is larger
//! than what a lane keeps is let go of as it is proven in part; should the sink then fail before
//! its Commit, the stream is asked to begin again and what every sink has had is left out. A sink's
//! future is awaited to its end or dropped for good; it never runs beside another of the same sink.
//!
//! ```text
//!             opened                       error, timeout
//!  Opening ─────────────► Running ──────────────────────────► BackingOff ──► Opening
//!     │                      │ no more batches, all proven         │ attempts used up,
//!     │ fatal, gap           ▼                                     ▼ fatal, fenced, rejected
//!     └────► Failed        Closed                                Failed
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Parcel;
use super::progress::{LaneState, LaneStatus};
use super::written::Written;
use crate::checkpoint::{Gap, ResumeError, resume};
use crate::event::{Batch, Mark};
use crate::lsn::Lsn;
use crate::name::SinkName;
use crate::sink::{BoxSink, OpenContext, SinkError, SinkErrorKind};
use crate::stream::Backoff;
use crate::{Error, ErrorKind};

/// How a lane treats its sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSettings {
    /// Prove after this many bytes. 4 MiB by default.
    pub batch_bytes: usize,
    /// Prove this long after the first unproven write. 5 ms by default.
    pub linger: Duration,
    /// How long one call of the sink may take. 5 minutes by default.
    pub timeout: Duration,
    /// What happens after an error.
    pub retry: Retry,
}

/// How often and how soon a failed sink is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first wait. 100 ms by default.
    pub first: Duration,
    /// The longest wait. 30 s by default.
    pub max: Duration,
    /// How many failures in a row are too many; `None`, the default, for no limit.
    pub attempts: Option<u32>,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            batch_bytes: 4 * 1024 * 1024,
            linger: Duration::from_millis(5),
            timeout: Duration::from_secs(300),
            retry: Retry {
                first: Duration::from_millis(100),
                max: Duration::from_secs(30),
                attempts: None,
            },
        }
    }
}

/// Why a lane ended without having proven everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaneError {
    /// The sink failed, and trying again cannot help or was tried often enough.
    #[error("sink {sink} failed{}: {source}", after(*.attempts))]
    Sink {
        /// Which sink.
        sink: SinkName,
        /// How many failures in a row there were.
        attempts: u32,
        /// The last one.
        source: SinkError,
    },
    /// A call did not return in time.
    #[error("sink {sink} did not return from {call} within {} s", limit.as_secs_f32())]
    Timeout {
        /// Which sink.
        sink: SinkName,
        /// What it was asked.
        call: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The sink stands where it cannot go on.
    #[error("sink {sink}: {source}")]
    Resume {
        /// Which sink.
        sink: SinkName,
        /// Why.
        source: ResumeError,
    },
}

fn after(attempts: u32) -> String {
    if attempts > 1 { format!(" {attempts} times in a row") } else { String::new() }
}

impl From<LaneError> for Error {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Resume { source, .. } => source.into(),
            other => Error::permanent(ErrorKind::Sink, other),
        }
    }
}

impl LaneError {
    fn is_final(&self) -> bool {
        match self {
            Self::Sink { source, .. } => !matches!(source.kind(), SinkErrorKind::Unavailable),
            Self::Timeout { .. } => false,
            Self::Resume { .. } => true,
        }
    }
}

/// What a lane is made of.
pub(crate) struct LaneParts {
    pub(crate) sink: BoxSink,
    pub(crate) context: OpenContext,
    pub(crate) settings: LaneSettings,
    /// Before this the stream sends nothing.
    pub(crate) stream_start: Lsn,
    pub(crate) parcels: mpsc::Receiver<Parcel>,
    pub(crate) held: Arc<AtomicUsize>,
    pub(crate) contention: watch::Receiver<bool>,
    pub(crate) status: watch::Sender<LaneStatus>,
    /// Whether the checkpoint knew nothing of this sink before: what it says of itself counts
    /// alone.
    pub(crate) is_new: bool,
    /// Whether the slot waits for this sink.
    pub(crate) required: bool,
    /// Asks for the stream to begin again.
    pub(crate) rewind: mpsc::Sender<()>,
}

/// See the [module](self).
pub(crate) struct Lane {
    parts: LaneParts,
    backoff: Backoff,
    written: Written,
    /// To be written again, before anything new.
    again: VecDeque<Batch>,
    /// Changes before this are not for the sink any more.
    resume: Lsn,
    /// The last event written since the sink was opened.
    mark: Option<Mark>,
    /// What comes is of before a rewind that was asked for.
    awaits_rewind: bool,
    prove_by: Option<Instant>,
    failures: u32,
}

/// What comes next for a lane that runs.
enum Step {
    Write(Batch),
    Reopen(Lsn),
    Nothing,
    Prove,
    End,
}

impl Lane {
    pub(crate) fn new(parts: LaneParts) -> Self {
        let resume = parts.status.borrow().progress.cursor;
        Self {
            backoff: Backoff::new(parts.settings.retry.first, parts.settings.retry.max),
            parts,
            written: Written::default(),
            again: VecDeque::new(),
            resume,
            mark: None,
            awaits_rewind: false,
            prove_by: None,
            failures: 0,
        }
    }

    /// Serve the sink until no more batches come and all are proven, or until it has failed.
    ///
    /// # Cancel safety
    /// Dropping the future drops the sink; what is unproven stays unproven.
    pub(crate) async fn run(mut self) -> Result<(), LaneError> {
        loop {
            let served = match self.open().await {
                Ok(()) => self.serve().await,
                Err(error) => Err(error),
            };
            let Err(error) = served else {
                self.set_state(LaneState::Closed, None);
                return Ok(());
            };
            self.back_off(error).await?;
        }
    }

    async fn open(&mut self) -> Result<(), LaneError> {
        self.set_state(LaneState::Opening, None);
        let entry = self.parts.status.borrow().progress;
        let known = (!self.parts.is_new).then_some(entry);
        // A sink that nothing is known of must not take the start of the slot for its own past.
        self.parts.context.cursor = known.map(|entry| entry.cursor);
        let LaneParts { sink, context, settings, .. } = &mut self.parts;
        let own = bounded(context, "open", settings.timeout, sink.open(context)).await?;
        self.parts.is_new = false;
        self.resume = match resume(own, known, self.parts.stream_start) {
            Ok(at) => at,
            Err(ResumeError::Gap(gap)) if !self.parts.required => self.skip_gap(&gap),
            Err(source) => {
                let sink = self.parts.context.sink.clone();
                return Err(LaneError::Resume { sink, source });
            }
        };
        self.begin_again();
        tracing::info!(sink = %self.parts.context.sink, resume = %self.resume, "sink open");
        self.set_state(LaneState::Running, None);
        Ok(())
    }

    /// Line up what the sink has to be given again.
    fn begin_again(&mut self) {
        let written = std::mem::take(&mut self.written);
        let behind = std::mem::take(&mut self.again);
        self.again = written.batches;
        self.again.extend(behind);
        self.mark = None;
        self.prove_by = None;
        if written.lost_part {
            for batch in std::mem::take(&mut self.again) {
                self.release(batch.weight());
            }
            self.awaits_rewind = true;
            // A request that is already there serves us too.
            let _ = self.parts.rewind.try_send(());
        }
    }

    /// A best-effort sink goes on without what is gone.
    fn skip_gap(&self, gap: &Gap) -> Lsn {
        tracing::warn!(sink = %self.parts.context.sink, %gap, "a best-effort sink skipped changes");
        self.parts.status.send_modify(|status| status.skipped_bytes += gap.bytes());
        gap.to
    }

    async fn serve(&mut self) -> Result<(), LaneError> {
        loop {
            match self.next_step().await {
                Step::Write(batch) => self.write(batch).await?,
                Step::Prove => self.prove().await?,
                Step::Nothing => {}
                Step::Reopen(to) => {
                    self.prove().await?;
                    self.advance(to, None);
                    self.open().await?;
                }
                Step::End => {
                    self.prove().await?;
                    let LaneParts { sink, context, settings, .. } = &mut self.parts;
                    return bounded(context, "close", settings.timeout, sink.close()).await;
                }
            }
        }
    }

    async fn next_step(&mut self) -> Step {
        if self.written.unproven_bytes >= self.parts.settings.batch_bytes {
            return Step::Prove;
        }
        if let Some(batch) = self.again.pop_front() {
            return Step::Write(batch);
        }
        let must_prove = self.prove_by.is_some();
        let by = self.prove_by.unwrap_or_else(Instant::now);
        // Memory may get short only once all of it is proven: what is kept has to go then too.
        let can_give = must_prove || self.written.proven_bytes > 0;
        let LaneParts { contention, parcels, .. } = &mut self.parts;
        let parcel = tokio::select! {
            biased;
            () = tokio::time::sleep_until(by), if must_prove => return Step::Prove,
            Ok(_) = contention.wait_for(|contended| *contended), if can_give => {
                return Step::Prove;
            }
            parcel = parcels.recv() => parcel,
        };
        self.step_of(parcel)
    }

    fn step_of(&mut self, parcel: Option<Parcel>) -> Step {
        match parcel {
            Some(Parcel::Rewound) => {
                self.awaits_rewind = false;
                Step::Nothing
            }
            Some(Parcel::Batch(batch)) if self.awaits_rewind => {
                self.release(batch.weight());
                Step::Nothing
            }
            Some(Parcel::Batch(batch)) => Step::Write(batch),
            Some(Parcel::Skipped { from, to }) => {
                let skipped = to.bytes_since(from);
                self.parts.status.send_modify(|status| status.skipped_bytes += skipped);
                Step::Reopen(to)
            }
            None => Step::End,
        }
    }

    async fn write(&mut self, batch: Batch) -> Result<(), LaneError> {
        let mut rest = batch.after(self.resume);
        if let Some(mark) = self.mark {
            rest = rest.after_mark(mark);
        }
        if rest.is_empty() {
            self.written.push(rest);
            if self.prove_by.is_none() {
                self.settle_all();
            }
            return Ok(());
        }
        let (events, end) = (rest.len() as u64, rest.end());
        self.mark = rest.last_mark();
        self.written.push(rest.clone());
        self.prove_by.get_or_insert_with(|| Instant::now() + self.parts.settings.linger);
        let LaneParts { sink, context, settings, .. } = &mut self.parts;
        bounded(context, "write", settings.timeout, sink.write(rest)).await?;
        if let Some(settled) = sink.settled() {
            self.settle(settled);
        }
        self.parts.status.send_if_modified(|status| {
            status.events += events;
            status.delivered = status.delivered.max(end);
            false
        });
        Ok(())
    }

    async fn prove(&mut self) -> Result<(), LaneError> {
        self.prove_by = None;
        if self.written.has_unproven_events() {
            let begin = Instant::now();
            let LaneParts { sink, context, settings, .. } = &mut self.parts;
            bounded(context, "flush", settings.timeout, sink.flush()).await?;
            let took = begin.elapsed();
            self.parts.status.send_if_modified(|status| {
                status.flush_time = took;
                false
            });
        }
        self.settle_all();
        Ok(())
    }

    /// Everything written is proven.
    fn settle_all(&mut self) {
        let Some(end) = self.written.batches.back().map(Batch::end) else { return };
        self.settle(end);
        self.written.mark_proven();
        let keep = self.parts.settings.batch_bytes;
        if self.written.proven_bytes > keep || *self.parts.contention.borrow() {
            let bytes = self.written.let_go();
            self.release(bytes);
        }
    }

    /// Everything up to `end` is proven; what was cut short by it is kept.
    fn settle(&mut self, end: Lsn) {
        let data_end = self.written.data_end(end);
        let bytes = self.written.drop_through(end);
        self.release(bytes);
        if self.written.batches.is_empty() {
            self.prove_by = None;
        }
        self.failures = 0;
        self.backoff.reset();
        self.advance(end, data_end);
    }

    /// The cursor and the end of the data before it rise together.
    fn advance(&mut self, cursor: Lsn, data_end: Option<Lsn>) {
        self.parts.status.send_if_modified(|status| {
            let before = status.progress;
            let progress = &mut status.progress;
            progress.cursor = progress.cursor.max(cursor);
            progress.data_end = progress.data_end.max(data_end);
            status.delivered = status.delivered.max(cursor);
            *progress != before
        });
    }

    fn release(&self, bytes: usize) {
        self.parts.held.fetch_sub(bytes, Ordering::AcqRel);
    }

    async fn back_off(&mut self, error: LaneError) -> Result<(), LaneError> {
        self.failures = self.failures.saturating_add(1);
        let limit = self.parts.settings.retry.attempts;
        let sink = self.parts.context.sink.clone();
        if error.is_final() || limit.is_some_and(|limit| self.failures >= limit) {
            let text = error.to_string();
            tracing::error!(%sink, error = %text, "giving the sink up");
            self.set_state(LaneState::Failed, Some(text));
            return Err(match error {
                LaneError::Sink { sink, source, .. } => {
                    LaneError::Sink { sink, attempts: self.failures, source }
                }
                other => other,
            });
        }
        let wanted = match &error {
            LaneError::Sink { source, .. } => source.retry_after(),
            _ => None,
        };
        let wait = wanted.unwrap_or_default().max(self.backoff.next());
        let text = error.to_string();
        tracing::warn!(%sink, error = %text, ?wait, "the sink failed; trying again");
        self.parts.status.send_modify(|status| status.retries += 1);
        self.set_state(LaneState::BackingOff, Some(text));
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn set_state(&self, state: LaneState, error: Option<String>) {
        self.parts.status.send_modify(|status| {
            status.state = state;
            // What went wrong stays visible until the sink works again.
            if error.is_some() || matches!(state, LaneState::Running | LaneState::Closed) {
                status.error = error;
            }
        });
    }
}

/// A call of the sink that ends in time or is dropped.
async fn bounded<T>(
    context: &OpenContext,
    call: &'static str,
    limit: Duration,
    future: impl Future<Output = Result<T, SinkError>>,
) -> Result<T, LaneError> {
    let sink = || context.sink.clone();
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(LaneError::Sink { sink: sink(), attempts: 1, source }),
        Err(_) => Err(LaneError::Timeout { sink: sink(), call, limit }),
    }
}
