//! Streamed transactions as they come, for those who take changes that have not committed.
//!
//! An [`EarlyAssembler`] stands beside the [`Assembler`](super::Assembler): it is shown each block
//! of a streamed transaction as it is held, and makes batches of events with ids of transactions
//! and ordinals in place of positions. A streamed transaction describes every table that it uses,
//! so what one describes is of no other. Nothing here commits: that is for the assembler, out of
//! what was held.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assembler::AssemblerOptions;
use super::relations::Relations;
use super::rows::Rows;
use super::streamed::EarlyStep;
use crate::event::{
    Arena, Batch, CatalogEntry, Chunk, Head, HeadKind, Lease, Oid, Relation, RowHead, Span,
    StreamHead, to_u32,
};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::wire::DecodeError;
use crate::wire::copy_both::{FRAME_HEADER_BYTES, ServerMessage, frame_bytes};
use crate::wire::pgoutput::Message;

/// Makes batches of what has not committed: of blocks of streamed transactions, as they are held.
#[derive(Debug)]
pub struct EarlyAssembler {
    options: AssemblerOptions,
    streams: BTreeMap<u32, Stream>,
    arena: Arena,
    pushed_bytes: usize,
}

/// A transaction that has not ended.
#[derive(Debug, Default)]
struct Stream {
    relations: Relations,
    /// How many changes were counted.
    ordinal: u64,
    origin: Option<Arc<str>>,
    /// It came from another node, and is left out for that.
    is_unwanted: bool,
    /// Whether an event of it was made.
    has_begun: bool,
    /// Its place among the arena's.
    place: Option<u32>,
}

impl EarlyAssembler {
    /// Nothing shown yet.
    pub fn new(lineage: Arc<Lineage>, options: AssemblerOptions) -> Self {
        let arena = Arena::new(lineage, Lsn::new(0));
        Self { options, streams: BTreeMap::new(), arena, pushed_bytes: 0 }
    }

    /// Take in what is shown of a transaction. `has_had` says whether one that commits at an LSN
    /// was handed out before, so that its Commit does not come again.
    pub fn take_in(
        &mut self,
        step: EarlyStep,
        has_had: impl FnOnce(Lsn) -> bool,
    ) -> Result<(), DecodeError> {
        match step {
            EarlyStep::Show { xid, frames } => self.push(xid, frames)?,
            EarlyStep::Aborted { xid, subxid } => self.abort(xid, subxid),
            EarlyStep::Committed { xid, commit_lsn } => match has_had(commit_lsn) {
                true => self.abort(xid, xid),
                false => drop(self.streams.remove(&xid)),
            },
        }
        Ok(())
    }

    /// Whether there is anything to hand out.
    pub fn has_events(&self) -> bool {
        !self.arena.heads.is_empty()
    }

    /// How many bytes of frames came since the last batch was taken.
    pub fn pending_bytes(&self) -> usize {
        self.pushed_bytes
    }

    /// Close the batch. It ends where the last batch of committed transactions did. `lend` accounts
    /// for the memory it takes beside its chunks.
    pub fn take(&mut self, end: Lsn, lend: impl FnOnce(usize) -> Lease) -> Option<Batch> {
        if !self.has_events() {
            return None;
        }
        let next = Arena::new(Arc::clone(&self.arena.lineage), end);
        let mut full = std::mem::replace(&mut self.arena, next);
        for stream in self.streams.values_mut() {
            stream.relations.leave_unanswered();
            stream.place = None;
        }
        self.pushed_bytes = 0;
        full.end = end;
        full.trim();
        full.lease = lend(full.bytes());
        Some(Batch::new(full))
    }

    /// Tables that one transaction has described and that the catalogue was not asked about.
    pub fn undescribed(&self) -> &[Arc<Relation>] {
        self.unanswered().map_or(&[], |(_, stream)| &stream.relations.unanswered)
    }

    /// What the catalogue says of each of [`undescribed`](Self::undescribed).
    pub fn catalogued(&mut self, answers: Vec<CatalogEntry>) {
        let Some(xid) = self.unanswered().map(|(xid, _)| *xid) else { return };
        let Some(stream) = self.streams.get_mut(&xid) else { return };
        for (asked, version) in stream.relations.answer(answers) {
            let here = self.arena.relations.iter_mut();
            here.filter(|it| Arc::ptr_eq(it, &asked)).for_each(|it| *it = Arc::clone(&version));
        }
    }

    /// The first column type without a binary decoder among those of the tables that the catalogue
    /// was asked about.
    pub fn undecodable(&self) -> Option<Oid> {
        self.streams.values().find_map(|stream| stream.relations.undecodable)
    }

    fn unanswered(&self) -> Option<(&u32, &Stream)> {
        self.streams.iter().find(|(_, stream)| !stream.relations.unanswered.is_empty())
    }

