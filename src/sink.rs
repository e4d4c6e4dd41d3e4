//! The contract of a sink: take, prove, say where you stand.
//!
//! A sink is written by whoever owns the target and knows nothing of lanes, batching, retries or
//! checkpoints: the lane that owns it does those. What a sink must keep:
//!
//! 1. [`write`](Sink::write) takes, [`flush`](Sink::flush) proves. Only `Ok` from `flush` (or a
//!    position from [`settled`](Sink::settled)) counts; silence is failure.
//! 2. Batches come in order. After any error, timeout or abort the next call is
//!    [`open`](Sink::open) or nothing, and everything unproven comes again from where `open` said.
//! 3. `open` assumes nothing about what was in flight: fence it off, then read the cursor.
//! 4. A sink that stores its cursor with its data answers [`Resume::After`]; one that cannot
//!    answers [`Resume::Delegate`] and may see changes again, each with the same id.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::value::TypeRegistry;
use crate::event::Batch;
use crate::lineage::Lineage;
use crate::lsn::{Lsn, Position};
use crate::name::{SinkName, SlotName};

/// Somewhere committed changes go. See the [module](self) for what an implementation must keep.
///
/// ```
/// use walcast::event::Batch;
/// use walcast::sink::{OpenContext, Resume, Sink, SinkError};
///
/// /// Counts events and forgets them.
/// struct Count(usize);
///
/// impl Sink for Count {
///     async fn open(&mut self, _: &OpenContext) -> Result<Resume, SinkError> {
///         Ok(Resume::Delegate)
///     }
///     async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
///         self.0 += batch.events().count();
///         Ok(())
///     }
///     async fn flush(&mut self) -> Result<(), SinkError> {
///         Ok(())
///     }
/// }
/// ```
pub trait Sink: Send + 'static {
    /// Connect and say where this sink stands. Called before the first write and again after every
    /// error.
    ///
    /// # Cancel safety
    /// May be dropped at any await; the next call is `open`.
    fn open(
        &mut self,
        context: &OpenContext,
    ) -> impl Future<Output = Result<Resume, SinkError>> + Send;

    /// Take a batch. `Ok` means accepted in order, not durable. The batch holds no transaction that
    /// ends at or before what `open` answered.
    ///
    /// # Cancel safety
    /// May be dropped at any await, then part of the batch may have been taken; the next call is
    /// `open`.
    fn write(&mut self, batch: Batch) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Prove it. `Ok` means that every batch written since `open` survives losing this process.
    ///
    /// # Cancel safety
    /// May be dropped at any await; the next call is `open`.
    fn flush(&mut self) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// How far a sink that proves in the background has come: the [`end`](Batch::end) of a batch it
    /// was given. Called between writes; must not block.
    fn settled(&mut self) -> Option<Lsn> {
        None
    }

    /// Whether it takes changes of transactions that have not committed, should its pipeline be
    /// [asked for them](crate::Source::streamed_delivery). Asked once, before it opens.
    ///
    /// Such changes come in batches of their own ([`Batch::is_early`]), nothing is proven of them
    /// and no flush follows them: keep them apart until the Commit, which comes in order with all
    /// others. [`open`](Sink::open) makes void whatever has not committed, an
    /// [`Abort`](crate::event::Abort) what it names.
    fn takes_uncommitted(&self) -> bool {
        false
    }

    /// Let go of the target. Everything given was proven or will be given again.
    fn close(&mut self) -> impl Future<Output = Result<(), SinkError>> + Send {
        async { Ok(()) }
    }
}

/// Where a sink stands when it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The sink stores its position with its data, and this is it: the end LSN of the last
    /// transaction it holds.
    After(Lsn),
    /// The sink stores none; the checkpoint decides.
    Delegate,
}

/// What a sink is told when it opens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenContext {
    /// The sink's name in its pipeline.
    pub sink: SinkName,
    /// The slot the changes come from.
    pub slot: SlotName,
    /// The cluster and timelines that positions are of.
    pub lineage: Arc<Lineage>,
    /// What the checkpoint says this sink has proven; `None` for a new sink.
    pub cursor: Option<Lsn>,
    /// Whether other sinks of the pipeline write the same format, so that a batch's encoding is
    /// worth keeping for them.
    pub share_encoding: bool,
    /// How values of each type are read.
    pub types: Arc<TypeRegistry>,
}

impl OpenContext {
    /// The context of a sink that starts with nothing behind it.
    pub fn new(sink: SinkName, slot: SlotName, lineage: Arc<Lineage>) -> Self {
        let types = Arc::new(TypeRegistry::builtin());
        Self { sink, slot, lineage, cursor: None, share_encoding: false, types }
    }
}

/// Why a sink could not do what it was asked.
#[derive(Debug)]
pub struct SinkError {
    kind: SinkErrorKind,
    retry_after: Option<Duration>,
    source: Box<dyn StdError + Send + Sync>,
}

/// What the lane makes of a [`SinkError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkErrorKind {
    /// The target cannot be reached or is full: back off, open again.
    Unavailable,
    /// The target will never take the change at this position.
    Rejected(Position),
    /// Another writer owns the target.
    Fenced,
    /// Trying again cannot help.
    Fatal,
}

impl SinkError {
    /// An error of `kind` because of `source`.
    pub fn new(kind: SinkErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, retry_after: None, source: source.into() }
    }

    /// The target cannot be reached or is full for now.
    pub fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(SinkErrorKind::Unavailable, source)
    }

    /// Trying again cannot help.
    pub fn fatal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(SinkErrorKind::Fatal, source)
    }

    /// The same error with the target's own word on when to try again.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What the lane makes of it.
    pub fn kind(&self) -> SinkErrorKind {
        self.kind
    }

    /// When the target wants to be tried again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl StdError for SinkError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.source()
    }
}

impl From<std::io::Error> for SinkError {
    fn from(error: std::io::Error) -> Self {
        Self::unavailable(error)
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A sink of any type, for whoever keeps several.
pub(crate) struct BoxSink(Box<dyn DynSink>);

impl BoxSink {
    pub(crate) fn new(sink: impl Sink) -> Self {
        Self(Box::new(sink))
    }

    pub(crate) async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        self.0.open(context).await
    }

    pub(crate) async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.0.write(batch).await
    }

    pub(crate) async fn flush(&mut self) -> Result<(), SinkError> {
        self.0.flush().await
    }

    pub(crate) fn settled(&mut self) -> Option<Lsn> {
        self.0.settled()
    }

    pub(crate) fn takes_uncommitted(&self) -> bool {
        self.0.takes_uncommitted()
    }

    pub(crate) async fn close(&mut self) -> Result<(), SinkError> {
        self.0.close().await
    }
}

trait DynSink: Send {
    fn open<'a>(&'a mut self, context: &'a OpenContext)
    -> BoxFuture<'a, Result<Resume, SinkError>>;
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<(), SinkError>>;
    fn flush(&mut self) -> BoxFuture<'_, Result<(), SinkError>>;
    fn settled(&mut self) -> Option<Lsn>;
    fn takes_uncommitted(&self) -> bool;
    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>>;
}

impl<S: Sink> DynSink for S {
    fn open<'a>(
        &'a mut self,
        context: &'a OpenContext,
    ) -> BoxFuture<'a, Result<Resume, SinkError>> {
        Box::pin(Sink::open(self, context))
    }

    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(Sink::write(self, batch))
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(Sink::flush(self))
    }

    fn settled(&mut self) -> Option<Lsn> {
        Sink::settled(self)
    }

    fn takes_uncommitted(&self) -> bool {
        Sink::takes_uncommitted(self)
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(Sink::close(self))
    }
}
