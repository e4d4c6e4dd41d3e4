//! What can be wrong with prepared transactions on disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::journal::JournalError;
use crate::lsn::Lsn;
use crate::name::SlotName;
use crate::{Error, ErrorKind};

/// Why a prepared transaction cannot be kept or handed on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreparedError {
    /// The disk failed, is full, or does not let us.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What failed.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The same for a segment.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is something else where the index should be.
    #[error("{} is no index of prepared transactions", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Another stream has it, or one that was let go of a moment ago still works on it.
    #[error("another stream keeps its prepared transactions in {}", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
    },
    /// It is of another slot.
    #[error("{} keeps prepared transactions of slot \"{have}\", not of \"{want}\"", path.display())]
    OtherSlot {
        /// The directory.
        path: PathBuf,
        /// Whose transactions it keeps.
        have: SlotName,
        /// The slot that is streamed from.
        want: SlotName,
    },
    /// A transaction committed whose changes are not here.
    #[error(
        "prepared transaction {gid:?} committed (up to {end_lsn}), but its changes, which the \
         server sent when it was prepared, are not kept here"
    )]
    Lost {
        /// Its name.
        gid: String,
        /// The first byte after its commit record.
        end_lsn: Lsn,
        /// What became of what was kept, if anything was.
        #[source]
        cause: Option<JournalError>,
    },
}

/// Wraps the failure of `operation` on `path`.
pub(super) fn failed(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> PreparedError {
    let path = path.to_owned();
    move |source| PreparedError::Io { operation, path, source }
}

impl From<PreparedError> for Error {
    fn from(error: PreparedError) -> Self {
        match &error {
            PreparedError::Lost { .. } => Self::permanent(ErrorKind::Gap, error).with_fix(
                "give the sinks a new copy of the tables, remove the state directory and start \
                 again; keep the state directory, which holds prepared transactions",
            ),
            PreparedError::Held { .. } | PreparedError::OtherSlot { .. } => {
                Self::permanent(ErrorKind::Config, error).with_fix("name another directory")
            }
            PreparedError::Index { .. } => Self::permanent(ErrorKind::Io, error)
                .with_fix("restore it from a copy, or remove the state directory and start again"),
            PreparedError::Journal(JournalError::Damaged { .. } | JournalError::Version { .. }) => {
                Self::permanent(ErrorKind::Io, error).with_fix(
                    "restore it from a copy, or remove the state directory and start again",
                )
            }
            PreparedError::Io { .. } | PreparedError::Journal(_) => {
                Self::transient(ErrorKind::Io, error)
            }
        }
    }
}
