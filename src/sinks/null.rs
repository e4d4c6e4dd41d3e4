//! A sink that counts and forgets: for benches, and to see what the rest costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::{Batch, Event};
use crate::sink::{OpenContext, Resume, Sink, SinkError};

/// Counts what it is given and proves it at once.
#[derive(Debug, Default)]
pub struct NullSink {
    counts: Arc<NullCounts>,
}

/// What a [`NullSink`] was given, since it was made.
#[derive(Debug, Default)]
pub struct NullCounts {
    batches: AtomicU64,
    transactions: AtomicU64,
    changes: AtomicU64,
    bytes: AtomicU64,
}

impl NullSink {
    /// A sink that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it was given; goes on counting when the sink is given away.
    pub fn counts(&self) -> Arc<NullCounts> {
        Arc::clone(&self.counts)
    }
}

impl NullCounts {
    /// Batches, those without events included.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Commits.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Row changes, truncated tables and messages.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Bytes of log output.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Sink for NullSink {
    async fn open(&mut self, _: &OpenContext) -> Result<Resume, SinkError> {
        Ok(Resume::Delegate)
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        let (mut changes, mut transactions) = (0, 0);
        for event in batch.events() {
            match event {
                Event::Begin(_) => {}
                Event::Commit(_) => transactions += 1,
                _ => changes += 1,
            }
        }
        self.counts.batches.fetch_add(1, Ordering::Relaxed);
        self.counts.transactions.fetch_add(transactions, Ordering::Relaxed);
        self.counts.changes.fetch_add(changes, Ordering::Relaxed);
        self.counts.bytes.fetch_add(batch.bytes() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
