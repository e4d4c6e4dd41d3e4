//! A sink that writes to a pipe, a terminal, or anything else that takes bytes.
//!
//! `flush` proves only that the other end took the bytes, and nothing tells how far it came: the
//! checkpoint decides where to go on, and after a crash the same events may come again, each with
//! the same id.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::codec::{Encoder, EventFormat};
use crate::event::Batch;
use crate::sink::{OpenContext, Resume, Sink, SinkError, SinkErrorKind};

/// How much is gathered before it is written.
const BLOCK_BYTES: usize = 256 * 1024;

/// Writes events to `W`.
#[derive(Debug)]
pub struct WriterSink<W> {
    out: W,
    format: EventFormat,
    encoder: Option<Encoder>,
    buffer: Vec<u8>,
    /// How much of the buffer is out.
    written: usize,
}

impl WriterSink<tokio::io::Stdout> {
    /// A sink that writes to this process's standard output.
    pub fn stdout(format: EventFormat) -> Self {
        Self::new(tokio::io::stdout(), format)
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> WriterSink<W> {
    /// A sink that writes to `out`.
    pub fn new(out: W, format: EventFormat) -> Self {
        Self { out, format, encoder: None, buffer: Vec::new(), written: 0 }
    }

    async fn drain(&mut self) -> io::Result<()> {
        while self.written < self.buffer.len() {
            let written = self.out.write(&self.buffer[self.written..]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += written;
        }
        self.buffer.clear();
        self.written = 0;
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Sink for WriterSink<W> {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        // One that was used before goes on: it may know the beginning of a transaction whose rest
        // comes.
        let format = self.format.clone();
        self.encoder.get_or_insert_with(|| Encoder::new(format, context.types.clone()));
        // A line that is out in part cannot be taken back: it is ended, so that the next one is
        // whole.
        let torn = self.written > 0 && self.buffer[self.written - 1] != b'\n';
        self.buffer.clear();
        self.written = 0;
        if torn {
            self.buffer.push(b'\n');
        }
        Ok(Resume::Delegate)
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        let Some(encoder) = &mut self.encoder else {
            return Err(SinkError::fatal("the sink is not open"));
        };
        encoder
            .encode(&batch, &mut self.buffer)
            .map_err(|error| SinkError::new(SinkErrorKind::Rejected(error.position), error))?;
        if self.buffer.len() >= BLOCK_BYTES { self.drain().await.map_err(broken) } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.drain().await.map_err(broken)?;
        self.out.flush().await.map_err(broken)
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.out.flush().await.map_err(broken)
    }
}

/// A reader that went away does not come back.
fn broken(error: io::Error) -> SinkError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => SinkError::fatal(error),
        _ => SinkError::unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::lsn::Lsn;
    use crate::name::{SinkName, SlotName};
    use crate::testing::Feed;

    fn context(feed: &Feed) -> OpenContext {
        let (sink, slot) = (SinkName::new("out").unwrap(), SlotName::new("s").unwrap());
        OpenContext::new(sink, slot, feed.lineage().clone())
    }

    #[tokio::test]
    async fn lines_come_out_at_flush() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut sink = WriterSink::new(near, EventFormat::Json);
        let mut feed = Feed::after(Lsn::new(0));
        assert_eq!(sink.open(&context(&feed)).await.unwrap(), Resume::Delegate);
        sink.write(feed.transaction(100, &["a", "b"]).batch()).await.unwrap();
        sink.flush().await.unwrap();
        drop(sink);
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("\"snapshot\":false}\n"));
    }

    #[tokio::test]
    async fn a_line_cut_by_a_timeout_is_ended_before_the_next() {
        let (near, mut far) = tokio::io::duplex(100);
        let mut sink = WriterSink::new(near, EventFormat::Json);
        let mut feed = Feed::after(Lsn::new(0));
        sink.open(&context(&feed)).await.unwrap();
        let batch = feed.transaction(100, &["a"]).batch();
        sink.write(batch.clone()).await.unwrap();
        {
            let flush = std::pin::pin!(sink.flush());
            assert!(futures::poll!(flush).is_pending());
        }
        sink.open(&context(&feed)).await.unwrap();
        sink.write(batch).await.unwrap();
        let (flushed, text) = tokio::join!(async move { sink.flush().await }, async {
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            text
        });
        flushed.unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), 100);
        assert!(lines[1].starts_with("{\"id\"") && lines[1].ends_with("false}"));
    }

    #[tokio::test]
    async fn a_reader_that_went_away_is_final() {
        let (near, far) = tokio::io::duplex(100);
        drop(far);
        let mut sink = WriterSink::new(near, EventFormat::Json);
        let mut feed = Feed::after(Lsn::new(0));
        sink.open(&context(&feed)).await.unwrap();
        sink.write(feed.transaction(100, &["a"]).batch()).await.unwrap();
        assert_eq!(sink.flush().await.unwrap_err().kind(), SinkErrorKind::Fatal);
    }
}
