//! Prepared transactions on disk, until they have committed and that is confirmed.
//!
//! [`PreparedTransactions`] owns a directory: a segment of frames for each transaction, and an
//! index that is replaced as a whole and says which of them count. A transaction is kept once the
//! index names it; everything it names is synced. It outlives connections and processes: a Prepare
//! that was confirmed is never sent again. A handle may be cloned: a connection that is gone may
//! still have work under way. It is locked for as long as a handle lives. All calls block.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::StreamError;
use super::prepared_error::{PreparedError, failed};
use super::source::Source;
use crate::Error;
use crate::event::Chunk;
use crate::journal::{JournalError, RecordKind, SegmentReader, SegmentWriter};
use crate::lsn::Lsn;
use crate::name::{SlotName, SystemId};
use crate::session::{Kept, PreparedTransaction};

const INDEX: &str = "index";
/// What the names of segments end in.
const EXTENSION: &str = "journal";
const LOCK: &str = "lock";
/// How long the work of a stream that was let go of is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The prepared transactions of a slot. See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct PreparedTransactions {
    /// Locked by blocking calls alone, one of which may be of a connection before.
    files: Arc<Mutex<Files>>,
    /// The connection this handle is for.
    connection: u64,
}

#[derive(Debug)]
struct Files {
    directory: PathBuf,
    /// None before the first stream.
    index: Option<Index>,
    /// Makes names of segments that no other has.
    next: u64,
    /// The connection that may change anything.
    connection: u64,
    _lock: File,
}

/// What is kept, and whose it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Index {
    system_id: SystemId,
    slot: SlotName,
    /// Whether all that the slot has sent and not resolved is here.
    is_whole: bool,
    transactions: BTreeMap<u32, Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    gid: String,
    /// The first byte after its prepare record.
    end_lsn: Lsn,
    has_changes: bool,
    /// Its segment's name and length.
    segment: String,
    bytes: u64,
    /// The first byte after its commit record, once that is known: kept until it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    committed: Option<Lsn>,
}

/// A transaction that is being written.
#[derive(Debug)]
pub(super) struct Unsealed {
    xid: u32,
    name: String,
    writer: SegmentWriter,
}

/// Whose the transactions are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) system_id: SystemId,
    pub(super) slot: &'a SlotName,
}

/// What the slot has sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotPast {
    /// It is made anew.
    None,
    /// It sends prepared transactions from now on.
    NoPrepared,
    /// It may have sent any.
    Any,
}

impl PreparedTransactions {
    /// The place of `source`, if it asks for prepared transactions.
    pub(super) async fn of(source: &Source) -> Result<Option<Self>, Error> {
        if !source.two_phase {
            return Ok(None);
        }
        let directory = source.prepared.clone().ok_or(StreamError::NoPlaceForPrepared)?;
        let opening = tokio::task::spawn_blocking(move || Self::open(&directory));
        Ok(Some(opening.await.map_err(|_| StreamError::TaskEnded)??))
    }

