//! One statement for many rows: parameters are arrays, one for each column, with an element for
//! each row.
//!
//! An array goes in binary where all of its elements came so and the target's type has arrays;
//! otherwise as texts, which the target casts.

use std::fmt::Write as _;

use super::merged::{MergedRow, MergedTable};
use super::parameter::Parameters;
use super::plan::{Form, Identity, Plan};
use super::statement::{Columns, Unwritable, Verb};
use crate::codec::value::write_output;
use crate::event::Value;

/// What runs that differ only in their rows have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RunShape {
    verb: Verb,
    /// The columns it writes.
    written: Columns,
    /// Those of its columns that go as texts.
    texts: Columns,
}

/// A statement for many rows.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) shape: RunShape,
    pub(super) parameters: Parameters,
    pub(super) rows: u64,
}

const TEXT_OID: u32 = 25;

/// The statements that bring `table` about, in the order in which rows can take each other's place:
/// what goes, what changes, what comes.
pub(super) fn runs(plan: &Plan, table: &MergedTable) -> Result<Vec<Run>, Unwritable> {
    let mut runs = Vec::new();
    let deleted = table.deleted();
    if !deleted.is_empty() {
        runs.push(Run::new(plan, table, Verb::Delete, &deleted, Columns::default())?);
    }
    let mut updates: Vec<(Columns, Vec<MergedRow>)> = Vec::new();
    for row in table.updated() {
        let written = written_by_update(plan, table, row);
        match updates.iter_mut().find(|(columns, _)| *columns == written) {
            Some((_, rows)) => rows.push(row),
            None => updates.push((written, vec![row])),
        }
    }
    for (written, rows) in updates {
        if !written.is_empty() {
            runs.push(Run::new(plan, table, Verb::Update, &rows, written)?);
        }
    }
    let inserted = table.inserted();
    if !inserted.is_empty() {
        let mut written = Columns::default();
        let columns = plan.columns.iter().enumerate().filter(|(_, column)| !column.is_generated);
        columns.for_each(|(place, _)| written.insert(place));
        runs.push(Run::new(plan, table, Verb::Insert, &inserted, written)?);
    }
    Ok(runs)
}

fn written_by_update(plan: &Plan, table: &MergedTable, row: MergedRow) -> Columns {
    let mut written = Columns::default();
    for (place, column) in plan.columns.iter().enumerate() {
        if !column.is_generated
            && !column.is_identity_always
            && !plan.identity.has(place)
            && !table.value(row, place).is_unchanged()
        {
            written.insert(place);
        }
    }
    written
}

impl Run {
    fn new(
        plan: &Plan,
        table: &MergedTable,
        verb: Verb,
        rows: &[MergedRow],
        written: Columns,
    ) -> Result<Self, Unwritable> {
        let mut texts = Columns::default();
        let mut parameters = Parameters::default();
        for place in places(plan, verb, &written) {
            let column = &plan.columns[place];
            let is_text = column.form == Form::Text
                || column.array_type.is_none()
                || rows.iter().any(|row| matches!(table.value(*row, place), Value::Text(_)));
            if is_text {
                texts.insert(place);
            }
            let element = if is_text { TEXT_OID } else { column.type_oid };
            let values = rows.iter().map(|row| table.value(*row, place));
            parameters.binary_of(|out| {
                write_array(out, element, values, |out, value| match is_text {
                    true => write_output(out, &column.value_type, value)
                        .map_err(|fault| Unwritable::Value(place, fault)),
                    false => {
                        out.extend_from_slice(value.bytes().unwrap_or_default());
                        Ok(())
                    }
                })
            })?;
        }
        let shape = RunShape { verb, written, texts };
        Ok(Self { shape, parameters, rows: rows.len() as u64 })
    }
}

/// The columns that are parameters, in their order: those that are written, then the key.
fn places(plan: &Plan, verb: Verb, written: &Columns) -> Vec<usize> {
    let mut places: Vec<_> =
        (0..plan.columns.len()).filter(|place| written.contains(*place)).collect();
    if let (Identity::Key(key), true) = (&plan.identity, verb != Verb::Insert) {
        places.extend(key);
    }
    places
}

/// Appends a one-dimensional array as the binary form of its type.
fn write_array<'a, E>(
    out: &mut Vec<u8>,
    element: u32,
    values: impl ExactSizeIterator<Item = Value<'a>> + Clone,
    write: impl Fn(&mut Vec<u8>, Value<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let has_null = values.clone().any(Value::is_null);
    for word in [1, u32::from(has_null), element, values.len() as u32, 1] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    for value in values {
        let at = out.len();
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        if !value.is_null() {
            write(out, value)?;
            let length = (out.len() - at - 4) as u32;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(())
}

impl RunShape {
    /// The SQL of runs of this shape.
    pub(super) fn sql(&self, plan: &Plan) -> String {
        let places = places(plan, self.verb, &self.written);
        let written = self.written.count();
        let arrays: Vec<_> = places
            .iter()
            .enumerate()
            .map(|(nth, place)| {
                let text = self.texts.contains(*place);
                let of = plan.columns[*place].array_type.as_deref().filter(|_| !text);
                format!("${}::{}", nth + 1, of.unwrap_or("text[]"))
            })
            .collect();
        let names: Vec<_> = (1..=places.len()).map(|nth| format!("v{nth}")).collect();
        let values: Vec<_> = places
            .iter()
            .zip(&names)
            .map(|(place, name)| match self.texts.contains(*place) {
                true => format!("u.{name}::{}", plan.columns[*place].type_name),
                false => format!("u.{name}"),
            })
            .collect();
        let rows = format!("unnest({}) u({})", arrays.join(", "), names.join(", "));
        let columns: Vec<_> =
            places[..written].iter().map(|it| &*plan.columns[*it].quoted).collect();
        let mut sql = String::new();
        let is_key = |nth: usize| (&plan.columns[places[nth]], &values[nth]);
        let key: Vec<_> = (written..places.len())
            .map(is_key)
            .map(|(column, value)| format!("t.{} {} {value}", column.quoted, column.equality))
            .collect();
        let key = key.join(" AND ");
        // Writing to a text cannot fail.
        let _ = match self.verb {
            Verb::Delete => {
                write!(sql, "DELETE FROM {} t USING {rows} WHERE {key}", plan.only)
            }
            Verb::Update | Verb::Replace => {
                let set = columns.iter().zip(&values).map(|(it, value)| format!("{it} = {value}"));
                let set = set.collect::<Vec<_>>().join(", ");
                write!(sql, "UPDATE {} t SET {set} FROM {rows} WHERE {key}", plan.only)
            }
            Verb::Insert => {
                let (columns, values) = (columns.join(", "), values.join(", "));
                write!(
                    sql,
                    "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {rows}",
                    plan.table
                )
            }
        };
        sql
    }
}
