//! A journal's end: where frames are appended.
//!
//! A [`JournalWriter`] holds a directory, locked, and its last segment. It begins another one when
//! that has grown to its size, with everything that decoding needs. What [`sync`] has returned for
//! is durable, the names of the files included; the rest may be torn by a crash and is then cut off
//! when the journal is opened again. All calls block.
//!
//! [`sync`]: JournalWriter::sync

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::format::{RecordKind, Sealed};
use super::opening::{Answer, InForce, Opened, Opening};
use super::segment::{Access, Extent, SegmentReader, SegmentWriter};
use super::{numbers_in, segment_path};
use crate::event::Oid;
use crate::lsn::Lsn;

/// A place in a journal.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct JournalPosition {
    /// The segment's number.
    pub segment: u64,
    /// The byte in it.
    pub byte: u64,
}

/// Appends to a journal, and begins another segment when one is full.
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    /// Locked for as long as this lives.
    _directory: File,
    /// Another segment is begun when one has this many bytes after its opening.
    segment_bytes: u64,
    /// The last segment; none before the first opening.
    segment: Option<SegmentWriter>,
    /// Bytes of it up to its opening's end.
    head_bytes: u64,
    /// What the frames come from that are written now.
    opening: Option<Opening>,
    in_force: InForce,
    /// Bytes that were cut off at the end.
    torn_bytes: u64,
    /// Another segment could not be begun.
    is_poisoned: bool,
}

