//! What can be wrong with a recording beyond its journal.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind};
use crate::journal::JournalError;

/// Why nothing can be recorded or replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// A temporary slot begins now, and the recording ends before.
    #[error("{} holds a recording already, which a temporary slot cannot go on with", path.display())]
    Continued {
        /// The directory.
        path: PathBuf,
    },
    /// There is a journal that nothing was ever recorded in.
    #[error("{} holds a recording without a beginning", path.display())]
    NotBegun {
        /// The directory.
        path: PathBuf,
    },
    /// The slot's name in it cannot be one.
    #[error("the recording in {} names a slot that there cannot be", path.display())]
    Slot {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: crate::NameError,
    },
    /// A task of ours is gone.
    #[error("the task that {0} is gone")]
    TaskEnded(&'static str),
}

impl From<RecordingError> for Error {
    fn from(error: RecordingError) -> Self {
        match &error {
            RecordingError::Continued { .. } => Self::permanent(ErrorKind::Config, error)
                .with_fix("name the slot it was recorded from, or another directory"),
            RecordingError::NotBegun { .. } => Self::permanent(ErrorKind::Config, error)
                .with_fix("name the directory of a recording"),
            RecordingError::Slot { .. } | RecordingError::TaskEnded(_) => {
                Self::permanent(ErrorKind::Io, error)
            }
        }
    }
}

/// An error of a recording's journal.
pub(super) fn of_journal(error: JournalError) -> Error {
    match error {
        JournalError::Empty { .. } => {
            Error::from(error).with_fix("name the directory of a recording")
        }
        error => error.into(),
    }
}
