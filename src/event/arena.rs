//! Where a batch keeps what it is made of.
//!
//! An [`Arena`] is filled by the assembler, then frozen behind an `Arc`. Rows are spans of the
//! chunks they came in; heads say what each event is. A handful of vectors per batch, nothing per
//! row or value.

use std::sync::Arc;

use crate::event::chunk::{Chunk, Lease};
use crate::event::early::StreamHead;
use crate::event::encoded::Shelf;
use crate::event::relation::Relation;
use crate::event::schema_change::ShapeChange;
use crate::event::transaction::TransactionHead;
use crate::event::typed::TypedTables;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::wire::Field;
use crate::wire::pgoutput::{OldKind, TupleSpan};

/// What a batch holds.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) lineage: Arc<Lineage>,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) transactions: Vec<TransactionHead>,
    /// The transactions of a batch whose events have not committed; empty in any other. It has no
    /// other transactions, and heads go by these.
    pub(crate) streams: Vec<StreamHead>,
    /// The subtransaction of each head, in such a batch.
    pub(crate) subxids: Vec<u32>,
    pub(crate) relations: Vec<Arc<Relation>>,
    pub(crate) shape_changes: Vec<ShapeChange>,
    pub(crate) heads: Vec<Head>,
    pub(crate) fields: Vec<Field>,
    /// Up to where a sink is done once it has proven this batch.
    pub(crate) end: Lsn,
    /// The memory of the vectors above.
    pub(crate) lease: Lease,
    /// What sinks of one format share.
    pub(crate) shelf: Shelf,
    /// What is known of its columns once they are read as Rust types.
    pub(crate) typed: TypedTables,
}

/// One event of the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Which of the batch's transactions it belongs to. A non-transactional message belongs to none
    /// and repeats the index of whichever came before it.
    pub(crate) transaction: u32,
    /// Its place in the transaction, as in [`Position`](crate::Position).
    pub(crate) index: u64,
    /// Where the change itself lies in the log.
    pub(crate) lsn: Lsn,
    pub(crate) kind: HeadKind,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum HeadKind {
    Begin,
    Commit,
    /// What was given of a subtransaction, or of all, is void.
    Abort,
    /// Its index is that of the event it stands before.
    SchemaChange {
        change: u32,
    },
    Row(RowHead),
    Truncate {
        relation: u32,
        cascade: bool,
        restart_identity: bool,
    },
    Message {
        transactional: bool,
        chunk: u32,
        prefix: Span,
        content: Span,
    },
}

/// A row change: where its columns are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowHead {
    pub(crate) relation: u32,
    pub(crate) chunk: u32,
    pub(crate) shape: RowShape,
}

/// Which rows a change carries; each number is the first of the row's fields.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowShape {
    Insert { new: u32 },
    Update { new: u32 },
    UpdateWithOld { kind: OldKind, old: u32, new: u32 },
    Delete { kind: OldKind, old: u32 },
}

/// A piece of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

impl Arena {
    pub(crate) fn new(lineage: Arc<Lineage>, end: Lsn) -> Self {
        Self {
            lineage,
            chunks: Vec::new(),
            transactions: Vec::new(),
            streams: Vec::new(),
            subxids: Vec::new(),
            relations: Vec::new(),
            shape_changes: Vec::new(),
            heads: Vec::new(),
            fields: Vec::new(),
            end,
            lease: Lease::free(),
            shelf: Shelf::default(),
            typed: TypedTables::default(),
        }
    }

