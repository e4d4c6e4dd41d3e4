//! What one consumer had of transactions before they committed.
//!
//! All of a transaction is held until it commits, whoever had what of it before; [`Given`] decides
//! what of that one consumer gets. One that had every change from the first on, and none that is
//! void, gets the Commit alone. Any other gets the transaction as if nothing had been told before.

use std::collections::HashSet;

use crate::event::batch::Batch;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Transactions of which the consumer has everything so far.
    xids: HashSet<u32>,
    /// The committed transaction of which it has a part.
    open: Option<u32>,
}

impl Given {
    /// What the consumer is to have of `batch`, which is early: transactions from their first
    /// change on, but for one that it is being given as committed. Empty when that is nothing.
    pub(crate) fn admit(&mut self, batch: &Batch) -> Batch {
        for (xid, begins) in batch.streams() {
            if begins && self.open != Some(xid) {
                self.xids.insert(xid);
            }
        }
        let shown = batch.clone().hiding(|xid| !self.xids.contains(&xid));
        for xid in shown.ended() {
            self.xids.remove(&xid);
            self.open.take_if(|open| *open == xid);
        }
        shown
    }

    /// `batch`, which is early, goes to consumers that decide for themselves: all of it counts.
    pub(crate) fn note(&mut self, batch: &Batch) {
        self.xids.extend(batch.streams().filter_map(|(xid, begins)| begins.then_some(xid)));
        for xid in batch.ended() {
            self.xids.remove(&xid);
        }
    }

    /// What the consumer is to have of `batch`, which is of committed transactions.
    pub(crate) fn show(&mut self, batch: Batch) -> Batch {
        if !batch.heads().is_empty() {
            self.open = batch.open_xid();
        }
        if self.xids.is_empty() {
            return batch;
        }
        let shown = batch.hiding(|xid| self.xids.contains(&xid));
        for xid in shown.ended() {
            self.xids.remove(&xid);
        }
        shown
    }

    /// Of what was cut off `batch` because the consumer has it, `rest` being left: the transactions
    /// that it was given again nevertheless, before they could be told from others.
    pub(crate) fn given_again(&mut self, batch: &Batch, rest: &Batch) -> Vec<u32> {
        if self.xids.is_empty() {
            return Vec::new();
        }
        batch.committed_before(rest).filter(|xid| self.xids.remove(xid)).collect()
    }

    /// Nothing more comes of what has not committed.
    pub(crate) fn broke(&mut self) -> Broken {
        let hid_part = self.open.take_if(|xid| self.xids.contains(xid)).is_some();
        Broken { void: self.xids.drain().collect(), hid_part }
    }
}

/// What is void because nothing more comes of it.
#[derive(Debug)]
pub(crate) struct Broken {
    /// Transactions that the consumer had before they committed.
    pub(crate) void: Vec<u32>,
    /// Whether one of these was committed, and a part of it kept from the consumer for that.
    pub(crate) hid_part: bool,
}
