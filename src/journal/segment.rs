//! One file of a journal: appended to, proven, read back.
//!
//! A [`SegmentWriter`] owns the file's end and knows how much of it is durable; it is poisoned by
//! its first failed write or sync, because what is on disk is then not known, and a second sync
//! would succeed without having written anything. A [`SegmentReader`] yields records until the end
//! of the file, or to where the last write was torn, and stops for good at damage. What is in the
//! records is not known here. All calls block.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Expected, JournalError};
use super::format::{
    PAYLOAD_BYTES_MAX, Place, RECORD_HEADER_BYTES, RecordHeader, RecordKind, SEGMENT_HEADER_BYTES,
    Sealed, SegmentHeader,
};

/// Up to here a payload is copied behind its header and written with it.
const JOINED_BYTES_MAX: usize = 64 * 1024;
/// How much of a damaged tail is looked through at a time.
const SEARCH_BYTES: usize = 1024 * 1024;

/// Appends records to one file.
#[derive(Debug)]
pub struct SegmentWriter {
    file: Arc<File>,
    path: PathBuf,
    number: u64,
    /// Where the next record goes.
    end: u64,
    /// How much of the file is synced.
    durable: u64,
    /// The checksums of all records, summed up.
    chain: u32,
    is_poisoned: bool,
    /// Header and payload on their way, kept for its memory.
    joined: Vec<u8>,
}

