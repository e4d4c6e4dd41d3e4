//! A journal from its first segment to its last.
//!
//! A [`JournalReader`] yields what was written, in order, as if it lay in one file: the openings
//! that merely continue a connection in another segment are left out. Segments must be whole,
//! follow each other and be as long as they were; only the last one may end in a torn write. At
//! damage it stops for good. All calls block.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::{Expected, JournalError};
use super::format::{RecordKind, Sealed};
use super::opening::{Answer, Opened};
use super::segment::{Access, Extent, SegmentReader};
use super::{numbers_in, segment_path};

/// Reads a journal, segment by segment, and stops for good at damage.
#[derive(Debug)]
pub struct JournalReader {
    directory: PathBuf,
    /// The segments that are still to come, and how long each is.
    segments: VecDeque<(u64, u64)>,
    segment: Option<SegmentReader>,
    /// Whether the segment is read that continues one read before.
    continues: bool,
    /// Bytes of the segments that were read to their end.
    past_bytes: u64,
    total_bytes: u64,
    torn: Option<Torn>,
    /// Where reading ended at an error.
    stopped: Option<(PathBuf, u64)>,
}

/// What a journal holds, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A connection begins.
    Opened(Box<Opened>),
    /// Whole frames of the connection.
    Frames(Bytes),
    /// What the catalogue said.
    Answer(Answer),
}

/// Where the last write was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub path: PathBuf,
    /// The byte where it is cut.
    pub at: u64,
    /// Bytes after that.
    pub bytes: u64,
}

impl JournalReader {
    /// Read the journal in `directory`. Another process may be writing it: what is there now is
    /// read.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let numbers = numbers_in(directory)?;
        let mut segments = VecDeque::new();
        for number in numbers {
            let path = segment_path(directory, number);
            if let Some((before, _)) = segments.back()
                && before + 1 != number
            {
                return Err(JournalError::Missing { path: segment_path(directory, before + 1) });
            }
            let found =
                std::fs::symlink_metadata(&path).map_err(JournalError::io("read", &path))?;
            segments.push_back((number, found.len()));
        }
        if segments.is_empty() {
            return Err(JournalError::Empty { path: directory.to_owned() });
        }
        Ok(Self {
            directory: directory.to_owned(),
            total_bytes: segments.iter().map(|(_, bytes)| bytes).sum(),
            segments,
            segment: None,
            continues: false,
            past_bytes: 0,
            torn: None,
            stopped: None,
        })
    }

    /// The next piece; `None` at the end.
    pub fn read(&mut self) -> Result<Option<Entry>, JournalError> {
        if let Some((path, at)) = &self.stopped {
            return Err(JournalError::Stopped { path: path.clone(), at: *at });
        }
        let entry = self.entry();
        if let Err(error) = &entry {
            self.stopped = Some(match error {
                JournalError::Damaged { path, at, .. } => (path.clone(), *at),
                _ => (self.directory.clone(), self.read_bytes()),
            });
        }
        entry
    }

    fn entry(&mut self) -> Result<Option<Entry>, JournalError> {
        loop {
            self.find_record()?;
            let Some(segment) = &mut self.segment else { return Ok(None) };
            let mut payload = Vec::new();
            let Some(record) = segment.next(&mut payload)? else {
                self.end_segment()?;
                continue;
            };
            match record.kind {
                RecordKind::Opening => {
                    let opened = Opened::decode(payload.into());
                    let opened = opened.map_err(|source| segment.unreadable(record.at, source))?;
                    if !(self.continues && opened.opening.continued.is_some()) {
                        return Ok(Some(Entry::Opened(Box::new(opened))));
                    }
                }
                RecordKind::Frames => return Ok(Some(Entry::Frames(payload.into()))),
                RecordKind::Catalog => {
                    let answer = Answer::decode(payload.into());
                    let answer = answer.map_err(|source| segment.unreadable(record.at, source))?;
                    return Ok(Some(Entry::Answer(answer)));
                }
                RecordKind::Closed | RecordKind::Reached | RecordKind::Index => {}
            }
        }
    }

    /// Go on from a segment that was read to its end.
    fn end_segment(&mut self) -> Result<(), JournalError> {
        let Some(segment) = self.segment.take() else { return Ok(()) };
        let (sealed, torn_bytes) = (segment.sealed(), segment.torn_bytes());
        self.past_bytes += sealed.bytes + torn_bytes;
        if torn_bytes > 0 {
            let (path, at) = (segment.path().to_owned(), sealed.bytes);
            self.torn = Some(Torn { path, at, bytes: torn_bytes });
        }
        self.open_next(Some(sealed)).map(drop)
    }

    /// Open the next segment, which follows one that ended as `sealed` says. `false` when there is
    /// none.
    fn open_next(&mut self, sealed: Option<Sealed>) -> Result<bool, JournalError> {
        let Some((number, bytes)) = self.segments.pop_front() else { return Ok(false) };
        let path = segment_path(&self.directory, number);
        let extent = Extent { number, durable: 0 };
        let Some(mut segment) = SegmentReader::open_numbered(&path, extent, Access::Read)? else {
            return self.blank(path, bytes);
        };
        if sealed.is_some_and(|sealed| segment.segment_header().previous != sealed) {
            return Err(JournalError::damaged(&path, 0, Expected::Continuation));
        }
        // One that was not begun to the end says nothing: then this is the last.
        if let Some((next, _)) = self.segments.front()
            && let Some(sealed) = self.previous_of(*next)?
        {
            segment.is_sealed(sealed.bytes)?;
        }
        self.continues = sealed.is_some();
        self.segment = Some(segment);
        Ok(true)
    }

    /// How the header of segment `number` says that the one before it ended.
    fn previous_of(&self, number: u64) -> Result<Option<Sealed>, JournalError> {
        let path = segment_path(&self.directory, number);
        let extent = Extent { number, durable: 0 };
        let segment = SegmentReader::open_numbered(&path, extent, Access::Read)?;
        Ok(segment.map(|segment| segment.segment_header().previous))
    }

    /// A segment without a header: the last one, if a crash came while it was begun.
    fn blank(&mut self, path: PathBuf, bytes: u64) -> Result<bool, JournalError> {
        match self.segments.is_empty() {
            true => {
                self.past_bytes += bytes;
                Ok(false)
            }
            false => Err(JournalError::damaged(&path, 0, Expected::Segment)),
        }
    }

    /// How many bytes the next record has; `None` at the end.
    pub fn upcoming_bytes(&mut self) -> Result<Option<usize>, JournalError> {
        self.find_record()
    }

    /// Go on to the segment that holds the next record, and see how long that is.
    fn find_record(&mut self) -> Result<Option<usize>, JournalError> {
        loop {
            if self.segment.is_none() && !self.open_next(None)? {
                return Ok(None);
            }
            let Some(segment) = &mut self.segment else { return Ok(None) };
            match segment.peek()? {
                Some(record) => return Ok(Some(record.bytes)),
                None => self.end_segment()?,
            }
        }
    }

    /// Where the last write was cut off, if it was. Known once the end is reached.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// How many bytes were read.
    pub fn read_bytes(&self) -> u64 {
        self.past_bytes + self.segment.as_ref().map_or(0, SegmentReader::read_bytes)
    }

    /// How many bytes there were when it was opened.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }
}
