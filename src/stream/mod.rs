//! A slot as a stream of batches, for those with a loop of their own.
//!
//! [`ReplicationStream`] connects, yields [`Batch`]es in commit order and connects again when the
//! connection breaks, going on from what was confirmed and leaving out what it had handed out
//! before. A [`Confirmer`] tells it what is durable; nothing else moves the slot. Liveness does not
//! depend on being polled: a task of its own answers the server. Errors that trying again cannot
//! mend are yielded once, and the stream ends.
//!
//! ```text
//!            connected                    broken, transient
//!  Connecting ───────► Streaming ──┬──────────────────────► Waiting ──► Connecting
//!      │                 │   ▲     │ idle progress             (backoff, jitter)
//!      │ permanent       │   │     ▼
//!      ▼                 │  Verifying (do the publications still exist?)
//!    Ended ◄─────────────┘ permanent
//! ```
//!
//! Before the first rows of a table are handed out, the catalogue is asked about it (Describing):
//! they carry its answer.
//!
//! ```text
//!  Streaming ──► Describing ──► Streaming
//! ```

mod asking;
mod backoff;
mod confirmer;
mod connection;
mod early;
mod error;
mod history;
mod hold;
mod judge;
mod live;
mod opening;
mod patience;
mod prepared;
mod prepared_error;
mod source;
mod spill;
mod tap;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use crate::budget::Budget;
use crate::event::{Batch, CatalogEntry, RelationVersions};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::ServerIdentity;
use crate::net::{Format, Request, Streaming};
use crate::session::HandedOut;
use crate::{Error, ErrorKind, Result};

pub(crate) use backoff::Backoff;
pub use confirmer::Confirmer;
pub(crate) use early::EarlyConsumer;
pub use error::StreamError;
pub use prepared_error::PreparedError;
pub use source::{Source, StreamedDelivery, WireFormat};

use confirmer::Shared;
use connection::{Answer, Attempt, Connection};
use early::EarlyShown;
use live::{Idle, Live, Next, Shares};
pub(crate) use opening::StreamStartPoint;
use opening::{AbortOnDrop, BACKOFF_FIRST, first_connection};
use patience::Patience;
use prepared::PreparedTransactions;
pub(crate) use tap::Tapped;

const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long the wire task may take to end the stream in order.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle progress is handed out at most this often.
const IDLE_GAP: Duration = Duration::from_secs(1);

/// A slot's changes, batch by batch. See the [module](self).
///
/// ```no_run
/// use futures::StreamExt;
/// # async fn example() -> walcast::Result<()> {
/// let source = walcast::Source::new("postgres://localhost/shop", "walcast", ["shop"])?;
/// let mut stream = walcast::ReplicationStream::connect(source).await?;
/// let confirmer = stream.confirmer();
/// while let Some(batch) = stream.next().await.transpose()? {
///     for event in batch.events() {
///         println!("{event:?}");
///     }
///     confirmer.vouch_durable(batch.end())?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReplicationStream {
    state: State,
    source: Arc<Source>,
    shared: Arc<Shared>,
    runtime: Handle,
    handed: HandedOut,
    identity: ServerIdentity,
    created: Option<Lsn>,
    /// Binary was found not to do.
    text: bool,
    /// Whether large transactions are sent while they run; off once they could not be held.
    streaming: Streaming,
    /// Where prepared transactions are kept, if they are asked for.
    prepared: Option<PreparedTransactions>,
    backoff: Backoff,
    patience: Patience,
    idle_gap: Duration,
    last_idle: Option<Instant>,
    /// What is to be recorded of what was handed out.
    tapped: Vec<Tapped>,
    early: EarlyShown,
}

#[derive(Debug)]
enum State {
    Connecting(AbortOnDrop),
    Waiting(Pin<Box<Sleep>>),
    Streaming(Box<Live>),
    Verifying(Box<Live>, Option<Batch>, Verdict),
    Describing(Box<Live>, Answer<Vec<CatalogEntry>>),
    Ended,
}

type Verdict = Answer<()>;

/// Bytes in flight of a stream that nothing else is said of.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;

impl ReplicationStream {
    /// Connect and stream from where the slot stands.
    ///
    /// # Errors
    /// Everything that is in the way: see [`StreamError`] and
    /// [`ConnectError`](crate::net::ConnectError).
    ///
    /// # Cancel safety
    /// Dropping the future closes whatever was opened; a slot or publication may have been made.
    pub async fn connect(source: Source) -> Result<Self> {
        let budget = Budget::new(BUDGET_BYTES);
        let start = StreamStartPoint {
            confirmed: None,
            applied: None,
            reached: None,
            versions: RelationVersions::default(),
            budget,
            runtime: Handle::current(),
            early: EarlyConsumer::Stream,
        };
        Self::start(source, start).await
    }