    /// Read what a process before left in `directory`, which is made when it is missing.
    pub(super) fn open(directory: &Path) -> Result<Self, PreparedError> {
        if !directory.exists() {
            let mut builder = fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(directory);
            made.map_err(failed("make", directory))?;
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
        let lock = lock(directory)?;
        let index = read_index(&directory.join(INDEX))?;
        let directory = directory.to_owned();
        let mut files = Files { directory, index, next: 0, connection: 0, _lock: lock };
        files.remove_unnamed()?;
        Ok(Self { files: Arc::new(Mutex::new(files)), connection: 0 })
    }

    /// For a new connection; handles of connections before change nothing any more.
    pub(super) fn for_connection(&self) -> Self {
        let mut files = self.lock();
        files.connection += 1;
        Self { files: Arc::clone(&self.files), connection: files.connection }
    }

    /// The slot of `owner` is about to stream: make sure that there is an index.
    pub(super) fn begin_stream(
        &self,
        owner: Owner<'_>,
        past: SlotPast,
    ) -> Result<(), PreparedError> {
        let mut files = self.lock();
        let Owner { system_id, slot } = owner;
        let index = files.index.as_ref().filter(|_| past != SlotPast::None);
        let index = match index {
            Some(index) if index.slot != *slot || index.system_id != system_id => {
                let (path, have) = (files.directory.clone(), index.slot.clone());
                return Err(PreparedError::OtherSlot { path, have, want: slot.clone() });
            }
            Some(index) if index.is_whole || past == SlotPast::Any => return Ok(()),
            Some(index) => Index { is_whole: true, ..index.clone() },
            None => Index {
                system_id,
                slot: slot.clone(),
                is_whole: past != SlotPast::Any,
                transactions: BTreeMap::new(),
            },
        };
        files.replace_index(index)?;
        files.remove_unnamed()
    }

    /// What is kept.
    pub(super) fn kept(&self) -> Kept {
        let files = self.lock();
        let Some(index) = &files.index else { return Kept::default() };
        let kept = index.transactions.iter().map(|(xid, entry)| PreparedTransaction {
            xid: *xid,
            gid: entry.gid.clone(),
            end_lsn: entry.end_lsn,
            has_changes: entry.has_changes,
        });
        Kept { transactions: kept.collect(), is_whole: index.is_whole }
    }

    /// Begin to write transaction `xid`.
    pub(super) fn begin(&self, xid: u32) -> Result<Unsealed, PreparedError> {
        let mut files = self.lock();
        loop {
            let name = format!("{xid}-{}.{EXTENSION}", files.next);
            files.next += 1;
            let path = files.directory.join(&name);
            if !path.exists() {
                return Ok(Unsealed { xid, name, writer: SegmentWriter::create(&path)? });
            }
        }
    }

    /// All of a transaction is written: keep it, instead of what was kept under its id before. What
    /// has committed before `confirmed` is let go of.
    pub(super) fn seal(
        &self,
        head: PreparedTransaction,
        unsealed: Option<Unsealed>,
        confirmed: Lsn,
    ) -> Result<(), PreparedError> {
        let PreparedTransaction { xid, gid, end_lsn, has_changes } = head;
        let unsealed = match unsealed {
            Some(unsealed) => unsealed,
            None => self.begin(xid)?,
        };
        let Unsealed { name: segment, mut writer, .. } = unsealed;
        writer.sync()?;
        let bytes = writer.bytes();
        writer.close()?;
        let mut files = self.lock();
        sync_directory(&files.directory)?;
        let Some(mut index) = self.index_to_change(&files) else { return Ok(()) };
        let entry = Entry { gid, end_lsn, has_changes, segment, bytes, committed: None };
        tracing::info!(xid, gid = entry.gid, %end_lsn, bytes, "a prepared transaction is kept");
        index.transactions.insert(xid, entry);
        files.let_go(&mut index, confirmed);
        files.replace_index(index)?;
        files.remove_unnamed()
    }

    /// Transaction `xid` commits: note that, and read what was kept of it.
    pub(super) fn commit(
        &self,
        xid: u32,
        end_lsn: Lsn,
    ) -> Result<Option<SegmentReader>, PreparedError> {
        let mut files = self.lock();
        let Some(mut index) = self.index_to_change(&files) else { return Ok(None) };
        let Some(entry) = index.transactions.get_mut(&xid) else { return Ok(None) };
        entry.committed = Some(end_lsn);
        let entry = entry.clone();
        files.replace_index(index)?;
        let opened = SegmentReader::open(&files.directory.join(&entry.segment), entry.bytes);
        opened.map_err(|error| entry.lost(error))
    }

    /// The next frames of transaction `xid`, about `bytes` of them; `None` when there are no more.
    pub(super) fn read(
        &self,
        xid: u32,
        reader: &mut SegmentReader,
        bytes: usize,
    ) -> Result<Option<Vec<u8>>, PreparedError> {
        let mut frames = Vec::new();
        let read = (|| {
            while let Some(record) = reader.peek()? {
                if record.kind != RecordKind::Frames
                    || (!frames.is_empty() && frames.len() + record.bytes > bytes)
                {
                    break;
                }
                reader.next(&mut frames)?;
            }
            Ok(())
        })();
        let files = self.lock();
        let entry = files.index.as_ref().and_then(|index| index.transactions.get(&xid));
        match (read, entry) {
            (Ok(()), _) => Ok((!frames.is_empty()).then_some(frames)),
            (Err(error), Some(entry)) => Err(entry.lost(error)),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Transaction `xid` was rolled back.
    pub(super) fn discard(&self, xid: u32) -> Result<(), PreparedError> {
        let mut files = self.lock();
        let Some(mut index) = self.index_to_change(&files) else { return Ok(()) };
        if index.transactions.remove(&xid).is_some() {
            files.replace_index(index)?;
            files.remove_unnamed()?;
        }
        Ok(())
    }

    /// Let go of what has committed before `confirmed`.
    pub(super) fn release(&self, confirmed: Lsn) -> Result<(), PreparedError> {
        let mut files = self.lock();
        let Some(mut index) = self.index_to_change(&files) else { return Ok(()) };
        if files.let_go(&mut index, confirmed) {
            files.replace_index(index)?;
            files.remove_unnamed()?;
        }
        Ok(())
    }

    /// None before the first stream and for a connection that is gone.
    fn index_to_change(&self, files: &Files) -> Option<Index> {
        files.index.clone().filter(|_| self.connection == files.connection)
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        // What is on disk is whole at any time.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// Whether anything is let go of.
    fn let_go(&self, index: &mut Index, confirmed: Lsn) -> bool {
        let before = index.transactions.len();
        index.transactions.retain(|_, entry| entry.committed.is_none_or(|end| end > confirmed));
        index.transactions.len() < before
    }

    fn replace_index(&mut self, index: Index) -> Result<(), PreparedError> {
        let (path, beside) = (self.directory.join(INDEX), self.directory.join("index.new"));
        let content = serde_json::to_vec(&index)
            .map_err(|source| PreparedError::Index { path: path.clone(), source })?;
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &beside)(error));
            }
            _ => {}
        }
        let mut writer = SegmentWriter::create(&beside)?;
        writer.append(RecordKind::Index, &content)?;
        writer.close()?;
        fs::rename(&beside, &path).map_err(failed("replace", &path))?;
        sync_directory(&self.directory)?;
        self.index = Some(index);
        Ok(())
    }

