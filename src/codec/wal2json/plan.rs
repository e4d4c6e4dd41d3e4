//! What is the same in every line about one version of a table.

use std::sync::Arc;

use super::type_name::type_name;
use super::value::Form;
use crate::codec::string::write_json_str;
use crate::codec::value::{TypeRegistry, ValueType};
use crate::event::{Column, Relation};

/// A table's share of its lines.
#[derive(Debug)]
pub(super) struct RelationPlan {
    /// `,"schema":"public","table":"orders"`
    table: Vec<u8>,
    columns: Vec<ColumnPlan>,
    /// The columns that identify a row.
    key: Vec<usize>,
}

/// One column.
#[derive(Debug)]
pub(super) struct ColumnPlan {
    pub(super) value_type: ValueType,
    pub(super) form: Form,
    /// `{"name":"id","type":"integer","value":`
    opening: Vec<u8>,
}

impl RelationPlan {
    pub(super) fn new(relation: &Arc<Relation>, types: &TypeRegistry) -> Self {
        let mut table = b",\"schema\":".to_vec();
        write_json_str(&mut table, &relation.schema);
        table.extend_from_slice(b",\"table\":");
        write_json_str(&mut table, &relation.name);
        let column = |column: &Column| {
            let mut opening = b"{\"name\":".to_vec();
            write_json_str(&mut opening, &column.name);
            opening.extend_from_slice(b",\"type\":");
            write_json_str(&mut opening, &type_name(relation, column));
            opening.extend_from_slice(b",\"value\":");
            let value_type = relation.value_type(column.type_oid, types);
            ColumnPlan { value_type, form: Form::of(column.type_oid), opening }
        };
        let columns = relation.columns.iter().map(column).collect();
        Self { table, columns, key: relation.key_columns() }
    }

    pub(super) fn table(&self) -> &[u8] {
        &self.table
    }

    pub(super) fn columns(&self) -> &[ColumnPlan] {
        &self.columns
    }

    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }
}

impl ColumnPlan {
    pub(super) fn opening(&self) -> &[u8] {
        &self.opening
    }
}
