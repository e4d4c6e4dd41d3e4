//! A sink that appends to a file and stores its position with it.
//!
//! Beside the file lies `<path>.cursor`, which says how much of the file is proven and up to which
//! LSN; it is written after the data was synced, and at `open` the file is cut back to it. So
//! nothing is lost or doubled whatever crashes. Files put aside by [`Rotation`] are called
//! `<path>.00000001` and so on; each begins with a transaction's first line and ends with one's
//! last. A file holds one format: with another one it is put aside too.
//!
//! A thread of its own writes and syncs; `write` only encodes. Nobody else may write the file, and
//! whoever reads it may see up to one transaction that is not whole yet at its end.

mod cursor;
mod data;
mod disk;
mod error;
mod recover;
mod scan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use error::FileSinkError;

use self::disk::{Block, Disk, Ended};
use crate::codec::{Encoder, EventFormat};
use crate::event::Batch;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::sink::{OpenContext, Resume, Sink, SinkError, SinkErrorKind};

/// How much is gathered before it is handed to the thread.
const BLOCK_BYTES: usize = 256 * 1024;

/// When the file is put aside and a new one begun. Always between two transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before it would become larger than this; a larger transaction makes a larger file.
    pub bytes: Option<u64>,
    /// When it was begun this long ago and something is written.
    pub age: Option<Duration>,
    /// How many files put aside are kept; `None` keeps all of them.
    pub keep: Option<usize>,
}

/// Appends events to a file. See the [module](self).
#[derive(Debug)]
pub struct FileSink {
    settings: FileSettings,
    writer: Option<Writer>,
    /// What becomes of the thread, kept beyond its writer: while it lives it may touch the files.
    ended: Option<Ended>,
}

/// What the sink was made with.
#[derive(Debug, Clone)]
struct FileSettings {
    path: PathBuf,
    format: EventFormat,
    rotation: Rotation,
}

/// What the thread has to know of where the changes come from.
#[derive(Debug)]
struct Source {
    lineage: Arc<Lineage>,
    /// What the checkpoint says of this sink.
    cursor: Option<Lsn>,
}

/// An open file.
#[derive(Debug)]
struct Writer {
    disk: Disk,
    encoder: Encoder,
    /// Whether other sinks write the same.
    share: bool,
    buffer: Vec<u8>,
    /// How much of the buffer ends with a whole transaction, and that transaction's end LSN.
    mark: Option<(usize, Lsn)>,
    /// The end of the last batch that completed a transaction.
    last_whole: Option<Lsn>,
    /// The end of the last batch of all.
    last: Option<Lsn>,
}

impl FileSink {
    /// A sink that appends native JSON lines to the file at `path`. Its directory must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (format, rotation) = (EventFormat::default(), Rotation::default());
        Self {
            settings: FileSettings { path: path.into(), format, rotation },
            writer: None,
            ended: None,
        }
    }

    /// The same sink with events in `format`.
    pub fn with_format(mut self, format: EventFormat) -> Self {
        self.settings.format = format;
        self
    }

    /// The same sink with its file put aside now and then.
    pub fn with_rotation(mut self, rotation: Rotation) -> Self {
        self.settings.rotation = rotation;
        self
    }

    fn writer(&mut self) -> Result<&mut Writer, SinkError> {
        let path = &self.settings.path;
        self.writer.as_mut().ok_or_else(|| FileSinkError::NotOpen { path: path.clone() }.into())
    }

    /// Wait until the thread is gone; what it ended with.
    async fn join(&mut self) -> Result<(), FileSinkError> {
        self.writer = None;
        let Some(ended) = self.ended.as_mut() else { return Ok(()) };
        let result = ended.await;
        self.ended = None;
        result
            .unwrap_or_else(|_| Err(FileSinkError::ThreadDied { path: self.settings.path.clone() }))
    }

    /// Why the thread takes no more orders.
    async fn failure(&mut self) -> SinkError {
        let path = self.settings.path.clone();
        self.join().await.err().unwrap_or(FileSinkError::ThreadDied { path }).into()
    }
}

