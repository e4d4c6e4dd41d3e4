//! A lane: the task that owns one sink.
//!
//! It writes batches in order, proves them when enough have come, when the linger is over, when the
//! budget is contended or when nothing more comes, and keeps each until it is proven. After any
//! error it opens the sink again and feeds it from where it stands. A transaction that is larger
//! than what a lane keeps is let go of as it is proven in part; should the sink then fail before
//! its Commit, the stream is asked to begin again and what every sink has had is left out. A sink's
//! future is awaited to its end or dropped for good; it never runs beside another of the same sink.
//!
//! A best-effort sink that falls behind is told that what follows is left out, lets go of the
//! transaction it is in, and goes on where it is told to.
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
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Parcel;
use super::error::{LaneError, bounded};
use super::progress::{Gauge, LaneState, LaneStatus};
use super::written::Written;
use crate::checkpoint::{Gap, ResumeError, resume};
use crate::event::{Batch, Given, Mark};
use crate::lsn::Lsn;
use crate::sink::{BoxSink, OpenContext};
use crate::stream::Backoff;

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

/// What a lane is made of.
pub(crate) struct LaneParts {
    pub(crate) sink: BoxSink,
    pub(crate) context: OpenContext,
    pub(crate) settings: LaneSettings,
    /// Before this the stream sends nothing.
    pub(crate) stream_start: Lsn,
    pub(crate) parcels: mpsc::Receiver<Parcel>,
    pub(crate) gauge: Arc<Gauge>,
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
    /// What the sink was given before it committed, since it was opened.
    given: Given,
    /// What comes is of before a rewind that was asked for.
    awaits_rewind: bool,
    /// What follows is left out; what was begun before is never finished.
    left_out: bool,
    /// Where to go on once nothing is to be written again.
    rejoin: Option<Lsn>,
    prove_by: Option<Instant>,
    failures: u32,
}

