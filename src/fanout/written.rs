//! What a lane has given its sink and may have to give again.

use std::collections::VecDeque;

use crate::event::Batch;
use crate::lsn::Lsn;

/// What was written and may have to be written again, in order.
#[derive(Default)]
pub(super) struct Written {
    pub(super) batches: VecDeque<Batch>,
    /// How many of them, from the front, were proven: parts of a transaction that is not complete.
    proven: usize,
    pub(super) proven_bytes: usize,
    pub(super) unproven_bytes: usize,
    /// Part of an incomplete transaction was let go of.
    pub(super) lost_part: bool,
}

impl Written {
    pub(super) fn push(&mut self, batch: Batch) {
        self.unproven_bytes += batch.weight();
        self.batches.push_back(batch);
    }

    pub(super) fn has_unproven_events(&self) -> bool {
        self.batches.iter().skip(self.proven).any(|batch| !batch.is_empty())
    }

    /// The end of the last transaction with something in it among what ends by `end`.
    pub(super) fn data_end(&self, end: Lsn) -> Option<Lsn> {
        self.batches.iter().filter_map(|batch| batch.data_end(end)).max()
    }

    /// Drop what holds nothing that a sink at `end` would need; how many bytes that was.
    pub(super) fn drop_through(&mut self, end: Lsn) -> usize {
        let mut bytes = 0;
        while let Some(batch) = self.batches.front().filter(|batch| batch.after(end).is_empty()) {
            let weight = batch.weight();
            if self.proven > 0 {
                self.proven -= 1;
                self.proven_bytes = self.proven_bytes.saturating_sub(weight);
            } else {
                self.unproven_bytes = self.unproven_bytes.saturating_sub(weight);
            }
            bytes += weight;
            self.lost_part &= batch.is_empty();
            self.batches.pop_front();
        }
        bytes
    }

    /// Everything that is left was proven with the rest.
    pub(super) fn mark_proven(&mut self) {
        self.proven = self.batches.len();
        self.proven_bytes += std::mem::take(&mut self.unproven_bytes);
    }

    /// Let go of what was proven of an incomplete transaction; how many bytes that was.
    pub(super) fn let_go(&mut self) -> usize {
        let bytes = std::mem::take(&mut self.proven_bytes);
        self.lost_part |= self.proven > 0;
        self.batches.drain(..std::mem::take(&mut self.proven));
        bytes
    }
}
