//! A batch of events, shared by everyone it is handed to.
//!
//! A [`Batch`] is a frozen arena behind an `Arc` and where to begin in it; cloning it or cutting
//! its front off copies nothing. It is the unit in which events travel; transactions may span
//! several.

use std::sync::Arc;

use crate::event::arena::{Arena, Head, HeadKind, RowHead, RowShape, Span};
use crate::event::chunk::Lease;
use crate::event::early::{Abort, EarlyChange, StreamHead};
use crate::event::encoded::Shelf;
use crate::event::relation::Relation;
use crate::event::row::{Logged, OldRow, Row};
use crate::event::schema_change::SchemaChange;
use crate::event::transaction::{Transaction, TransactionHead};
use crate::lineage::Lineage;
use crate::lsn::{Lsn, Position};
use crate::timestamp::Timestamp;
use crate::wire::pgoutput::OldKind;

/// Events in the order the server committed them.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(super) arena: Arc<Arena>,
    pub(super) from: usize,
    /// Places of transactions whose changes are left out; see [`hiding`](Self::hiding).
    pub(super) hidden: Option<Arc<[u32]>>,
}

/// One event of a [`Batch`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A transaction starts. A batch that continues one does not repeat it.
    Begin(Transaction<'a>),
    /// A table has another shape from the next event on.
    SchemaChange(SchemaChange<'a>),
    /// A row was inserted, updated or deleted.
    Change(Change<'a>),
    /// A table was emptied.
    Truncate(Truncate<'a>),
    /// A logical message.
    Message(Message<'a>),
    /// The transaction is complete.
    Commit(Transaction<'a>),
    /// Something of a transaction that has not committed, for those who asked for it.
    Early(EarlyChange<'a>),
    /// Some of that, or all, is void.
    Abort(Abort<'a>),
}

impl Batch {
    pub(crate) fn new(arena: Arena) -> Self {
        Self { arena: Arc::new(arena), from: 0, hidden: None }
    }

    /// Where a sink stands once it has proven this batch and all before it: the end of the last
    /// transaction that the batch completes, or of what came before.
    pub fn end(&self) -> Lsn {
        self.arena.end
    }

    /// Whether the batch carries no event: it only moves [`end`](Self::end), as an idle server
    /// does.
    pub fn is_empty(&self) -> bool {
        match self.hidden {
            None => self.heads().is_empty(),
            Some(_) => self.events().next().is_none(),
        }
    }

    /// How many events it has, Begin and Commit included.
    pub fn len(&self) -> usize {
        match self.hidden {
            None => self.heads().len(),
            Some(_) => self.events().count(),
        }
    }

    /// The events in order.
    #[inline]
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> + Clone {
        let arena: &Arena = &self.arena;
        let shown = |at: &usize| self.hidden.is_none() || !self.leaves_out(&arena.heads[*at]);
        let places = (self.from..arena.heads.len()).filter(shown);
        places.map(|at| match (EventAt { arena, at }).view() {
            Event::Commit(Transaction { head, .. }) if self.hidden.is_some() => {
                let was_early = self.hides(arena.heads[at].transaction);
                Event::Commit(Transaction { head, was_early })
            }
            event => event,
        })
    }

    /// What its events are, those that it hides included.
    pub(super) fn heads(&self) -> &[Head] {
        self.arena.heads.get(self.from..).unwrap_or_default()
    }

    /// The cluster and timelines that the positions are of.
    pub fn lineage(&self) -> &Lineage {
        &self.arena.lineage
    }

    /// The tables its events are about.
    pub(crate) fn relations(&self) -> &[Arc<Relation>] {
        &self.arena.relations
    }

    /// The bytes of log output it stands on; what a sink's batch size is measured in.
    pub fn bytes(&self) -> usize {
        self.arena.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// What it counts for in a queue, in bytes: what it stands on and its own few vectors.
    pub fn weight(&self) -> usize {
        self.bytes() + self.arena.bytes()
    }

    /// The commit LSN of its first event, or its end when it has none.
    pub fn start(&self) -> Lsn {
        match self.arena.heads.get(self.from) {
            None => self.end(),
            Some(head) => match head.kind {
                HeadKind::Message { transactional: false, .. } => head.lsn,
                _ if self.is_early() => self.end(),
                _ => self.arena.transactions[head.transaction as usize].commit_lsn,
            },
        }
    }

    /// The last event's position; `None` when there is none but idle progress.
    pub fn last_position(&self) -> Option<Position> {
        let last = self.heads().last().filter(|_| !self.is_early())?;
        Some(EventAt { arena: &self.arena, at: self.arena.heads.len() - 1 }.position_of(last))
    }

    /// The same batch without what a sink at `cursor` already has: transactions that committed
    /// before it, and messages up to it. A message's LSN is where its record ends, a transaction's
    /// where its commit record starts, so one of each may have the same.
    pub fn after(&self, cursor: Lsn) -> Batch {
        let arena: &Arena = &self.arena;
        let from = self.from
            + arena.heads[self.from.min(arena.heads.len())..].partition_point(|head| {
                match head.kind {
                    HeadKind::Message { transactional: false, .. } => head.lsn <= cursor,
                    _ => arena.transactions[head.transaction as usize].commit_lsn < cursor,
                }
            });
        Batch { from, ..self.clone() }
    }

    /// A share of the same memory for `bytes` that are made of the batch.
    pub(crate) fn charge(&self, bytes: usize) -> Lease {
        self.arena.lease.more(bytes)
    }

    /// Where to keep the encoded form for other sinks; `None` for a batch whose front was cut off,
    /// which no two sinks have alike.
    pub(crate) fn shelf(&self) -> Option<&Shelf> {
        (self.from == 0 && self.hidden.is_none()).then_some(&self.arena.shelf)
    }

    /// The end, `through` at most, of the last transaction it completes that holds a change, or of
    /// the last non-transactional message: what a sink that stores its own position must not fall
    /// behind. What was cut off counts too: it was cut off because the sink has it.
    pub fn data_end(&self, through: Lsn) -> Option<Lsn> {
        let ends = self.arena.heads.iter().rev().filter_map(|head| match head.kind {
            HeadKind::Message { transactional: false, .. } => Some(head.lsn),
            HeadKind::Commit => {
                let end = self.arena.transactions[head.transaction as usize].end?;
                end.last.map(|_| end.end_lsn)
            }
            _ => None,
        });
        ends.into_iter().find(|end| *end <= through)
    }

    /// The last commit in it: where it ends and when it happened.
    pub fn last_commit(&self) -> Option<(Lsn, Timestamp)> {
        let heads = self.arena.heads.get(self.from..).unwrap_or_default();
        let commit = heads.iter().rfind(|head| matches!(head.kind, HeadKind::Commit))?;
        let transaction = &self.arena.transactions[commit.transaction as usize];
        transaction.end.map(|end| (end.end_lsn, transaction.commit_time))
    }

    /// Whether it begins where no transaction is open.
    pub fn begins_outside(&self) -> bool {
        match self.arena.heads.get(self.from).map(|head| head.kind) {
            None | Some(HeadKind::Begin | HeadKind::Message { transactional: false, .. }) => true,
            Some(_) => false,
        }
    }

    /// How many handles share this batch's memory.
    pub fn shares(&self) -> usize {
        Arc::strong_count(&self.arena)
    }
}

impl<'a> Event<'a> {
    /// The identity of the change; `None` for the bounds of a transaction, for a changed shape and
    /// for what has not committed, which have none.
    pub fn position(self) -> Option<Position> {
        match self {
            Event::Begin(_) | Event::SchemaChange(_) | Event::Commit(_) => None,
            Event::Early(_) | Event::Abort(_) => None,
            Event::Change(change) => Some(change.position()),
            Event::Truncate(truncate) => Some(truncate.position()),
            Event::Message(message) => Some(message.position()),
        }
    }
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It is new.
    Insert,
    /// It changed.
    Update,
    /// It is gone.
    Delete,
}

/// A row change.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub(super) event: EventAt<'a>,
    pub(super) row: &'a RowHead,
}

/// An emptied table.
#[derive(Debug, Clone, Copy)]
pub struct Truncate<'a> {
    pub(super) event: EventAt<'a>,
    pub(super) relation: u32,
    pub(super) cascade: bool,
    pub(super) restart_identity: bool,
}

/// A logical message, as `pg_logical_emit_message` wrote it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub(super) event: EventAt<'a>,
    pub(super) transactional: bool,
    pub(super) chunk: u32,
    pub(super) prefix: Span,
    pub(super) content: Span,
}

impl<'a> Change<'a> {
    /// What happened.
    pub fn operation(self) -> Operation {
        match self.row.shape {
            RowShape::Insert { .. } => Operation::Insert,
            RowShape::Update { .. } | RowShape::UpdateWithOld { .. } => Operation::Update,
            RowShape::Delete { .. } => Operation::Delete,
        }
    }

    /// The table, in the shape the row was sent with.
    pub fn relation(self) -> &'a Relation {
        &self.event.arena.relations[self.row.relation as usize]
    }

    /// The table's place among the batch's.
    pub(crate) fn relation_slot(self) -> usize {
        self.row.relation as usize
    }

    /// The row as it is now; `None` for a delete.
    pub fn new_row(self) -> Option<Row<'a>> {
        match self.row.shape {
            RowShape::Insert { new }
            | RowShape::Update { new }
            | RowShape::UpdateWithOld { new, .. } => Some(self.row_at(new, Logged::All)),
            RowShape::Delete { .. } => None,
        }
    }

    /// What the server logged of the row as it was.
    pub fn old_row(self) -> Option<OldRow<'a>> {
        match self.row.shape {
            RowShape::UpdateWithOld { kind, old, .. } | RowShape::Delete { kind, old } => {
                Some(match kind {
                    OldKind::Key => OldRow::Key(self.row_at(old, Logged::Key)),
                    OldKind::Full => OldRow::Full(self.row_at(old, Logged::All)),
                })
            }
            RowShape::Insert { .. } | RowShape::Update { .. } => None,
        }
    }

    fn row_at(self, first: u32, logged: Logged) -> Row<'a> {
        let arena = self.event.arena;
        let relation = self.relation();
        let first = first as usize;
        Row {
            relation,
            fields: &arena.fields[first..first + relation.columns.len()],
            chunk: &arena.chunks[self.row.chunk as usize],
            arena,
            table: self.row.relation,
            first,
            logged,
        }
    }
}

impl<'a> Truncate<'a> {
    /// The table.
    pub fn relation(self) -> &'a Relation {
        &self.event.arena.relations[self.relation as usize]
    }

    /// The table's place among the batch's.
    pub(crate) fn relation_slot(self) -> usize {
        self.relation as usize
    }

    /// Whether CASCADE was given.
    pub fn cascade(self) -> bool {
        self.cascade
    }

    /// Whether RESTART IDENTITY was given.
    pub fn restart_identity(self) -> bool {
        self.restart_identity
    }
}