    /// Connect and stream from `start`.
    pub(crate) async fn start(source: Source, start: StreamStartPoint) -> Result<Self> {
        let source = Arc::new(source);
        let shared = Arc::new(Shared::new(start.budget.clone()));
        let streaming = source.first_streaming();
        if source.streamed_delivery == StreamedDelivery::Early && streaming == Streaming::Off {
            return Err(StreamError::EarlyUnstreamed.into());
        }
        if let Some(spill) = &source.spill {
            spill.wipe().map_err(|error| Error::permanent(ErrorKind::Io, error))?;
        }
        let prepared = PreparedTransactions::of(&source).await?;
        let attempt = Attempt {
            prepared: prepared.clone(),
            source: Arc::clone(&source),
            budget: start.budget,
            progress: shared.progress.subscribe(),
            gauges: Arc::clone(&shared.gauges),
            confirmed: start.confirmed,
            reached: start.reached,
            text: false,
            streaming,
            temporary_used: false,
            silence: source.silence_timeout,
        };
        let connection = first_connection(&start.runtime, attempt).await?;
        let mut patience = Patience::default();
        patience.connected(connection.walsender);
        let at = connection.start;
        shared.begin_at(at, start.applied, &start.versions);
        let handed = HandedOut { end: at, partial: None };
        let identity = connection.lineage.identity();
        shared.timeline.store(identity.timeline.as_u32(), Ordering::Release);
        let idle_gap = IDLE_GAP.min(source.status_interval / 2);
        let shares = Shares { shared: &shared, streaming };
        let early = EarlyShown::new(source.streamed_delivery, start.early);
        Ok(Self {
            early,
            identity,
            created: connection.created,
            state: State::Streaming(Live::new(connection, &source, handed, shares)),
            source,
            shared,
            runtime: start.runtime,
            handed,
            text: false,
            streaming,
            prepared,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_MAX),
            patience,
            idle_gap,
            last_idle: None,
            tapped: Vec::new(),
        })
    }

    /// What tells this stream that something is durable.
    pub fn confirmer(&self) -> Confirmer {
        Confirmer { shared: Arc::clone(&self.shared) }
    }

    /// Which server it reads from.
    pub fn identity(&self) -> ServerIdentity {
        self.identity
    }

    /// The end of what was handed out; at first, where the stream starts.
    pub fn handed_out(&self) -> Lsn {
        self.handed.end
    }

    /// The consistent point, if this stream made the slot.
    pub fn created_at(&self) -> Option<Lsn> {
        self.created
    }

    /// How values are being sent; `None` while there is no connection.
    pub fn format(&self) -> Option<Format> {
        match &self.state {
            State::Streaming(live) | State::Verifying(live, ..) | State::Describing(live, ..) => {
                Some(live.connection.format)
            }
            _ => None,
        }
    }

    /// The timelines of the server; `None` while there is no connection.
    pub(crate) fn lineage(&self) -> Option<Arc<Lineage>> {
        match &self.state {
            State::Streaming(live) | State::Verifying(live, ..) | State::Describing(live, ..) => {
                Some(Arc::clone(&live.connection.lineage))
            }
            _ => None,
        }
    }

    /// Whether part of a transaction was handed out whose Commit is still to come.
    pub fn in_transaction(&self) -> bool {
        self.handed
            .partial
            .is_some_and(|(commit_lsn, index)| index > 0 && commit_lsn >= self.handed.end)
    }

    /// Connect again and read from what is confirmed, leaving nothing out: what was handed out
    /// since comes again.
    pub(crate) fn rewind(&mut self) {
        if matches!(self.state, State::Ended) {
            return;
        }
        self.early.broke(&mut self.handed);
        self.handed = HandedOut { end: self.shared.progress.borrow().flush, partial: None };
        self.state = State::Waiting(Box::pin(tokio::time::sleep(Duration::ZERO)));
    }

    /// End the stream in order: what was confirmed is reported once more, then the server lets go.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once, which loses nothing.
    pub async fn finish(mut self) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if let State::Streaming(live) | State::Verifying(live, ..) | State::Describing(live, ..) =
            state
        {
            let Connection { request, mut driver, feed, .. } = live.connection;
            request.send_replace(Request::Finish);
            // The driver notices the closed queue too, but ends in order only when asked first.
            let ended = tokio::time::timeout(FINISH_TIMEOUT, &mut driver.0).await;
            if ended.is_err() {
                tracing::warn!("the server did not end the stream in time; closing it");
            }
            drop(feed);
        }
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Batch>>> {
        let idle = Idle { last: self.last_idle, gap: self.idle_gap };
        loop {
            match &mut self.state {
                State::Ended => return Poll::Ready(Ok(None)),
                State::Waiting(sleep) => {
                    if let Some(batch) = self.early.take_void(&self.handed) {
                        return Poll::Ready(Ok(Some(batch)));
                    }
                    ready!(sleep.as_mut().poll(cx));
                    let opening = self.runtime.spawn(self.attempt().open());
                    self.state = State::Connecting(AbortOnDrop(opening));
                }
                State::Connecting(task) => {
                    let opened = ready!(Pin::new(&mut task.0).poll(cx));
                    match opened.unwrap_or_else(|_| Err(StreamError::TaskEnded.into())) {
                        Ok(connection) => self.connected(connection),
                        Err(error) => self.retry(error)?,
                    }
                }
                State::Streaming(live) => match ready!(live.poll_next(cx, &self.source, idle)) {
                    Next::Batch(batch) if live.connection.in_recovery => {
                        self.verify_timeline(batch);
                    }
                    Next::Batch(batch) => {
                        self.handed = live.hand_out(&self.shared);
                        live.release_tapped(&mut self.tapped);
                        self.works();
                        let batch = self.hand_out(batch);
                        // What is left may be for others alone.
                        if batch.is_early() && batch.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Ok(Some(batch)));
                    }
                    Next::Idle => self.verify_idle(),
                    Next::Doubt => self.verify(None),
                    Next::Undescribed => self.describe(),
                    Next::Text => {
                        self.text = true;
                        self.early.broke(&mut self.handed);
                        self.state = State::Waiting(Box::pin(tokio::time::sleep(Duration::ZERO)));
                    }
                    Next::Unstreamed(error) => {
                        tracing::warn!("the server keeps open transactions from now on");
                        self.streaming = Streaming::Off;
                        self.retry(Error::transient(ErrorKind::Io, error))?;
                    }
                    Next::Broken(error) => self.retry(error)?,
                },
                State::Verifying(..) => {
                    if let Some(batch) = ready!(self.poll_verdict(cx))? {
                        return Poll::Ready(Ok(Some(batch)));
                    }
                }
                State::Describing(_, answer) => {
                    let answer = ready!(answer.0.as_mut().poll(cx));
                    self.described(answer)?;
                }
            }
        }
    }

    /// A connection stands.
    fn connected(&mut self, connection: Connection) {
        self.identity = connection.lineage.identity();
        let timeline = self.identity.timeline.as_u32();
        self.shared.timeline.store(timeline, Ordering::Release);
        self.patience.connected(connection.walsender);
        let shares = Shares { shared: &self.shared, streaming: self.streaming };
        let live = Live::new(connection, &self.source, self.handed, shares);
        self.state = State::Streaming(live);
    }

    /// Events came.
    fn works(&mut self) {
        self.backoff.reset();
        self.patience.served();
    }

    fn hand_out(&mut self, batch: Batch) -> Batch {
        self.shared.handed_out.fetch_max(batch.end().as_u64(), Ordering::Relaxed);
        self.early.hand_out(batch)
    }

    /// Try again after `error`, unless that cannot help.
    fn retry(&mut self, error: Error) -> Result<()> {
        self.state = State::Ended;
        self.early.broke(&mut self.handed);
        if self.source.temporary && error.is_transient() {
            let (slot, last) = (self.source.slot.clone(), self.handed.end);
            return Err(StreamError::TemporaryGone { slot, last, cause: error }.into());
        }
        if !self.patience.bears(&error) {
            return Err(error);
        }
        let wait = self.backoff.next();
        self.shared.reconnects.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, ?wait, "the stream broke off; connecting again");
        self.state = State::Waiting(Box::pin(tokio::time::sleep(wait)));
        Ok(())
    }

    fn attempt(&self) -> Attempt {
        // What was handed out before a rewind is in the sinks too.
        let handed_out = Lsn::new(self.shared.handed_out.load(Ordering::Relaxed));
        // Part of a transaction reaches beyond where its commit record begins.
        let partial = self.handed.partial.map_or(0, |(commit, _)| commit.as_u64());
        Attempt {
            source: Arc::clone(&self.source),
            budget: self.shared.budget.clone(),
            progress: self.shared.progress.subscribe(),
            gauges: Arc::clone(&self.shared.gauges),
            confirmed: Some(self.shared.progress.borrow().flush),
            reached: Some((self.identity, handed_out.max(Lsn::new(partial.saturating_add(1))))),
            text: self.text,
            streaming: self.streaming,
            prepared: self.prepared.clone(),
            temporary_used: self.source.temporary,
            silence: self.patience.silence(self.source.silence_timeout),
        }
    }
}

impl Stream for ReplicationStream {
    type Item = Result<Batch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = ready!(self.poll_batch(cx));
        if polled.is_err() {
            self.state = State::Ended;
        }
        Poll::Ready(polled.transpose())
    }
}
