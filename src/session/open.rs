//! The transaction that is open while its changes come.

use std::sync::Arc;

use crate::event::{Arena, Head, HeadKind, Relation, TransactionHead, to_u32};
use crate::lsn::Lsn;
use crate::wire::DecodeError;

/// The transaction between Begin and Commit.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) commit_lsn: Lsn,
    /// Its place among the arena's transactions.
    pub(super) transaction: u32,
    /// How many changes were counted.
    pub(super) index: u64,
    /// Changes up to this index were handed out before.
    pub(super) skip_through: u64,
    /// It is left out for where it came from: nobody learns from it.
    pub(super) is_unwanted: bool,
    /// The versions of tables that it is the first to use.
    pub(super) met: Vec<Arc<Relation>>,
    /// Its last change in the arena.
    pub(super) last: Option<u32>,
    pub(super) head: TransactionHead,
}

/// The open transaction; `message` is what comes in it.
pub(super) fn open<'a>(
    open: &'a mut Option<Open>,
    message: &'static str,
) -> Result<&'a mut Open, DecodeError> {
    open.as_mut().ok_or(DecodeError::OutOfPlace { message, place: "outside a transaction" })
}

/// Append a change, the last so far.
#[inline]
pub(super) fn push_change(arena: &mut Arena, open: &mut Open, lsn: Lsn, kind: HeadKind) {
    open.last = Some(to_u32(arena.heads.len()));
    arena.heads.push(Head { transaction: open.transaction, index: open.index, lsn, kind });
}