impl<'a> Message<'a> {
    /// Whether it took effect with a transaction's commit.
    pub fn is_transactional(self) -> bool {
        self.transactional
    }

    /// The prefix it was emitted with.
    pub fn prefix(self) -> &'a str {
        // The assembler admits a message only after its prefix was read as UTF-8.
        std::str::from_utf8(self.piece(self.prefix)).unwrap_or_default()
    }

    /// Its content.
    pub fn content(self) -> &'a [u8] {
        self.piece(self.content)
    }

    /// The transaction it belongs to, if it is transactional.
    pub fn transaction(self) -> Option<Transaction<'a>> {
        self.transactional.then(|| self.event.transaction())
    }

    fn piece(self, span: Span) -> &'a [u8] {
        let bytes: &'a [u8] = &self.event.arena.chunks[self.chunk as usize].bytes;
        &bytes[span.start as usize..][..span.length as usize]
    }
}

macro_rules! common {
    ($($view:ident),*) => {$(
        impl<'a> $view<'a> {
            /// Its identity, stable over restarts.
            pub fn position(self) -> Position {
                self.event.position_of(self.event.head())
            }

            /// Where it lies in the log itself. Not ordered across transactions: never resume here.
            pub fn lsn(self) -> Lsn {
                self.event.head().lsn
            }

            /// Whether it is the last change of its transaction.
            pub fn is_last(self) -> bool {
                self.event.is_last()
            }
        }
    )*};
}
common!(Change, Truncate, Message);

