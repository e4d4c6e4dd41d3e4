//! What the changes of a group come to, row by row.
//!
//! A group is committed as a whole, so only what its rows are in the end has to be written: of two
//! updates of a row the columns of both, of an insert and a delete nothing. Rows are told apart by
//! the bytes of their key, which is why only keys whose equal values have equal bytes are taken.
//! What cannot be merged is not guessed at: the table's rows so far are written first.
//!
//! ```text
//!            insert          update, delete       insert
//!   (none) ─────────► Insert    of one that  Delete ────► Replace
//!      │ update       delete ──► Nothing       ▲             │ delete
//!      └───────► Update ───────────────────────┘◄────────────┘
//! ```

use std::collections::HashMap;

use super::plan::{Identity, Merging, Plan};
use super::statement::{Unwritable, Verb, verb};
use crate::event::{Change, Row, Value};

/// Rows of tables, by the place of the table.
#[derive(Default)]
pub(super) struct Merged {
    tables: Vec<MergedTable>,
    weight: usize,
}

/// What the rows of one table come to.
#[derive(Default)]
pub(super) struct MergedTable {
    rows: Vec<MergedRow>,
    by_key: HashMap<Vec<u8>, usize>,
    cells: Vec<Cell>,
    bytes: Vec<u8>,
}

/// One row; its cells are as many as the table has columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct MergedRow {
    fate: Fate,
    first_cell: usize,
}

/// What becomes of a row that was there, or was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Insert,
    Update,
    Delete,
    /// Deleted, and put in anew.
    Replace,
    /// Put in and deleted.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    form: CellForm,
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CellForm {
    Null,
    Unchanged,
    Text,
    Binary,
}

/// Whether a change was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// The rows so far have to be written first, and then this change by itself.
    ByItself,
}

/// Offsets of cells are 32 bits wide.
const TABLE_BYTES_MAX: usize = 1 << 30;

impl Merged {
    /// What it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// The places of tables that have rows.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let filled = |(at, table): (usize, &MergedTable)| (!table.rows.is_empty()).then_some(at);
        let places: Vec<_> = self.tables.iter().enumerate().filter_map(filled).collect();
        places.into_iter()
    }

    /// The rows of the table at `place`, which begins anew.
    pub(super) fn take_out(&mut self, place: usize) -> MergedTable {
        let table = self.tables.get_mut(place).map(std::mem::take).unwrap_or_default();
        self.weight -= table.weight();
        table
    }

    /// Take `change`, of the table at `place`.
    pub(super) fn add(
        &mut self,
        place: usize,
        plan: &Plan,
        change: Change<'_>,
    ) -> Result<Taken, Unwritable> {
        if self.tables.len() <= place {
            self.tables.resize_with(place + 1, MergedTable::default);
        }
        let table = &mut self.tables[place];
        let before = table.weight();
        let taken = table.add(plan, change);
        self.weight += table.weight() - before;
        taken
    }
}

impl MergedTable {
    fn weight(&self) -> usize {
        self.bytes.len() + self.cells.len() * size_of::<Cell>() + self.rows.len() * 64
    }

    fn add(&mut self, plan: &Plan, change: Change<'_>) -> Result<Taken, Unwritable> {
        let verb = verb(plan, change);
        let (old, new) = (change.old_row().map(|old| old.row()), change.new_row());
        let key = match &plan.identity {
            Identity::Key(key) if plan.merging == Merging::Rows => key,
            _ if verb == Verb::Insert => {
                if let Some(new) = new {
                    self.push(Fate::Insert, plan, new);
                }
                return Ok(Taken::Yes);
            }
            _ => return Ok(Taken::ByItself),
        };
        if verb == Verb::Replace || self.bytes.len() > TABLE_BYTES_MAX {
            return Ok(Taken::ByItself);
        }
        if let (Some(old), Some(new)) = (old, new)
            && key.iter().any(|place| old.value(*place) != new.value(*place))
        {
            return Ok(Taken::ByItself);
        }
        let Some(row) = new.or(old) else { return Ok(Taken::Yes) };
        // The key of an update that left it alone may lie in the old row only.
        let found = key_of(key, old.unwrap_or(row))?;
        let known = self.by_key.get(&found).copied();
        match known {
            None => {
                let at = self.push(fate_of(verb), plan, row);
                if let Some(old) = old {
                    self.write_cells(at, old, key.iter().copied());
                }
                self.by_key.insert(found, at);
            }
            Some(at) => {
                let Some(fate) = self.rows[at].fate.then(verb) else { return Ok(Taken::ByItself) };
                self.rows[at].fate = fate;
                if new.is_some() {
                    let sent = (0..plan.columns.len())
                        .filter(|place| row.value(*place) != Some(Value::Unchanged));
                    self.write_cells(at, row, sent);
                }
            }
        }
        Ok(Taken::Yes)
    }

