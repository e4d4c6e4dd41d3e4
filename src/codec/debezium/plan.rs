//! What is the same in every line about one version of a table.

use super::options::DebeziumOptions;
use super::value::ColumnForm;
use crate::codec::string::write_json_str;
use crate::codec::value::TypeRegistry;
use crate::event::{Column, Oid, Relation};

/// A table's share of its lines.
#[derive(Debug)]
pub(super) struct RelationPlan {
    pub(super) oid: Oid,
    /// `,"schema":"public","table":"orders"`
    pub(super) table: Vec<u8>,
    /// `public.orders`, as transactions count it.
    pub(super) name: String,
    pub(super) columns: Vec<ColumnPlan>,
    /// The columns that identify a row.
    pub(super) key: Vec<usize>,
}

/// One column.
#[derive(Debug)]
pub(super) struct ColumnPlan {
    pub(super) form: ColumnForm,
    /// `"name":`
    pub(super) name: Vec<u8>,
    /// What stands for a value that was not sent.
    pub(super) placeholder: Vec<u8>,
    pub(super) in_identity: bool,
}

impl RelationPlan {
    pub(super) fn new(
        relation: &Relation,
        types: &TypeRegistry,
        options: &DebeziumOptions,
    ) -> Self {
        let mut table = b",\"schema\":".to_vec();
        write_json_str(&mut table, &relation.schema);
        table.extend_from_slice(b",\"table\":");
        write_json_str(&mut table, &relation.name);
        let column = |column: &Column| {
            let mut name = Vec::with_capacity(column.name.len() + 3);
            write_json_str(&mut name, &column.name);
            name.push(b':');
            let value_type = relation.value_type(column.type_oid, types);
            let oid = column.type_oid.as_u32();
            let form = ColumnForm::new(oid, column.type_modifier, value_type, options);
            let placeholder = form.placeholder(&options.placeholder);
            ColumnPlan { form, name, placeholder, in_identity: column.in_identity }
        };
        Self {
            oid: relation.oid,
            table,
            name: relation.to_string(),
            columns: relation.columns.iter().map(column).collect(),
            key: relation.key_columns(),
        }
    }
}