macro_rules! transactional {
    ($($view:ident),*) => {$(
        impl<'a> $view<'a> {
            /// The transaction it belongs to.
            pub fn transaction(self) -> Transaction<'a> {
                self.event.transaction()
            }
        }
    )*};
}
transactional!(Change, Truncate);

#[derive(Debug, Clone, Copy)]
pub(super) struct EventAt<'a> {
    arena: &'a Arena,
    at: usize,
}

impl<'a> EventAt<'a> {
    #[inline]
    fn view(self) -> Event<'a> {
        match &self.head().kind {
            HeadKind::Abort => Event::Abort(Abort { event: self }),
            _ if self.arena.is_early() => Event::Early(EarlyChange { event: self }),
            HeadKind::Begin => Event::Begin(self.transaction()),
            HeadKind::Commit => Event::Commit(self.transaction()),
            &HeadKind::SchemaChange { change } => Event::SchemaChange(SchemaChange {
                change: &self.arena.shape_changes[change as usize],
                head: self.head(),
                transaction: self.transaction(),
            }),
            HeadKind::Row(row) => Event::Change(Change { event: self, row }),
            &HeadKind::Truncate { relation, cascade, restart_identity } => {
                Event::Truncate(Truncate { event: self, relation, cascade, restart_identity })
            }
            &HeadKind::Message { transactional, chunk, prefix, content } => {
                Event::Message(Message { event: self, transactional, chunk, prefix, content })
            }
        }
    }

    pub(super) fn head(self) -> &'a Head {
        &self.arena.heads[self.at]
    }

    /// The transaction of an event that has not committed.
    pub(super) fn stream(self) -> &'a StreamHead {
        &self.arena.streams[self.head().transaction as usize]
    }

    pub(super) fn subxid(self) -> u32 {
        self.arena.subxids[self.at]
    }

    fn transaction_head(self) -> &'a TransactionHead {
        &self.arena.transactions[self.head().transaction as usize]
    }

    fn transaction(self) -> Transaction<'a> {
        Transaction { head: self.transaction_head(), was_early: false }
    }

    fn is_last(self) -> bool {
        match self.head().kind {
            HeadKind::Message { transactional: false, .. } => true,
            _ => self.transaction_head().end.and_then(|end| end.last) == Some(self.at as u32),
        }
    }

    fn position_of(self, head: &Head) -> Position {
        let commit_lsn = match head.kind {
            HeadKind::Message { transactional: false, .. } => head.lsn,
            _ => self.arena.transactions[head.transaction as usize].commit_lsn,
        };
        Position::Logged { commit_lsn, index: head.index }
    }
}
