//! What is told of transactions before they commit.
//!
//! A batch is either of committed events or of these; see [`Batch::is_early`]. They carry the ids
//! of their transaction and subtransaction and an ordinal, and no identity: nothing of them may
//! come to be. When such a transaction commits, whoever had its changes gets its Commit without
//! them; a subtransaction that is rolled back is told by an [`Abort`].

use std::sync::Arc;

use crate::event::arena::{Head, HeadKind};
use crate::event::batch::{Batch, Change, EventAt, Message, Operation, Truncate};
use crate::event::relation::Relation;
use crate::event::row::{OldRow, Row};
use crate::lsn::Lsn;
#[cfg(feature = "client")]
use crate::{event::arena::Arena, event::batch::Event, lineage::Lineage};

/// What is known of a transaction that has not committed.
#[derive(Debug, Clone)]
pub(crate) struct StreamHead {
    pub(crate) xid: u32,
    pub(crate) origin: Option<Arc<str>>,
    /// Whether its first change is in the batch.
    #[cfg_attr(
        not(feature = "client"),
        allow(dead_code, reason = "for those who consume batches")
    )]
    pub(crate) begins: bool,
}

/// A change of a transaction that has not committed, and may never.
#[derive(Debug, Clone, Copy)]
pub struct EarlyChange<'a> {
    pub(super) event: EventAt<'a>,
}

/// What an [`EarlyChange`] is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum EarlyKind<'a> {
    /// A row was inserted, updated or deleted.
    Row(EarlyRow<'a>),
    /// A table was emptied.
    Truncate(EarlyTruncate<'a>),
    /// A logical message.
    Message(EarlyMessage<'a>),
}

/// A row change that has not committed.
#[derive(Debug, Clone, Copy)]
pub struct EarlyRow<'a>(pub(crate) Change<'a>);

/// An emptied table, if that commits.
#[derive(Debug, Clone, Copy)]
pub struct EarlyTruncate<'a>(pub(crate) Truncate<'a>);

/// A logical message of a transaction that has not committed.
#[derive(Debug, Clone, Copy)]
pub struct EarlyMessage<'a>(pub(crate) Message<'a>);

/// Changes that were given before they committed count for nothing any more.
///
/// Those of one subtransaction were rolled back. Where [`is_whole`](Self::is_whole), all of the
/// transaction's are void: it was rolled back, or it comes again from its first change, or as one
/// that has committed.
#[derive(Debug, Clone, Copy)]
pub struct Abort<'a> {
    pub(super) event: EventAt<'a>,
}

impl<'a> EarlyChange<'a> {
    /// The top-level transaction.
    pub fn xid(self) -> u32 {
        self.event.stream().xid
    }

    /// The subtransaction; the top-level transaction itself where there is none, and for every
    /// message: the server names no other.
    pub fn subxid(self) -> u32 {
        self.event.subxid()
    }

    /// Which change of its transaction it is, from 1 on, those included that are rolled back. No
    /// identity: when the transaction is sent again, it may have another.
    pub fn ordinal(self) -> u64 {
        self.event.head().index
    }

    /// Where it lies in the log itself.
    pub fn lsn(self) -> Lsn {
        self.event.head().lsn
    }

    /// The replication origin it came from, if it was not made on this server.
    pub fn origin(self) -> Option<&'a str> {
        self.event.stream().origin.as_deref()
    }

    /// What was changed.
    pub fn kind(self) -> EarlyKind<'a> {
        let event = self.event;
        match &event.head().kind {
            HeadKind::Row(row) => EarlyKind::Row(EarlyRow(Change { event, row })),
            &HeadKind::Truncate { relation, cascade, restart_identity } => {
                EarlyKind::Truncate(EarlyTruncate(Truncate {
                    event,
                    relation,
                    cascade,
                    restart_identity,
                }))
            }
            &HeadKind::Message { transactional, chunk, prefix, content } => {
                EarlyKind::Message(EarlyMessage(Message {
                    event,
                    transactional,
                    chunk,
                    prefix,
                    content,
                }))
            }
            HeadKind::Begin
            | HeadKind::Commit
            | HeadKind::SchemaChange { .. }
            | HeadKind::Abort => unreachable!("I4: an early change is none of these"),
        }
    }
}

impl<'a> EarlyRow<'a> {
    /// What happened.
    pub fn operation(self) -> Operation {
        self.0.operation()
    }

    /// The table, in the shape the row was sent with.
    pub fn relation(self) -> &'a Relation {
        self.0.relation()
    }

    /// The row as it would be; `None` for a delete.
    pub fn new_row(self) -> Option<Row<'a>> {
        self.0.new_row()
    }

    /// What the server logged of the row as it was.
    pub fn old_row(self) -> Option<OldRow<'a>> {
        self.0.old_row()
    }
}