    /// Take away segments that the index does not name.
    fn remove_unnamed(&mut self) -> Result<(), PreparedError> {
        let named = |name: &str| {
            let mut entries = self.index.iter().flat_map(|index| index.transactions.values());
            entries.any(|entry| entry.segment == name)
        };
        let directory = &self.directory;
        for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
            let name = entry.map_err(failed("read", directory))?.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(EXTENSION)) else {
                continue;
            };
            if !named(name) {
                let path = directory.join(name);
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }
}

impl Entry {
    /// What an error means when the transaction is needed.
    fn lost(&self, error: JournalError) -> PreparedError {
        let is_missing = |error: &JournalError| match error {
            JournalError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            JournalError::Damaged { .. } | JournalError::Stopped { .. } => true,
            _ => false,
        };
        if !is_missing(&error) {
            return error.into();
        }
        let (gid, end_lsn) = (self.gid.clone(), self.committed.unwrap_or(self.end_lsn));
        PreparedError::Lost { gid, end_lsn, cause: Some(error) }
    }
}

impl Unsealed {
    pub(super) fn xid(&self) -> u32 {
        self.xid
    }

    /// Write frames after those before.
    pub(super) fn append(&mut self, frames: &[Chunk]) -> Result<(), PreparedError> {
        for run in frames.iter().filter(|run| !run.bytes.is_empty()) {
            self.writer.append(RecordKind::Frames, &run.bytes)?;
        }
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File, PreparedError> {
    let path = directory.join(LOCK);
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    let file = options.open(&path).map_err(failed("open", &path))?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_RETRY);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(PreparedError::Held { path: directory.to_owned() });
            }
        }
    }
}

fn read_index(path: &Path) -> Result<Option<Index>, PreparedError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut content = Vec::new();
    if let Some(mut reader) = SegmentReader::open(path, 0)? {
        reader.next(&mut content)?;
    }
    let read = serde_json::from_slice(&content);
    read.map(Some).map_err(|source| PreparedError::Index { path: path.to_owned(), source })
}

fn sync_directory(directory: &Path) -> Result<(), PreparedError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed("sync", directory))
}

#[cfg(test)]
#[path = "prepared_tests.rs"]
mod tests;
