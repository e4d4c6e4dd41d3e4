//! The transaction a change belongs to.

use std::sync::Arc;

use crate::lsn::Lsn;
use crate::timestamp::Timestamp;

/// What is known of a transaction; kept once per batch it has a part in.
#[derive(Debug, Clone)]
pub(crate) struct TransactionHead {
    pub(crate) xid: u32,
    pub(crate) commit_lsn: Lsn,
    pub(crate) commit_time: Timestamp,
    pub(crate) origin: Option<Arc<str>>,
    /// Set when the batch holds the Commit.
    pub(crate) end: Option<TransactionEnd>,
}

/// What the Commit adds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransactionEnd {
    pub(crate) end_lsn: Lsn,
    /// The head of its last change, if it has one.
    pub(crate) last: Option<u32>,
}

/// A committed transaction, or the part of it that a batch holds.
#[derive(Debug, Clone, Copy)]
pub struct Transaction<'a> {
    pub(crate) head: &'a TransactionHead,
    /// See [`was_early`](Self::was_early).
    pub(crate) was_early: bool,
}

impl<'a> Transaction<'a> {
    /// Its transaction id.
    pub fn xid(self) -> u32 {
        self.head.xid
    }

    /// The LSN of its commit record.
    pub fn commit_lsn(self) -> Lsn {
        self.head.commit_lsn
    }

    /// When it committed, by the server's clock.
    pub fn commit_time(self) -> Timestamp {
        self.head.commit_time
    }

    /// The first byte after its commit record; `None` while the batch does not reach its Commit.
    pub fn end_lsn(self) -> Option<Lsn> {
        self.head.end.map(|end| end.end_lsn)
    }

    /// Whether this is the Commit of a transaction whose changes were given while it ran: they are
    /// not given again.
    pub fn was_early(self) -> bool {
        self.was_early
    }

    /// The replication origin it came from, if it was not made on this server.
    pub fn origin(self) -> Option<&'a str> {
        self.head.origin.as_deref()
    }
}
