//! One streamed transaction: its frames while it runs, and their way out once it has committed.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::described::described_oid;
use super::rewrite::{drop_aborted, strip};
use super::{Step, Unheld, each_frame};
use crate::event::{Chunk, Lease};
use crate::lsn::Lsn;
use crate::timestamp::Timestamp;
use crate::wire::DecodeError;

/// Frames are held in blocks of at least this many bytes.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// What remembering one rolled back subtransaction takes, about.
const ABORTED_BYTES: usize = 16;

/// What is held of a transaction.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Whole frames with their transaction ids, after those that were put elsewhere.
    blocks: VecDeque<Block>,
    block_bytes: usize,
    is_spilled: bool,
    /// Subtransactions that were rolled back.
    aborted: HashSet<u32>,
    /// Whether there are messages among the frames that name the top-level transaction, as those
    /// of a subtransaction do too.
    has_messages: bool,
    /// The Origin message, as a frame.
    origin: Option<Bytes>,
    /// The tables it has described, and when it did so last.
    descriptions: HashMap<[u8; 4], u64>,
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    lease: Lease,
}

/// What Stream Commit says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) xid: u32,
    pub(super) commit_lsn: Lsn,
    pub(super) end_lsn: Lsn,
    pub(super) commit_time: Timestamp,
}

/// A committed transaction on its way out.
#[derive(Debug)]
pub(super) struct Delivery {
    held: Held,
    commit: Commit,
    form: Form,
    /// Whether everything that was put elsewhere is back.
    is_recalled: bool,
    /// Whether there was a change, and so a Begin.
    has_begun: bool,
    is_over: bool,
}

/// How the frames of a committed transaction were kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As they were streamed.
    Streamed,
    /// As protocol 1 has them, when the transaction was prepared.
    Prepared { has_changes: bool },
}

impl Held {
    /// Hold `frames` after all others.
    pub(super) fn append(&mut self, frames: &[u8], lend: &mut impl FnMut(usize) -> Lease) {
        if frames.is_empty() {
            return;
        }
        let has_room =
            |block: &&mut Block| block.bytes.capacity() - block.bytes.len() >= frames.len();
        if let Some(block) = self.blocks.back_mut().filter(has_room) {
            block.bytes.extend_from_slice(frames);
            return;
        }
        let mut bytes = Vec::with_capacity(BLOCK_BYTES.max(frames.len()));
        bytes.extend_from_slice(frames);
        self.block_bytes += bytes.capacity();
        let lease = lend(bytes.capacity());
        self.blocks.push_back(Block { bytes, lease });
    }

    pub(super) fn origin(&mut self, frame: &[u8]) {
        if self.origin.as_deref() != Some(frame) {
            self.origin = Some(Bytes::copy_from_slice(frame));
        }
    }

    /// A Relation message of it came at `at` in the order of descriptions.
    pub(super) fn describes(&mut self, payload: &[u8], at: u64) {
        const OID_AT: usize = 5;
        if let Some(oid) = payload.get(OID_AT..).and_then(|rest| rest.first_chunk::<4>()) {
            self.descriptions.insert(*oid, at);
        }
    }

    pub(super) fn has_messages(&mut self) {
        self.has_messages = true;
    }

    /// Drop what `subxid` did, if that can be told from the rest.
    pub(super) fn abort(&mut self, subxid: u32) -> Result<(), Unheld> {
        self.aborted.insert(subxid);
        if self.has_messages { Err(Unheld::Message) } else { Ok(()) }
    }

