//! Reading a file of native JSON back from its end, for want of a cursor.
//!
//! The file is cut only where what is cut off is plainly ours: whole lines of a transaction that
//! has no end, and the torn start of one more line. Anything else stays untouched and is an error.
//! Memory is bounded whatever the length of the lines.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::error::FileSinkError;
use crate::codec::json::{LINE_END_BYTES, recall};
use crate::lsn::Lsn;
use crate::name::SystemId;

const BLOCK_BYTES: u64 = 64 * 1024;
/// How every line begins.
const LINE_START: &[u8] = b"{\"id\":\"";

/// Where a file's last whole transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastTransaction {
    /// The byte after its last line.
    pub(super) length: u64,
    /// Its end LSN; `None` when the file holds no whole transaction.
    pub(super) end: Option<Lsn>,
}

/// Find it in the first `length` bytes of `file`, which is at `path`.
pub(super) fn last_transaction(
    file: &File,
    path: &Path,
    length: u64,
    source_id: SystemId,
) -> Result<LastTransaction, FileSinkError> {
    let failed = || FileSinkError::io("read", path);
    let mut back = Backwards { file, block: Vec::new(), start: length };
    let mut line_end = match back.line_break_before(length).map_err(failed())? {
        Some(at) => at + 1,
        None => 0,
    };
    if !is_torn_line(file, line_end, length).map_err(failed())? {
        return Err(FileSinkError::Foreign { path: path.to_owned(), at: line_end });
    }
    while line_end > 0 {
        let break_at = line_end - 1;
        let line_start = match back.line_break_before(break_at).map_err(failed())? {
            Some(at) => at + 1,
            None => 0,
        };
        let (front, rear) = ends(file, line_start, break_at).map_err(failed())?;
        let Some(line) = recall(&front, rear.as_deref().unwrap_or(&front)) else {
            return Err(FileSinkError::Foreign { path: path.to_owned(), at: line_start });
        };
        if line.system_id != source_id {
            let (path, stored) = (path.to_owned(), line.system_id);
            return Err(FileSinkError::OtherSystem { path, stored, source_id });
        }
        if line.end_lsn.is_some() {
            return Ok(LastTransaction { length: line_end, end: line.end_lsn });
        }
        line_end = line_start;
    }
    Ok(LastTransaction { length: 0, end: None })
}

/// Whether what follows the last line break can be the start of a line that was not finished. A
/// machine that crashed may have left zeros where the bytes should be.
fn is_torn_line(file: &File, from: u64, to: u64) -> std::io::Result<bool> {
    let mut start = [0; LINE_START.len()];
    let have = start.len().min((to - from) as usize);
    file.read_exact_at(&mut start[..have], from)?;
    let same = start[..have].iter().zip(LINE_START).take_while(|(have, want)| have == want).count();
    Ok(start[same..have].iter().all(|byte| *byte == 0))
}

/// The line between `start` and `end`: whole, or its first and last bytes when it is long.
fn ends(file: &File, start: u64, end: u64) -> std::io::Result<(Vec<u8>, Option<Vec<u8>>)> {
    let piece = |from: u64, length: usize| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, from).map(|()| bytes)
    };
    let length = end - start;
    if length <= 2 * LINE_END_BYTES as u64 {
        return Ok((piece(start, length as usize)?, None));
    }
    let rear = piece(end - LINE_END_BYTES as u64, LINE_END_BYTES)?;
    Ok((piece(start, LINE_END_BYTES)?, Some(rear)))
}

/// Finds line breaks from the end on, a block at a time.
struct Backwards<'a> {
    file: &'a File,
    /// The bytes from `start` on.
    block: Vec<u8>,
    start: u64,
}

impl Backwards<'_> {
    /// The last line break before `end`, which must not grow from call to call.
    fn line_break_before(&mut self, end: u64) -> std::io::Result<Option<u64>> {
        let mut end = end;
        loop {
            let known = end.saturating_sub(self.start) as usize;
            let known = &self.block[..known.min(self.block.len())];
            if let Some(at) = memchr::memrchr(b'\n', known) {
                return Ok(Some(self.start + at as u64));
            }
            end = end.min(self.start);
            if end == 0 {
                return Ok(None);
            }
            self.start = end.saturating_sub(BLOCK_BYTES);
            self.block.resize((end - self.start) as usize, 0);
            self.file.read_exact_at(&mut self.block, self.start)?;
        }
    }
}