    fn push(&mut self, fate: Fate, plan: &Plan, row: Row<'_>) -> usize {
        let first_cell = self.cells.len();
        let null = Cell { form: CellForm::Null, start: 0, end: 0 };
        self.cells.resize(first_cell + plan.columns.len(), null);
        self.rows.push(MergedRow { fate, first_cell });
        let at = self.rows.len() - 1;
        self.write_cells(at, row, 0..plan.columns.len());
        at
    }

    fn write_cells(&mut self, at: usize, row: Row<'_>, places: impl Iterator<Item = usize>) {
        let first = self.rows[at].first_cell;
        for place in places {
            let start = self.bytes.len() as u32;
            let (form, bytes) = match row.value(place) {
                None | Some(Value::Null) => (CellForm::Null, &[][..]),
                Some(Value::Unchanged) => (CellForm::Unchanged, &[][..]),
                Some(Value::Text(bytes)) => (CellForm::Text, bytes),
                Some(Value::Binary(bytes)) => (CellForm::Binary, bytes),
            };
            self.bytes.extend_from_slice(bytes);
            self.cells[first + place] = Cell { form, start, end: self.bytes.len() as u32 };
        }
    }

    /// Rows to delete, which have their key alone.
    pub(super) fn deleted(&self) -> Vec<MergedRow> {
        self.of(&[Fate::Delete, Fate::Replace])
    }

    /// Rows to update.
    pub(super) fn updated(&self) -> Vec<MergedRow> {
        self.of(&[Fate::Update])
    }

    /// Rows to insert.
    pub(super) fn inserted(&self) -> Vec<MergedRow> {
        self.of(&[Fate::Insert, Fate::Replace])
    }

    fn of(&self, fates: &[Fate]) -> Vec<MergedRow> {
        self.rows.iter().filter(|row| fates.contains(&row.fate)).copied().collect()
    }

    /// The value of a row's column.
    pub(super) fn value(&self, row: MergedRow, place: usize) -> Value<'_> {
        let Cell { form, start, end } = self.cells[row.first_cell + place];
        let bytes = &self.bytes[start as usize..end as usize];
        match form {
            CellForm::Null => Value::Null,
            CellForm::Unchanged => Value::Unchanged,
            CellForm::Text => Value::Text(bytes),
            CellForm::Binary => Value::Binary(bytes),
        }
    }
}

fn fate_of(verb: Verb) -> Fate {
    match verb {
        Verb::Insert => Fate::Insert,
        Verb::Delete => Fate::Delete,
        Verb::Update | Verb::Replace => Fate::Update,
    }
}

impl Fate {
    /// What becomes of the row with one more change; `None` when that change cannot be right.
    fn then(self, verb: Verb) -> Option<Fate> {
        match (self, verb) {
            (Self::Insert | Self::Replace | Self::Update, Verb::Update) => Some(self),
            (Self::Insert, Verb::Delete) => Some(Self::Nothing),
            (Self::Update | Self::Replace, Verb::Delete) => Some(Self::Delete),
            (Self::Delete, Verb::Insert) => Some(Self::Replace),
            (Self::Nothing, Verb::Insert) => Some(Self::Insert),
            _ => None,
        }
    }
}

