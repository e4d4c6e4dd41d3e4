//! From a directory to batches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::{RecordingError, of_journal};
use crate::budget::{Budget, MakingRoom};
use crate::event::{Batch, CatalogEntry, Chunk, Lease, Oid, Relation};
use crate::journal::{Answer, Entry, JournalReader, Opened, Torn};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::SlotName;
use crate::session::{Assembler, AssemblerOptions, HandedOut};
use crate::{Error, ErrorKind, Result};

/// About how much is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// The batches of a recording, in order. See the [module](super).
#[derive(Debug)]
pub struct Replay {
    directory: PathBuf,
    slot: SlotName,
    database: String,
    lineage: Arc<Lineage>,
    start: Lsn,
    handed: HandedOut,
    budget: Budget,
    /// The files; not here while they are read.
    recording: Option<Recording>,
    reading: Option<JoinHandle<(Recording, Option<Batch>)>>,
    progress: watch::Sender<Progress>,
    torn: Option<Torn>,
}

/// How much of a recording was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes there are.
    pub total_bytes: u64,
}

impl Replay {
    /// Read the recording in `directory`, keeping at most about `budget` in flight.
    ///
    /// # Errors
    /// What is wrong with its journal, see [`JournalError`](crate::journal::JournalError).
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn open(directory: &Path, budget: Budget) -> Result<Self> {
        let (path, room) = (directory.to_owned(), MakingRoom::new(budget.clone(), READ_BYTES));
        let opening = tokio::task::spawn_blocking(move || Recording::open(&path, room));
        let (recording, first) = match opening.await {
            Ok(opened) => opened?,
            Err(_) => return Err(RecordingError::TaskEnded("opens the recording").into()),
        };
        let slot = SlotName::new(&first.slot).map_err(|source| {
            let path = directory.to_owned();
            RecordingError::Slot { path, source }
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            slot,
            database: first.database,
            lineage: Arc::new(first.lineage),
            start: recording.assembler.handed_out().end,
            handed: recording.assembler.handed_out(),
            budget,
            progress: watch::Sender::new(recording.progress()),
            recording: Some(recording),
            reading: None,
            torn: None,
        })
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// Damage, named by file and byte. Nothing comes after it.
    ///
    /// # Cancel safety
    /// Safe: what was read is kept for the next call.
    pub async fn next(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let joined = reading.await;
                self.reading = None;
                let Ok((recording, read)) = joined else {
                    return Err(RecordingError::TaskEnded("reads the recording").into());
                };
                self.progress.send_replace(recording.progress());
                self.handed = recording.assembler.handed_out();
                self.torn = recording.journal.torn().cloned();
                self.recording = Some(recording);
                if read.is_some() {
                    return Ok(read);
                }
            }
            let Some(recording) = &mut self.recording else { return Ok(None) };
            if recording.is_over {
                return recording.failed.take().map_or(Ok(None), Err);
            }
            recording.room.had().await;
            // Two large ones cannot be had at once: the change held back for the next one goes.
            if recording.rest.is_none()
                && self.budget.is_large(recording.upcoming)
                && let Some(batch) = recording.let_go()
            {
                self.handed = recording.assembler.handed_out();
                return Ok(Some(batch));
            }
            let (bytes, lease) = match recording.rest {
                // It may have the place for large shares.
                Some(_) => (0, Lease::free()),
                None => {
                    let bytes = READ_BYTES.min(self.budget.limit() / 64).max(recording.upcoming);
                    (bytes, self.budget.lend(bytes).await)
                }
            };
            let Some(mut recording) = self.recording.take() else { return Ok(None) };
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let read = recording.read(bytes, &lease);
                (recording, read)
            }));
        }
    }

    /// Begin again. What was handed out comes again.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn rewind(&mut self) -> Result<()> {
        let again = Self::open(&self.directory, self.budget.clone()).await?;
        self.progress.send_replace(*again.progress.borrow());
        let progress = self.progress.clone();
        *self = Self { progress, ..again };
        Ok(())
    }

    /// Where it begins.
    pub fn start(&self) -> Lsn {
        self.start
    }

    /// The slot it was recorded from, at its beginning.
    pub fn slot(&self) -> &SlotName {
        &self.slot
    }

    /// The database whose changes they are.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The cluster it was recorded from, at its beginning.
    pub fn lineage(&self) -> &Arc<Lineage> {
        &self.lineage
    }

    /// Follow how much was read.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The end of what was handed out; at first, where it begins.
    pub fn handed_out(&self) -> Lsn {
        self.handed.end
    }

    /// Whether part of a transaction was handed out whose Commit is still to come.
    pub fn in_transaction(&self) -> bool {
        self.handed
            .partial
            .is_some_and(|(commit_lsn, index)| index > 0 && commit_lsn >= self.handed.end)
    }

    /// What bounds the bytes in flight.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Where the recording was cut off, if it was. Known at the end.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }
}

/// The files and what is made of them. Its calls block.
#[derive(Debug)]
struct Recording {
    journal: JournalReader,
    assembler: Assembler,
    /// Memory for what is made of frames.
    room: MakingRoom,
    /// What a full batch left of its frames.
    rest: Option<Chunk>,
    /// What comes next was read already: a connection begins.
    opened: Option<Box<Opened>>,
    /// What the catalogue said, as long as it has not said all it was asked.
    answers: Vec<(Oid, CatalogEntry)>,
    /// How many bytes the next piece has.
    upcoming: usize,
    is_over: bool,
    /// What it ended at, told after what came before.
    failed: Option<Error>,
}

