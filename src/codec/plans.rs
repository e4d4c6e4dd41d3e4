//! What an encoder has worked out about the tables it met, one plan for each version of a table.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::{Batch, Relation};

/// How many tables may be known before those that no batch uses any more are forgotten.
pub(super) const PLANS_BEFORE_SWEEP: usize = 256;

/// Plans, found by the address of their relation, which they keep alive.
#[derive(Debug)]
pub(super) struct Plans<P> {
    known: HashMap<usize, (Arc<Relation>, Arc<P>)>,
    sweep_at: usize,
    /// The plan of each relation of the batch at hand.
    at_hand: Vec<Arc<P>>,
}

impl<P> Plans<P> {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), sweep_at: PLANS_BEFORE_SWEEP, at_hand: Vec::new() }
    }

    /// Have the plans of all tables of `batch` at hand; `make` makes those that are new.
    pub(super) fn take_up(&mut self, batch: &Batch, make: impl Fn(&Arc<Relation>) -> P) {
        self.at_hand.clear();
        for relation in batch.relations() {
            let plan = self.plan_of(relation, &make);
            self.at_hand.push(plan);
        }
    }

    /// The batch is done with.
    pub(super) fn lay_down(&mut self) {
        self.at_hand.clear();
    }

    /// The plan of the batch's table at `slot`.
    #[inline]
    pub(super) fn at(&self, slot: usize) -> &P {
        &self.at_hand[slot]
    }

    fn plan_of(&mut self, relation: &Arc<Relation>, make: impl Fn(&Arc<Relation>) -> P) -> Arc<P> {
        let address = Arc::as_ptr(relation).addr();
        if let Some((_, plan)) = self.known.get(&address) {
            return Arc::clone(plan);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, (relation, _)| Arc::strong_count(relation) > 1);
            self.sweep_at = PLANS_BEFORE_SWEEP.max(self.known.len() * 2);
        }
        let plan = Arc::new(make(relation));
        self.known.insert(address, (Arc::clone(relation), Arc::clone(&plan)));
        plan
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
