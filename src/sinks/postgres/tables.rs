//! The tables that changes are applied to, each with its plan and its prepared statements.
//!
//! A table is looked up in the target's catalogue when the first change of it comes, and again when
//! the source describes it anew.

use std::collections::HashMap;

use tokio_postgres::{Client, Statement};

use super::plan::{Lacks, Plan, Triggers, name_of};
use super::run::RunShape;
use super::statement::Shape;
use super::target::{Found, find};
use crate::codec::value::TypeRegistry;
use crate::event::Relation;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Tables {
    known: Vec<Table>,
    /// The table that each relation of the batch at hand is, by its address.
    at_hand: Vec<(usize, usize)>,
}

/// One version of a source table, as the target takes it.
pub(super) struct Table {
    relation: Relation,
    pub(super) plan: Plan,
    statements: HashMap<Shape, Statement>,
    runs: HashMap<RunShape, Statement>,
}

/// How many statements of one table stay prepared.
const STATEMENTS_MAX: usize = 256;

/// Why there is no plan.
pub(super) enum NoPlan {
    Missing,
    NoTable,
    Lacks(String),
    Asking(tokio_postgres::Error),
}

impl Tables {
    /// A new batch begins: its relations may lie where another batch's did.
    pub(super) fn forget_addresses(&mut self) {
        self.at_hand.clear();
    }

    /// The place of the table that `relation`, which is of the batch at hand, is here; `None` for
    /// one that was not met yet.
    pub(super) fn place_of(&mut self, relation: &Relation) -> Option<usize> {
        let address = address_of(relation);
        if let Some((_, place)) = self.at_hand.iter().find(|(at, _)| *at == address) {
            return Some(*place);
        }
        let place = self.known.iter().position(|known| known.relation == *relation)?;
        self.at_hand.push((address, place));
        Some(place)
    }

    /// Plan for `relation`, in place of an earlier version of it.
    pub(super) async fn meet(
        &mut self,
        sql: &Client,
        relation: &Relation,
        types: &TypeRegistry,
        triggers: Triggers,
    ) -> Result<usize, NoPlan> {
        let target = match find(sql, &name_of(relation)).await.map_err(NoPlan::Asking)? {
            Found::Table(target) => target,
            Found::NoTable => return Err(NoPlan::NoTable),
            Found::Nothing => return Err(NoPlan::Missing),
        };
        let plan = Plan::new(relation, &target, types, triggers)
            .map_err(|Lacks(column)| NoPlan::Lacks(column))?;
        let (statements, runs) = (HashMap::new(), HashMap::new());
        let table = Table { relation: relation.clone(), plan, statements, runs };
        let place = match self.known.iter().position(|known| known.relation.oid == relation.oid) {
            Some(place) => {
                self.known[place] = table;
                place
            }
            None => {
                self.known.push(table);
                self.known.len() - 1
            }
        };
        // What was found of the version before is not what lies there now.
        self.at_hand.retain(|(_, at)| *at != place);
        self.at_hand.push((address_of(relation), place));
        Ok(place)
    }

    pub(super) fn at(&self, place: usize) -> &Table {
        &self.known[place]
    }

    /// The prepared statement of `shape`.
    pub(super) async fn prepared(
        &mut self,
        sql: &Client,
        place: usize,
        shape: &Shape,
    ) -> Result<Statement, tokio_postgres::Error> {
        let table = &mut self.known[place];
        if let Some(statement) = table.statements.get(shape) {
            return Ok(statement.clone());
        }
        if table.statements.len() >= STATEMENTS_MAX {
            table.statements.clear();
        }
        let statement = sql.prepare(&shape.sql(&table.plan)).await?;
        table.statements.insert(shape.clone(), statement.clone());
        Ok(statement)
    }

    /// The prepared statement of runs of `shape`.
    pub(super) async fn prepared_run(
        &mut self,
        sql: &Client,
        place: usize,
        shape: &RunShape,
    ) -> Result<Statement, tokio_postgres::Error> {
        let table = &mut self.known[place];
        if let Some(statement) = table.runs.get(shape) {
            return Ok(statement.clone());
        }
        if table.runs.len() >= STATEMENTS_MAX {
            table.runs.clear();
        }
        let statement = sql.prepare(&shape.sql(&table.plan)).await?;
        table.runs.insert(shape.clone(), statement.clone());
        Ok(statement)
    }
}

fn address_of(relation: &Relation) -> usize {
    std::ptr::from_ref(relation).addr()
}
