//! The file being written: what of it is written, whole and proven, and when it is put aside.
//!
//! ```text
//! 0 ────────── proven ─────────────── whole ─────── written
//!   synced, and the cursor says so │ transactions │ part of one
//! ```
//!
//! It is put aside only where `whole` is: its successor starts with a transaction's first line.
//! Putting aside proves everything first, then renames, makes the successor and lets the cursor
//! point there; [`recover`](super::recover) finishes what a crash interrupts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Rotation;
use super::cursor::{Cursor, FormatName, Stand, is_at};
use super::error::FileSinkError;
use crate::lsn::Lsn;
use crate::name::{SystemId, Timeline};

/// How much of a file's end the cursor keeps a checksum of.
pub(super) const TAIL_BYTES: u64 = 4096;
/// Digits of the number that a file put aside is named with.
const NUMBER_DIGITS: usize = 8;

/// How much of the file ends with a whole transaction, and what that transaction's end LSN is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) length: u64,
    pub(super) end: Option<Lsn>,
}

/// The file being written, with its cursor.
#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) cursor: Cursor,
    pub(super) system_id: SystemId,
    pub(super) timeline: Timeline,
    /// In seconds since 1970.
    pub(super) begun: u64,
    pub(super) format: FormatName,
    pub(super) written: u64,
    pub(super) whole: Whole,
    pub(super) proven: Whole,
    pub(super) rotation: Rotation,
}

impl DataFile {
    /// Append `bytes`, of which those before `mark` end with the transaction whose end LSN it
    /// names.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        mark: Option<(usize, Lsn)>,
    ) -> Result<(), FileSinkError> {
        if self.is_due(bytes.len()) {
            self.put_aside()?;
        }
        let Some((at, end)) = mark else { return self.write(bytes) };
        self.write(&bytes[..at])?;
        self.whole = Whole { length: self.written, end: Some(end) };
        if at < bytes.len() && self.is_due(bytes.len() - at) {
            self.put_aside()?;
        }
        self.write(&bytes[at..])
    }

    /// How much was written that is not proven.
    pub(super) fn unproven_bytes(&self) -> u64 {
        self.written - self.proven.length
    }

    /// Sync what is whole and let the cursor say so.
    pub(super) fn prove(&mut self) -> Result<(), FileSinkError> {
        if self.proven == self.whole {
            return Ok(());
        }
        self.check_in_place()?;
        self.file.sync_data().map_err(FileSinkError::io("sync", &self.path))?;
        self.point_cursor()
    }

    /// Let the cursor say what is whole. The file is synced up to there.
    pub(super) fn point_cursor(&mut self) -> Result<(), FileSinkError> {
        let failed = || FileSinkError::io("read", &self.path);
        let stand = Stand {
            system_id: self.system_id,
            timeline: self.timeline,
            file: self.file.metadata().map_err(failed())?.ino(),
            length: self.whole.length,
            end: self.whole.end,
            tail: tail_checksum(&self.file, self.whole.length).map_err(failed())?,
            begun: self.begun,
            format: self.format,
        };
        self.cursor.prove(&stand)?;
        self.proven = self.whole;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileSinkError> {
        let written = self.file.write_all_at(bytes, self.written);
        written.map_err(FileSinkError::io("write", &self.path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes that go to a file nobody can find any more are not durable.
    fn check_in_place(&self) -> Result<(), FileSinkError> {
        let taken = |path: &Path| Err(FileSinkError::TakenAway { path: path.to_owned() });
        if !is_at(&self.file, &self.path) {
            return taken(&self.path);
        }
        if !self.cursor.is_in_place() {
            return taken(self.cursor.path());
        }
        Ok(())
    }

    /// Whether the file is to be put aside before `more` bytes come to it.
    fn is_due(&self, more: usize) -> bool {
        let at_boundary = self.written > 0 && self.written == self.whole.length;
        let too_large = |max| self.written + more as u64 > max;
        let too_old = |max: Duration| now().saturating_sub(self.begun) >= max.as_secs();
        at_boundary
            && (self.rotation.bytes.is_some_and(too_large)
                || self.rotation.age.is_some_and(too_old))
    }

    /// Prove what is whole, and go on in a new file.
    pub(super) fn put_aside(&mut self) -> Result<(), FileSinkError> {
        self.check_in_place()?;
        self.prove()?;
        let aside = set_aside(&self.path).map_err(FileSinkError::io("list", &self.path))?;
        let number = aside.last().map_or(0, |(number, _)| *number) + 1;
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number:0NUMBER_DIGITS$}"));
        fs::rename(&self.path, &name).map_err(FileSinkError::io("rename", &self.path))?;
        self.begin()?;
        if let Some(keep) = self.rotation.keep {
            let old = (aside.len() + 1).saturating_sub(keep);
            for (_, path) in aside.iter().take(old) {
                // It is in nobody's way; the next time removes it.
                if let Err(error) = fs::remove_file(path) {
                    tracing::warn!(path = %path.display(), %error, "an old file stays");
                }
            }
        }
        Ok(())
    }

    /// Begin the successor of a file that was put aside.
    fn begin(&mut self) -> Result<(), FileSinkError> {
        self.file = create(&self.path)?;
        (self.written, self.begun) = (0, now());
        self.whole.length = 0;
        self.point_cursor()
    }
}

/// Make the file at `path`, which is not there, so that it survives a crash.
pub(super) fn create(path: &Path) -> Result<File, FileSinkError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(path);
    let file = file.map_err(FileSinkError::io("create", path))?;
    sync_directory(path).map_err(FileSinkError::io("create", path))?;
    Ok(file)
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The files put aside under the name of `path`, with their numbers, oldest first.
pub(super) fn set_aside(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Some(name) = path.file_name() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(parent.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let other = entry.file_name();
        let number = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        let number = number.and_then(|rest| rest.strip_prefix(b"."));
        let number = number.filter(|digits| {
            digits.len() >= NUMBER_DIGITS && digits.iter().all(u8::is_ascii_digit)
        });
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The checksum of the last [`TAIL_BYTES`] before `length`.
pub(super) fn tail_checksum(file: &File, length: u64) -> io::Result<u32> {
    let mut tail = vec![0; length.min(TAIL_BYTES) as usize];
    let from = length - tail.len() as u64;
    file.read_exact_at(&mut tail, from)?;
    Ok(crc32c::crc32c(&tail))
}

/// In seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