impl Recording {
    /// Open it, and say how its first connection was opened.
    fn open(directory: &Path, room: MakingRoom) -> Result<(Self, crate::journal::Opening)> {
        let mut journal = JournalReader::open(directory).map_err(of_journal)?;
        let Some(Entry::Opened(opened)) = journal.read().map_err(of_journal)? else {
            return Err(RecordingError::NotBegun { path: directory.to_owned() }.into());
        };
        let end = opened.opening.continued.map_or(opened.opening.start, |before| before.end);
        let handed = HandedOut { end, partial: None };
        let assembler = assembler_of(&opened, handed)?;
        let upcoming = journal.upcoming_bytes().map_err(of_journal)?.unwrap_or(0);
        let recording = Self {
            journal,
            assembler: assembler.bounded(room.bytes()),
            room,
            rest: None,
            opened: None,
            answers: Vec::new(),
            upcoming,
            is_over: false,
            failed: None,
        };
        Ok((recording, opened.opening))
    }

    fn progress(&self) -> Progress {
        let (read_bytes, total_bytes) = (self.journal.read_bytes(), self.journal.total_bytes());
        Progress { read_bytes, total_bytes }
    }

    /// Read about `bytes`, which `lease` covers; a batch if they make one.
    fn read(&mut self, bytes: usize, lease: &Lease) -> Option<Batch> {
        if let Err(error) = self.read_on(bytes, lease) {
            self.is_over = true;
            self.failed = Some(error);
        }
        self.take()
    }

    fn read_on(&mut self, bytes: usize, lease: &Lease) -> Result<()> {
        if let Some(rest) = self.rest.take() {
            self.push(rest)?;
        }
        if self.is_full() {
            return Ok(());
        }
        if let Some(opened) = self.opened.take() {
            // Rows that the catalogue was not asked about were not handed out, and come again.
            let known = self.assembler.known();
            let handed = self.assembler.handed_out();
            let assembler = assembler_of(&opened, handed)?.knowing(&known);
            self.assembler = assembler.bounded(self.room.bytes());
            self.answers.clear();
        }
        let mut left = bytes;
        while self.upcoming <= left {
            left -= self.upcoming;
            match self.journal.read().map_err(of_journal)? {
                Some(Entry::Frames(frames)) => {
                    self.push(Chunk { bytes: frames, lease: lease.clone() })?;
                }
                // What came before it is handed out first, and counts as handed out.
                Some(Entry::Opened(opened)) => self.opened = Some(opened),
                Some(Entry::Answer(answer)) => self.answer(&answer)?,
                None => self.is_over = true,
            }
            self.upcoming = self.journal.upcoming_bytes().map_err(of_journal)?.unwrap_or(0);
            if self.is_over || self.opened.is_some() || self.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn push(&mut self, chunk: Chunk) -> Result<()> {
        self.rest = Some(chunk);
        // What the catalogue said of its tables comes after it.
        while !self.is_full()
            && let Some(chunk) = self.rest.take()
        {
            self.rest = self.assembler.push(chunk).map_err(not_allowed)?;
        }
        Ok(())
    }

    /// Whether it is time for a batch that can be had.
    fn is_full(&self) -> bool {
        self.assembler.is_full() && self.assembler.undescribed().is_empty()
    }

    /// The catalogue was asked about all tables that had been described, and answered one by one.
    fn answer(&mut self, answer: &Answer) -> Result<()> {
        self.answers.push(entry_of(answer)?);
        if self.answers.len() >= self.assembler.undescribed().len() {
            let said = std::mem::take(&mut self.answers);
            answered(&mut self.assembler, said);
        }
        Ok(())
    }

    /// Hand out a change that is held back for the next one.
    fn let_go(&mut self) -> Option<Batch> {
        self.assembler.change_follows();
        self.take()
    }

    fn take(&mut self) -> Option<Batch> {
        if !self.assembler.has_events() || !self.assembler.undescribed().is_empty() {
            return None;
        }
        let room = &mut self.room;
        self.assembler.take(|bytes| room.settle(bytes))
    }
}

/// What makes batches of a connection's frames.
fn assembler_of(opened: &Opened, handed: HandedOut) -> Result<Assembler> {
    let Opened { opening, described, answers } = opened;
    let options =
        AssemblerOptions { messages: opening.messages.clone(), local_only: opening.local_only };
    let mut assembler = Assembler::new(Arc::new(opening.lineage.clone()), handed, options);
    let described = Chunk { bytes: described.clone(), lease: Lease::free() };
    assembler.push(described).map_err(not_allowed)?;
    let said = answers.iter().map(entry_of).collect::<Result<_>>()?;
    answered(&mut assembler, said);
    Ok(assembler)
}

/// Give each described table what the catalogue `said` of it; nothing where it said nothing.
fn answered(assembler: &mut Assembler, mut said: Vec<(Oid, CatalogEntry)>) {
    let mut answer = |table: &Arc<Relation>| {
        let at = said.iter().position(|(oid, _)| *oid == table.oid);
        at.map(|at| said.remove(at).1).unwrap_or_default()
    };
    let entries = assembler.undescribed().iter().map(&mut answer).collect();
    assembler.catalogued(entries);
}

fn entry_of(answer: &Answer) -> Result<(Oid, CatalogEntry)> {
    let entry = serde_json::from_slice(&answer.said);
    Ok((answer.table, entry.map_err(|error| Error::permanent(ErrorKind::Io, error))?))
}

fn not_allowed(error: crate::wire::DecodeError) -> Error {
    Error::permanent(ErrorKind::Protocol, error)
}
