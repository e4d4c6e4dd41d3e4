//! Prepared transactions: made durable when they are prepared, handed on when they commit.
//!
//! Between Begin Prepare and Prepare lies one transaction, whole and in the form of protocol 1; one
//! that was streamed is brought into that form at Stream Prepare. Descriptions among its frames
//! hold for the connection too; those from before, which the server does not repeat, are put in
//! where they are first used, so that what is kept can be read years later. Nothing goes on before
//! it is durable, so that nothing beyond it can be confirmed. What is kept outlives connections and
//! processes: the server sends it once.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::BytesMut;

use super::described::{Described, described_oid};
use super::held::{Commit, Delivery, Held};
use super::rewrite::log_read_to;
use super::{EarlyStep, Place, Step, Streamed, Until, frame};
use crate::event::{Chunk, Lease};
use crate::lsn::Lsn;
use crate::wire::DecodeError;
use crate::wire::copy_both::ServerMessage;
use crate::wire::pgoutput::Message;
use crate::wire::streaming::{Prepared, PreparedMessage};

/// This much of a transaction that is being prepared is in memory at most, but for a large row, or
/// a smaller share of what may be held.
const PREPARING_BYTES_MAX: usize = 256 * 1024;
const PREPARING_SHARE: usize = 4;

/// A prepared transaction that is kept until it commits or is rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PreparedTransaction {
    /// Its id.
    pub xid: u32,
    /// Its name, as PREPARE TRANSACTION gave it.
    pub gid: String,
    /// The first byte after its prepare record.
    pub end_lsn: Lsn,
    /// Whether there is anything in it to hand on.
    pub has_changes: bool,
}

/// What is kept of earlier connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// The transactions.
    pub transactions: Vec<PreparedTransaction>,
    /// Whether these are all that the slot has ever sent and not resolved. The server sends Commit
    /// Prepared for a transaction without changes too, of which it never sent the Prepare: when
    /// everything was kept, that is what one is that was not.
    pub is_whole: bool,
}

/// Prepared transactions as one connection knows them.
#[derive(Debug)]
pub(super) struct TwoPhase {
    kept: HashMap<u32, PreparedTransaction>,
    is_whole: bool,
    preparing: Option<Preparing>,
}

/// The transaction between Begin Prepare and Prepare.
#[derive(Debug)]
struct Preparing {
    xid: u32,
    gid: String,
    held: Held,
    /// Tables whose description lies among its frames.
    described: HashSet<[u8; 4]>,
    has_changes: bool,
}

/// A transaction that was prepared, on its way to where it is durable.
#[derive(Debug)]
pub(super) struct Sealing {
    head: PreparedTransaction,
    held: Held,
    /// Whether it is in the form it was streamed in.
    is_streamed: bool,
    /// Whether everything that was put elsewhere is back.
    is_recalled: bool,
    is_over: bool,
}

impl TwoPhase {
    pub(super) fn new(kept: Kept) -> Self {
        let transactions = kept.transactions.into_iter();
        let kept_by_xid = transactions.map(|kept| (kept.xid, kept)).collect();
        Self { kept: kept_by_xid, is_whole: kept.is_whole, preparing: None }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.preparing.as_ref().map_or(0, |preparing| preparing.held.memory_bytes())
    }
}

impl Streamed {
    /// A message about a prepared transaction, outside of blocks.
    pub(super) fn prepared(&mut self, message: PreparedMessage<'_>) -> Result<(), DecodeError> {
        let Some(two_phase) = &mut self.two_phase else { return Ok(()) };
        match message {
            PreparedMessage::Begin(prepared) => {
                two_phase.preparing = Some(Preparing::new(prepared));
                self.place = Place::Preparing;
            }
            PreparedMessage::Prepare(_) => {
                let place = "that no Begin Prepare began";
                return Err(DecodeError::OutOfPlace { message: "Prepare", place });
            }
            PreparedMessage::StreamPrepare(prepared) => {
                let Some(held) = self.held.remove(&prepared.xid) else {
                    let place = "of nothing streamed";
                    return Err(DecodeError::OutOfPlace { message: "Stream Prepare", place });
                };
                self.ready.extend(held.origin_frame().map(|bytes| {
                    let chunk = Chunk { bytes, lease: Lease::free() };
                    Step::Keep { xid: prepared.xid, frames: vec![chunk] }
                }));
                let head = PreparedTransaction::new(prepared, false);
                self.seal(head, held, true);
                self.forget_descriptions();
            }
            PreparedMessage::Commit(prepared) => self.commit_prepared(prepared),
            PreparedMessage::Rollback { xid, end_lsn, .. } => {
                if two_phase.kept.remove(&xid).is_some() {
                    self.ready.push_back(Step::Discard { xid });
                }
                if !self.drop_blocks(xid) {
                    self.show(|| EarlyStep::Aborted { xid, subxid: xid });
                }
                self.ready.push_back(read_to(end_lsn));
            }
        }
        Ok(())
    }

