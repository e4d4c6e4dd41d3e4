//! A journal's segment: what is read back is what was written, up to where it was cut off, and what
//! was proven is read or reported, never missing.
//!
//! The input's first byte says whether the rest is a file as it stands, or records to write and the
//! damage that comes to them.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;
use walcast::journal::{JournalReader, RecordKind, SegmentReader, SegmentWriter};

use crate::steering::Steering;

/// A record is read into memory once; what it opens may be kept beside it.
const MEMORY_PER_BYTE: usize = 20;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a directory can be made")
});

/// See the [module](self).
pub fn check(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let path = DIRECTORY.path().join("000000000001.journal");
    let _ = std::fs::remove_file(&path);
    match mode % 2 {
        0 => crate::bounded(input.len(), MEMORY_PER_BYTE, || as_it_stands(&path, rest)),
        _ => damaged(path, rest),
    }
}

/// Any bytes are read, or refused.
fn as_it_stands(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the file can be written");
    if let Ok(Some(mut reader)) = SegmentReader::open(path, 0) {
        let mut out = Vec::new();
        while let Ok(Some(_)) = reader.next(&mut out) {}
        assert!(out.len() <= bytes.len());
    }
    let reader = JournalReader::open(DIRECTORY.path());
    let mut reader = reader.expect("there is a segment");
    while let Ok(Some(_)) = reader.read() {}
}

fn damaged(path: PathBuf, bytes: &[u8]) {
    let mut steering = Steering::of(bytes);
    let mut writer = SegmentWriter::create(&path).expect("the file is not there");
    let (mut rest, mut written, mut proven) = (bytes, Vec::new(), 0);
    while !rest.is_empty() {
        let (payload, after) = rest.split_at(rest.len().min(steering.below(64)));
        rest = if payload.is_empty() { &after[1..] } else { after };
        writer.append(RecordKind::Frames, payload).expect("it is written");
        written.push(payload);
        if steering.once_in(8) {
            writer.sync().expect("it is synced");
            proven = written.len();
        }
    }
    let (durable, length) = (writer.durable_bytes(), writer.bytes());
    drop(writer);

    let at = steering.below(length as usize + 1);
    let mut file = std::fs::read(&path).expect("it can be read");
    match steering.below(3) {
        0 => file.truncate(at),
        1 if at < file.len() => file[at] ^= 1 << steering.below(8),
        _ => {}
    }
    std::fs::write(&path, &file).expect("it can be written");
    let Ok(Some(mut reader)) = SegmentReader::open(&path, durable) else {
        assert!((at as u64) < length, "what nothing happened to is read");
        return;
    };
    let mut count = 0;
    loop {
        let mut payload = Vec::new();
        match reader.next(&mut payload) {
            Ok(Some(_)) => assert_eq!(payload, written[count], "record {count}"),
            Ok(None) => return assert!(count >= proven, "{count} of {proven} proven records"),
            Err(_) => return,
        }
        count += 1;
    }
}
