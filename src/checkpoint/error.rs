//! Why a checkpoint cannot be used or made.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind};
use crate::lsn::Lsn;
use crate::name::{SinkName, SlotName, SystemId};

/// Why a checkpoint cannot be used or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("cannot {operation} the checkpoint {}", path.display())]
    Io {
        /// What failed.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// How.
        #[source]
        source: std::io::Error,
    },
    /// The file does not begin as a checkpoint does.
    #[error("{} is not a checkpoint", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// It was written by another version of this program.
    #[error("checkpoint {} has format version {found}; this program reads version {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It is shorter or longer than it says.
    #[error("checkpoint {} has {have} bytes of content where it announces {want}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// How much there is.
        have: usize,
        /// How much there should be.
        want: usize,
    },
    /// Its content is not what was written.
    #[error("checkpoint {} is damaged: its checksum does not match", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
    },
    /// Its content is whole but makes no sense.
    #[error("checkpoint {} cannot be understood", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file of relations that belongs to it is not what was written.
    #[error("the versions of tables in {} are damaged", path.display())]
    Relations {
        /// The file.
        path: PathBuf,
    },
    /// It is about another cluster.
    #[error("the checkpoint is of cluster {stored}, the server is of cluster {found}")]
    OtherSystem {
        /// The checkpoint's cluster.
        stored: SystemId,
        /// The server's.
        found: SystemId,
    },
    /// It is about another slot.
    #[error("the checkpoint is of slot {stored}, not of {asked}")]
    OtherSlot {
        /// The checkpoint's slot.
        stored: SlotName,
        /// The configured one.
        asked: SlotName,
    },
    /// Progress was to be saved before there was a checkpoint to progress from.
    #[error("no checkpoint was begun")]
    NotBegun,
    /// A sink's cursor was to move back, or to lie before its data: we are at fault.
    #[error("sink {sink} cannot go from {saved} to {cursor}")]
    Backwards {
        /// The sink.
        sink: SinkName,
        /// Where it stood, or where its data ends.
        saved: Lsn,
        /// Where it was to stand.
        cursor: Lsn,
    },
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        use CheckpointError as E;
        let fix = match &error {
            E::Io { .. } => "check that the state directory exists, is writable and has room",
            E::Version { .. } => "run the version of walcast that wrote it",
            E::NotACheckpoint { .. }
            | E::Length { .. }
            | E::Checksum { .. }
            | E::Content { .. } => {
                "restore the state directory from a copy; without one, remove the file and start the \
                 sinks anew"
            }
            E::Relations { .. } => {
                "remove the file: nothing is lost but what tables looked like, so that a change of \
                 shape since the last run will not be told"
            }
            E::OtherSystem { .. } | E::OtherSlot { .. } => {
                "give each slot a state directory of its own, or correct the source"
            }
            E::NotBegun | E::Backwards { .. } => "report this: walcast broke a rule of its own",
        };
        let (kind, transient) = match &error {
            E::OtherSystem { .. } => (ErrorKind::Identity, false),
            E::Io { .. } => (ErrorKind::State, true),
            _ => (ErrorKind::State, false),
        };
        let error =
            if transient { Error::transient(kind, error) } else { Error::permanent(kind, error) };
        error.with_fix(fix)
    }
}