    fn commit_prepared(&mut self, prepared: Prepared<'_>) {
        let Prepared { xid, gid, lsn: commit_lsn, end_lsn, time: commit_time } = prepared;
        let had_blocks = self.drop_blocks(xid);
        let Some(two_phase) = &self.two_phase else { return };
        match two_phase.kept.get(&xid) {
            Some(kept) if kept.gid == gid => {
                let commit = Commit { xid, commit_lsn, end_lsn, commit_time };
                self.delivery = Some(Delivery::prepared(commit, kept.has_changes));
            }
            None if two_phase.is_whole && !had_blocks => self.ready.push_back(read_to(end_lsn)),
            _ => self.ready.push_back(Step::Lost { gid: gid.to_owned(), end_lsn }),
        }
    }

    /// Whether there were any: blocks may have been streamed of a transaction whose prepare record
    /// lies before the start.
    fn drop_blocks(&mut self, xid: u32) -> bool {
        let held = self.held.remove(&xid);
        if held.as_ref().is_some_and(Held::is_spilled) {
            self.ready.push_back(Step::Forget { xid });
        }
        self.forget_descriptions();
        if held.is_some() {
            // They may be a part of it alone.
            self.show(|| EarlyStep::Aborted { xid, subxid: xid });
        }
        held.is_some()
    }

    fn seal(&mut self, head: PreparedTransaction, held: Held, is_streamed: bool) {
        let is_recalled = !is_streamed || !held.is_spilled();
        self.sealing = Some(Sealing { head, held, is_streamed, is_recalled, is_over: false });
    }

    /// Take in the frames of the transaction that is being prepared; where they end, and why.
    pub(super) fn prepare(
        &mut self,
        bytes: &[u8],
        lend: &mut impl FnMut(usize) -> Lease,
    ) -> Result<(usize, Until), DecodeError> {
        let two_phase = self.two_phase.as_mut();
        let Some(mut preparing) = two_phase.and_then(|two_phase| two_phase.preparing.take()) else {
            return Ok((0, Until::Stop));
        };
        let (mut at, mut said) = (0, BytesMut::new());
        let mut end = None;
        while at < bytes.len() && end.is_none() {
            let (length, message) = frame(&bytes[at..])?;
            if let ServerMessage::XLogData { payload, .. } = message {
                let frame = &bytes[at..at + length];
                match payload.first() {
                    Some(b'P') => end = Some(preparing.ends(payload)?),
                    Some(b'R' | b'Y') => {
                        self.described.outside(payload, frame);
                        said.extend_from_slice(frame);
                        preparing.describes(payload);
                        preparing.held.append(frame, lend);
                    }
                    _ => preparing.take_in(payload, frame, &self.described, lend)?,
                }
            }
            at += length;
        }
        if !said.is_empty() {
            let chunk = Chunk { bytes: said.freeze(), lease: Lease::free() };
            self.ready.push_back(Step::Assemble(chunk));
        }
        if let Some(head) = end {
            self.seal(head, preparing.held, false);
            return Ok((at, Until::Stop));
        }
        let bytes_max = PREPARING_BYTES_MAX.min(self.memory_max / PREPARING_SHARE);
        if preparing.held.block_bytes() > bytes_max {
            let (xid, frames) = (preparing.xid, preparing.held.spill());
            self.ready.push_back(Step::Keep { xid, frames });
        }
        if let Some(two_phase) = &mut self.two_phase {
            two_phase.preparing = Some(preparing);
        }
        Ok((at, Until::Input))
    }

    /// It is durable: a Commit Prepared may refer to it.
    pub(super) fn is_kept(&mut self, head: PreparedTransaction) {
        if let Some(two_phase) = &mut self.two_phase {
            two_phase.kept.insert(head.xid, head);
        }
    }
}

