//! What can be wrong with the sink's files.

use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};

use crate::name::SystemId;
use crate::sink::{SinkError, SinkErrorKind};

/// Why the file sink cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSinkError {
    /// An operation on a file failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What failed.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// Another writer holds the file.
    #[error("{} is being written by another process, which holds {}", path.display(), cursor.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// Its locked cursor.
        cursor: PathBuf,
    },
    /// The path names something that is not a file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file is gone, but its cursor is there.
    #[error(
        "{} is gone, though its cursor says that it holds {length} bytes: put it back, or remove the \
         cursor {} to begin a new file",
        path.display(), cursor.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// Its cursor.
        cursor: PathBuf,
        /// How much of it was proven.
        length: u64,
    },
    /// The file is shorter than what was proven of it.
    #[error(
        "{} has {have} bytes, though {want} were proven: restore it, or remove the cursor {} to go by \
         what the file holds",
        path.display(), cursor.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its cursor.
        cursor: PathBuf,
        /// How long it is.
        have: u64,
        /// How long it should at least be.
        want: u64,
    },
    /// The file is not the one that the cursor is of.
    #[error(
        "{} is not the file that was written before: put that one back, or remove the cursor {} to go \
         by what this one holds",
        path.display(), cursor.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
        /// Its cursor.
        cursor: PathBuf,
    },
    /// While it was being written, the file was renamed, removed or replaced.
    #[error("{} was renamed, removed or replaced while it was being written", path.display())]
    TakenAway {
        /// The file or its cursor.
        path: PathBuf,
    },
    /// The cursor is damaged.
    #[error("cursor {} is damaged: remove it to go by what the file holds", cursor.display())]
    CursorDamaged {
        /// The cursor.
        cursor: PathBuf,
    },
    /// There is no cursor, and the file's content does not say where it ends.
    #[error(
        "{} has no cursor, and at byte {at} it does not hold native JSON events: name another path, or \
         move the file away",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
    },
    /// There is no cursor, and the file's format does not say where its writer stood.
    #[error(
        "{} holds something and has no cursor; in the format {format} it does not say where its writer \
         stood: put its cursor back, or name another path",
        path.display()
    )]
    NoCursor {
        /// The file.
        path: PathBuf,
        /// What is written to it.
        format: &'static str,
    },
    /// The file is of another cluster.
    #[error("{} holds changes of cluster {stored}, the source is cluster {source_id}", path.display())]
    OtherSystem {
        /// The file.
        path: PathBuf,
        /// The file's cluster.
        stored: SystemId,
        /// The source's.
        source_id: SystemId,
    },
    /// The thread that writes is gone without a word.
    #[error("the thread that writes {} died", path.display())]
    ThreadDied {
        /// The file.
        path: PathBuf,
    },
    /// A batch came before `open`.
    #[error("{} is not open", path.display())]
    NotOpen {
        /// The file.
        path: PathBuf,
    },
}

impl FileSinkError {
    /// Wraps the failure of `operation` on `path`.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    fn kind(&self) -> SinkErrorKind {
        match self {
            // Somebody has to act: a right, a mount, a directory.
            Self::Io { source, .. } => match source.kind() {
                Io::NotFound
                | Io::PermissionDenied
                | Io::ReadOnlyFilesystem
                | Io::NotADirectory
                | Io::IsADirectory => SinkErrorKind::Fatal,
                _ => SinkErrorKind::Unavailable,
            },
            Self::ThreadDied { .. } => SinkErrorKind::Unavailable,
            // Opening says what has become of it.
            Self::TakenAway { .. } => SinkErrorKind::Unavailable,
            Self::Held { .. } => SinkErrorKind::Fenced,
            _ => SinkErrorKind::Fatal,
        }
    }
}

impl From<FileSinkError> for SinkError {
    fn from(error: FileSinkError) -> Self {
        Self::new(error.kind(), error)
    }
}
