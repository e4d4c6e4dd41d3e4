//! When a table has another shape, and what the catalogue has to do with it.
//!
//! The rows of a table are at hand before the catalogue has been asked about it, and handed out
//! after. Its answer tells what a description does not: which attribute a column is. So a column
//! that was renamed is told from one that was dropped, and one that was dropped and made again in
//! the same words from one that was left alone.

use std::sync::Arc;

use super::assembler::Assembler;
use super::open::open;
use super::relations::{FirstEvent, Since};
use crate::event::{CatalogEntry, Head, HeadKind, Oid, Relation, ShapeChange, to_u32};
use crate::lsn::Lsn;
use crate::wire::DecodeError;

/// A table that is described in the same words as before, and may be another shape all the same.
#[derive(Debug)]
pub(super) struct Doubt {
    /// The version before.
    pub(super) old: Arc<Relation>,
    /// What was described.
    pub(super) asked: Arc<Relation>,
    /// Its first event; `None` for one that is not handed out.
    pub(super) head: Option<usize>,
}

impl Assembler {
    /// The next event of the open transaction is the first of a version of table `oid`.
    #[cold]
    pub(super) fn meet(&mut self, lsn: Lsn, oid: Oid) -> Result<(), DecodeError> {
        let open = open(&mut self.open, "a change of a table")?;
        if open.is_unwanted {
            return Ok(());
        }
        let Some(FirstEvent { relation, since }) = self.relations.meet(oid) else { return Ok(()) };
        open.met.push(Arc::clone(&relation));
        let index = open.index + 1;
        let is_handed_out = index > open.skip_through;
        match since {
            Since::Changed(change) if is_handed_out => {
                self.arena.shape_changes.push(change);
                let change = to_u32(self.arena.shape_changes.len() - 1);
                let kind = HeadKind::SchemaChange { change };
                self.arena.heads.push(Head { transaction: open.transaction, index, lsn, kind });
            }
            Since::Changed(_) | Since::Nothing => {}
            Since::Alike(old) => {
                let head = is_handed_out.then_some(self.arena.heads.len());
                self.doubts.push(Doubt { old, asked: relation, head });
            }
        }
        Ok(())
    }

    /// The tables described since the last batch, for which [`catalogued`](Self::catalogued) has
    /// not answered.
    pub fn undescribed(&self) -> &[Arc<Relation>] {
        &self.relations.unanswered
    }

    /// What the catalogue says of each of [`undescribed`](Self::undescribed): their rows are handed
    /// out with it. Without an answer before the next batch they are handed out as described.
    pub fn catalogued(&mut self, answers: Vec<CatalogEntry>) {
        let versions = self.relations.answer(answers);
        for (asked, version) in &versions {
            let open = self.open.iter_mut().flat_map(|open| &mut open.met);
            let met = self.versions_met.iter_mut().flat_map(|met| &mut met.relations);
            for relation in self.arena.relations.iter_mut().chain(open).chain(met) {
                if Arc::ptr_eq(relation, asked) {
                    *relation = Arc::clone(version);
                }
            }
            for change in &mut self.arena.shape_changes {
                change.know(asked, version);
            }
            for doubt in self.doubts.iter_mut().filter(|doubt| Arc::ptr_eq(&doubt.old, asked)) {
                doubt.old = Arc::clone(version);
            }
        }
        let mut doubts = std::mem::take(&mut self.doubts);
        while !doubts.is_empty() {
            let doubt = doubts.remove(0);
            let answer = versions.iter().find(|(asked, _)| Arc::ptr_eq(asked, &doubt.asked));
            if let Some((_, version)) = answer {
                self.resolve(doubt, version, &mut doubts);
            }
        }
    }

    /// The first column type without a binary decoder among those of the tables that the catalogue
    /// was asked about.
    pub fn undecodable(&self) -> Option<Oid> {
        self.relations.undecodable
    }

    /// The catalogue knows `version` of a table that may have changed; `others` are the doubts that
    /// come after.
    fn resolve(&mut self, doubt: Doubt, version: &Arc<Relation>, others: &mut [Doubt]) {
        let Doubt { old, head, .. } = doubt;
        // Nothing is learnt from an answer that was too late.
        if version.attribute_numbers().is_none() {
            return;
        }
        self.relations.know_better(&old, version);
        for change in &mut self.arena.shape_changes {
            change.comes_after(&old, version);
        }
        for other in others.iter_mut().filter(|other| Arc::ptr_eq(&other.old, &old)) {
            other.old = Arc::clone(version);
        }
        let Some(at) = head.filter(|_| !old.has_shape_of(version)) else { return };
        self.arena.shape_changes.push(ShapeChange::between(old, Arc::clone(version)));
        let change = to_u32(self.arena.shape_changes.len() - 1);
        let kind = HeadKind::SchemaChange { change };
        self.arena.heads.insert(at, Head { kind, ..self.arena.heads[at] });
        let ends = self.arena.transactions.iter_mut();
        let ends = ends.filter_map(|transaction| transaction.end.as_mut()?.last.as_mut());
        let last = self.open.iter_mut().filter_map(|open| open.last.as_mut());
        for last in ends.chain(last).filter(|last| **last as usize >= at) {
            *last += 1;
        }
        for head in others.iter_mut().filter_map(|other| other.head.as_mut()) {
            *head += usize::from(*head >= at);
        }
    }
}