/// The bytes of the key of `row`.
fn key_of(key: &[usize], row: Row<'_>) -> Result<Vec<u8>, Unwritable> {
    let mut found = Vec::with_capacity(key.len() * 12);
    for &place in key {
        let (form, bytes) = match row.value(place) {
            Some(Value::Text(bytes)) => (b't', bytes),
            Some(Value::Binary(bytes)) => (b'b', bytes),
            _ => return Err(Unwritable::KeyMissing(place)),
        };
        found.push(form);
        found.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        found.extend_from_slice(bytes);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::plan::Triggers;
    use super::super::target::{TargetColumn, TargetTable};
    use super::*;
    use crate::codec::value::TypeRegistry;
    use crate::event::{Column, Event, Oid, Relation, ReplicaIdentity};
    use crate::lsn::Lsn;
    use crate::testing::{Feed, OldRowKind};

    const TABLE: Oid = Oid::new(9);

    fn relation() -> Relation {
        let column = |name: &str, type_oid, in_identity| Column {
            name: name.to_owned(),
            type_oid: Oid::new(type_oid),
            type_name: None,
            type_modifier: -1,
            in_identity,
        };
        Relation {
            oid: TABLE,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: vec![column("id", 23, true), column("a", 25, false), column("b", 25, false)],
            catalog: None,
        }
    }

    fn plan(relation: &Relation) -> Plan {
        let column = |name: &str, type_oid, is_key| TargetColumn {
            name: name.to_owned(),
            type_oid,
            type_name: "x".to_owned(),
            array_type: Some("x[]".to_owned()),
            is_deterministic: true,
            is_generated: false,
            is_identity_always: false,
            is_key,
            equality: "=".to_owned(),
        };
        let columns = vec![column("id", 23, true), column("a", 25, false), column("b", 25, false)];
        let target = TargetTable { is_partitioned: false, fires: false, columns };
        Plan::new(relation, &target, &TypeRegistry::builtin(), Triggers::Rest).unwrap()
    }

    type Rows = BTreeMap<Vec<u8>, [Vec<u8>; 2]>;

    /// What `table` makes of `rows`.
    fn written(table: &MergedTable, mut rows: Rows) -> Rows {
        let key = |row: &MergedRow| table.value(*row, 0).bytes().unwrap().to_vec();
        for row in table.deleted() {
            assert!(rows.remove(&key(&row)).is_some(), "deletes what is not there");
        }
        for row in table.updated() {
            let there = rows.get_mut(&key(&row)).expect("updates what is there");
            for (place, value) in there.iter_mut().enumerate() {
                if let Some(bytes) = table.value(row, place + 1).bytes() {
                    *value = bytes.to_vec();
                }
            }
        }
        for row in table.inserted() {
            let value = |place| table.value(row, place).bytes().unwrap().to_vec();
            assert!(rows.insert(key(&row), [value(1), value(2)]).is_none(), "inserts twice");
        }
        rows
    }

    proptest! {
        /// Each step inserts a row that is not there; one that is there it deletes, or updates and
        /// may leave values alone.
        #[test]
        fn rows_come_to_what_each_change_after_the_other_makes_of_them(
            there in prop::collection::btree_set(0_u8..4, 0..4),
            steps in prop::collection::vec(any::<(u8, Option<u8>, Option<u8>, bool)>(), 1..40),
        ) {
            let relation = relation();
            let start: Rows = there
                .iter()
                .map(|id| (vec![b'0' + id], [b"a".to_vec(), b"b".to_vec()]))
                .collect();
            let mut rows = start.clone();
            let mut feed = Feed::after(Lsn::new(0));
            feed.frames.begin(100).relation(&relation);
            for (id, a, b, deletes) in steps {
                let id = vec![b'0' + id % 4];
                let texts = [a, b].map(|it| it.map(|it| it.to_string().into_bytes()));
                if let Some(row) = rows.get_mut(&id) {
                    let key = [Value::Text(&id), Value::Null, Value::Null];
                    if deletes {
                        feed.frames.delete(100, TABLE, OldRowKind::Key, &key);
                        rows.remove(&id);
                        continue;
                    }
                    let values = texts.each_ref().map(|text| match text {
                        Some(text) => Value::Text(text),
                        None => Value::Unchanged,
                    });
                    feed.frames.update(100, TABLE, None, &[Value::Text(&id), values[0], values[1]]);
                    for (value, text) in row.iter_mut().zip(texts.clone()) {
                        *value = text.unwrap_or_else(|| value.clone());
                    }
                } else {
                    let row = texts.map(Option::unwrap_or_default);
                    let values = [&id, &row[0], &row[1]].map(|it| Value::Text(it));
                    feed.frames.insert(100, TABLE, &values);
                    rows.insert(id, row);
                }
            }
            let batch = feed.commit(100).batch();
            let (plan, mut merged) = (plan(&relation), Merged::default());
            for event in batch.events() {
                if let Event::Change(change) = event {
                    prop_assert_eq!(merged.add(0, &plan, change).unwrap(), Taken::Yes);
                }
            }
            let table = merged.take_out(0);
            prop_assert_eq!(merged.weight(), 0);
            prop_assert_eq!(written(&table, start), rows);
        }
    }
}
