//! Frames of the workload W1 as a server sent them, in the size and proportions of the workload:
//! transactions of 1,000 inserts, then of 100 updates, then of 100 deletes.
//!
//! `tests/golden` has a few rows of each kind; they are repeated, with positions that go on rising.

use std::path::Path;

use bytes::Bytes;
use walcast::wire::copy_both::{ServerMessage, frame_bytes};

/// Where the payload of XLogData lies in its frame.
const PAYLOAD: usize = 5 + 25;
/// The transactions of each kind, a tenth of the workload's.
const TRANSACTIONS: [(u8, usize, usize); 3] =
    [(b'I', 100, 1000), (b'U', 300, 100), (b'D', 100, 100)];

/// The workload in memory.
pub(crate) struct W1 {
    /// Runs of whole frames, as a connection reads them.
    pub(crate) chunks: Vec<Bytes>,
    /// How many rows were inserted, updated or deleted.
    pub(crate) rows: usize,
}

impl W1 {
    /// The workload in `format`, `text` or `binary`, cut into chunks of about `chunk_bytes`.
    pub(crate) fn load(format: &str, chunk_bytes: usize) -> Self {
        let path = format!("tests/golden/18/w1_{format}.frames");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let golden = std::fs::read(path).expect("golden frames are in the repository");
        let frames = split(&golden);
        let of_kind = |kind: u8| frames.iter().copied().filter(move |it| tag(it) == Some(kind));
        let first = |kind| of_kind(kind).next().expect("a frame of each kind");
        let mut w1 = Self { chunks: Vec::new(), rows: 0 };
        let (mut chunk, mut lsn) = (Vec::new(), 0x100_0000_u64);
        chunk.extend_from_slice(first(b'R'));
        for (kind, transactions, rows) in TRANSACTIONS {
            // The last insert is of the table that ends the recording.
            let count = of_kind(kind).count() - usize::from(kind == b'I');
            let mut changes = of_kind(kind).take(count).cycle();
            for _ in 0..transactions {
                w1.put(&mut chunk, chunk_bytes, &moved(first(b'B'), &[lsn]));
                for change in changes.by_ref().take(rows) {
                    w1.put(&mut chunk, chunk_bytes, change);
                    w1.rows += 1;
                }
                w1.put(&mut chunk, chunk_bytes, &moved(first(b'C'), &[lsn, lsn + 0x30]));
                lsn += 0x100_0000;
            }
        }
        w1.chunks.push(chunk.into());
        w1
    }

    /// How many bytes its frames have.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    fn put(&mut self, chunk: &mut Vec<u8>, chunk_bytes: usize, frame: &[u8]) {
        if chunk.len() + frame.len() > chunk_bytes {
            self.chunks.push(std::mem::take(chunk).into());
        }
        chunk.extend_from_slice(frame);
    }
}

fn split(mut frames: &[u8]) -> Vec<&[u8]> {
    let mut split = Vec::new();
    while let Some(length) = frame_bytes(frames).expect("a server sent them") {
        let (frame, rest) = frames.split_at(length);
        split.push(frame);
        frames = rest;
    }
    split
}

fn tag(frame: &[u8]) -> Option<u8> {
    match ServerMessage::parse(&frame[5..]) {
        Ok(ServerMessage::XLogData { payload, .. }) => payload.first().copied(),
        _ => None,
    }
}

/// Begin or Commit with other positions, which follow the tag, in Commit after a byte of flags.
fn moved(frame: &[u8], positions: &[u64]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let mut at = PAYLOAD + if positions.len() == 1 { 1 } else { 2 };
    for position in positions {
        frame[at..at + 8].copy_from_slice(&position.to_be_bytes());
        at += 8;
    }
    frame
}