impl Preparing {
    fn new(prepared: Prepared<'_>) -> Self {
        Self {
            xid: prepared.xid,
            gid: prepared.gid.to_owned(),
            held: Held::default(),
            described: HashSet::new(),
            has_changes: false,
        }
    }

    fn describes(&mut self, payload: &[u8]) {
        if payload[0] == b'R' {
            self.described.extend(described_oid(payload));
        }
    }

    /// A message that is neither a description nor the end.
    fn take_in(
        &mut self,
        payload: &[u8],
        frame: &[u8],
        described: &Described,
        lend: &mut impl FnMut(usize) -> Lease,
    ) -> Result<(), DecodeError> {
        const TABLES_AT: usize = 1 + 4 + 1;
        let tables = match payload.first() {
            Some(b'I' | b'U' | b'D') => payload.get(1..5),
            Some(b'T') => payload.get(TABLES_AT..),
            Some(b'M') => Some(&[][..]),
            Some(b'O') => {
                self.held.append(frame, lend);
                return Ok(());
            }
            tag => {
                let (field, tag) = ("message of a prepared transaction", tag.copied().unwrap_or(0));
                return Err(DecodeError::UnknownTag { field, tag });
            }
        };
        // One that is cut off is for the assembler to refuse.
        for oid in tables.unwrap_or_default().as_chunks::<4>().0 {
            if self.described.insert(*oid) {
                self.held.append(&described.of_table(*oid)?, lend);
            }
        }
        self.has_changes = true;
        self.held.append(frame, lend);
        Ok(())
    }

    /// The Prepare in `payload`, which has to be of this transaction.
    fn ends(&self, payload: &[u8]) -> Result<PreparedTransaction, DecodeError> {
        match Message::parse(payload, 0, &mut Vec::new())? {
            Message::Prepared(PreparedMessage::Prepare(prepared))
                if (prepared.xid, prepared.gid) == (self.xid, self.gid.as_str()) =>
            {
                Ok(PreparedTransaction::new(prepared, self.has_changes))
            }
            _ => Err(DecodeError::OutOfPlace {
                message: "Prepare",
                place: "of another transaction than its Begin Prepare",
            }),
        }
    }
}

impl PreparedTransaction {
    fn new(prepared: Prepared<'_>, has_changes: bool) -> Self {
        let Prepared { xid, end_lsn, gid, .. } = prepared;
        Self { xid, gid: gid.to_owned(), end_lsn, has_changes }
    }
}

impl Sealing {
    /// The transaction whose next frames have to be recalled first.
    pub(super) fn waits(&self) -> Option<u32> {
        (!self.is_recalled).then_some(self.head.xid)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn head(self) -> PreparedTransaction {
        self.head
    }

    /// Frames that were put elsewhere are back, or all of them were.
    pub(super) fn recalled(
        &mut self,
        frames: Option<(Vec<u8>, Lease)>,
        out: &mut VecDeque<Step>,
    ) -> Result<(), DecodeError> {
        match frames {
            Some((bytes, lease)) => {
                let (chunk, changes) = self.held.stripped(bytes, lease)?;
                self.keep(chunk, changes, out);
            }
            None => self.is_recalled = true,
        }
        Ok(())
    }

    /// Put out the next of what is in memory, or the end.
    pub(super) fn advance(&mut self, out: &mut VecDeque<Step>) -> Result<(), DecodeError> {
        if !self.is_streamed {
            let (xid, frames) = (self.head.xid, self.held.spill());
            out.push_back(Step::Keep { xid, frames });
        } else if let Some((chunk, changes)) = self.held.pop()? {
            self.keep(chunk, changes, out);
            return Ok(());
        }
        out.push_back(Step::Seal(self.head.clone()));
        if self.is_streamed && self.held.is_spilled() {
            out.push_back(Step::Forget { xid: self.head.xid });
        }
        out.push_back(read_to(self.head.end_lsn));
        self.is_over = true;
        Ok(())
    }

    fn keep(&mut self, chunk: Chunk, changes: bool, out: &mut VecDeque<Step>) {
        self.head.has_changes |= changes;
        out.push_back(Step::Keep { xid: self.head.xid, frames: vec![chunk] });
    }
}

/// The log was read up to `end`, and nothing of it is left to hand on.
fn read_to(end: Lsn) -> Step {
    Step::Assemble(Chunk { bytes: log_read_to(end), lease: Lease::free() })
}
