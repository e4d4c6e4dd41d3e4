//! The program's runtime, and what asks it to end.

use std::io::{self, Write};

use tokio::signal::unix::{Signal, SignalKind, signal};
use walcast::{Error, ErrorKind};

use crate::exit::output_error;

/// Run `work` to its end. A write that nobody reads does not hold the end up.
pub(crate) fn block_on(work: impl Future<Output = crate::Outcome>) -> crate::Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::permanent(ErrorKind::Io, error))?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// SIGINT and SIGTERM, from here on.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(crate) fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::permanent(ErrorKind::Io, error));
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: listen(SignalKind::terminate())? })
    }

    /// What `work` yields; `None` when a signal comes first, and then `work` goes no further.
    pub(crate) async fn before<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wanted() => None,
            done = work => Some(done),
        }
    }

    /// Wait until one comes.
    ///
    /// # Cancel safety
    /// Safe: a signal is taken only when the future yields.
    pub(crate) async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Write `text` to standard output, off the runtime's own threads; hands back the emptied buffer.
///
/// # Cancel safety
/// Dropping the future leaves the write to finish by itself.
pub(crate) async fn write_out(mut text: Vec<u8>) -> Result<Vec<u8>, Error> {
    let write = move || {
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()?;
        text.clear();
        Ok(text)
    };
    let written = tokio::task::spawn_blocking(write).await;
    written.unwrap_or_else(|ended| Err(io::Error::other(ended))).map_err(output_error)
}
