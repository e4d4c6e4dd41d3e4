//! Sinks that see how far they are, and end their pipeline there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use walcast::Lsn;
use walcast::event::Batch;
use walcast::shutdown::Trigger;
use walcast::sink::{OpenContext, Resume, Sink, SinkError};

use super::Seen;

/// Counts what comes and forgets it.
pub(super) struct Gauge {
    seen: Arc<Mutex<Seen>>,
    until: Option<Lsn>,
    trigger: Trigger,
    /// How long it takes nothing after its first batch.
    pub(super) block: Option<Duration>,
}

impl Gauge {
    /// A sink, and what it sees. It ends the pipeline as [`Seen::take`] says.
    pub(super) fn new(until: Option<Lsn>, trigger: Trigger) -> (Gauge, Arc<Mutex<Seen>>) {
        let seen = Arc::<Mutex<Seen>>::default();
        (Gauge { seen: Arc::clone(&seen), until, trigger, block: None }, seen)
    }

    async fn take(&mut self, batch: &Batch) {
        if let Some(block) = self.block.take() {
            tokio::time::sleep(block).await;
        }
        if self.seen.lock().unwrap().take(batch, self.until) {
            self.trigger.drain();
        }
    }
}

impl Sink for Gauge {
    async fn open(&mut self, _: &OpenContext) -> Result<Resume, SinkError> {
        Ok(Resume::Delegate)
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.take(&batch).await;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A sink with a gauge beside it.
pub(super) struct Ending<S> {
    sink: S,
    gauge: Gauge,
}

impl<S: Sink> Ending<S> {
    pub(super) fn new(sink: S, gauge: Gauge) -> Self {
        Self { sink, gauge }
    }
}

impl<S: Sink> Sink for Ending<S> {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        self.sink.open(context).await
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.sink.write(batch.clone()).await?;
        self.gauge.take(&batch).await;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.sink.flush().await
    }

    fn settled(&mut self) -> Option<Lsn> {
        self.sink.settled()
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.sink.close().await
    }
}
