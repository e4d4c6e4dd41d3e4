//! The statement that applies one change, and its parameters.
//!
//! What a statement looks like depends on few things, its [`Shape`]: the verb, the columns it
//! writes and, where rows are found by all their values, which of them are NULL. Statements of one
//! shape are prepared once. A large value that the source left out is not written.

use std::fmt::Write as _;

use super::parameter::Parameters;
use super::plan::{Form, Identity, Plan, PlannedColumn};
use crate::codec::value::{ValueError, write_output};
use crate::event::{Change, Operation, Row, Value};

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    Insert,
    Update,
    /// An update of a column that no UPDATE can write: the row is taken out and put in anew.
    Replace,
    Delete,
}

/// What statements that differ only in their parameters have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    verb: Verb,
    /// The columns it writes.
    written: Columns,
    /// Of those that rows are found by, the ones that are NULL.
    nulls: Columns,
}

/// A set of columns, by their places.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Columns(Vec<u64>);

/// Why a change cannot be written as a statement.
#[derive(Debug)]
pub(super) enum Unwritable {
    /// The source sent no value of this key column.
    KeyMissing(usize),
    /// The value of this column cannot be read.
    Value(usize, ValueError),
}

/// A statement for one change.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) shape: Shape,
    pub(super) parameters: Parameters,
}

