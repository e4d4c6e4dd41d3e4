//! The sidecar: how much of which file is proven, and up to which LSN.
//!
//! `<path>.cursor` has two slots, written in turn and each synced before it counts, so that a torn
//! write leaves the other. It is never renamed, so the lock on it is the lock on the file. A slot
//! is one line of JSON with its own checksum: readable, and as long whatever it says.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::FileSinkError;
use crate::codec::EventFormat;
use crate::lsn::Lsn;
use crate::name::{SystemId, Timeline};

/// A slot and what separates two: no device tears two sectors that far apart in one write.
const SLOT_BYTES: usize = 512;
const SLOT_DISTANCE: u64 = 4096;
/// ` crc32c=1a2b3c4d` and the line break.
const SEAL_BYTES: usize = 17;
/// How long a writer that is being let go of is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A format by its name, as a slot says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FormatName {
    #[default]
    Json,
    CloudEvents,
    Debezium,
    Wal2Json,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

impl FormatName {
    pub(super) fn of(format: &EventFormat) -> Self {
        match format {
            EventFormat::Json => Self::Json,
            EventFormat::CloudEvents(_) => Self::CloudEvents,
            EventFormat::Debezium(_) => Self::Debezium,
            EventFormat::Wal2Json => Self::Wal2Json,
        }
    }
}

impl std::fmt::Display for FormatName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::CloudEvents => "cloudevents",
            Self::Debezium => "debezium",
            Self::Wal2Json => "wal2json",
            Self::Other => "another format",
        })
    }
}

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stand {
    /// The cluster that `end` is of.
    pub(super) system_id: SystemId,
    pub(super) timeline: Timeline,
    /// The file's inode.
    pub(super) file: u64,
    /// How much of the file is proven; it ends with a whole transaction.
    pub(super) length: u64,
    /// Everything before this is in the file or the ones before it; `None` before the first.
    pub(super) end: Option<Lsn>,
    /// Checksum of the last [`TAIL_BYTES`](super::data::TAIL_BYTES) before `length`.
    pub(super) tail: u32,
    /// When the file was begun, in seconds since 1970.
    pub(super) begun: u64,
    /// What the file is written in; native JSON where that is not said.
    #[serde(default)]
    pub(super) format: FormatName,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    write: u64,
    #[serde(flatten)]
    stand: Stand,
}

/// An open and locked sidecar.
#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    path: PathBuf,
    /// Counts the writes; each goes to the slot that the one before did not.
    write: u64,
}

impl Cursor {
    /// The sidecar of `data`.
    pub(super) fn path_of(data: &Path) -> PathBuf {
        let mut path = data.as_os_str().to_owned();
        path.push(".cursor");
        path.into()
    }

    /// Open and lock the sidecar of `data`, and read it. `None` when nothing was ever proven by it.
    pub(super) fn open(data: &Path) -> Result<(Self, Option<Stand>), FileSinkError> {
        let path = Self::path_of(data);
        let deadline = Instant::now() + LOCK_WAIT;
        let file = loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).map_err(FileSinkError::io("open", &path))?;
            match file.try_lock() {
                // Whoever held it may have removed it: then the lock is of no use.
                Ok(()) if is_at(&file, &path) => break file,
                Ok(()) => {}
                Err(TryLockError::Error(source)) => {
                    return Err(FileSinkError::io("lock", &path)(source));
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(FileSinkError::Held { path: data.to_owned(), cursor: path });
                }
            }
        };
        let mut slots = Vec::new();
        for at in 0..2 {
            slots.push(read(&file, at).map_err(FileSinkError::io("read", &path))?);
        }
        let newest = slots.iter().filter_map(|found| match found {
            Found::Slot(slot) => Some((slot.write, slot.stand)),
            _ => None,
        });
        let newest = newest.max_by_key(|(write, _)| *write);
        // With one slot broken and the other never written, the very first write was torn.
        if newest.is_none() && !slots.iter().any(|found| matches!(found, Found::Blank)) {
            return Err(FileSinkError::CursorDamaged { cursor: path });
        }
        let write = newest.map_or(0, |(write, _)| write);
        Ok((Self { file, path, write }, newest.map(|(_, stand)| stand)))
    }

    /// Make `stand` what a crash leaves.
    pub(super) fn prove(&mut self, stand: &Stand) -> Result<(), FileSinkError> {
        let write = self.write + 1;
        let slot = encode(&Slot { write, stand: *stand });
        let written = self.file.write_all_at(&slot, place(write % 2));
        written.map_err(FileSinkError::io("write", &self.path))?;
        self.file.sync_data().map_err(FileSinkError::io("sync", &self.path))?;
        self.write = write;
        Ok(())
    }

    /// Whether its path still leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether `path` names the open `file`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

