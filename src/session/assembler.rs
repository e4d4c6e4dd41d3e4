//! From frames to batches: the order of messages, and what a transaction is made of.
//!
//! The [`Assembler`] owns what one connection has described (its relations) and the transaction
//! that is open. Frames go in as chunks, a [`Batch`] comes out when asked for. It counts changes,
//! so that each has the same [`Position`](crate::Position) however often it is sent, and leaves out
//! what was handed out before a reconnect. Anything the protocol does not allow ends the connection
//! with a typed error; nothing is skipped. It is made anew for each connection.
//!
//! ```text
//!             Begin                      Insert, Update, Delete, Truncate, Message, Origin
//!   Outside ─────────► Inside ◄────────┐
//!      ▲  │ keepalive:   │  └──────────┘  index + 1 each
//!      │  ▼ end moves    │ Commit: end moves
//!      └─────────────────┘
//! ```

use std::sync::Arc;

use super::catalogued::Doubt;
use super::open::{Open, open, push_change};
use super::relations::{Relations, VersionsMet};
use super::rows::Rows;
use super::unwanted::is_wanted;
use crate::event::{
    Arena, Chunk, Head, HeadKind, Oid, RelationVersions, RowHead, Span, TransactionEnd,
    TransactionHead, to_u32,
};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::timestamp::Timestamp;
use crate::wire::DecodeError;
use crate::wire::copy_both::{COPY_DATA, FRAME_HEADER_BYTES, ServerMessage, frame_bytes};
use crate::wire::pgoutput::Message;
use crate::wire::streaming::StreamMessage;

/// How far a consumer has been served, so that a new connection does not serve it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedOut {
    /// The end of the last batch.
    pub end: Lsn,
    /// The last change handed out beyond `end`: its commit LSN and index.
    pub partial: Option<(Lsn, u64)>,
}

/// What is left out, and what is watched for.
#[derive(Debug, Clone, Default)]
pub struct AssemblerOptions {
    /// Prefixes of the logical messages to hand on; `*` means all.
    pub messages: Vec<String>,
    /// Leave out transactions that came from another node.
    pub local_only: bool,
}

impl AssemblerOptions {
    /// Leave nothing out, every logical message included.
    pub fn everything() -> Self {
        Self { messages: vec!["*".to_owned()], ..Self::default() }
    }
}

/// Turns the frames of one connection into batches.
#[derive(Debug)]
pub struct Assembler {
    pub(super) relations: Relations,
    /// By committed transactions, since they were last taken.
    pub(super) versions_met: Vec<VersionsMet>,
    /// Tables that may have changed, until the catalogue has answered.
    pub(super) doubts: Vec<Doubt>,
    pub(super) open: Option<Open>,
    pub(super) arena: Arena,
    /// The position of the last keepalive that counts. Apart from the arena's end: what came may
    /// be handed out as it is, idle progress only once it was asked whether the publications exist.
    pub(super) idle_end: Lsn,
    /// Bytes of frames since the last batch. A chunk that is kept on for a change held back was
    /// counted before.
    pub(super) pushed_bytes: usize,
    /// With events that take so many bytes beside their frames a batch is full.
    pub(super) arena_bytes_max: usize,
    /// What was handed out before this connection: it is sent again, and left out.
    before: HandedOut,
    pub(super) handed: HandedOut,
    last_commit: Option<Lsn>,
    stray_aborts: u64,
    options: AssemblerOptions,
}

impl Assembler {
    /// An assembler for a connection that follows `handed`.
    pub fn new(lineage: Arc<Lineage>, handed: HandedOut, options: AssemblerOptions) -> Self {
        Self {
            relations: Relations::default(),
            versions_met: Vec::new(),
            doubts: Vec::new(),
            open: None,
            arena: Arena::new(lineage, handed.end),
            idle_end: handed.end,
            pushed_bytes: 0,
            arena_bytes_max: usize::MAX,
            before: handed,
            handed,
            last_commit: None,
            stray_aborts: 0,
            options,
        }
    }