impl<'a> EarlyTruncate<'a> {
    /// The table.
    pub fn relation(self) -> &'a Relation {
        self.0.relation()
    }

    /// Whether CASCADE was given.
    pub fn cascade(self) -> bool {
        self.0.cascade()
    }

    /// Whether RESTART IDENTITY was given.
    pub fn restart_identity(self) -> bool {
        self.0.restart_identity()
    }
}

impl<'a> EarlyMessage<'a> {
    /// The prefix it was emitted with.
    pub fn prefix(self) -> &'a str {
        self.0.prefix()
    }

    /// Its content.
    pub fn content(self) -> &'a [u8] {
        self.0.content()
    }
}

impl Abort<'_> {
    /// The top-level transaction.
    pub fn xid(self) -> u32 {
        self.event.stream().xid
    }

    /// The subtransaction whose changes are void; `xid` itself for all of the transaction.
    pub fn subxid(self) -> u32 {
        self.event.subxid()
    }

    /// Whether everything that was given of the transaction is void.
    pub fn is_whole(self) -> bool {
        self.xid() == self.subxid()
    }
}

impl Batch {
    /// Whether its events are of transactions that have not committed. It proves nothing:
    /// [`end`](Self::end) is that of the batch before.
    pub fn is_early(&self) -> bool {
        self.arena.is_early()
    }

    /// Whether the transaction at `place` is hidden.
    pub(super) fn hides(&self, place: u32) -> bool {
        self.hidden.as_ref().is_some_and(|hidden| hidden.contains(&place))
    }

    /// Whether an event is left out.
    pub(super) fn leaves_out(&self, head: &Head) -> bool {
        match head.kind {
            HeadKind::Commit | HeadKind::SchemaChange { .. } => false,
            HeadKind::Message { transactional: false, .. } => false,
            _ => self.hides(head.transaction),
        }
    }
}

#[cfg(feature = "client")]
impl Batch {
    /// That everything given of these transactions is void.
    pub(crate) fn aborts(
        lineage: Arc<Lineage>,
        end: Lsn,
        xids: impl IntoIterator<Item = u32>,
    ) -> Self {
        let mut arena = Arena::new(lineage, end);
        for xid in xids {
            arena.abort(StreamHead { xid, origin: None, begins: false }, xid);
        }
        Self::new(arena)
    }

    /// The same batch without the events of transactions that `hidden` names by their ids; of those
    /// that have committed, Commit and changes of shape are left.
    pub(crate) fn hiding(mut self, hidden: impl Fn(u32) -> bool) -> Self {
        let places = |xids: &mut dyn Iterator<Item = u32>| -> Vec<u32> {
            let at = (0..).zip(xids);
            at.filter_map(|(place, xid)| hidden(xid).then_some(place)).collect()
        };
        let places = match self.is_early() {
            true => places(&mut self.arena.streams.iter().map(|stream| stream.xid)),
            false => places(&mut self.arena.transactions.iter().map(|it| it.xid)),
        };
        self.hidden = (!places.is_empty()).then(|| places.into());
        self
    }

    /// The transactions that it holds changes of before they commit, and whether it has their
    /// first.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (u32, bool)> {
        self.arena.streams.iter().map(|stream| (stream.xid, stream.begins))
    }

    /// The transactions, by their ids, that are void as a whole or have committed, in order.
    pub(crate) fn ended(&self) -> impl Iterator<Item = u32> {
        self.events().filter_map(|event| match event {
            Event::Commit(transaction) => Some(transaction.xid()),
            Event::Abort(abort) if abort.is_whole() => Some(abort.xid()),
            _ => None,
        })
    }

    /// The committed transaction that it begins or continues and does not complete.
    pub(crate) fn open_xid(&self) -> Option<u32> {
        let last = self.heads().last().filter(|_| !self.is_early())?;
        match last.kind {
            HeadKind::Commit | HeadKind::Message { transactional: false, .. } => None,
            _ => Some(self.arena.transactions[last.transaction as usize].xid),
        }
    }

    /// The transactions whose Commit lies in it and not in `rest`, which is what was left of it.
    pub(crate) fn committed_before<'a>(
        &'a self,
        rest: &Batch,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let cut = &self.arena.heads[self.from..rest.from.max(self.from)];
        let commits = cut.iter().filter(|head| matches!(head.kind, HeadKind::Commit));
        commits.map(|head| self.arena.transactions[head.transaction as usize].xid)
    }
}