impl SegmentWriter {
    /// Make the file `path`, which must not exist, for its owner alone. Nothing is synced.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        Self::create_after(path, 0, Sealed::default())
    }

    /// The same for segment `number` of a row of segments.
    pub(super) fn create_after(
        path: &Path,
        number: u64,
        previous: Sealed,
    ) -> Result<Self, JournalError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path).map_err(JournalError::io("make", path))?;
        let header = SegmentHeader { number, previous }.encode();
        file.write_all_at(&header, 0).map_err(JournalError::io("write", path))?;
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            number,
            end: SEGMENT_HEADER_BYTES as u64,
            durable: 0,
            chain: crc32c::crc32c(&header),
            is_poisoned: false,
            joined: Vec::new(),
        })
    }

    /// Append a record; it is durable after the next [`sync`](Self::sync).
    pub fn append(&mut self, kind: RecordKind, payload: &[u8]) -> Result<(), JournalError> {
        self.check()?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(JournalError::TooLong { bytes: payload.len() });
        }
        let record = RecordHeader {
            kind,
            length: u32::try_from(payload.len()).expect("shorter than the longest payload"),
            durable: self.durable,
            payload_crc: crc32c::crc32c(payload),
        };
        let (header, crc) = record.encode(Place { segment: self.number, at: self.end });
        let written = self.write(&header, payload);
        self.is_poisoned = written.is_err();
        written.map_err(JournalError::io("write", &self.path))?;
        self.end += (RECORD_HEADER_BYTES + payload.len()) as u64;
        self.chain = crc32c::crc32c_append(self.chain, &crc.to_le_bytes());
        Ok(())
    }

    fn write(&mut self, header: &[u8], payload: &[u8]) -> io::Result<()> {
        if payload.len() > JOINED_BYTES_MAX {
            self.file.write_all_at(header, self.end)?;
            return self.file.write_all_at(payload, self.end + header.len() as u64);
        }
        self.joined.clear();
        self.joined.extend_from_slice(header);
        self.joined.extend_from_slice(payload);
        self.file.write_all_at(&self.joined, self.end)
    }

    /// Prove everything appended so far. The file's own name is proven by whoever owns the
    /// directory.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.check()?;
        if self.durable == self.end {
            return Ok(());
        }
        let synced = self.file.sync_data();
        self.is_poisoned = synced.is_err();
        synced.map_err(JournalError::io("sync", &self.path))?;
        self.durable = self.end;
        Ok(())
    }

    /// Prove everything and note that it is proven: nothing before can pass for torn any more.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.sync()?;
        self.append(RecordKind::Closed, &[])?;
        self.sync()
    }

    /// Read what was appended so far.
    pub fn reader(&self) -> SegmentReader {
        self.reader_from(SEGMENT_HEADER_BYTES as u64)
    }

    /// The same from the record at `at`, where one begins.
    pub fn reader_from(&self, at: u64) -> SegmentReader {
        SegmentReader {
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            header: SegmentHeader { number: self.number, previous: Sealed::default() },
            at,
            length: self.end,
            // All of it was written by this process, torn or not.
            durable: self.end,
            chain: 0,
            state: State::Reading,
        }
    }

    /// How many bytes of a file a record with this payload takes.
    pub fn record_bytes(payload: &[u8]) -> u64 {
        (RECORD_HEADER_BYTES + payload.len()) as u64
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// How many bytes of the file are synced.
    pub fn durable_bytes(&self) -> u64 {
        self.durable
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub(super) fn swap_file(&mut self, file: File) {
        self.file = Arc::new(file);
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn sealed(&self) -> Sealed {
        Sealed { bytes: self.end, chain: self.chain }
    }

    fn check(&self) -> Result<(), JournalError> {
        match self.is_poisoned {
            true => Err(JournalError::Poisoned { path: self.path.clone() }),
            false => Ok(()),
        }
    }
}

/// Reads the records of one file.
#[derive(Debug)]
pub struct SegmentReader {
    file: Arc<File>,
    path: PathBuf,
    header: SegmentHeader,
    /// Where the next record begins.
    at: u64,
    /// Where the file ends, as far as this reader is concerned.
    length: u64,
    /// What lies before was synced once: it cannot be torn.
    durable: u64,
    /// The checksums of all records read, summed up.
    chain: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// The last write was cut off at [`SegmentReader::at`].
    Torn,
    /// There is damage at [`SegmentReader::at`].
    Stopped,
}

/// What is known of a file before it is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) number: u64,
    /// How much of it was synced, as far as that is known.
    pub(super) durable: u64,
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What it holds.
    pub kind: RecordKind,
    /// Where it begins in the file.
    pub at: u64,
    /// How long its payload is, in bytes.
    pub bytes: usize,
}

impl SegmentReader {
    /// Read the file `path`, whose last write may be torn, but for its first `durable` bytes.
    /// `None` when not even its header was written whole.
    pub fn open(path: &Path, durable: u64) -> Result<Option<Self>, JournalError> {
        Self::open_numbered(path, Extent { number: 0, durable }, Access::Read)
    }

    /// The same for a segment of a row; with [`Access::Write`] it can be written on.
    pub(super) fn open_numbered(
        path: &Path,
        extent: Extent,
        access: Access,
    ) -> Result<Option<Self>, JournalError> {
        let Extent { number, durable } = extent;
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path);
        let file = file.map_err(JournalError::io("open", path))?;
        let length = file.metadata().map_err(JournalError::io("read", path))?.len();
        let mut reader = Self {
            file: Arc::new(file),
            path: path.to_owned(),
            header: SegmentHeader { number, previous: Sealed::default() },
            at: 0,
            length,
            durable,
            chain: 0,
            state: State::Reading,
        };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let header = if length < SEGMENT_HEADER_BYTES as u64 {
            Err(JournalError::damaged(path, 0, Expected::Segment))
        } else {
            reader.read_at(0, &mut bytes)?;
            SegmentHeader::decode(&bytes).map_err(|not| JournalError::header(path, not))
        };
        match header {
            Ok(header) if header.number == number => reader.header = header,
            Ok(SegmentHeader { number: have, .. }) => {
                let expected = Expected::Number { have, want: number };
                return Err(JournalError::damaged(path, 0, expected));
            }
            Err(error @ JournalError::Version { .. }) => return Err(error),
            // A name alone, or zeros: a crash came between the two.
            Err(_) if bytes == [0; SEGMENT_HEADER_BYTES] && !reader.is_proven()? => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        reader.at = SEGMENT_HEADER_BYTES as u64;
        reader.chain = crc32c::crc32c(&bytes);
        Ok(Some(reader))
    }

    /// The next record without its payload; `None` at the end.
    pub fn peek(&mut self) -> Result<Option<Record>, JournalError> {
        Ok(self.header()?.map(|(header, _)| Record {
            kind: header.kind,
            at: self.at,
            bytes: header.length as usize,
        }))
    }

    /// The next record, its payload appended to `out`; `None` at the end.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Record>, JournalError> {
        let Some((header, crc)) = self.header()? else { return Ok(None) };
        let (from, bytes) = (out.len(), header.length as usize);
        // Not more than the file holds: `header` has seen to it.
        out.resize(from + bytes, 0);
        self.read_at(self.at + RECORD_HEADER_BYTES as u64, &mut out[from..])?;
        let (have, want) = (crc32c::crc32c(&out[from..]), header.payload_crc);
        if have != want {
            out.truncate(from);
            return self.broken(Expected::Checksum { have, want }).map(|()| None);
        }
        let record = Record { kind: header.kind, at: self.at, bytes };
        self.at += (RECORD_HEADER_BYTES + bytes) as u64;
        self.chain = crc32c::crc32c_append(self.chain, &crc.to_le_bytes());
        self.durable = self.durable.max(header.durable);
        Ok(Some(record))
    }

    /// Bytes that were cut off, if the last write was torn. Known once the end is reached.
    pub fn torn_bytes(&self) -> u64 {
        if self.state == State::Torn { self.length - self.at } else { 0 }
    }

    /// How many bytes were read.
    pub fn read_bytes(&self) -> u64 {
        self.at
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The record at `at` is whole, and not what its kind says.
    pub(super) fn unreadable(&self, at: u64, source: serde_json::Error) -> JournalError {
        JournalError::Content { path: self.path.clone(), at, source }
    }

    pub(super) fn segment_header(&self) -> SegmentHeader {
        self.header
    }

    /// Nothing of the file can be torn: it was this long when the segment after it was begun.
    pub(super) fn is_sealed(&mut self, want: u64) -> Result<(), JournalError> {
        self.durable = want;
        match self.length {
            have if have <= want => Ok(()),
            have => {
                let expected = Expected::Length { have, want };
                Err(JournalError::damaged(&self.path, want, expected))
            }
        }
    }

    /// How what was read ends.
    pub(super) fn sealed(&self) -> Sealed {
        Sealed { bytes: self.at, chain: self.chain }
    }

    /// Write on after the last record: what was torn is cut off, and what is left is proven.
    pub(super) fn into_writer(self) -> Result<SegmentWriter, JournalError> {
        if self.state == State::Stopped {
            return Err(JournalError::Stopped { path: self.path, at: self.at });
        }
        if self.at < self.length {
            self.file.set_len(self.at).map_err(JournalError::io("cut", &self.path))?;
        }
        self.file.sync_all().map_err(JournalError::io("sync", &self.path))?;
        Ok(SegmentWriter {
            file: self.file,
            path: self.path,
            number: self.header.number,
            end: self.at,
            durable: self.at,
            chain: self.chain,
            is_poisoned: false,
            joined: Vec::new(),
        })
    }

    /// The header of the next record, which the file holds whole, and its checksum.
    fn header(&mut self) -> Result<Option<(RecordHeader, u32)>, JournalError> {
        match self.state {
            State::Reading if self.at < self.length => {}
            State::Reading if self.at < self.durable => {
                let expected = Expected::Length { have: self.length, want: self.durable };
                return self.broken(expected).map(|()| None);
            }
            State::Reading | State::Torn => return Ok(None),
            State::Stopped => {
                return Err(JournalError::Stopped { path: self.path.clone(), at: self.at });
            }
        }
        let left = self.length - self.at;
        if left < RECORD_HEADER_BYTES as u64 {
            return self.broken(Expected::WholeRecord).map(|()| None);
        }
        let mut bytes = [0; RECORD_HEADER_BYTES];
        self.read_at(self.at, &mut bytes)?;
        let place = Place { segment: self.header.number, at: self.at };
        match RecordHeader::decode(&bytes, place) {
            Ok((header, _)) if u64::from(header.length) > left - RECORD_HEADER_BYTES as u64 => {
                self.broken(Expected::WholeRecord).map(|()| None)
            }
            Ok(read) => Ok(Some(read)),
            Err(not) => self.broken(not.into()).map(|()| None),
        }
    }

    /// What is here is no record: the end, if it may be torn, else damage.
    fn broken(&mut self, expected: Expected) -> Result<(), JournalError> {
        // A whole header that says something unknown was not torn.
        let torn = matches!(expected, Expected::Checksum { .. } | Expected::WholeRecord);
        if torn && !self.is_proven()? {
            self.state = State::Torn;
            return Ok(());
        }
        self.state = State::Stopped;
        Err(JournalError::damaged(&self.path, self.at, expected))
    }

    /// Whether what is here was synced once: that is known, or a later record says so.
    fn is_proven(&self) -> Result<bool, JournalError> {
        if self.at < self.durable {
            return Ok(true);
        }
        let mut window = Vec::new();
        let mut from = self.at + 1;
        while from + (RECORD_HEADER_BYTES as u64) <= self.length {
            let bytes = (self.length - from).min(SEARCH_BYTES as u64) as usize;
            window.resize(bytes, 0);
            self.read_at(from, &mut window)?;
            let mut at = from;
            let mut rest = window.as_slice();
            while let Some(header) = rest.first_chunk::<RECORD_HEADER_BYTES>() {
                let place = Place { segment: self.header.number, at };
                if RecordHeader::vouches(header, place, self.at) {
                    return Ok(true);
                }
                (at, rest) = (at + 1, &rest[1..]);
            }
            from = at;
        }
        Ok(false)
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> Result<(), JournalError> {
        self.file.read_exact_at(bytes, at).map_err(JournalError::io("read", &self.path))
    }
}