enum Found {
    /// Never written.
    Blank,
    Slot(Slot),
    Broken,
}

fn place(at: u64) -> u64 {
    at * SLOT_DISTANCE
}

fn encode(slot: &Slot) -> Vec<u8> {
    let mut line = serde_json::to_vec(slot).unwrap_or_default();
    line.resize(SLOT_BYTES - SEAL_BYTES, b' ');
    let crc = crc32c::crc32c(&line);
    line.extend_from_slice(format!(" crc32c={crc:08x}\n").as_bytes());
    line
}

fn read(file: &File, at: u64) -> std::io::Result<Found> {
    let mut line = vec![0; SLOT_BYTES];
    let mut filled = 0;
    while filled < SLOT_BYTES {
        match file.read_at(&mut line[filled..], place(at) + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    if line.iter().all(|byte| *byte == 0) {
        return Ok(Found::Blank);
    }
    let slot = line.trim_ascii_end();
    let slot = slot.len().checked_sub(SEAL_BYTES - 1).and_then(|seal| {
        let crc = format!(" crc32c={:08x}", crc32c::crc32c(&line[..seal]));
        (slot[seal..] == *crc.as_bytes()).then_some(&line[..seal])
    });
    let slot = slot.and_then(|slot| serde_json::from_slice(slot).ok());
    Ok(slot.map_or(Found::Broken, Found::Slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(length: u64) -> Stand {
        Stand {
            system_id: SystemId::new(u64::MAX),
            timeline: Timeline::new(u32::MAX),
            file: u64::MAX,
            length,
            end: Some(Lsn::new(u64::MAX)),
            tail: u32::MAX,
            begun: u64::MAX,
            format: FormatName::CloudEvents,
        }
    }

    fn reopened(data: &Path) -> Option<Stand> {
        Cursor::open(data).unwrap().1
    }

    #[test]
    fn the_largest_stand_fits_a_slot() {
        let slot = Slot { write: u64::MAX, stand: stand(u64::MAX) };
        assert!(serde_json::to_vec(&slot).unwrap().len() <= SLOT_BYTES - SEAL_BYTES);
        assert_eq!(encode(&slot).len(), SLOT_BYTES);
    }

    #[test]
    fn the_last_proof_counts_and_a_torn_one_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        assert_eq!(reopened(&data), None);
        for length in 1..5 {
            Cursor::open(&data).unwrap().0.prove(&stand(length)).unwrap();
            assert_eq!(reopened(&data), Some(stand(length)));
        }
        let (cursor, _) = Cursor::open(&data).unwrap();
        let before = fs::read(&cursor.path).unwrap();
        let next = encode(&Slot { write: 5, stand: stand(5) });
        drop(cursor);
        for torn in 0..=SLOT_BYTES {
            let mut content = before.clone();
            content[4096..4096 + torn].copy_from_slice(&next[..torn]);
            let complete = content[4096..][..SLOT_BYTES] == next[..];
            fs::write(Cursor::path_of(&data), content).unwrap();
            let found = reopened(&data).unwrap().length;
            assert_eq!(found, if complete { 5 } else { 4 }, "torn at {torn}");
        }
    }

    #[test]
    fn a_torn_first_proof_is_none_and_two_broken_slots_are_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let path = Cursor::path_of(&data);
        let slot = encode(&Slot { write: 1, stand: stand(1) });
        fs::write(&path, &slot[..100]).unwrap();
        assert_eq!(reopened(&data), None);
        let mut both = vec![0; 4096 + SLOT_BYTES];
        both[..100].copy_from_slice(&slot[..100]);
        both[4096..4196].copy_from_slice(&slot[..100]);
        fs::write(&path, &both).unwrap();
        assert!(matches!(Cursor::open(&data), Err(FileSinkError::CursorDamaged { .. })));
    }

    #[test]
    fn one_writer_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let held = Cursor::open(&data).unwrap();
        assert!(matches!(Cursor::open(&data), Err(FileSinkError::Held { .. })));
        drop(held);
        Cursor::open(&data).unwrap();
    }
}
