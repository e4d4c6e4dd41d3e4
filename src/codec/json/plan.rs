//! What is the same in every line about one version of a table.

use crate::codec::string::write_json_str;
use crate::codec::value::{TypeRegistry, ValueType};
use crate::event::{Oid, Operation, Relation};

/// A table's share of its lines, escaped beforehand.
#[derive(Debug)]
pub(super) struct RelationPlan {
    /// `","op":"insert","schema":…,"table":…,"key":` and its likes.
    insert: Vec<u8>,
    update: Vec<u8>,
    delete: Vec<u8>,
    truncate: Vec<u8>,
    columns: Vec<ColumnPlan>,
    /// The columns that identify a row.
    key: Vec<usize>,
    /// `,"types":{…}`, or nothing when every column has a decoder.
    types: Vec<u8>,
}

/// One column.
#[derive(Debug)]
pub(super) struct ColumnPlan {
    pub(super) value_type: ValueType,
    /// `"name":`
    name: Vec<u8>,
}

impl RelationPlan {
    pub(super) fn new(relation: &Relation, types: &TypeRegistry) -> Self {
        let opening = |op: &str| {
            let mut text = format!("\",\"op\":\"{op}\",\"schema\":").into_bytes();
            write_json_str(&mut text, &relation.schema);
            text.extend_from_slice(b",\"table\":");
            write_json_str(&mut text, &relation.name);
            text.extend_from_slice(b",\"key\":");
            text
        };
        let column = |column: &crate::event::Column| {
            let mut name = Vec::with_capacity(column.name.len() + 3);
            write_json_str(&mut name, &column.name);
            name.push(b':');
            ColumnPlan { value_type: relation.value_type(column.type_oid, types), name }
        };
        let columns: Vec<_> = relation.columns.iter().map(column).collect();
        Self {
            insert: opening("insert"),
            update: opening("update"),
            delete: opening("delete"),
            truncate: opening("truncate"),
            key: relation.key_columns(),
            types: type_names(relation, &columns),
            columns,
        }
    }

    pub(super) fn opening(&self, operation: Operation) -> &[u8] {
        match operation {
            Operation::Insert => &self.insert,
            Operation::Update => &self.update,
            Operation::Delete => &self.delete,
        }
    }

    pub(super) fn opening_of_truncate(&self) -> &[u8] {
        &self.truncate
    }

    pub(super) fn columns(&self) -> &[ColumnPlan] {
        &self.columns
    }

    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }

    pub(super) fn types(&self) -> &[u8] {
        &self.types
    }
}

impl ColumnPlan {
    /// `"name":`
    pub(super) fn name_and_colon(&self) -> &[u8] {
        &self.name
    }

    /// `"name"`
    pub(super) fn name(&self) -> &[u8] {
        &self.name[..self.name.len() - 1]
    }
}

fn type_names(relation: &Relation, plans: &[ColumnPlan]) -> Vec<u8> {
    let mut text = Vec::new();
    for (column, plan) in relation.columns.iter().zip(plans) {
        if plan.value_type.has_binary_decoder() {
            continue;
        }
        text.extend_from_slice(if text.is_empty() { b",\"types\":{" } else { b"," });
        text.extend_from_slice(&plan.name);
        match &column.type_name {
            Some(name) => write_json_str(&mut text, name),
            None => write_json_str(&mut text, &built_in_name(column.type_oid)),
        }
    }
    if !text.is_empty() {
        text.push(b'}');
    }
    text
}

/// The name of a built-in type as SQL writes it; its number when this crate is older than the type.
pub(super) fn built_in_name(oid: Oid) -> String {
    use postgres_types::{Kind, Type};
    match Type::from_oid(oid.as_u32()) {
        Some(known) => match known.kind() {
            Kind::Array(element) => format!("{}[]", element.name()),
            _ => known.name().to_owned(),
        },
        None => oid.to_string(),
    }
}