impl JournalWriter {
    /// Write on in the journal in the directory `path`, which is made when it is missing, in
    /// segments of about `segment_bytes` after their openings.
    ///
    /// The last write is cut off if it was torn. That is damage instead when it lies before
    /// `durable`, which was once returned by [`sync`](Self::sync), or when the journal itself shows
    /// that it was synced.
    pub fn open(
        path: &Path,
        segment_bytes: u64,
        durable: JournalPosition,
    ) -> Result<Self, JournalError> {
        make_directory(path)?;
        let directory = File::open(path).map_err(JournalError::io("open", path))?;
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(JournalError::io("lock", path)(source));
            }
        }
        let mut writer = Self {
            path: path.to_owned(),
            _directory: directory,
            segment_bytes,
            segment: None,
            head_bytes: 0,
            opening: None,
            in_force: InForce::default(),
            torn_bytes: 0,
            is_poisoned: false,
        };
        writer.find_end(durable)?;
        Ok(writer)
    }

    /// Take up the last segment that has an opening; those after it were not begun to the end.
    fn find_end(&mut self, durable: JournalPosition) -> Result<(), JournalError> {
        let mut numbers = numbers_in(&self.path)?;
        while let Some(number) = numbers.pop() {
            let path = segment_path(&self.path, number);
            let known = if number == durable.segment { durable.byte } else { 0 };
            let extent = Extent { number, durable: known };
            let reader = SegmentReader::open_numbered(&path, extent, Access::Write)?;
            if let Some(reader) = reader
                && self.take_up(reader)?
            {
                return match number < durable.segment {
                    true => Err(self.missing(durable.segment)),
                    false => super::sync_directory(&self.path),
                };
            }
            std::fs::remove_file(&path).map_err(JournalError::io("remove", &path))?;
        }
        match durable.segment {
            0 => super::sync_directory(&self.path),
            segment => Err(self.missing(segment)),
        }
    }

    fn missing(&self, number: u64) -> JournalError {
        JournalError::Missing { path: segment_path(&self.path, number) }
    }

    /// Read `reader` to its end and write on there. `false` when it has no opening.
    fn take_up(&mut self, mut reader: SegmentReader) -> Result<bool, JournalError> {
        let mut payload = Vec::new();
        while let Some(record) = reader.next(&mut payload)? {
            match record.kind {
                RecordKind::Opening => {
                    let opened = Opened::decode(std::mem::take(&mut payload).into());
                    let opened = opened.map_err(|source| reader.unreadable(record.at, source))?;
                    self.in_force.begin(&opened)?;
                    if self.opening.replace(opened.opening).is_none() {
                        self.head_bytes = reader.read_bytes();
                    }
                }
                RecordKind::Frames => self.in_force.observe(&payload)?,
                RecordKind::Catalog => {
                    let answer = Answer::decode(Bytes::copy_from_slice(&payload));
                    let answer = answer.map_err(|source| reader.unreadable(record.at, source))?;
                    self.in_force.answer(answer);
                }
                RecordKind::Reached => {
                    let bytes = payload.first_chunk::<8>().copied().unwrap_or_default();
                    self.in_force.reach(Lsn::new(u64::from_le_bytes(bytes)));
                }
                RecordKind::Closed | RecordKind::Index => {}
            }
            payload.clear();
        }
        if self.opening.is_none() {
            return Ok(false);
        }
        self.torn_bytes = reader.torn_bytes();
        self.segment = Some(reader.into_writer()?);
        Ok(true)
    }

    /// A connection begins: what follows is its frames.
    pub fn begin(&mut self, opening: Opening) -> Result<(), JournalError> {
        let opened = Opened::of(opening);
        if self.is_poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        match &mut self.segment {
            Some(segment) => {
                let payload = opened.encode().map_err(|source| {
                    let (path, at) = (segment.path().to_owned(), segment.bytes());
                    JournalError::Content { path, at, source }
                })?;
                segment.append(RecordKind::Opening, &payload)?;
            }
            None => self.begin_segment(&opened, 1, Sealed::default())?,
        }
        self.in_force.begin(&opened)?;
        self.opening = Some(opened.opening);
        Ok(())
    }

    /// Append whole frames, in the form of protocol 1.
    pub fn append(&mut self, frames: &[u8]) -> Result<(), JournalError> {
        self.rotate()?;
        let segment = room(&mut self.segment, self.is_poisoned, &self.path)?;
        // What cannot be read again is not written.
        self.in_force.observe(frames)?;
        segment.append(RecordKind::Frames, frames)
    }

    /// Append what the catalogue said of `table`, before the first frame that uses it.
    pub fn answer(&mut self, table: Oid, answer: &[u8]) -> Result<(), JournalError> {
        self.rotate()?;
        let segment = room(&mut self.segment, self.is_poisoned, &self.path)?;
        let answer = Answer { table, said: Bytes::copy_from_slice(answer) };
        segment.append(RecordKind::Catalog, &answer.encode())?;
        self.in_force.answer(answer);
        Ok(())
    }

    /// Append that everything up to `lsn` lies before: what an idle server says.
    pub fn reach(&mut self, lsn: Lsn) -> Result<(), JournalError> {
        let segment = room(&mut self.segment, self.is_poisoned, &self.path)?;
        segment.append(RecordKind::Reached, &lsn.as_u64().to_le_bytes())?;
        self.in_force.reach(lsn);
        Ok(())
    }

    /// Prove everything appended so far; where it ends.
    pub fn sync(&mut self) -> Result<JournalPosition, JournalError> {
        match &mut self.segment {
            Some(segment) => segment.sync()?,
            None if self.is_poisoned => {
                return Err(JournalError::Poisoned { path: self.path.clone() });
            }
            None => {}
        }
        Ok(self.position())
    }

    /// Prove everything and note that it is proven: nothing of it can pass for torn any more.
    pub fn close(mut self) -> Result<JournalPosition, JournalError> {
        let position = self.sync()?;
        self.segment.take().map_or(Ok(()), SegmentWriter::close)?;
        Ok(position)
    }

    /// Where the next record goes.
    pub fn position(&self) -> JournalPosition {
        let segment = self.segment.as_ref();
        segment.map_or_else(JournalPosition::default, |segment| JournalPosition {
            segment: segment.number(),
            byte: segment.bytes(),
        })
    }

    /// What the last frames came from; `None` in a new journal.
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// Up to where transactions lie whole in the journal, synced or not; `None` in a new one.
    pub fn end(&self) -> Option<Lsn> {
        self.in_force.end()
    }

    /// Bytes that were cut off the end when it was opened.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Begin another segment when this one is full.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let Some(segment) = self.segment.as_mut() else { return Ok(()) };
        if segment.bytes() - self.head_bytes < self.segment_bytes {
            return Ok(());
        }
        segment.sync()?;
        let (number, sealed) = (segment.number() + 1, segment.sealed());
        let Some(opening) = &self.opening else { return Ok(()) };
        let opened = self.in_force.opened(opening);
        self.begin_segment(&opened, number, sealed)
    }

    /// A segment without its opening does not count, and one with it is synced before anything else
    /// goes in.
    fn begin_segment(
        &mut self,
        opened: &Opened,
        number: u64,
        previous: Sealed,
    ) -> Result<(), JournalError> {
        let path = segment_path(&self.path, number);
        let payload = opened.encode().map_err(|source| JournalError::Content {
            path: path.clone(),
            at: 0,
            source,
        })?;
        // Until the other one is there.
        (self.segment, self.is_poisoned) = (None, true);
        let mut segment = SegmentWriter::create_after(&path, number, previous)?;
        segment.append(RecordKind::Opening, &payload)?;
        segment.sync()?;
        super::sync_directory(&self.path)?;
        self.head_bytes = segment.bytes();
        (self.segment, self.is_poisoned) = (Some(segment), false);
        Ok(())
    }
}

/// Make the directory `path` when it is missing, and prove its name.
fn make_directory(path: &Path) -> Result<(), JournalError> {
    let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(JournalError::io("make", path))?;
    missing.iter().try_for_each(|path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => super::sync_directory(parent),
        Some(_) => super::sync_directory(Path::new(".")),
        None => Ok(()),
    })
}

/// The segment that takes the next record.
fn room<'a>(
    segment: &'a mut Option<SegmentWriter>,
    is_poisoned: bool,
    path: &Path,
) -> Result<&'a mut SegmentWriter, JournalError> {
    segment.as_mut().ok_or_else(|| match is_poisoned {
        true => JournalError::Poisoned { path: path.to_owned() },
        false => JournalError::NotOpened { path: path.to_owned() },
    })
}
