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
    /// What is not required was asked to hold up everything.
    #[error(
        "sink {name} is not required and cannot block: leave its on_lag out, so that it skips, or \
         require it"
    )]
    BlocksUnneeded {
        /// The sink.
        name: SinkName,
    },
    /// What is required was asked to leave changes out.
    #[error("sink {name} is required and cannot skip changes")]
    SkipsNeeded {
        /// The sink.
        name: SinkName,
    },
    /// The slot would release what these sinks still need.
    #[error(
        "releasing WAL by quorum would lose what {} still need: let them spool or be detached when \
         they fall behind", list(.sinks)
    )]
    ReleasesNeeded {
        /// The sinks.
        sinks: Vec<SinkName>,
    },
    /// The last sink that the slot waits for has fallen too far behind to be waited for.
    #[error(
        "sink {sink} would be left behind ({why}), and no other required sink is left: the slot stays \
         where it is"
    )]
    LastSink {
        /// The sink.
        sink: SinkName,
        /// In what way it is behind.
        why: String,
    },
    /// Changes are to be given before they commit, and no sink takes such.
    #[error(
        "no sink takes changes that have not committed: let one declare it \
         (Sink::takes_uncommitted), or leave Source::streamed_delivery at held"
    )]
    NoEarlySink,
    /// The end was asked for, and sinks did not prove in time what they had been given.
    #[error("{} had not proven everything when draining ended", list(.sinks))]
    NotDrained {
        /// The sinks that were late.
        sinks: Vec<SinkName>,
    },
    /// What was proven last could not be saved in time: it comes again.
    #[error("the last progress was not saved within {seconds} s")]
    NotSaved {
        /// How long it was waited for.
        seconds: u64,
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
