//! What is wrong with a pipeline itself.

use crate::name::{NameError, SinkName};

/// A pipeline that cannot be, or that broke by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A sink's name cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Two sinks have one name, which keys their progress.
    #[error("two sinks are called {name}")]
    DuplicateSink {
        /// The name.
        name: SinkName,
    },
    /// No sink holds the slot.
    #[error("a pipeline needs at least one required sink: without one nothing may be confirmed")]
    NoRequiredSink,
    /// More sinks are to agree than there are.
    #[error("a quorum of {quorum} cannot be had from {required} required sinks")]
    Quorum {
        /// The quorum.
        quorum: usize,
        /// How many required sinks there are.
        required: usize,
    },
    /// The end was asked for, and sinks did not prove in time what they had been given.
    #[error("{} had not proven everything when draining ended", list(.sinks))]
    NotDrained {
        /// The sinks that were late.
        sinks: Vec<SinkName>,
    },
    /// A task of the pipeline ended by a panic.
    #[error("a task of the pipeline panicked: {task}")]
    Panicked {
        /// Which.
        task: &'static str,
    },
    /// The thread of the wire task could not be started.
    #[error("no thread could be started for the replication connection: {0}")]
    Thread(std::io::Error),
}

fn list(sinks: &[SinkName]) -> String {
    let names: Vec<&str> = sinks.iter().map(SinkName::as_str).collect();
    match names.as_slice() {
        [] => "some sink".to_owned(),
        [one] => format!("sink {one}"),
        many => format!("sinks {}", many.join(", ")),
    }
}
