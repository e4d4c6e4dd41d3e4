//! Raw frames on disk, in checksummed segments: the one format of everything that is kept.
//!
//! A journal is a directory of segments. Each opens with what decoding needs, so that it can be
//! read with no server and without the segments before it; what was written last may be torn by a
//! crash and is cut off at the next open, and anything else that is not as it was written is
//! damage, which is named and ends the reading. What frames mean, when they are confirmed and when
//! they are needed no more is not known here. All calls block.
//!
//! ```text
//! a directory                    000000000001.journal  000000000002.journal  …
//!   JournalWriter, JournalReader
//! a segment                      header │ opening │ frames │ frames │ …
//!   SegmentWriter, SegmentReader          └ also alone, as a file of its own
//! ```

mod error;
mod format;
mod opening;
mod reader;
mod segment;
mod writer;

use std::path::{Path, PathBuf};

pub use error::{Expected, JournalError};
pub use format::RecordKind;
pub use opening::{Answer, Continued, InForce, Opened, Opening, ValueFormat};
pub use reader::{Entry, JournalReader, Torn};
pub use segment::{Record, SegmentReader, SegmentWriter};
pub use writer::{JournalPosition, JournalWriter};

/// What the names of segments end in.
const EXTENSION: &str = "journal";
/// Digits of a segment's number in its name.
const NUMBER_DIGITS: usize = 12;

/// Where segment `number` of the journal in `directory` lies.
fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:0NUMBER_DIGITS$}.{EXTENSION}"))
}

/// The numbers of the segments in `directory`, in order. Other files are none of ours.
fn numbers_in(directory: &Path) -> Result<Vec<u64>, JournalError> {
    let failed = || JournalError::io("read", directory);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
        let digits = stem.filter(|stem| {
            stem.len() >= NUMBER_DIGITS && stem.bytes().all(|byte| byte.is_ascii_digit())
        });
        numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Prove the names of the files in `directory`.
pub fn sync_directory(directory: &Path) -> Result<(), JournalError> {
    let synced = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(JournalError::io("sync", directory))
}

#[cfg(test)]
mod tests;