    /// The same, told of the versions of tables in force where the connection begins: a change of
    /// shape is one from what was known before.
    pub fn knowing(mut self, versions: &RelationVersions) -> Self {
        self.relations.know(versions);
        self
    }

    /// The last version of each table that an event came of.
    pub fn known(&self) -> RelationVersions {
        self.relations.known()
    }

    /// The same, whose batches are full once their events take `arena_bytes` beside their frames.
    pub fn bounded(mut self, arena_bytes: usize) -> Self {
        self.arena_bytes_max = arena_bytes;
        self
    }

    /// Take in a run of CopyData messages; what is left of it when the batch is full before its
    /// end. That goes in again, at once, after [`take`](Self::take).
    pub fn push(&mut self, chunk: Chunk) -> Result<Option<Chunk>, DecodeError> {
        let bytes = chunk.bytes.clone();
        let heads = self.arena.heads.len();
        self.arena.chunks.push(chunk);
        let mut at = 0;
        while at < bytes.len() && !(at > 0 && self.is_full()) {
            let length = frame_bytes(&bytes[at..])?.filter(|length| *length <= bytes.len() - at);
            let Some(length) = length.filter(|_| bytes[at] == COPY_DATA) else {
                return Err(DecodeError::OutOfPlace {
                    message: "a message",
                    place: "that is not whole CopyData, among CopyData",
                });
            };
            let body = &bytes[at + FRAME_HEADER_BYTES..at + length];
            match ServerMessage::parse(body)? {
                ServerMessage::XLogData { start, payload, .. } => {
                    self.payload(start, payload, at + length - payload.len())?;
                }
                ServerMessage::Keepalive { end, .. } => self.keepalive(end),
            }
            at += length;
        }
        let mut chunk = self.arena.chunks.pop();
        let rest = chunk.as_mut().filter(|_| at < bytes.len()).map(|chunk| chunk.split_off(at));
        if self.arena.heads.len() > heads {
            self.pushed_bytes += at;
            self.arena.chunks.extend(chunk);
        }
        Ok(rest)
    }

    /// How many bytes of frames came since the last batch was taken.
    pub fn pending_bytes(&self) -> usize {
        self.pushed_bytes
    }

    /// How far the batches taken so far reach.
    pub fn handed_out(&self) -> HandedOut {
        self.handed
    }

    /// Whether there is progress beyond the last batch.
    pub fn has_progress(&self) -> bool {
        self.arena.end.max(self.idle_end) > self.handed.end
    }

    /// Stream Abort messages that came although nothing is streamed (PostgreSQL 18).
    pub fn stray_aborts(&self) -> u64 {
        self.stray_aborts
    }

    /// The versions of tables that came into use, by transactions that are wholly in the batches
    /// taken so far or come with the next.
    pub fn take_versions_met(&mut self) -> Vec<VersionsMet> {
        std::mem::take(&mut self.versions_met)
    }

    fn payload(&mut self, start: Lsn, payload: &[u8], base: usize) -> Result<(), DecodeError> {
        let message = Message::parse(payload, base, &mut self.arena.fields)?;
        match message {
            Message::Insert { relation, new } => self.row(start, relation, Rows::Insert(new)),
            Message::Update { relation, old, new } => {
                self.row(start, relation, Rows::Update(old, new))
            }
            Message::Delete { relation, kind, old } => {
                self.row(start, relation, Rows::Delete(kind, old))
            }
            Message::Begin { commit_lsn, commit_time, xid } => {
                self.begin(commit_lsn, commit_time, xid)
            }
            Message::Commit { commit_lsn, end_lsn, .. } => self.commit(commit_lsn, end_lsn),
            Message::Relation(relation) => {
                self.relations.describe(&relation);
                Ok(())
            }
            Message::Type { oid, schema, name } => {
                let schema = if schema.is_empty() { "pg_catalog" } else { schema };
                self.relations.name_type(oid, schema, name);
                Ok(())
            }
            Message::Origin { name, .. } => self.origin(name),
            Message::Truncate { relations, cascade, restart_identity } => {
                self.truncate(start, relations, cascade, restart_identity)
            }
            Message::Logical { transactional, lsn, prefix, content } => {
                let span = |part: &[u8]| Span {
                    start: to_u32(base + (part.as_ptr() as usize - payload.as_ptr() as usize)),
                    length: to_u32(part.len()),
                };
                let spans = is_wanted(&self.options.messages, prefix.as_bytes());
                let spans = spans.then(|| [span(prefix.as_bytes()), span(content)]);
                self.logical(transactional, lsn, spans)
            }
            // PostgreSQL 18 sends it although nothing is streamed.
            Message::Stream(StreamMessage::Abort { .. }) => {
                self.stray_aborts += 1;
                Ok(())
            }
            Message::Stream(_) => Err(DecodeError::OutOfPlace {
                message: "a streamed transaction",
                place: "although no streaming was asked for",
            }),
            Message::Prepared(_) => Err(DecodeError::OutOfPlace {
                message: "a prepared transaction",
                place: "although two-phase decoding was not asked for",
            }),
        }
    }