impl Columns {
    pub(super) fn insert(&mut self, place: usize) {
        let word = place / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place % 64);
    }

    pub(super) fn contains(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// The statement that applies `change`; `None` when it changes nothing that the target has.
pub(super) fn compose(plan: &Plan, change: Change<'_>) -> Result<Option<Composed>, Unwritable> {
    let mut it = Composed {
        shape: Shape {
            verb: verb(plan, change),
            written: Columns::default(),
            nulls: Columns::default(),
        },
        parameters: Parameters::default(),
    };
    let old = change.old_row().map(|old| old.row());
    if let Some(new) = change.new_row() {
        // Without an old row the key is as it was; an UPDATE then need not write it.
        let key_stays = it.shape.verb == Verb::Update && old.is_none();
        for (place, column) in plan.columns.iter().enumerate() {
            let value = new.value(place).unwrap_or(Value::Null);
            if column.is_written_by(it.shape.verb)
                && !value.is_unchanged()
                && !(key_stays && plan.identity.has(place))
            {
                it.shape.written.insert(place);
                it.write(plan, place, value)?;
            }
        }
    }
    if it.shape.verb == Verb::Update && it.shape.written.is_empty() {
        return Ok(None);
    }
    if it.shape.verb != Verb::Insert
        && let Some(row) = old.or(change.new_row())
    {
        it.find(plan, row)?;
    }
    Ok(Some(it))
}

/// What applies `change`.
pub(super) fn verb(plan: &Plan, change: Change<'_>) -> Verb {
    match change.operation() {
        Operation::Insert => Verb::Insert,
        Operation::Delete => Verb::Delete,
        Operation::Update if must_replace(plan, change) => Verb::Replace,
        Operation::Update => Verb::Update,
    }
}

/// Whether a column that no UPDATE can write may have changed. An old row tells, where it has the
/// column; without one the key did not change, and of another column nothing is known.
fn must_replace(plan: &Plan, change: Change<'_>) -> bool {
    let always = plan.columns.iter().enumerate().filter(|(_, column)| column.is_identity_always);
    let (old, new) = (change.old_row(), change.new_row());
    always.into_iter().any(|(place, _)| match old {
        Some(old) => {
            let has = old.iter().any(|(column, _)| {
                change.relation().columns.get(place).is_some_and(|it| std::ptr::eq(it, column))
            });
            !has || old.row().value(place) != new.and_then(|new| new.value(place))
        }
        None => !plan.identity.has(place),
    })
}

impl Identity {
    pub(super) fn has(&self, place: usize) -> bool {
        matches!(self, Self::Key(key) if key.contains(&place))
    }
}

impl PlannedColumn {
    fn is_written_by(&self, verb: Verb) -> bool {
        !self.is_generated && (verb != Verb::Update || !self.is_identity_always)
    }
}

impl Composed {
    /// Appends the values that `row` is found by.
    fn find(&mut self, plan: &Plan, row: Row<'_>) -> Result<(), Unwritable> {
        match &plan.identity {
            Identity::Key(key) => {
                for &place in key {
                    match row.value(place) {
                        None | Some(Value::Null | Value::Unchanged) => {
                            return Err(Unwritable::KeyMissing(place));
                        }
                        Some(value) => self.write(plan, place, value)?,
                    }
                }
            }
            Identity::WholeRow => {
                for (place, column) in plan.columns.iter().enumerate() {
                    match row.value(place) {
                        None | Some(Value::Unchanged) => return Err(Unwritable::KeyMissing(place)),
                        Some(Value::Null) => self.shape.nulls.insert(place),
                        Some(value) if column.is_exact => self.write(plan, place, value)?,
                        Some(value) => self.write_text(column, place, value)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, plan: &Plan, place: usize, value: Value<'_>) -> Result<(), Unwritable> {
        match (value, plan.columns[place].form) {
            (Value::Null | Value::Unchanged, _) => self.parameters.null(),
            (Value::Text(text), _) => self.parameters.text(text),
            (Value::Binary(bytes), Form::AsItCame) => self.parameters.binary(bytes),
            (Value::Binary(_), Form::Text) => {
                return self.write_text(&plan.columns[place], place, value);
            }
        }
        Ok(())
    }

    fn write_text(
        &mut self,
        column: &PlannedColumn,
        place: usize,
        value: Value<'_>,
    ) -> Result<(), Unwritable> {
        self.parameters
            .text_of(|out| write_output(out, &column.value_type, value))
            .map_err(|fault| Unwritable::Value(place, fault))
    }
}

impl Shape {
    /// The SQL of statements of this shape.
    pub(super) fn sql(&self, plan: &Plan) -> String {
        match self.verb {
            Verb::Insert => self.insert(plan),
            Verb::Update => {
                let mut sql = format!("UPDATE {} SET ", plan.only);
                let (columns, parameter) = (self.columns(plan), &mut 0);
                let set = columns.iter().map(|column| format!("{column} = {}", next(parameter)));
                sql.push_str(&set.collect::<Vec<_>>().join(", "));
                self.push_condition(&mut sql, plan, parameter);
                sql
            }
            Verb::Replace => self.replace(plan),
            Verb::Delete => {
                let mut sql = format!("DELETE FROM {}", plan.only);
                self.push_condition(&mut sql, plan, &mut 0);
                sql
            }
        }
    }

    fn insert(&self, plan: &Plan) -> String {
        let (table, columns) = (&plan.table, self.columns(plan));
        if columns.is_empty() {
            return format!("INSERT INTO {table} DEFAULT VALUES");
        }
        let values: Vec<_> = (1..=columns.len()).map(|number| format!("${number}")).collect();
        let (columns, values) = (columns.join(", "), values.join(", "));
        format!("INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})")
    }

    /// Keeps what the change does not write: large values left alone and columns of the target.
    fn replace(&self, plan: &Plan) -> String {
        let (mut columns, parameter) = (self.columns(plan), &mut 0);
        let mut values: Vec<_> = columns.iter().map(|_| next(parameter)).collect();
        let kept = plan.columns.iter().enumerate().filter(|(place, column)| {
            !self.written.contains(*place) && column.is_written_by(Verb::Replace)
        });
        for name in kept.map(|(_, column)| &*column.quoted).chain(plan.extra.iter().map(|it| &**it))
        {
            columns.push(name);
            values.push(format!("old.{name}"));
        }
        let mut sql = format!("WITH old AS (DELETE FROM {}", plan.only);
        self.push_condition(&mut sql, plan, parameter);
        // Writing to a text cannot fail.
        let _ = write!(
            sql,
            " RETURNING *) INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM old",
            plan.table,
            columns.join(", "),
            values.join(", ")
        );
        sql
    }

    fn columns<'a>(&self, plan: &'a Plan) -> Vec<&'a str> {
        let written = plan.columns.iter().enumerate();
        let written = written.filter(|(place, _)| self.written.contains(*place));
        written.map(|(_, column)| &*column.quoted).collect()
    }

    fn push_condition(&self, sql: &mut String, plan: &Plan, parameter: &mut usize) {
        match &plan.identity {
            Identity::Key(key) => {
                let parts = key.iter().map(|place| {
                    let PlannedColumn { quoted, equality, .. } = &plan.columns[*place];
                    format!("{quoted} {equality} {}", next(parameter))
                });
                let _ = write!(sql, " WHERE {}", parts.collect::<Vec<_>>().join(" AND "));
            }
            Identity::WholeRow => {
                // A row is in one place: its partition and its place there.
                let place = if plan.is_partitioned { "(tableoid, ctid)" } else { "ctid" };
                let found = place.trim_matches(['(', ')']);
                let condition = self.whole_row(plan, parameter);
                let _ = write!(
                    sql,
                    " WHERE {place} = (SELECT {found} FROM {}{condition} LIMIT 1)",
                    plan.only
                );
            }
        }
    }

    fn whole_row(&self, plan: &Plan, parameter: &mut usize) -> String {
        let parts = plan.columns.iter().enumerate().map(|(place, column)| {
            let PlannedColumn { quoted, equality, .. } = column;
            if self.nulls.contains(place) {
                format!("{quoted} IS NULL")
            } else if column.is_exact {
                format!("{quoted} {equality} {}", next(parameter))
            } else {
                // What the type's output function writes.
                format!(
                    "pg_catalog.format('%s', {quoted}) OPERATOR(pg_catalog.=) {}::text",
                    next(parameter)
                )
            }
        });
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
    }
}

/// The next parameter's name.
fn next(parameter: &mut usize) -> String {
    *parameter += 1;
    format!("${parameter}")
}
