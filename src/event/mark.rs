//! The order of all committed events, whatever batches they come in.

use std::sync::Arc;

use crate::event::arena::{Head, HeadKind};
use crate::event::batch::Batch;
use crate::lineage::Lineage;
use crate::lsn::Lsn;

/// A place in the order of all events: LSN, then what is of no transaction, which ends where one
/// may commit, then the index, Begin at 0 and Commit past every change. A change of shape comes
/// before the event whose index it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    lsn: Lsn,
    transactional: bool,
    index: u64,
    is_indexed: bool,
}

impl Batch {
    /// A batch without events that ends where the one before did.
    pub(crate) fn nothing(lineage: Arc<Lineage>, end: Lsn) -> Self {
        Self::new(crate::event::Arena::new(lineage, end))
    }

    /// The same batch without what lies at or before `mark`, the [`last_mark`](Self::last_mark) of
    /// one that was written.
    pub(crate) fn after_mark(&self, mark: Mark) -> Batch {
        let skip = self.heads().partition_point(|head| self.mark_of(head) <= mark);
        Batch { from: self.from + skip, ..self.clone() }
    }

    /// The place of its last event in the order of all events; `None` when it has none. A
    /// transaction that the batch hides and does not complete is not counted: hidden or not, all of
    /// it may have to be given yet.
    pub(crate) fn last_mark(&self) -> Option<Mark> {
        let ends = |head: &&Head| {
            self.hides(head.transaction)
                && self.arena.transactions[head.transaction as usize].end.is_none()
        };
        let last = self.heads().iter().rev().find(|head| !ends(head));
        last.map(|head| self.mark_of(head))
    }

    fn mark_of(&self, head: &Head) -> Mark {
        let (lsn, transactional) = match head.kind {
            HeadKind::Message { transactional: false, .. } => (head.lsn, false),
            _ => (self.arena.transactions[head.transaction as usize].commit_lsn, true),
        };
        let is_indexed = !matches!(head.kind, HeadKind::SchemaChange { .. });
        Mark { lsn, transactional, index: head.index, is_indexed }
    }
}
