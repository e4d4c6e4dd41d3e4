//! What can be wrong with a journal.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::format::{NoHeader, NoRecord, VERSION};
use crate::error::{Error, ErrorKind};
use crate::wire::DecodeError;

/// Why a journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
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
    /// What was written is not what is there.
    #[error("{} is damaged at byte {at}: expected {expected}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The byte where what is wrong begins.
        at: u64,
        /// What should be there.
        expected: Expected,
    },
    /// Reading ended at an error before.
    #[error("{} could not be read at byte {at}: nothing after it is read", path.display())]
    Stopped {
        /// The segment, or the directory.
        path: PathBuf,
        /// The byte in it where that was.
        at: u64,
    },
    /// A segment in the middle is not there.
    #[error("{} is missing: segments around it are there", path.display())]
    Missing {
        /// The file there should be.
        path: PathBuf,
    },
    /// Another version of walcast wrote it.
    #[error("{} has version {found} of the format, and this walcast reads {VERSION}", path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// There is no journal.
    #[error("{} holds no journal", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// Another process writes it.
    #[error("{} is being written by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A write or sync failed before: what is on disk is not known.
    #[error("{} takes nothing more, because a write to it failed before", path.display())]
    Poisoned {
        /// The segment or directory.
        path: PathBuf,
    },
    /// A record may not be that long.
    #[error("a record of {bytes} bytes is longer than any that can be written")]
    TooLong {
        /// The length asked for.
        bytes: usize,
    },
    /// Frames were given before an opening.
    #[error("the journal in {} has not been told yet what its frames come from", path.display())]
    NotOpened {
        /// The directory.
        path: PathBuf,
    },
    /// A record that is whole, and not what it says.
    #[error("{} has a record at byte {at} that cannot be understood", path.display())]
    Content {
        /// The segment.
        path: PathBuf,
        /// Where it is.
        at: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Frames that are none.
    #[error("what was to be written are not whole frames")]
    Frames(#[from] DecodeError),
}

/// What should be where something else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The start of a segment of a journal.
    Segment,
    /// The segment that its name says.
    Number {
        /// What its header says.
        have: u64,
        /// What its name says.
        want: u64,
    },
    /// A segment that continues the one before it.
    Continuation,
    /// More of it: the segment after it was begun when it was longer.
    Length {
        /// How long it is.
        have: u64,
        /// How long it was.
        want: u64,
    },
    /// Bytes with this checksum.
    Checksum {
        /// The bytes' checksum.
        have: u32,
        /// The checksum they were written with.
        want: u32,
    },
    /// A whole record; there is a part of one.
    WholeRecord,
    /// A kind of record that is known.
    Kind(u8),
    /// A record that is not this long.
    ShorterRecord(u32),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment => f.write_str("the start of a journal segment"),
            Self::Number { have, want } => write!(f, "segment {want}, found segment {have}"),
            Self::Continuation => {
                f.write_str("the segment that follows the one before it, found another")
            }
            Self::Length { have, want } => write!(f, "{want} bytes, found {have}"),
            Self::Checksum { have, want } => {
                write!(f, "bytes with checksum {want:08x}, found {have:08x}")
            }
            Self::WholeRecord => f.write_str("a whole record, found a part of one"),
            Self::Kind(kind) => write!(f, "a known kind of record, found kind {kind}"),
            Self::ShorterRecord(length) => {
                write!(f, "a record of a length there can be, found one of {length} bytes")
            }
        }
    }
}

impl From<NoRecord> for Expected {
    fn from(not: NoRecord) -> Self {
        match not {
            NoRecord::Checksum { have, want } => Self::Checksum { have, want },
            NoRecord::Kind(kind) => Self::Kind(kind),
            NoRecord::Length(length) => Self::ShorterRecord(length),
        }
    }
}

impl JournalError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    pub(super) fn damaged(path: &Path, at: u64, expected: impl Into<Expected>) -> Self {
        Self::Damaged { path: path.to_owned(), at, expected: expected.into() }
    }

    pub(super) fn header(path: &Path, not: NoHeader) -> Self {
        match not {
            NoHeader::Magic => Self::damaged(path, 0, Expected::Segment),
            NoHeader::Version(found) => Self::Version { path: path.to_owned(), found },
            NoHeader::Checksum { have, want } => {
                Self::damaged(path, 0, Expected::Checksum { have, want })
            }
        }
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        let (kind, fix) = match &error {
            JournalError::Io { .. } | JournalError::Poisoned { .. } => {
                (ErrorKind::Io, "see to the disk: its room, its health and who may write to it")
            }
            JournalError::Damaged { .. }
            | JournalError::Stopped { .. }
            | JournalError::Missing { .. }
            | JournalError::Content { .. } => {
                (ErrorKind::Io, "restore it from a copy; everything before that place is whole")
            }
            JournalError::Version { .. } => {
                (ErrorKind::Io, "read it with the walcast that wrote it")
            }
            JournalError::Empty { .. } => (ErrorKind::Config, "name the directory of a journal"),
            JournalError::Locked { .. } => {
                (ErrorKind::StateLocked, "stop that process, or name another directory")
            }
            JournalError::TooLong { .. }
            | JournalError::NotOpened { .. }
            | JournalError::Frames(_) => return Self::permanent(ErrorKind::Protocol, error),
        };
        Self::permanent(kind, error).with_fix(fix)
    }
}
