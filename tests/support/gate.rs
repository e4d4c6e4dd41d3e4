//! A file sink behind a gate: it takes what it is given, keeps it waiting, or refuses it, as the
//! test says while it runs.

use std::path::Path;

use tokio::sync::watch;
use walcast::Lsn;
use walcast::event::Batch;
use walcast::sink::{OpenContext, Resume, Sink, SinkError};
use walcast::sinks::file::FileSink;

/// What the sink does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It takes it.
    Open,
    /// It keeps it waiting.
    Shut,
    /// It says that its target cannot be reached.
    Failing,
}

/// The sink. See the [module](self).
pub(crate) struct Gated {
    file: FileSink,
    gate: watch::Receiver<Gate>,
}

impl Gated {
    /// One that writes to `path`, and what moves its gate, which is open.
    pub(crate) fn file(path: &Path) -> (Gated, watch::Sender<Gate>) {
        let (mover, gate) = watch::channel(Gate::Open);
        (Gated { file: FileSink::new(path), gate }, mover)
    }

    /// A gate that was dropped stays as it was.
    async fn pass(&mut self) -> Result<(), SinkError> {
        let _ = self.gate.wait_for(|gate| *gate != Gate::Shut).await;
        match *self.gate.borrow() {
            Gate::Failing => Err(SinkError::unavailable("the gate says no")),
            _ => Ok(()),
        }
    }
}

impl Sink for Gated {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        self.pass().await?;
        self.file.open(context).await
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.pass().await?;
        self.file.write(batch).await
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.pass().await?;
        self.file.flush().await
    }

    fn settled(&mut self) -> Option<Lsn> {
        self.file.settled()
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.file.close().await
    }
}
