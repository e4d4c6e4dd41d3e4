//! The thread that writes a recording.
//!
//! Writing and syncing block, so a thread does both. What piles up while a sync runs is written
//! before the next one, so that there is one sync for many batches. It ends when it is told nothing
//! more, or at its first error; what it has synced is the only thing that it lets be confirmed.

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::error::RecordingError;
use crate::Result;
use crate::journal::{JournalError, JournalWriter};
use crate::lsn::Lsn;
use crate::stream::Tapped;

/// Orders on their way to the thread; the bytes in them are bounded by the stream's budget.
const QUEUED_ORDERS: usize = 64;
/// How much is written before it is synced although more waits.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// What to write.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) tapped: Vec<Tapped>,
    /// Everything up to here is written once this is.
    pub(super) end: Lsn,
    /// Whether no frame says so.
    pub(super) is_idle: bool,
}

/// The thread, as the recorder sees it.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) orders: mpsc::Sender<Order>,
    /// Up to where everything is synced.
    pub(super) durable: watch::Receiver<Lsn>,
    thread: JoinHandle<Result<(), JournalError>>,
}

impl Keeper {
    /// Start the thread, which goes on from `end`.
    pub(super) fn start(writer: JournalWriter, end: Lsn) -> Self {
        let (orders, queue) = mpsc::channel(QUEUED_ORDERS);
        let (durable_in, durable) = watch::channel(end);
        let thread = tokio::task::spawn_blocking(move || {
            Thread { writer, queue, durable: durable_in, end }.run()
        });
        Self { orders, durable, thread }
    }

    /// Have what was ordered written and synced; up to where everything is.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the thread to finish by itself.
    pub(super) async fn finish(self) -> Result<Lsn> {
        let Self { orders, durable, thread } = self;
        drop(orders);
        match thread.await {
            Ok(written) => written?,
            Err(_) => return Err(RecordingError::TaskEnded("writes the recording").into()),
        }
        let end = *durable.borrow();
        Ok(end)
    }
}

struct Thread {
    writer: JournalWriter,
    queue: mpsc::Receiver<Order>,
    durable: watch::Sender<Lsn>,
    /// Up to where everything is written.
    end: Lsn,
}

impl Thread {
    fn run(mut self) -> Result<(), JournalError> {
        let mut unsynced = 0;
        while let Some(order) = self.queue.blocking_recv() {
            unsynced += self.write(order)?;
            while unsynced < SYNC_BYTES
                && let Ok(order) = self.queue.try_recv()
            {
                unsynced += self.write(order)?;
            }
            // Part of a transaction proves nothing.
            if self.end > *self.durable.borrow() || unsynced >= SYNC_BYTES {
                self.writer.sync()?;
                unsynced = 0;
                self.durable.send_replace(self.end);
            }
        }
        self.writer.close()?;
        self.durable.send_replace(self.end);
        Ok(())
    }

    /// How many bytes of frames there were.
    fn write(&mut self, order: Order) -> Result<u64, JournalError> {
        let mut bytes = 0;
        for tapped in order.tapped {
            match tapped {
                Tapped::Opened(opening) => self.writer.begin(*opening)?,
                Tapped::Frames(chunk) => {
                    bytes += chunk.bytes.len() as u64;
                    self.writer.append(&chunk.bytes)?;
                }
                Tapped::Answer(table, entry) => {
                    let entry = serde_json::to_vec(&entry)
                        .expect("plain data whose keys are numbers and names is always JSON");
                    self.writer.answer(table, &entry)?;
                }
            }
        }
        if order.is_idle && order.end > self.end {
            self.writer.reach(order.end)?;
        }
        self.end = self.end.max(order.end);
        Ok(bytes)
    }
}