    pub(super) fn is_spilled(&self) -> bool {
        self.is_spilled
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// The next block in memory, in the form of protocol 1, and whether any change is in it.
    pub(super) fn pop(&mut self) -> Result<Option<(Chunk, bool)>, DecodeError> {
        let Some(Block { bytes, lease }) = self.blocks.pop_front() else { return Ok(None) };
        self.block_bytes -= bytes.capacity().min(self.block_bytes);
        self.stripped(bytes, lease).map(Some)
    }

    /// `bytes` that were put elsewhere, in the form of protocol 1, and whether any change is in
    /// them.
    pub(super) fn stripped(
        &self,
        mut bytes: Vec<u8>,
        lease: Lease,
    ) -> Result<(Chunk, bool), DecodeError> {
        let changes = strip(&mut bytes, &self.aborted)?;
        Ok((Chunk { bytes: bytes.into(), lease }, changes))
    }

    pub(super) fn origin_frame(&self) -> Option<Bytes> {
        self.origin.clone()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.block_bytes + self.aborted.len() * ABORTED_BYTES
    }

    /// Everything that is in memory, to be put elsewhere. Empty when nothing is.
    pub(super) fn spill(&mut self) -> Vec<Chunk> {
        self.block_bytes = 0;
        self.is_spilled |= !self.blocks.is_empty();
        let blocks = std::mem::take(&mut self.blocks);
        let chunk = |Block { mut bytes, lease }| {
            if !self.aborted.is_empty() {
                drop_aborted(&mut bytes, &self.aborted);
            }
            Chunk { bytes: bytes.into(), lease }
        };
        blocks.into_iter().map(chunk).collect()
    }
}

impl Delivery {
    /// A transaction that was streamed and is held.
    pub(super) fn new(held: Held, commit: Commit) -> Self {
        let (form, is_recalled) = (Form::Streamed, !held.is_spilled);
        Self { held, commit, form, is_recalled, has_begun: false, is_over: false }
    }

    /// A transaction that was prepared and is kept elsewhere.
    pub(super) fn prepared(commit: Commit, has_changes: bool) -> Self {
        let (held, form) = (Held::default(), Form::Prepared { has_changes });
        Self { held, commit, form, is_recalled: false, has_begun: false, is_over: false }
    }

    /// What has to be recalled before it goes on.
    pub(super) fn waits(&self) -> Option<Step> {
        let Commit { xid, end_lsn, .. } = self.commit;
        let step = match self.form {
            Form::Streamed => Step::Recall { xid },
            Form::Prepared { .. } => Step::Restore { xid, end_lsn },
        };
        (!self.is_recalled).then_some(step)
    }

    pub(super) fn xid(&self) -> u32 {
        self.commit.xid
    }

    /// Where it committed, if there was anything to hand on.
    pub(super) fn committed(&self) -> Option<Lsn> {
        self.has_begun.then_some(self.commit.commit_lsn)
    }

    /// Whether what it describes holds for the connection from now on.
    pub(super) fn describes_lastingly(&self) -> bool {
        self.form == Form::Streamed
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn is_spilled(&self) -> bool {
        self.held.is_spilled
    }

    pub(super) fn descriptions(&self) -> &HashMap<[u8; 4], u64> {
        &self.held.descriptions
    }

    /// Frames that were put elsewhere are back, or all of them were.
    pub(super) fn recalled(
        &mut self,
        frames: Option<(Vec<u8>, Lease)>,
        out: &mut VecDeque<Step>,
    ) -> Result<(), DecodeError> {
        match frames {
            Some((bytes, lease)) => self.put(Block { bytes, lease }, out),
            None => {
                self.is_recalled = true;
                Ok(())
            }
        }
    }

    /// Put out the next block of what is in memory, or the end.
    pub(super) fn advance(&mut self, out: &mut VecDeque<Step>) -> Result<(), DecodeError> {
        if let Some(block) = self.held.blocks.pop_front() {
            return self.put(block, out);
        }
        let end = if self.has_begun { self.commit.commit() } else { self.commit.nothing() };
        out.push_back(assemble(end));
        self.is_over = true;
        Ok(())
    }

    fn put(&mut self, block: Block, out: &mut VecDeque<Step>) -> Result<(), DecodeError> {
        let Block { mut bytes, lease } = block;
        let changes = match self.form {
            Form::Streamed => strip(&mut bytes, &self.held.aborted)?,
            Form::Prepared { has_changes: false } => return Ok(()),
            Form::Prepared { has_changes: true } => {
                each_frame(&bytes, |payload, _| {
                    let oid = described_oid(payload).filter(|_| payload[0] == b'R');
                    oid.map(|oid| self.held.descriptions.insert(oid, 0));
                    Ok(())
                })?;
                true
            }
        };
        if changes && !self.has_begun {
            self.has_begun = true;
            out.push_back(assemble(self.commit.begin(self.held.origin.as_ref())));
        }
        if !bytes.is_empty() {
            out.push_back(Step::Assemble(Chunk { bytes: bytes.into(), lease }));
        }
        Ok(())
    }
}

/// A message or two of our own.
fn assemble(bytes: Bytes) -> Step {
    Step::Assemble(Chunk { bytes, lease: Lease::free() })
}
