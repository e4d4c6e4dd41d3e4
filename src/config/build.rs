//! From a config to the pipeline it describes.
//!
//! Every setting was checked when it was read, so what is left is to hand each to its owner.
//! Nothing is opened or connected here: that is [`Pipeline::run`].

use super::{Config, FileConfig, Rotation, SinkConfig, SinkKind};
use crate::Result;
use crate::codec::EventFormat;
use crate::fanout::{LaneSettings, Retry};
use crate::pipeline::{Membership, Pipeline};
use crate::sinks::file::{self, FileSink};
use crate::sinks::postgres::PostgresSink;
use crate::sinks::stdout::WriterSink;

impl Config {
    /// The pipeline that the file describes, not yet running.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when two sinks have one name, which reading
    /// a file refuses already.
    pub fn build(&self) -> Result<Pipeline> {
        let settings = &self.pipeline;
        let source = self.stream_source();
        let database = source.connect_config().database().to_owned();
        let mut pipeline = Pipeline::new(source, &settings.state)
            .memory(in_memory(settings.memory.bytes()))
            .spill(settings.spill.bytes())
            .release(settings.release)
            .drain_timeout(settings.drain_timeout);
        if let Some(quorum) = settings.quorum {
            pipeline = pipeline.quorum(quorum.get());
        }
        for sink in &self.sinks {
            let format = sink.format.clone().in_database(&database);
            let mut membership = membership(sink, format.clone());
            let name = sink.name.as_str();
            pipeline = match &sink.kind {
                SinkKind::File(file) => pipeline.member(name, file_sink(file, format), membership),
                SinkKind::Stdout => pipeline.member(name, WriterSink::stdout(format), membership),
                SinkKind::Postgres(postgres) => {
                    membership.format = None;
                    let sink = PostgresSink::new(postgres.connect.clone());
                    pipeline.member(name, sink, membership)
                }
            }?;
        }
        Ok(pipeline)
    }
}

fn membership(sink: &SinkConfig, format: EventFormat) -> Membership {
    let SinkConfig { required, on_lag, batch, retry, timeout, .. } = sink;
    Membership {
        required: *required,
        settings: LaneSettings {
            batch_bytes: in_memory(batch.bytes.bytes()),
            linger: batch.linger,
            timeout: *timeout,
            retry: Retry {
                first: retry.first,
                max: retry.max,
                attempts: retry.attempts.map(|attempts| attempts.get()),
            },
        },
        on_lag: *on_lag,
        format: Some(format),
    }
}

fn file_sink(file: &FileConfig, format: EventFormat) -> FileSink {
    let sink = FileSink::new(&file.path).with_format(format);
    let Some(Rotation { bytes, age, keep }) = file.rotation else { return sink };
    sink.with_rotation(file::Rotation {
        bytes: bytes.map(|bytes| bytes.bytes()),
        age,
        keep: keep.map(|keep| usize::try_from(keep.get()).unwrap_or(usize::MAX)),
    })
}

/// An amount that has to fit in memory anyway.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
