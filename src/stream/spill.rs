//! Frames of streamed transactions on disk, until they commit.
//!
//! A [`Spill`] owns one file for each transaction that does not fit the memory, in a directory that
//! is this stream's alone. A file is a row of records: length, CRC-32C, frames. Nothing in it has
//! to survive this process, since the server sends again what has not committed: files are not
//! synced, go with the value that made them, and are [wiped](SpillSettings::wipe) at the next start
//! after a crash. All calls block.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Chunk;

/// What the files end in.
const EXTENSION: &str = "spill";
/// Bytes before the frames of a record.
const RECORD_HEADER_BYTES: usize = 8;

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
    file: File,
    path: PathBuf,
    written: u64,
    read: u64,
}

/// Why frames cannot be kept on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpillError {
    /// There would be more than may be.
    #[error("open transactions take more than the {bytes_max} bytes that they may have on disk")]
    Full { bytes_max: u64 },
    /// The disk failed, or is full.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    /// What was written is not what comes back.
    #[error("{} is damaged at byte {at}", path.display())]
    Damaged { path: PathBuf, at: u64 },
}

impl SpillSettings {
    /// Make the directory when it is missing, and take away what a process before left in it.
    pub(super) fn wipe(&self) -> Result<(), SpillError> {
        let failed = |operation| {
            let path = self.directory.clone();
            move |source| SpillError::Io { operation, path, source }
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.directory).map_err(failed("make"))?;
        for entry in fs::read_dir(&self.directory).map_err(failed("read"))? {
            let path = entry.map_err(failed("read"))?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                fs::remove_file(&path).map_err(|source| SpillError::Io {
                    operation: "remove",
                    path,
                    source,
                })?;
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
        let added: usize = frames.iter().map(|run| RECORD_HEADER_BYTES + run.bytes.len()).sum();
        let bytes_max = self.settings.bytes_max;
        let held: u64 = self.files.values().map(|file| file.written).sum();
        if held + added as u64 > bytes_max {
            return Err(SpillError::Full { bytes_max });
        }
        let file = self.file(xid)?;
        for run in frames.iter().filter(|run| !run.bytes.is_empty()) {
            file.write(&run.bytes).map_err(|source| {
                let path = file.path.clone();
                SpillError::Io { operation: "write", path, source }
            })?;
        }
        self.bytes.fetch_add(added as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The next frames of transaction `xid`, about `bytes` of them, or `None` when there are no
    /// more.
    pub(super) fn read(&mut self, xid: u32, bytes: usize) -> Result<Option<Vec<u8>>, SpillError> {
        let Some(file) = self.files.get_mut(&xid) else { return Ok(None) };
        let mut frames = Vec::new();
        while let Some(length) = file.next_length()? {
            if !frames.is_empty() && frames.len() + length > bytes {
                break;
            }
            file.read(length, &mut frames)?;
        }
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
                let path = self.settings.directory.join(name);
                let file = SpillFile::create(&path).map_err(|source| {
                    let path = path.clone();
                    SpillError::Io { operation: "make", path, source }
                })?;
                Ok(entry.insert(file))
            }
        }
    }

    fn let_go(&self, file: &SpillFile) {
        self.bytes.fetch_sub(file.written, Ordering::Relaxed);
        if let Err(error) = fs::remove_file(&file.path) {
            tracing::warn!(path = %file.path.display(), %error, "a spill file is left behind");
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

impl SpillFile {
    fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Self { file: options.open(path)?, path: path.to_owned(), written: 0, read: 0 })
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frames.len()).map_err(io::Error::other)?;
        let mut header = [0; RECORD_HEADER_BYTES];
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..].copy_from_slice(&crc32c::crc32c(frames).to_le_bytes());
        self.file.write_all(&header)?;
        self.file.write_all(frames)?;
        self.written += (RECORD_HEADER_BYTES + frames.len()) as u64;
        Ok(())
    }

    /// How many bytes of frames the next record has; `None` after the last one.
    fn next_length(&mut self) -> Result<Option<usize>, SpillError> {
        if self.read == self.written {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.read_at(self.read, &mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        match self.read + RECORD_HEADER_BYTES as u64 + length {
            end if end <= self.written => Ok(Some(length as usize)),
            _ => Err(self.damaged()),
        }
    }

    fn read(&mut self, length: usize, frames: &mut Vec<u8>) -> Result<(), SpillError> {
        let mut crc = [0; 4];
        self.read_at(self.read + 4, &mut crc)?;
        let from = frames.len();
        frames.resize(from + length, 0);
        self.read_at(self.read + RECORD_HEADER_BYTES as u64, &mut frames[from..])?;
        if crc32c::crc32c(&frames[from..]) != u32::from_le_bytes(crc) {
            return Err(self.damaged());
        }
        self.read += (RECORD_HEADER_BYTES + length) as u64;
        Ok(())
    }

    fn read_at(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), SpillError> {
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(bytes));
        let path = self.path.clone();
        read.map_err(|source| SpillError::Io { operation: "read", path, source })
    }

    fn damaged(&self) -> SpillError {
        SpillError::Damaged { path: self.path.clone(), at: self.read }
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
        assert_eq!((files(&directory).len(), bytes.load(Ordering::Relaxed)), (1, 13));
        drop(it);
        assert_eq!((files(&directory).len(), bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn more_than_may_be_is_refused() {
        let (_directory, mut it, _) = spill(30);
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
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            it.files.get_mut(&7).unwrap().read = 0;
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
