//! The native format: one JSON object per line, for each change, truncated table and message.
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
//! `transactional` in place of the keys about tables. [`JsonLines`] keeps what it learnt of each
//! table, nothing of a batch.

mod line;
mod plan;
mod recall;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::HashMap;
use std::sync::Arc;

pub use recall::{LINE_END_BYTES, Recalled, recall};

use self::plan::RelationPlan;
use self::transaction::TransactionText;
use crate::codec::error::EncodeError;
use crate::codec::value::TypeRegistry;
use crate::event::{Batch, Event, Relation};

/// How many tables may be known before those that no batch uses any more are forgotten.
const PLANS_BEFORE_SWEEP: usize = 256;

/// Writes batches as JSON lines.
///
/// It keeps a plan for each table version it has met, so that encoding allocates nothing per row.
#[derive(Debug)]
pub struct JsonLines {
    types: Arc<TypeRegistry>,
    /// By the address of its relation, which the plan keeps alive.
    plans: HashMap<usize, Arc<RelationPlan>>,
    sweep_at: usize,
    /// The plan of each relation of the batch at hand.
    at_hand: Vec<Arc<RelationPlan>>,
    transaction: TransactionText,
    /// Columns of the row at hand that were not sent.
    unsent: Vec<usize>,
}

impl JsonLines {
    /// An encoder for columns of these types.
    pub fn new(types: Arc<TypeRegistry>) -> Self {
        Self {
            types,
            plans: HashMap::new(),
            sweep_at: PLANS_BEFORE_SWEEP,
            at_hand: Vec::new(),
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
        let start = out.len();
        let result = self.encode_events(batch, out);
        self.at_hand.clear();
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn encode_events(
        &mut self,
        batch: &Batch,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, EncodeError> {
        for relation in batch.relations() {
            let plan = self.plan_of(relation);
            self.at_hand.push(plan);
        }
        let lineage = batch.lineage();
        self.transaction.forget();
        let mut complete = None;
        for event in batch.events() {
            match event {
                Event::Begin(_) => {}
                Event::Commit(_) => complete = Some(out.len()),
                Event::Change(change) => {
                    self.transaction.set(lineage, change.transaction());
                    let plan = &self.at_hand[change.relation_slot()];
                    line::change(out, plan, &self.transaction, &mut self.unsent, change)?;
                }
                Event::Truncate(truncate) => {
                    self.transaction.set(lineage, truncate.transaction());
                    let plan = &self.at_hand[truncate.relation_slot()];
                    line::truncate(out, plan, &self.transaction, truncate);
                }
                Event::Message(message) => {
                    match message.transaction() {
                        Some(transaction) => self.transaction.set(lineage, transaction),
                        None => self.transaction.set_free(lineage, message.lsn()),
                    }
                    line::message(out, &self.transaction, message);
                    if !message.is_transactional() {
                        complete = Some(out.len());
                    }
                }
            }
        }
        Ok(complete)
    }

    fn plan_of(&mut self, relation: &Arc<Relation>) -> Arc<RelationPlan> {
        let address = Arc::as_ptr(relation).addr();
        if let Some(plan) = self.plans.get(&address) {
            return Arc::clone(plan);
        }
        if self.plans.len() >= self.sweep_at {
            self.plans.retain(|_, plan| Arc::strong_count(plan.relation()) > 1);
            self.sweep_at = PLANS_BEFORE_SWEEP.max(self.plans.len() * 2);
        }
        let plan = Arc::new(RelationPlan::new(Arc::clone(relation), &self.types));
        self.plans.insert(address, Arc::clone(&plan));
        plan
    }
}
