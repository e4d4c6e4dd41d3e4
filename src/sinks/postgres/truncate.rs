//! TRUNCATE, as the source ran it: all of its tables at once, with its options.

use super::plan::Plan;
use crate::event::{Batch, Truncate};
use crate::lsn::Lsn;

/// One of the tables that a TRUNCATE of the source emptied. The others may come with the next
/// batch.
#[derive(Debug)]
pub(super) struct Emptied {
    pub(super) batch: Batch,
    /// The number of its event in the batch.
    pub(super) event: usize,
    /// Where the table is among those that are known.
    pub(super) place: usize,
    /// Tables of one TRUNCATE have one.
    pub(super) lsn: Lsn,
    options: &'static str,
}

impl Emptied {
    pub(super) fn new(batch: &Batch, event: usize, place: usize, truncate: Truncate<'_>) -> Self {
        let options = match (truncate.restart_identity(), truncate.cascade()) {
            (false, false) => "",
            (true, false) => " RESTART IDENTITY",
            (false, true) => " CASCADE",
            (true, true) => " RESTART IDENTITY CASCADE",
        };
        Self { batch: batch.clone(), event, place, lsn: truncate.lsn(), options }
    }

    /// The statement that empties the tables of `plans` as this one was.
    pub(super) fn sql<'a>(&self, plans: impl Iterator<Item = &'a Plan>) -> String {
        let tables: Vec<_> = plans.map(|plan| &*plan.only).collect();
        format!("TRUNCATE {}{}", tables.join(", "), self.options)
    }
}