    /// What was given of `subxid` is void.
    fn abort(&mut self, xid: u32, subxid: u32) {
        let gone = (xid == subxid).then(|| self.streams.remove(&xid)).flatten();
        let stream = gone.as_ref().or_else(|| self.streams.get(&xid));
        let Some(stream) = stream.filter(|stream| stream.has_begun) else { return };
        let origin = stream.origin.clone();
        self.arena.abort(StreamHead { xid, origin, begins: false }, subxid);
    }

    /// Take in frames of a block of transaction `xid`.
    fn push(&mut self, xid: u32, chunk: Chunk) -> Result<(), DecodeError> {
        let bytes = chunk.bytes.clone();
        let heads = self.arena.heads.len();
        self.arena.chunks.push(chunk);
        let mut at = 0;
        while at < bytes.len() {
            let length = frame_bytes(&bytes[at..])?.filter(|length| *length <= bytes.len() - at);
            // The block was held before it is shown, and so is whole frames.
            let Some(length) = length else { break };
            let body = &bytes[at + FRAME_HEADER_BYTES..at + length];
            if let ServerMessage::XLogData { start, payload, .. } = ServerMessage::parse(body)?
                && payload.first() != Some(&b'E')
            {
                self.message(xid, start, payload, at + length - payload.len())?;
            }
            at += length;
        }
        match self.arena.heads.len() == heads {
            true => drop(self.arena.chunks.pop()),
            false => self.pushed_bytes += bytes.len(),
        }
        Ok(())
    }

    fn message(
        &mut self,
        xid: u32,
        lsn: Lsn,
        payload: &[u8],
        base: usize,
    ) -> Result<(), DecodeError> {
        let stream = self.streams.entry(xid).or_default();
        let arena = &mut self.arena;
        let (named, message) = Message::parse_streamed(payload, base, &mut arena.fields)?;
        let of = Of { xid, subxid: named.unwrap_or(xid), lsn };
        match message {
            Message::Insert { relation, new } => {
                stream.row(arena, of, relation, Rows::Insert(new))?;
            }
            Message::Update { relation, old, new } => {
                stream.row(arena, of, relation, Rows::Update(old, new))?;
            }
            Message::Delete { relation, kind, old } => {
                stream.row(arena, of, relation, Rows::Delete(kind, old))?;
            }
            Message::Relation(relation) => stream.relations.describe(&relation),
            Message::Type { oid, schema, name } => stream.relations.name_type(oid, schema, name),
            Message::Origin { name, .. } => {
                stream.origin = Some(name.into());
                stream.is_unwanted = self.options.local_only;
            }
            Message::Truncate { relations, cascade, restart_identity } => {
                for oid in relations.as_chunks::<4>().0 {
                    let table = stream.relations.table(Oid::new(u32::from_be_bytes(*oid)))?;
                    let relation = arena.relation_index(&table.relation);
                    let kind = HeadKind::Truncate { relation, cascade, restart_identity };
                    stream.append(arena, of, Some(kind));
                }
            }
            Message::Logical { prefix, content, .. } => {
                let span = |part: &[u8]| Span {
                    start: to_u32(base + (part.as_ptr() as usize - payload.as_ptr() as usize)),
                    length: to_u32(part.len()),
                };
                let wanted = self.options.messages.iter().any(|it| it == "*" || it == prefix);
                let kind = wanted.then(|| HeadKind::Message {
                    transactional: true,
                    chunk: to_u32(arena.chunks.len() - 1),
                    prefix: span(prefix.as_bytes()),
                    content: span(content),
                });
                stream.append(arena, of, kind);
            }
            // What may lie in a block was looked at when it was held.
            Message::Begin { .. }
            | Message::Commit { .. }
            | Message::Stream(_)
            | Message::Prepared(_) => {}
        }
        Ok(())
    }
}

/// Whose change it is, and where it lies.
#[derive(Clone, Copy)]
struct Of {
    xid: u32,
    subxid: u32,
    lsn: Lsn,
}

impl Stream {
    fn row(&mut self, arena: &mut Arena, of: Of, oid: Oid, rows: Rows) -> Result<(), DecodeError> {
        let relation = &self.relations.table(oid)?.relation;
        rows.check(relation)?;
        if self.is_unwanted {
            arena.fields.truncate(rows.first());
            return Ok(());
        }
        let shape = rows.shape(arena, relation);
        let relation = arena.relation_index(relation);
        let chunk = to_u32(arena.chunks.len() - 1);
        self.append(arena, of, Some(HeadKind::Row(RowHead { relation, chunk, shape })));
        Ok(())
    }

    /// Count a change, and append it if it is wanted.
    fn append(&mut self, arena: &mut Arena, of: Of, kind: Option<HeadKind>) {
        self.ordinal += 1;
        let Some(kind) = kind.filter(|_| !self.is_unwanted) else { return };
        let transaction = *self.place.get_or_insert_with(|| {
            let (origin, begins) = (self.origin.clone(), !self.has_begun);
            arena.streams.push(StreamHead { xid: of.xid, origin, begins });
            to_u32(arena.streams.len() - 1)
        });
        self.has_begun = true;
        arena.push_early(Head { transaction, index: self.ordinal, lsn: of.lsn, kind }, of.subxid);
    }
}
