//! How rows of one version of a source table become rows of a target's.
//!
//! A [`Plan`] pairs columns by name, says which of them a statement may write, in which form each
//! value goes on, and by what a row is found. It knows no row.

use super::target::{TargetColumn, TargetTable};
use crate::codec::value::{TypeRegistry, ValueType};
use crate::event::{Relation, ReplicaIdentity};
use crate::name::quote_identifier;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Plan {
    /// The target's table, quoted, as INSERT and TRUNCATE name it.
    pub(super) table: String,
    /// The same without the tables that inherit from it, as UPDATE and DELETE name it.
    pub(super) only: String,
    /// Rows lie in its partitions.
    pub(super) is_partitioned: bool,
    /// The source's columns, each with what the target has for it.
    pub(super) columns: Vec<PlannedColumn>,
    /// Columns that only the target has and that can be written, quoted.
    pub(super) extra: Vec<String>,
    /// What a row is found by.
    pub(super) identity: Identity,
    /// Which of its changes may be merged with others.
    pub(super) merging: Merging,
}

/// Which changes of a table may be merged, to be written as what they come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merging {
    /// None: triggers see each of them.
    Never,
    /// New rows: nothing tells whether two others are of one row.
    Inserts,
    /// All that leave a row's key alone.
    Rows,
}

/// What a row of the target is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// The values of these columns, by their places.
    Key(Vec<usize>),
    /// All of its values: any one of the rows that have them.
    WholeRow,
}

/// A column of the source, as the target has it.
#[derive(Debug)]
pub(super) struct PlannedColumn {
    /// Its name, quoted.
    pub(super) quoted: String,
    pub(super) type_oid: u32,
    pub(super) type_name: String,
    pub(super) array_type: Option<String>,
    pub(super) form: Form,
    /// The target computes it.
    pub(super) is_generated: bool,
    /// Only an INSERT can write it.
    pub(super) is_identity_always: bool,
    /// How its index looks values up.
    pub(super) equality: String,
    /// Equal values are the same value: not so for `1.0` and `1.00`, or for types without equality.
    pub(super) is_exact: bool,
    /// How its values are read where their text is wanted.
    pub(super) value_type: ValueType,
}

/// In which form a value goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it came: the target's type reads the same bytes.
    AsItCame,
    /// As text, which the target's type reads whatever it is.
    Text,
}

/// What triggers and foreign keys do while changes are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Triggers {
    /// Only those that are told to fire always, or on replicas.
    Rest,
    /// All of them.
    Fire,
}

/// The table cannot take the rows: it lacks this column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lacks(pub(super) String);

impl Plan {
    /// How rows of `relation` go into `target`.
    pub(super) fn new(
        relation: &Relation,
        target: &TargetTable,
        types: &TypeRegistry,
        triggers: Triggers,
    ) -> Result<Self, Lacks> {
        let mut columns = Vec::with_capacity(relation.columns.len());
        for column in &relation.columns {
            let there = target.column(&column.name).ok_or_else(|| Lacks(column.name.clone()))?;
            let value_type = relation.value_type(column.type_oid, types);
            let form = form(column.type_oid.as_u32(), there, &value_type);
            columns.push(PlannedColumn {
                quoted: quote_identifier(&column.name),
                form,
                is_generated: there.is_generated,
                is_identity_always: there.is_identity_always,
                equality: there.equality.clone(),
                is_exact: form == Form::AsItCame
                    && is_exact(there.type_oid)
                    && there.is_deterministic,
                type_oid: there.type_oid,
                type_name: there.type_name.clone(),
                array_type: there.array_type.clone(),
                value_type,
            });
        }
        let extra = target.columns.iter().filter(|column| !column.is_generated);
        let extra = extra.filter(|column| relation.column_index(&column.name).is_none());
        let table = name_of(relation);
        let only = if target.is_partitioned { table.clone() } else { format!("ONLY {table}") };
        let identity = identity(relation, target);
        let merging = merging(&columns, &identity, triggers == Triggers::Rest && !target.fires);
        Ok(Self {
            table,
            only,
            is_partitioned: target.is_partitioned,
            columns,
            extra: extra.map(|column| quote_identifier(&column.name)).collect(),
            identity,
            merging,
        })
    }
}

/// The target's table for `relation`, quoted.
pub(super) fn name_of(relation: &Relation) -> String {
    format!("{}.{}", quote_identifier(&relation.schema), quote_identifier(&relation.name))
}

/// The key that the source identifies rows by; with `FULL` its primary key or else the target's.
fn identity(relation: &Relation, target: &TargetTable) -> Identity {
    let mut key = relation.key_columns();
    if key.is_empty() && relation.replica_identity == ReplicaIdentity::Full {
        let columns = target.columns.iter().filter(|column| column.is_key);
        let places = columns.map(|column| relation.column_index(&column.name));
        key = places.collect::<Option<Vec<_>>>().unwrap_or_default();
    }
    if key.is_empty() { Identity::WholeRow } else { Identity::Key(key) }
}

fn merging(columns: &[PlannedColumn], identity: &Identity, rest: bool) -> Merging {
    // A value that has to become text and cannot would stop a whole run.
    let as_array = |column: &PlannedColumn| {
        column.array_type.is_some() || column.value_type.has_binary_decoder()
    };
    let is_written = columns.iter().any(|column| !column.is_generated);
    if !rest || !is_written || !columns.iter().all(as_array) {
        return Merging::Never;
    }
    match identity {
        Identity::Key(key) if key.iter().all(|place| columns[*place].is_exact) => Merging::Rows,
        _ => Merging::Inserts,
    }
}

/// Types below this are the same in every cluster.
const FIRST_NORMAL_OID: u32 = 16_384;

/// `tsquery` and arrays of it: a server sends an empty one in binary, and does not take it back.
const TSQUERIES: &[u32] = &[3615, 3645];

/// Types that a database defines have other identifiers in each, also inside their binary form; so
/// their text goes on, but for those nothing here can read: they are the same extension's.
fn form(source_oid: u32, there: &TargetColumn, value_type: &ValueType) -> Form {
    let same = source_oid == there.type_oid && source_oid < FIRST_NORMAL_OID;
    if (same && !TSQUERIES.contains(&source_oid)) || !value_type.has_binary_decoder() {
        Form::AsItCame
    } else {
        Form::Text
    }
}

/// bool, bytea, "char", int8, int2, int4, text, oid, varchar, date, time, timestamp, timestamptz,
/// uuid.
fn is_exact(type_oid: u32) -> bool {
    const EXACT: &[u32] = &[16, 17, 18, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950];
    EXACT.contains(&type_oid)
}