impl Sink for FileSink {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        // The thread of an earlier open may be in the middle of a write.
        let _ = self.join().await;
        let (lineage, cursor) = (Arc::clone(&context.lineage), context.cursor);
        let (disk, opened, ended) = Disk::start(self.settings.clone(), Source { lineage, cursor })?;
        self.ended = Some(ended);
        self.writer = Some(Writer {
            disk,
            encoder: Encoder::new(self.settings.format.clone(), Arc::clone(&context.types)),
            share: context.share_encoding,
            buffer: Vec::new(),
            mark: None,
            last_whole: None,
            last: None,
        });
        match opened.await {
            // A checkpoint that knows the sink judges where it stands, were it nowhere.
            Ok(end) => Ok(match end.or(cursor.map(|_| Lsn::new(0))) {
                Some(end) => Resume::After(end),
                None => Resume::Delegate,
            }),
            Err(_) => Err(self.failure().await),
        }
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        match self.writer()?.take(&batch).await? {
            Taken::Yes => Ok(()),
            Taken::ThreadEnded => Err(self.failure().await),
        }
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        match self.writer()?.prove().await {
            Taken::Yes => Ok(()),
            Taken::ThreadEnded => Err(self.failure().await),
        }
    }

    fn settled(&mut self) -> Option<Lsn> {
        self.writer.as_ref().and_then(Writer::settled)
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        Ok(self.join().await?)
    }
}

enum Taken {
    Yes,
    ThreadEnded,
}

impl Writer {
    async fn take(&mut self, batch: &Batch) -> Result<Taken, SinkError> {
        self.last = Some(batch.end());
        if batch.is_empty() {
            // Idle progress is worth no write: the checkpoint keeps it.
            return Ok(Taken::Yes);
        }
        if self.share {
            let encoded = self.encoder.encode_shared(batch).map_err(rejected)?;
            if encoded.bytes.len() >= BLOCK_BYTES {
                if let Taken::ThreadEnded = self.hand_over().await {
                    return Ok(Taken::ThreadEnded);
                }
                self.set_mark(encoded.complete, batch);
                let mark = self.mark.take();
                return Ok(self.disk.append(Block::Shared(encoded), mark).await.into());
            }
            let before = self.buffer.len();
            self.buffer.extend_from_slice(&encoded.bytes);
            self.set_mark(encoded.complete.map(|length| before + length), batch);
        } else {
            if self.buffer.capacity() == 0 {
                self.buffer = self.disk.buffer(2 * BLOCK_BYTES);
            }
            let whole = self.encoder.encode(batch, &mut self.buffer).map_err(rejected)?;
            self.set_mark(whole, batch);
        }
        if self.buffer.len() >= BLOCK_BYTES { Ok(self.hand_over().await) } else { Ok(Taken::Yes) }
    }

    fn set_mark(&mut self, whole: Option<usize>, batch: &Batch) {
        if let Some(length) = whole {
            self.mark = Some((length, batch.end()));
            self.last_whole = self.last;
        }
    }

    /// Give the thread what was gathered.
    async fn hand_over(&mut self) -> Taken {
        let mark = self.mark.take();
        if self.buffer.is_empty() && mark.is_none() {
            return Taken::Yes;
        }
        let block = Block::Own(std::mem::take(&mut self.buffer));
        self.disk.append(block, mark).await.into()
    }

    async fn prove(&mut self) -> Taken {
        if let Taken::ThreadEnded = self.hand_over().await {
            return Taken::ThreadEnded;
        }
        if self.is_proven() { Taken::Yes } else { self.disk.prove().await.into() }
    }

    /// Whether all that was written of whole transactions is proven.
    fn is_proven(&self) -> bool {
        self.last_whole.is_none() || self.disk.proven() == self.last_whole
    }

    fn settled(&self) -> Option<Lsn> {
        if self.is_proven() { self.last } else { self.disk.proven() }
    }
}

impl From<bool> for Taken {
    fn from(taken: bool) -> Self {
        if taken { Self::Yes } else { Self::ThreadEnded }
    }
}

/// A change that no later attempt will write either.
fn rejected(error: crate::codec::EncodeError) -> SinkError {
    SinkError::new(SinkErrorKind::Rejected(error.position), error)
}
