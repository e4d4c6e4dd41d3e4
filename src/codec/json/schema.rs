//! The line about a table that has another shape from the next line on.
//!
//! ```json
//! {"id":"7391:1:0/16B3748:3:s","op":"schema","schema":"public","table":"orders","key":null,
//!  "old":{"oid":16385,"schema":"public","table":"orders","identity":"default","columns":[
//!   {"name":"id","type":"int4","type_oid":23,"type_modifier":-1,"identity":true}]},
//!  "new":{…},"added":["note"],"dropped":[],"renamed":[],"retyped":[],"recreated":false,
//!  "lsn":"0/16B3700","commit_lsn":"0/16B3748","seq":3,"xid":731,…}
//! ```
//!
//! `id` and `seq` are those of the next line, which is about the same table; the id ends in `:s`.
//! `key` is null unless other columns identify a row now: `{"old":["id"],"new":["id","shop"]}`.

use super::line::{Last, close, open, write_bool};
use super::plan::built_in_name;
use super::transaction::TransactionText;
use crate::codec::string::write_json_str;
use crate::event::{Column, Relation, ReplicaIdentity, SchemaChange};

/// Appends a change of shape.
pub(super) fn schema_change(
    out: &mut Vec<u8>,
    transaction: &TransactionText,
    change: SchemaChange<'_>,
) {
    let seq = open(out, transaction, change.before());
    out.extend_from_slice(b":s\",\"op\":\"schema\",\"schema\":");
    let (old, new) = (change.old_relation(), change.new_relation());
    write_json_str(out, &new.schema);
    out.extend_from_slice(b",\"table\":");
    write_json_str(out, &new.name);
    out.extend_from_slice(b",\"key\":");
    if change.is_key_changed() {
        out.extend_from_slice(b"{\"old\":");
        key(out, old);
        out.extend_from_slice(b",\"new\":");
        key(out, new);
        out.push(b'}');
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b",\"old\":");
    shape(out, old);
    out.extend_from_slice(b",\"new\":");
    shape(out, new);
    out.extend_from_slice(b",\"added\":");
    names(out, change.added());
    out.extend_from_slice(b",\"dropped\":");
    names(out, change.dropped());
    out.extend_from_slice(b",\"renamed\":");
    list(out, change.renamed(), |out, (old, new)| {
        out.extend_from_slice(b"{\"old\":");
        write_json_str(out, &old.name);
        out.extend_from_slice(b",\"new\":");
        write_json_str(out, &new.name);
        out.push(b'}');
    });
    out.extend_from_slice(b",\"retyped\":");
    names(out, change.retyped().map(|(_, column)| column));
    out.extend_from_slice(b",\"recreated\":");
    write_bool(out, change.is_recreated());
    close(out, transaction, change.lsn(), seq, Last::No);
}

fn key(out: &mut Vec<u8>, relation: &Relation) {
    names(out, relation.key_columns().into_iter().map(|at| &relation.columns[at]));
}

fn names<'a>(out: &mut Vec<u8>, columns: impl Iterator<Item = &'a Column>) {
    list(out, columns, |out, column| write_json_str(out, &column.name));
}

fn shape(out: &mut Vec<u8>, relation: &Relation) {
    out.extend_from_slice(b"{\"oid\":");
    number(out, relation.oid.as_u32());
    out.extend_from_slice(b",\"schema\":");
    write_json_str(out, &relation.schema);
    out.extend_from_slice(b",\"table\":");
    write_json_str(out, &relation.name);
    out.extend_from_slice(b",\"identity\":");
    write_json_str(out, name_of(relation.replica_identity));
    out.extend_from_slice(b",\"columns\":");
    list(out, relation.columns.iter(), column);
    out.push(b'}');
}

fn column(out: &mut Vec<u8>, column: &Column) {
    out.extend_from_slice(b"{\"name\":");
    write_json_str(out, &column.name);
    out.extend_from_slice(b",\"type\":");
    match &column.type_name {
        Some(name) => write_json_str(out, name),
        None => write_json_str(out, &built_in_name(column.type_oid)),
    }
    out.extend_from_slice(b",\"type_oid\":");
    number(out, column.type_oid.as_u32());
    out.extend_from_slice(b",\"type_modifier\":");
    number(out, column.type_modifier);
    out.extend_from_slice(b",\"identity\":");
    write_bool(out, column.in_identity);
    out.push(b'}');
}

/// As the config of PostgreSQL writes it.
fn name_of(identity: ReplicaIdentity) -> &'static str {
    match identity {
        ReplicaIdentity::Default => "default",
        ReplicaIdentity::Nothing => "nothing",
        ReplicaIdentity::Full => "full",
        ReplicaIdentity::Index => "index",
    }
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn list<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut item: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (nth, it) in items.enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        item(out, it);
    }
    out.push(b']');
}
