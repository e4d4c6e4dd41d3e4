//! What [`Streamed`] asks for.

use super::PreparedTransaction;
#[cfg(doc)]
use super::Streamed;
use crate::event::Chunk;
use crate::lsn::Lsn;

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Assemble these frames, which are of protocol 1.
    Assemble(Chunk),
    /// Keep these frames of transaction `xid`, after those kept before.
    Spill {
        /// The top-level transaction.
        xid: u32,
        /// Whole frames, in order.
        frames: Vec<Chunk>,
    },
    /// Give the next frames kept of this transaction back through [`Streamed::recalled`].
    Recall {
        /// The top-level transaction.
        xid: u32,
    },
    /// Nothing that was kept of this transaction is needed any more.
    Forget {
        /// The top-level transaction.
        xid: u32,
    },
    /// Show what has not committed to those who take it.
    Early(EarlyStep),
    /// Nothing more can be held: read again without streaming.
    GiveUp(Unheld),
    /// Keep these frames of a transaction that is being prepared, after those kept before. What was
    /// kept of one that was never sealed is not wanted.
    Keep {
        /// The transaction.
        xid: u32,
        /// Whole frames of protocol 1, in order.
        frames: Vec<Chunk>,
    },
    /// All of it was kept: make it durable, instead of what was kept under its id before, and only
    /// then go on.
    Seal(PreparedTransaction),
    /// It commits: give the next frames kept of it back through [`Streamed::recalled`]. It is to be
    /// kept until everything up to `end_lsn` is confirmed.
    Restore {
        /// The transaction.
        xid: u32,
        /// The first byte after its commit record.
        end_lsn: Lsn,
    },
    /// It was rolled back: nothing that was kept of it is needed any more.
    Discard {
        /// The transaction.
        xid: u32,
    },
    /// It commits, and nothing of it was kept: its changes cannot be had any more.
    Lost {
        /// Its name.
        gid: String,
        /// The first byte after its commit record.
        end_lsn: Lsn,
    },
}

/// Why streamed transactions cannot be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheld {
    /// More is held than may be, and nothing of it can be put elsewhere.
    #[error("open transactions take more than their share of the memory")]
    Memory,
    /// A subtransaction of a transaction with logical messages was rolled back. The server says of
    /// a message only which top-level transaction it is of, so that it may be rolled back or not.
    #[error("a streamed message cannot be told from one of a subtransaction that was rolled back")]
    Message,
}

/// What there is to show of a transaction before it commits.
#[derive(Debug)]
pub enum EarlyStep {
    /// These frames of a block of it were held.
    Show {
        /// The top-level transaction.
        xid: u32,
        /// Whole frames.
        frames: Chunk,
    },
    /// A part of it counts for nothing any more.
    Aborted {
        /// The top-level transaction.
        xid: u32,
        /// The subtransaction; `xid` itself for all of it.
        subxid: u32,
    },
    /// It has committed, and has been put out whole.
    Committed {
        /// The top-level transaction.
        xid: u32,
        /// The LSN of its commit record.
        commit_lsn: Lsn,
    },
}
