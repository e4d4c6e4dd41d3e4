//! Frames of streamed transactions on disk, until they commit.
//!
//! A [`Spill`] owns one segment of the journal's format for each transaction that does not fit the
//! memory, in a directory that is this stream's alone. Nothing in it has to survive this process,
//! since the server sends again what has not committed: segments are not synced and have no
//! opening, go with the value that made them, and are [wiped](SpillSettings::wipe) at the next
//! start after a crash. All calls block.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Chunk;
use crate::journal::{JournalError, RecordKind, SegmentWriter};

/// What the files end in.
const EXTENSION: &str = "spill";

/// Where transactions that do not fit the memory are put, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpillSettings {
    /// A directory of our own.
    pub(crate) directory: PathBuf,
    /// The most bytes in it.
    pub(crate) bytes_max: u64,
}

/// The files of one connection. See the [module](self).
#[derive(Debug)]
pub(super) struct Spill {
    settings: SpillSettings,
    /// Tells its files from those of a connection before, whose last write may still be under way.
    generation: u64,
    files: HashMap<u32, SpillFile>,
    /// Bytes in all files, for others to look at.
    bytes: Arc<AtomicU64>,
}

#[derive(Debug)]
struct SpillFile {
    segment: SegmentWriter,
    /// How far it was read.
    read: u64,
    /// What it counts for in [`Spill::bytes`].
    counted: u64,
}

/// Why frames cannot be kept on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpillError {
    /// There would be more than may be.
    #[error("open transactions take more than the {bytes_max} bytes that they may have on disk")]
    Full { bytes_max: u64 },
    /// The disk failed or is full, or what was written is not what comes back.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl SpillSettings {
    /// Make the directory when it is missing, and take away what a process before left in it.
    pub(super) fn wipe(&self) -> Result<(), SpillError> {
        let failed = |operation| JournalError::io(operation, &self.directory);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.directory).map_err(failed("make"))?;
        for entry in fs::read_dir(&self.directory).map_err(failed("read"))? {
            let path = entry.map_err(failed("read"))?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                fs::remove_file(&path).map_err(JournalError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

impl Spill {
    /// No files yet. `bytes` follows how much is in them.
    pub(super) fn new(settings: SpillSettings, generation: u64, bytes: Arc<AtomicU64>) -> Self {
        Self { settings, generation, files: HashMap::new(), bytes }
    }

    /// Keep `frames` after those that were kept of transaction `xid`.
    pub(super) fn append(&mut self, xid: u32, frames: &[Chunk]) -> Result<(), SpillError> {
        let runs = || frames.iter().map(|run| &run.bytes).filter(|run| !run.is_empty());
        let added: u64 = runs().map(|run| SegmentWriter::record_bytes(run)).sum();
        let bytes_max = self.settings.bytes_max;
        let held: u64 = self.files.values().map(|file| file.segment.bytes()).sum();
        if held + added > bytes_max {
            return Err(SpillError::Full { bytes_max });
        }
        let file = self.file(xid)?;
        let written = runs().try_for_each(|run| file.segment.append(RecordKind::Frames, run));
        let more = file.segment.bytes() - file.counted;
        file.counted += more;
        self.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(written?)
    }

    /// The next frames of transaction `xid`, about `bytes` of them, or `None` when there are no
    /// more.
    pub(super) fn read(&mut self, xid: u32, bytes: usize) -> Result<Option<Vec<u8>>, SpillError> {
        let Some(file) = self.files.get_mut(&xid) else { return Ok(None) };
        let mut reader = file.segment.reader_from(file.read);
        let mut frames = Vec::new();
        while let Some(record) = reader.peek()? {
            if !frames.is_empty() && frames.len() + record.bytes > bytes {
                break;
            }
            reader.next(&mut frames)?;
        }
        file.read = reader.read_bytes();
        Ok((!frames.is_empty()).then_some(frames))
    }

    /// Take away what was kept of transaction `xid`.
    pub(super) fn forget(&mut self, xid: u32) {
        if let Some(file) = self.files.remove(&xid) {
            self.let_go(&file);
        }
    }

    fn file(&mut self, xid: u32) -> Result<&mut SpillFile, SpillError> {
        use std::collections::hash_map::Entry;
        match self.files.entry(xid) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let name = format!("{}-{xid}.{EXTENSION}", self.generation);
                let segment = SegmentWriter::create(&self.settings.directory.join(name))?;
                let read = segment.bytes();
                Ok(entry.insert(SpillFile { segment, read, counted: 0 }))
            }
        }
    }

    fn let_go(&self, file: &SpillFile) {
        self.bytes.fetch_sub(file.counted, Ordering::Relaxed);
        let path = file.segment.path();
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "a spill file is left behind");
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        for file in std::mem::take(&mut self.files).into_values() {
            self.let_go(&file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Lease;

    fn chunk(bytes: &[u8]) -> Chunk {
        Chunk { bytes: bytes.to_vec().into(), lease: Lease::free() }
    }

    fn spill(bytes_max: u64) -> (tempfile::TempDir, Spill, Arc<AtomicU64>) {
        let directory = tempfile::tempdir().unwrap();
        let settings = SpillSettings { directory: directory.path().join("spill"), bytes_max };
        settings.wipe().unwrap();
        let bytes = Arc::<AtomicU64>::default();
        let spill = Spill::new(settings, 1, Arc::clone(&bytes));
        (directory, spill, bytes)
    }

    fn files(directory: &tempfile::TempDir) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory.path().join("spill")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn frames_come_back_in_order_and_in_bounded_pieces() {
        let (directory, mut it, bytes) = spill(1000);
        it.append(7, &[chunk(b"one"), chunk(b"two")]).unwrap();
        it.append(8, &[chunk(b"other")]).unwrap();
        it.append(7, &[chunk(b"a longer one")]).unwrap();
        assert_eq!(it.read(7, 6).unwrap().unwrap(), b"onetwo");
        assert_eq!(it.read(7, 6).unwrap().unwrap(), b"a longer one");
        assert_eq!(it.read(7, 6).unwrap(), None);
        it.forget(7);
        assert_eq!((files(&directory).len(), bytes.load(Ordering::Relaxed)), (1, 40 + 24 + 5));
        drop(it);
        assert_eq!((files(&directory).len(), bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn more_than_may_be_is_refused() {
        let (_directory, mut it, _) = spill(80);
        it.append(7, &[chunk(b"ten bytes.")]).unwrap();
        assert!(matches!(it.append(8, &[chunk(b"ten bytes.")]), Err(SpillError::Full { .. })));
        it.forget(7);
        it.append(8, &[chunk(b"ten bytes.")]).unwrap();
    }

    #[test]
    fn a_flipped_bit_is_told() {
        let (directory, mut it, _) = spill(1000);
        it.append(7, &[chunk(b"frames"), chunk(b"more")]).unwrap();
        let path = files(&directory).remove(0);
        let (begin, whole) = (it.files[&7].read as usize, fs::read(&path).unwrap());
        for at in begin..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            it.files.get_mut(&7).unwrap().read = begin as u64;
            assert!(it.read(7, 1000).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_a_process_before_left_is_wiped_and_nothing_else() {
        let (directory, mut it, _) = spill(1000);
        it.append(7, &[chunk(b"frames")]).unwrap();
        fs::write(directory.path().join("spill/notes"), "mine").unwrap();
        let settings = it.settings.clone();
        std::mem::forget(it);
        assert_eq!(files(&directory).len(), 2);
        settings.wipe().unwrap();
        assert!(files(&directory)[0].ends_with("notes") && files(&directory).len() == 1);
    }
}
