//! The native format: one JSON object per line, for each change, truncated table, message and
//! changed shape.
//!
//! ```json
//! {"id":"7391:1:0/16B3748:3","op":"update","schema":"public","table":"orders","key":{"id":7},
//!  "old":null,"new":{"id":7,"total":12.50},"unchanged":["note"],"lsn":"0/16B3700",
//!  "commit_lsn":"0/16B3748","seq":3,"end_lsn":"0/16B3778","last":true,"xid":731,
//!  "commit_time":"2026-11-23T22:22:05.123456+00:00","origin":null,"snapshot":false}
//! ```
//!
//! Keys come in this order and always all of them, but for `end_lsn` and `last`, which only the
//! last event of a transaction has. A table with columns of types that have no decoder here shows
//! these as text and names their types after `unchanged`: `"types":{"mood":"public.mood"}`.
//! `truncate` adds `cascade` and `restart_identity` there; `message` has `prefix`, `content` and
//! `transactional` in place of the keys about tables; `schema` has the table's shapes in place of
//! rows, and an id of its own kind. [`JsonLines`] keeps what it learnt of each table, nothing of a
//! batch.
//!
//! What has not committed (see [`StreamedDelivery`](crate::StreamedDelivery)) has no `id`,
//! `commit_lsn`, `seq` or `commit_time`; an `abort` makes void what came of its `subxid`, and a
//! `commit` says that the rest came to be:
//!
//! ```json
//! {"op":"insert","schema":"public","table":"orders","key":{"id":7},"old":null,"new":{"id":7},
//!  "unchanged":[],"lsn":"0/16B3700","xid":731,"subxid":732,"ordinal":3,"origin":null,
//!  "committed":false}
//! {"op":"abort","xid":731,"subxid":732,"committed":false}
//! {"op":"commit","xid":731,"commit_lsn":"0/16B3748","end_lsn":"0/16B3778",
//!  "commit_time":"2026-11-23T22:22:05.123456+00:00","origin":null,"committed":true}
//! ```

mod early;
mod line;
mod plan;
mod recall;
mod schema;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;

pub use recall::{LINE_END_BYTES, Recalled, recall};

use self::plan::RelationPlan;
use self::transaction::TransactionText;
use crate::codec::error::EncodeError;
use crate::codec::lines::{self, EventLines};
use crate::codec::plans::Plans;
use crate::codec::value::TypeRegistry;
use crate::event::{Batch, Event};
use crate::lineage::Lineage;

/// Writes batches as JSON lines.
///
/// It keeps a plan for each table version it has met, so that encoding allocates nothing per row.
#[derive(Debug)]
pub struct JsonLines {
    types: Arc<TypeRegistry>,
    plans: Plans<RelationPlan>,
    transaction: TransactionText,
    /// Columns of the row at hand that were not sent.
    unsent: Vec<usize>,
}

impl JsonLines {
    /// An encoder for columns of these types.
    pub fn new(types: Arc<TypeRegistry>) -> Self {
        Self {
            types,
            plans: Plans::new(),
            transaction: TransactionText::default(),
            unsent: Vec::new(),
        }
    }

    /// Append the events of `batch` to `out`, one line each.
    ///
    /// Answers up to where `out` holds whole transactions: its length after the last line that
    /// belongs to a transaction which this batch completes, or `None` when it completes none.
    ///
    /// # Errors
    /// When a value cannot be written; `out` is then as it was.
    pub fn encode(
        &mut self,
        batch: &Batch,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, EncodeError> {
        lines::encode(self, batch, out, |_| {})
    }
}

impl EventLines for JsonLines {
    const TAKES_UNCOMMITTED: bool = true;

    fn take_up(&mut self, batch: &Batch) {
        let types = &self.types;
        self.plans.take_up(batch, |relation| RelationPlan::new(relation, types));
        self.transaction.forget();
    }

    #[inline]
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        lineage: &Lineage,
        event: Event<'_>,
    ) -> Result<(), EncodeError> {
        match event {
            Event::Commit(transaction) if transaction.was_early() => {
                early::commit(out, transaction);
            }
            Event::Begin(_) | Event::Commit(_) => {}
            Event::Early(change) => {
                early::change(out, &self.plans, &mut self.unsent, change)?;
            }
            Event::Abort(abort) => early::abort(out, abort),
            Event::SchemaChange(change) => {
                self.transaction.set(lineage, change.transaction());
                schema::schema_change(out, &self.transaction, change);
            }
            Event::Change(change) => {
                self.transaction.set(lineage, change.transaction());
                let plan = self.plans.at(change.relation_slot());
                line::change(out, plan, &self.transaction, &mut self.unsent, change)?;
            }
            Event::Truncate(truncate) => {
                self.transaction.set(lineage, truncate.transaction());
                let plan = self.plans.at(truncate.relation_slot());
                line::truncate(out, plan, &self.transaction, truncate);
            }
            Event::Message(message) => {
                match message.transaction() {
                    Some(transaction) => self.transaction.set(lineage, transaction),
                    None => self.transaction.set_free(lineage, message.lsn()),
                }
                line::message(out, &self.transaction, message);
            }
        }
        Ok(())
    }

    fn lay_down(&mut self) {
        self.plans.lay_down();
    }
}
