//! The thread that owns the files.
//!
//! Writing and syncing block, so one thread does both; orders reach it through a queue that is
//! bounded in bytes, and the sink fills the queue on while a sync runs. It proves of its own accord
//! every [`PROVE_BYTES`]. It ends at its first error, which [`Disk::ended`] gives; after a failed
//! sync nothing it wrote is trusted any more. It also ends, without proving, when it is told to
//! stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::data::DataFile;
use super::error::FileSinkError;
use super::recover::recover;
use super::{FileSettings, Source};
use crate::event::Encoded;
use crate::lsn::Lsn;

/// Bytes on their way to the thread.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
const QUEUE_ORDERS: usize = 256;
/// How much is written before it is proven unasked.
const PROVE_BYTES: u64 = 8 * 1024 * 1024;
/// Buffers kept for reuse.
const SPARE_BUFFERS: usize = 16;

/// Bytes to append.
#[derive(Debug)]
pub(super) enum Block {
    Own(Vec<u8>),
    Shared(Arc<Encoded>),
}

impl Block {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(encoded) => &encoded.bytes,
        }
    }
}

enum Order {
    Append {
        block: Block,
        /// How many of its bytes end with a whole transaction, and that transaction's end LSN.
        mark: Option<(usize, Lsn)>,
        /// Its room in the queue.
        _room: OwnedSemaphorePermit,
    },
    Prove(oneshot::Sender<()>),
}

/// The thread, as the sink sees it.
#[derive(Debug)]
pub(super) struct Disk {
    orders: mpsc::Sender<Order>,
    room: Arc<Semaphore>,
    spare: mpsc::Receiver<Vec<u8>>,
    proven: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// What becomes of the thread.
pub(super) type Ended = oneshot::Receiver<Result<(), FileSinkError>>;
/// Where the file stands, once it is open.
pub(super) type Opened = oneshot::Receiver<Option<Lsn>>;

impl Disk {
    /// Start the thread, which opens the file first.
    pub(super) fn start(
        settings: FileSettings,
        source: Source,
    ) -> Result<(Self, Opened, Ended), FileSinkError> {
        let (orders, queue) = mpsc::channel(QUEUE_ORDERS);
        let (give_back, spare) = mpsc::channel(SPARE_BUFFERS);
        let (opened, opened_rx) = oneshot::channel();
        let (ended, ended_rx) = oneshot::channel();
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        let (proven, stop) = (Arc::default(), Arc::default());
        let thread = Thread {
            queue,
            give_back,
            room: Arc::clone(&room),
            proven: Arc::clone(&proven),
            stop: Arc::clone(&stop),
        };
        let path = settings.path.clone();
        let work = move || {
            let result = thread.run(&settings, &source, opened);
            // The sink may be gone: then nobody asks.
            let _ = ended.send(result);
        };
        let name = "walcast-file".to_owned();
        let spawned = std::thread::Builder::new().name(name).spawn(work);
        spawned.map_err(FileSinkError::io("start a thread for", &path))?;
        Ok((Self { orders, room, spare, proven, stop }, opened_rx, ended_rx))
    }

    /// Hand over a block. `false` when the thread has ended.
    pub(super) async fn append(&self, block: Block, mark: Option<(usize, Lsn)>) -> bool {
        let bytes = block.bytes().len().min(QUEUE_BYTES) as u32;
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else {
            return false;
        };
        self.orders.send(Order::Append { block, mark, _room: room }).await.is_ok()
    }

    /// Wait until everything handed over is proven. `false` when the thread has ended.
    pub(super) async fn prove(&self) -> bool {
        let (done, proven) = oneshot::channel();
        self.orders.send(Order::Prove(done)).await.is_ok() && proven.await.is_ok()
    }

    /// The end LSN of the last transaction that is proven since it was opened.
    pub(super) fn proven(&self) -> Option<Lsn> {
        Lsn::new(self.proven.load(Ordering::Acquire)).valid()
    }

    /// An empty buffer, used before if there is one.
    pub(super) fn buffer(&mut self, capacity: usize) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(capacity))
    }
}

impl Drop for Disk {
    /// What is still queued is not wanted any more.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The thread's own side.
struct Thread {
    queue: mpsc::Receiver<Order>,
    give_back: mpsc::Sender<Vec<u8>>,
    room: Arc<Semaphore>,
    /// Zero until something is proven: no commit ends there.
    proven: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Thread {
    fn run(
        mut self,
        settings: &FileSettings,
        source: &Source,
        opened: oneshot::Sender<Option<Lsn>>,
    ) -> Result<(), FileSinkError> {
        let mut data =
            recover(&settings.path, &settings.format, settings.rotation.clone(), source)?;
        let _ = opened.send(data.proven.end);
        while let Some(order) = self.queue.blocking_recv() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            match order {
                Order::Append { block, mark, _room } => {
                    data.append(block.bytes(), mark)?;
                    self.recycle(block);
                    if data.unproven_bytes() >= PROVE_BYTES {
                        data.prove()?;
                    }
                    self.publish(&data);
                }
                Order::Prove(done) => {
                    data.prove()?;
                    self.publish(&data);
                    let _ = done.send(());
                }
            }
        }
        Ok(())
    }

    fn publish(&self, data: &DataFile) {
        if let Some(end) = data.proven.end {
            self.proven.store(end.as_u64(), Ordering::Release);
        }
    }

    fn recycle(&self, block: Block) {
        if let Block::Own(mut buffer) = block {
            buffer.clear();
            // With enough spares, this one goes.
            let _ = self.give_back.try_send(buffer);
        }
    }
}

impl Drop for Thread {
    /// Whoever waits for room waits for nothing now.
    fn drop(&mut self) {
        self.room.close();
    }
}
