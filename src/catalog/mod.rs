//! What the server's catalogue says of tables and types, asked for over SQL.
//!
//! The replication stream names columns, types by number and little more. What else is needed to
//! read values and keys is looked up here: once for each time the server describes a table. The
//! catalogue tells what is now, the stream what was; [`CatalogEntry`] holds the answer against the
//! message. Nothing is locked by it, so that it never waits for an ALTER TABLE.

mod tables;
mod types;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::codec::value::TypeRegistry;
use crate::event::{CatalogEntry, Oid, Relation};
use crate::net::SqlError;

pub use types::type_definitions;

/// What the catalogue says now of each of `relations`, in their order.
///
/// # Errors
/// When the server cannot be asked.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn look_up(
    client: &Client,
    relations: &[Arc<Relation>],
) -> Result<Vec<CatalogEntry>, SqlError> {
    let used = relations.iter().flat_map(|relation| &relation.columns);
    let types: BTreeSet<Oid> = used.map(|column| column.type_oid).collect();
    let (tables, types) =
        tokio::try_join!(tables::tables(client, relations), type_definitions(client, types))?;
    let entry = |relation: &Arc<Relation>| {
        let table = tables.get(&relation.oid).and_then(|table| table.entry(relation));
        CatalogEntry::new(table, part(&types, relation))
    };
    Ok(relations.iter().map(entry).collect())
}

/// Those of `types` that the columns of `relation` need.
fn part(types: &TypeRegistry, relation: &Relation) -> TypeRegistry {
    let mut needed = TypeRegistry::builtin();
    let mut open: Vec<Oid> = relation.columns.iter().map(|column| column.type_oid).collect();
    while let Some(oid) = open.pop() {
        if let Some(definition) = types.definition(oid)
            && needed.definition(oid).is_none()
        {
            open.extend(definition.kind.parts());
            needed.insert(oid, definition.clone());
        }
    }
    needed
}