    /// Whether its events are of transactions that have not committed.
    pub(crate) fn is_early(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Append that what was given of `subxid` is void, as an event of a transaction of its own
    /// entry.
    pub(crate) fn abort(&mut self, stream: StreamHead, subxid: u32) {
        self.streams.push(stream);
        let transaction = to_u32(self.streams.len() - 1);
        self.push_early(
            Head { transaction, index: 0, lsn: Lsn::new(0), kind: HeadKind::Abort },
            subxid,
        );
    }

    /// Append an event of a transaction that has not committed.
    pub(crate) fn push_early(&mut self, head: Head, subxid: u32) {
        self.heads.push(head);
        self.subxids.push(subxid);
    }

    /// Give back what was reserved for more events than came: a batch may live long.
    pub(crate) fn trim(&mut self) {
        fn trim<T>(vector: &mut Vec<T>) {
            if vector.len() < vector.capacity() - vector.capacity() / 8 {
                vector.shrink_to_fit();
            }
        }
        trim(&mut self.heads);
        trim(&mut self.fields);
        trim(&mut self.transactions);
    }

    /// The bytes the vectors take, with what the batch itself costs.
    pub(crate) fn bytes(&self) -> usize {
        const BATCH_BYTES: usize = 512;
        BATCH_BYTES
            + self.heads.capacity() * size_of::<Head>()
            + self.fields.capacity() * size_of::<Field>()
            + self.transactions.capacity() * size_of::<TransactionHead>()
            + self.streams.capacity() * size_of::<StreamHead>()
            + self.subxids.capacity() * size_of::<u32>()
    }

    /// The bytes of the vectors that are in use, the few that every batch has aside.
    #[inline]
    pub(crate) fn used_bytes(&self) -> usize {
        self.heads.len() * size_of::<Head>()
            + self.fields.len() * size_of::<Field>()
            + self.transactions.len() * size_of::<TransactionHead>()
    }

    /// The place of `relation` among the batch's relations.
    pub(crate) fn relation_index(&mut self, relation: &Arc<Relation>) -> u32 {
        let known = self.relations.iter().rposition(|other| Arc::ptr_eq(other, relation));
        let index = known.unwrap_or_else(|| {
            self.relations.push(Arc::clone(relation));
            self.relations.len() - 1
        });
        to_u32(index)
    }

    /// Move the events from `from` on into `next`, with everything they need. They all belong to
    /// the first transaction of `next`.
    pub(crate) fn move_tail_to(&mut self, from: usize, next: &mut Arena) {
        for mut head in self.heads.drain(from..) {
            head.transaction = 0;
            match &mut head.kind {
                HeadKind::Row(row) => {
                    let relation = &self.relations[row.relation as usize];
                    let count = relation.columns.len();
                    row.relation = next.relation_index(relation);
                    row.chunk = next.adopt_chunk(&self.chunks[row.chunk as usize]);
                    row.shape.for_each_first(|first| {
                        let start = *first as usize;
                        *first = to_u32(next.fields.len());
                        next.fields.extend_from_slice(&self.fields[start..start + count]);
                    });
                }
                HeadKind::SchemaChange { change } => {
                    next.shape_changes.push(self.shape_changes[*change as usize].clone());
                    *change = to_u32(next.shape_changes.len() - 1);
                }
                HeadKind::Truncate { relation, .. } => {
                    *relation = next.relation_index(&self.relations[*relation as usize]);
                }
                HeadKind::Message { chunk, .. } => {
                    *chunk = next.adopt_chunk(&self.chunks[*chunk as usize]);
                }
                HeadKind::Begin | HeadKind::Commit | HeadKind::Abort => {}
            }
            next.heads.push(head);
        }
    }

    fn adopt_chunk(&mut self, chunk: &Chunk) -> u32 {
        self.chunks.push(chunk.clone());
        to_u32(self.chunks.len() - 1)
    }

    /// Fill columns that the new row leaves out with what the old row says of them.
    pub(crate) fn merge_unchanged(
        &mut self,
        relation: &Relation,
        kind: OldKind,
        old: TupleSpan,
        new: TupleSpan,
    ) {
        for (at, column) in relation.columns.iter().enumerate() {
            let carried = kind == OldKind::Full || column.in_identity;
            if carried && self.fields[new.first + at] == Field::UNCHANGED {
                self.fields[new.first + at] = self.fields[old.first + at];
            }
        }
    }
}

impl RowShape {
    /// Show the first field of each row.
    #[inline]
    pub(crate) fn each_first(mut self, mut visit: impl FnMut(u32)) {
        self.for_each_first(|first| visit(*first));
    }

    fn for_each_first(&mut self, mut visit: impl FnMut(&mut u32)) {
        match self {
            Self::Insert { new } | Self::Update { new } => visit(new),
            Self::UpdateWithOld { old, new, .. } => {
                visit(old);
                visit(new);
            }
            Self::Delete { old, .. } => visit(old),
        }
    }
}

/// An index into one of a batch's vectors. A batch is closed long before it has 2^32 of anything:
/// every event and field takes at least one byte of a message, and a message is under a gigabyte.
pub(crate) fn to_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
