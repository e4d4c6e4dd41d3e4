//! How a table's shape changed between two of its rows.
//!
//! A [`SchemaChange`] stands in a batch right before the first event of the new shape, in the same
//! transaction. It pairs the columns of both versions, and everything else is read off the pairs.
//! When a table changed without any row of it, nothing is said until the next row.

use std::sync::Arc;

use crate::event::arena::Head;
use crate::event::relation::{Column, Relation};
use crate::event::transaction::Transaction;
use crate::lsn::{Lsn, Position};

/// Two versions of a table, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct ShapeChange {
    old: Arc<Relation>,
    new: Arc<Relation>,
    /// For each new column, the place of the old one that it is.
    was: Vec<Option<usize>>,
}

impl ShapeChange {
    pub(crate) fn between(old: Arc<Relation>, new: Arc<Relation>) -> Self {
        let was = pair(&old, &new);
        Self { old, new, was }
    }

    /// What is known as `known` is `version`.
    pub(crate) fn know(&mut self, known: &Arc<Relation>, version: &Arc<Relation>) {
        if Arc::ptr_eq(&self.new, known) {
            *self = Self::between(Arc::clone(&self.old), Arc::clone(version));
        }
        self.comes_after(known, version);
    }

    /// If it comes after `known`, it does so after `version`.
    pub(crate) fn comes_after(&mut self, known: &Arc<Relation>, version: &Arc<Relation>) {
        if Arc::ptr_eq(&self.old, known) {
            *self = Self::between(Arc::clone(version), Arc::clone(&self.new));
        }
    }
}

/// The old column that each new one is.
///
/// Where the catalogue has numbered both, the numbers tell. The Relation message alone has columns
/// in the order they were made: one that comes after another which used to come after it was made
/// anew.
fn pair(old: &Relation, new: &Relation) -> Vec<Option<usize>> {
    if let (Some(before), Some(now)) = (numbers(old), numbers(new))
        && old.oid == new.oid
    {
        return now.iter().map(|number| before.iter().position(|it| it == number)).collect();
    }
    let mut next = 0;
    let of = |column: &Column| {
        let found = old.column_index(&column.name).filter(|at| *at >= next)?;
        next = found + 1;
        Some(found)
    };
    new.columns.iter().map(of).collect()
}

/// The attribute number of each column.
fn numbers(relation: &Relation) -> Option<&[i16]> {
    // What was kept elsewhere may not be this table's.
    relation.attribute_numbers().filter(|numbers| numbers.len() == relation.columns.len())
}

/// A table has another shape from the next event on.
///
/// A column is known by its attribute number where the catalogue still agreed with the table's
/// description when that was met, in both versions; otherwise by its name, so that a renamed column
/// is a dropped and an added one, and one that was dropped and made again may look unchanged. The
/// catalogue knows only what is now: where the stream is far behind, a column that was made again
/// may be told too early.
///
/// It has no position of its own, and is delivered at least once: again with each delivery of the
/// event it stands before.
#[derive(Debug, Clone, Copy)]
pub struct SchemaChange<'a> {
    pub(crate) change: &'a ShapeChange,
    pub(crate) head: &'a Head,
    pub(crate) transaction: Transaction<'a>,
}

impl<'a> SchemaChange<'a> {
    /// The shape of the table's events before.
    pub fn old_relation(self) -> &'a Relation {
        &self.change.old
    }

    /// The shape of the table's events from the next one on.
    pub fn new_relation(self) -> &'a Relation {
        &self.change.new
    }

    /// Whether it is another table that has the name now: the old one was dropped or renamed.
    pub fn is_recreated(self) -> bool {
        self.old_relation().oid != self.new_relation().oid
    }

    /// Columns that are new, in order.
    pub fn added(self) -> impl Iterator<Item = &'a Column> + Clone {
        let columns = self.new_relation().columns.iter().zip(&self.change.was);
        columns.filter(|(_, was)| was.is_none()).map(|(column, _)| column)
    }

    /// Columns that are gone, in order.
    pub fn dropped(self) -> impl Iterator<Item = &'a Column> + Clone {
        let gone = move |at: usize| !self.change.was.contains(&Some(at));
        let columns = self.old_relation().columns.iter().enumerate();
        columns.filter(move |(at, _)| gone(*at)).map(|(_, column)| column)
    }

    /// Columns that have another name, as they were and as they are.
    pub fn renamed(self) -> impl Iterator<Item = (&'a Column, &'a Column)> + Clone {
        self.pairs().filter(|(old, new)| old.name != new.name)
    }

    /// Columns whose type or type modifier changed, as they were and as they are.
    pub fn retyped(self) -> impl Iterator<Item = (&'a Column, &'a Column)> + Clone {
        let type_of = |column: &Column| (column.type_oid, column.type_modifier);
        self.pairs().filter(move |(old, new)| type_of(old) != type_of(new))
    }

    /// Whether other columns than before identify a row, or none do any more.
    pub fn is_key_changed(self) -> bool {
        let (old, new) = (self.old_relation().key_columns(), self.new_relation().key_columns());
        let was = new.iter().map(|at| self.change.was[*at]);
        !old.iter().map(|at| Some(*at)).eq(was)
    }

    /// Columns that both versions have.
    fn pairs(self) -> impl Iterator<Item = (&'a Column, &'a Column)> + Clone {
        let old = &self.old_relation().columns;
        let columns = self.new_relation().columns.iter().zip(&self.change.was);
        columns.filter_map(move |(column, was)| Some((&old[(*was)?], column)))
    }

    /// The position of the event it stands before, which has the new shape.
    pub fn before(self) -> Position {
        Position::Logged { commit_lsn: self.transaction.commit_lsn(), index: self.head.index }
    }

    /// Where that event lies in the log. Not ordered across transactions: never resume here.
    pub fn lsn(self) -> Lsn {
        self.head.lsn
    }

    /// The transaction that the event belongs to, which need not be the one that changed the table.
    pub fn transaction(self) -> Transaction<'a> {
        self.transaction
    }
}