    fn begin(
        &mut self,
        commit_lsn: Lsn,
        commit_time: Timestamp,
        xid: u32,
    ) -> Result<(), DecodeError> {
        if self.open.is_some() {
            return Err(DecodeError::OutOfPlace {
                message: "Begin",
                place: "inside a transaction",
            });
        }
        if let Some(last) = self.last_commit.filter(|last| *last >= commit_lsn) {
            return Err(DecodeError::OutOfOrder { last, commit: commit_lsn });
        }
        self.not_overdue(commit_lsn)?;
        let skip_through = match self.before.partial {
            _ if self.has_had(commit_lsn) => u64::MAX,
            Some((partial, index)) if partial == commit_lsn => index,
            _ => 0,
        };
        let head = TransactionHead { xid, commit_lsn, commit_time, origin: None, end: None };
        self.arena.transactions.push(head.clone());
        let transaction = to_u32(self.arena.transactions.len() - 1);
        if skip_through == 0 {
            self.arena.heads.push(Head {
                transaction,
                index: 0,
                lsn: commit_lsn,
                kind: HeadKind::Begin,
            });
        }
        self.open = Some(Open {
            commit_lsn,
            transaction,
            index: 0,
            skip_through,
            is_unwanted: false,
            met: Vec::new(),
            last: None,
            head,
        });
        Ok(())
    }

    /// Whether all of the transaction with this commit LSN was handed out before.
    pub fn has_had(&self, commit_lsn: Lsn) -> bool {
        let partial = self.before.partial;
        commit_lsn < self.before.end || partial.is_some_and(|(partial, _)| commit_lsn < partial)
    }

    fn origin(&mut self, name: &str) -> Result<(), DecodeError> {
        let open = open(&mut self.open, "Origin")?;
        if self.options.local_only {
            (open.skip_through, open.is_unwanted) = (u64::MAX, true);
            let begins = |head: &mut Head| matches!(head.kind, HeadKind::Begin);
            self.arena.heads.pop_if(begins);
            return Ok(());
        }
        let name: Arc<str> = name.into();
        open.head.origin = Some(Arc::clone(&name));
        self.arena.transactions[open.transaction as usize].origin = Some(name);
        Ok(())
    }

    fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn) -> Result<(), DecodeError> {
        let open = open(&mut self.open, "Commit")?;
        if open.commit_lsn != commit_lsn {
            return Err(DecodeError::CommitMismatch { begin: open.commit_lsn, commit: commit_lsn });
        }
        if open.skip_through != u64::MAX {
            let head = &mut self.arena.transactions[open.transaction as usize];
            head.end = Some(TransactionEnd { end_lsn, last: open.last });
            self.arena.heads.push(Head {
                transaction: open.transaction,
                // After every change of the transaction.
                index: u64::MAX,
                lsn: commit_lsn,
                kind: HeadKind::Commit,
            });
        }
        let relations = std::mem::take(&mut open.met);
        if !relations.is_empty() {
            self.versions_met.push(VersionsMet { end: end_lsn, relations });
        }
        self.last_commit = Some(commit_lsn);
        self.open = None;
        self.arena.end = self.arena.end.max(end_lsn);
        Ok(())
    }

    /// Nothing may come from before the position that the stream has reached since it began: sinks
    /// are told that they have everything up to there.
    fn not_overdue(&self, lsn: Lsn) -> Result<(), DecodeError> {
        let reached = self.arena.end.max(self.idle_end);
        match reached > lsn.max(self.before.end) {
            true => Err(DecodeError::Overdue { reached, lsn }),
            false => Ok(()),
        }
    }

    /// A keepalive's position is safe unless a transaction is half received.
    fn keepalive(&mut self, end: Lsn) {
        if self.open.is_none() {
            self.idle_end = self.idle_end.max(end);
        }
    }

    #[inline]
    fn row(&mut self, lsn: Lsn, oid: Oid, rows: Rows) -> Result<(), DecodeError> {
        let mut described = self.relations.table(oid)?;
        if described.is_fresh {
            self.meet(lsn, oid)?;
            described = self.relations.table(oid)?;
        }
        let open = open(&mut self.open, "a row change")?;
        let relation = &described.relation;
        rows.check(relation)?;
        open.index += 1;
        if open.index <= open.skip_through {
            self.arena.fields.truncate(rows.first());
            return Ok(());
        }
        let shape = rows.shape(&mut self.arena, relation);
        let row = RowHead {
            relation: self.arena.relation_index(relation),
            chunk: to_u32(self.arena.chunks.len() - 1),
            shape,
        };
        push_change(&mut self.arena, open, lsn, HeadKind::Row(row));
        Ok(())
    }

    fn truncate(
        &mut self,
        lsn: Lsn,
        relations: &[u8],
        cascade: bool,
        restart_identity: bool,
    ) -> Result<(), DecodeError> {
        open(&mut self.open, "Truncate")?;
        for oid in relations.as_chunks::<4>().0 {
            let oid = Oid::new(u32::from_be_bytes(*oid));
            if self.relations.table(oid)?.is_fresh {
                self.meet(lsn, oid)?;
            }
            let relation = &self.relations.table(oid)?.relation;
            let open = open(&mut self.open, "Truncate")?;
            open.index += 1;
            if open.index > open.skip_through {
                let relation = self.arena.relation_index(relation);
                let kind = HeadKind::Truncate { relation, cascade, restart_identity };
                push_change(&mut self.arena, open, lsn, kind);
            }
        }
        Ok(())
    }

    /// `spans` are the prefix and the content of a message that is wanted.
    fn logical(
        &mut self,
        transactional: bool,
        lsn: Lsn,
        spans: Option<[Span; 2]>,
    ) -> Result<(), DecodeError> {
        let chunk = to_u32(self.arena.chunks.len() - 1);
        let kind = spans.map(|[prefix, content]| HeadKind::Message {
            transactional,
            chunk,
            prefix,
            content,
        });
        if transactional {
            let open = open(&mut self.open, "a transactional message")?;
            open.index += 1;
            if let Some(kind) = kind.filter(|_| open.index > open.skip_through) {
                push_change(&mut self.arena, open, lsn, kind);
            }
            return Ok(());
        }
        if self.open.is_some() {
            let message = "a non-transactional message";
            return Err(DecodeError::OutOfPlace { message, place: "inside a transaction" });
        }
        self.not_overdue(lsn)?;
        // Its LSN is where its record ends, so that no commit ends there too.
        if let Some(kind) = kind.filter(|_| lsn > self.before.end) {
            let transaction = to_u32(self.arena.transactions.len().saturating_sub(1));
            self.arena.heads.push(Head { transaction, index: 0, lsn, kind });
        }
        self.arena.end = self.arena.end.max(lsn);
        Ok(())
    }
}

#[cfg(test)]
#[path = "assembler_tests.rs"]
mod tests;