/// What comes next for a lane that runs.
enum Step {
    Write(Batch),
    Show(Batch),
    Rejoin(Lsn),
    LeaveOut,
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
            given: Given::default(),
            awaits_rewind: false,
            left_out: false,
            rejoin: None,
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
        let before = self.resume;
        self.resume = match resume(own, known, self.parts.stream_start) {
            Ok(at) => at,
            Err(ResumeError::Gap(gap)) if !self.parts.required => self.skip_gap(&gap),
            Err(source) => {
                let sink = self.parts.context.sink.clone();
                return Err(LaneError::Resume { sink, source });
            }
        };
        self.parts.status.send_modify(|status| status.placed = true);
        // What was cut from the batches at hand is wanted when the sink stands lower now.
        self.begin_again(self.resume < before);
        tracing::info!(sink = %self.parts.context.sink, resume = %self.resume, "sink open");
        self.set_state(LaneState::Running, None);
        Ok(())
    }

    /// Line up what the sink has to be given again. What is `lost` has to be read again.
    fn begin_again(&mut self, lost: bool) {
        let written = std::mem::take(&mut self.written);
        let behind = std::mem::take(&mut self.again);
        self.again = written.batches;
        self.again.extend(behind);
        self.mark = None;
        self.prove_by = None;
        // What was written is given again whole, each transaction with its Commit.
        self.given = Given::default();
        if !lost && !written.lost_part {
            return;
        }
        for batch in std::mem::take(&mut self.again) {
            self.release(batch.weight());
        }
        if !self.left_out {
            self.awaits_rewind = true;
            // A request that is already there serves us too.
            let _ = self.parts.rewind.try_send(());
        }
    }

    /// A best-effort sink goes on without what is gone.
    fn skip_gap(&self, gap: &Gap) -> Lsn {
        tracing::warn!(sink = %self.parts.context.sink, %gap, "a best-effort sink skipped changes");
        self.count_skipped(gap.bytes());
        gap.to
    }

    fn count_skipped(&self, bytes: u64) {
        self.parts.status.send_modify(|status| status.skipped_bytes += bytes);
    }

    async fn serve(&mut self) -> Result<(), LaneError> {
        loop {
            match self.next_step().await {
                Step::Write(batch) => self.write(batch).await?,
                Step::Show(batch) => {
                    let shown = self.given.admit(&batch);
                    let taken = self.show(shown).await;
                    self.release(batch.weight());
                    taken?;
                }
                Step::Prove => self.prove().await?,
                Step::Nothing => {}
                Step::Rejoin(at) => self.rejoin(at).await?,
                Step::LeaveOut => {
                    self.left_out = true;
                    self.prove().await?;
                }
                Step::End => {
                    self.prove().await?;
                    if self.awaits_rewind {
                        return Err(LaneError::CutOff { sink: self.parts.context.sink.clone() });
                    }
                    let LaneParts { sink, context, settings, .. } = &mut self.parts;
                    return bounded(context, "close", settings.timeout, sink.close()).await;
                }
            }
        }
    }

    /// Go on at `at`: what lies before and is not proven is left out.
    async fn rejoin(&mut self, at: Lsn) -> Result<(), LaneError> {
        self.prove().await?;
        // Whatever part of it the sink lost, the transaction before `at` is not asked for again.
        self.written.lost_part = false;
        (self.left_out, self.rejoin) = (false, None);
        self.advance(at, None);
        self.open().await
    }

    async fn next_step(&mut self) -> Step {
        if self.written.unproven_bytes >= self.parts.settings.batch_bytes.max(1) {
            return Step::Prove;
        }
        if let Some(batch) = self.again.pop_front() {
            return Step::Write(batch);
        }
        if let Some(at) = self.rejoin {
            return Step::Rejoin(at);
        }
        let must_prove = self.prove_by.is_some();
        let by = self.prove_by.unwrap_or_else(Instant::now);
        // Memory may get short only once all of it is proven: what is kept has to go then too.
        let can_give = must_prove || self.written.proven_bytes > 0;
        let LaneParts { contention, parcels, gauge, .. } = &mut self.parts;
        gauge.set_rests(!must_prove);
        let parcel = tokio::select! {
            biased;
            () = tokio::time::sleep_until(by), if must_prove => return Step::Prove,
            Ok(_) = contention.wait_for(|contended| *contended), if can_give => {
                return Step::Prove;
            }
            parcel = parcels.recv() => parcel,
        };
        gauge.set_rests(false);
        self.step_of(parcel)
    }

    fn step_of(&mut self, parcel: Option<Parcel>) -> Step {
        match parcel {
            Some(Parcel::Rewound { from }) => {
                if std::mem::take(&mut self.awaits_rewind) && from > self.resume {
                    return self.skip(self.resume, from);
                }
                Step::Nothing
            }
            Some(Parcel::Batch(batch)) if self.awaits_rewind => {
                self.release(batch.weight());
                Step::Nothing
            }
            Some(Parcel::Batch(batch)) if batch.is_early() => Step::Show(batch),
            Some(Parcel::Batch(batch)) => Step::Write(batch),
            Some(Parcel::LeavingOut) => Step::LeaveOut,
            Some(Parcel::Skipped { from, to }) => self.skip(from, to),
            None => Step::End,
        }
    }

    /// What is between `from` and `to` is not for a best-effort sink any more. Another's sink is
    /// never behind what is confirmed.
    fn skip(&mut self, from: Lsn, to: Lsn) -> Step {
        debug_assert!(!self.parts.required, "a required sink skips nothing");
        self.count_skipped(to.bytes_since(from));
        (self.left_out, self.rejoin) = (true, Some(to));
        Step::Nothing
    }

    async fn write(&mut self, batch: Batch) -> Result<(), LaneError> {
        let mut rest = batch.after(self.resume);
        if let Some(mark) = self.mark {
            rest = rest.after_mark(mark);
        }
        self.written.push(rest.clone());
        self.take_back(&batch, &rest).await?;
        if rest.is_empty() {
            if self.prove_by.is_none() {
                self.settle_all();
            }
            return Ok(());
        }
        let end = rest.end();
        let shown = self.given.show(rest);
        let events = shown.len() as u64;
        self.mark = shown.last_mark().or(self.mark);
        self.prove_by.get_or_insert_with(|| Instant::now() + self.parts.settings.linger);
        let LaneParts { sink, context, settings, .. } = &mut self.parts;
        if !shown.is_empty() {
            bounded(context, "write", settings.timeout, sink.write(shown)).await?;
        }
        if let Some(settled) = sink.settled() {
            // Nobody can have proven what was not given.
            let settled = settled.min(end);
            if settled > self.parts.status.borrow().progress.cursor {
                self.works();
            }
            self.settle(settled);
        }
        self.parts.status.send_if_modified(|status| {
            status.events += events;
            status.delivered = status.delivered.max(end);
            false
        });
        Ok(())
    }

    /// Give the sink what has not committed. Nothing of it is kept or proven: should the sink fail,
    /// it is given what commits of it as if it had not been told before.
    async fn show(&mut self, shown: Batch) -> Result<(), LaneError> {
        if shown.is_empty() {
            return Ok(());
        }
        let events = shown.len() as u64;
        let LaneParts { sink, context, settings, .. } = &mut self.parts;
        bounded(context, "write", settings.timeout, sink.write(shown)).await?;
        self.parts.status.send_if_modified(|status| {
            status.events += events;
            // It has nothing to prove of it, and is not behind.
            status.proofs += 1;
            false
        });
        Ok(())
    }

    /// Make void what the sink was given early of transactions that it has: of `batch`, what is
    /// not in `rest`.
    async fn take_back(&mut self, batch: &Batch, rest: &Batch) -> Result<(), LaneError> {
        let xids = self.given.given_again(batch, rest);
        if xids.is_empty() {
            return Ok(());
        }
        let lineage = Arc::clone(&self.parts.context.lineage);
        // It proves nothing that was not proven before.
        let cursor = self.parts.status.borrow().progress.cursor;
        self.show(Batch::aborts(lineage, cursor, xids)).await
    }

    async fn prove(&mut self) -> Result<(), LaneError> {
        self.prove_by = None;
        if self.written.has_unproven_events() {
            let begin = Instant::now();
            let LaneParts { sink, context, settings, .. } = &mut self.parts;
            bounded(context, "flush", settings.timeout, sink.flush()).await?;
            self.works();
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
        let is_short = *self.parts.contention.borrow();
        if self.written.proven_bytes > keep || is_short || self.left_out {
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
        self.advance(end, data_end);
    }

    /// The sink has proven something.
    fn works(&mut self) {
        self.failures = 0;
        self.backoff.reset();
        self.parts.status.send_if_modified(|status| {
            status.proofs += 1;
            false
        });
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
        self.parts.gauge.give_back(bytes);
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
