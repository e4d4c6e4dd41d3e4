//! Columns and primary keys as the catalogue has them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::event::{Oid, Relation, TableAttribute, TableEntry};
use crate::net::SqlError;

/// One statement, so that columns and key are of one moment. Lists of columns are newer than the
/// oldest servers: read as JSON, what is not there is no error.
const TABLES: &str = "select c.oid, a.numbers, a.names, a.types, a.modifiers, a.generated,
    (select i.indkey::int2[] from pg_index i where i.indrelid = c.oid and i.indisprimary),
    exists (select from pg_publication_rel r
      where coalesce(to_jsonb(r) -> 'prattrs', 'null') <> 'null' and (r.prrelid = c.oid
        or r.prrelid in (select relid from pg_partition_ancestors(c.oid) p(relid))))
  from pg_class c, lateral (
    select array_agg(attnum order by attnum) numbers,
        array_agg(attname::text order by attnum) names,
        array_agg(atttypid order by attnum) types,
        array_agg(atttypmod order by attnum) modifiers,
        array_agg(attgenerated <> '' order by attnum) generated
      from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped) a
  where c.oid = any($1) and a.numbers is not null";

/// A table of the catalogue.
pub(super) struct FoundTable {
    attributes: Vec<TableAttribute>,
    /// The attribute numbers of the primary key.
    key: Vec<i16>,
}

impl FoundTable {
    pub(super) fn entry(&self, relation: &Relation) -> Option<TableEntry> {
        TableEntry::new(relation, &self.attributes, &self.key)
    }

    fn of(row: &tokio_postgres::Row) -> Self {
        let (numbers, names): (Vec<i16>, Vec<String>) = (row.get(1), row.get(2));
        let (types, modifiers): (Vec<u32>, Vec<i32>) = (row.get(3), row.get(4));
        let (generated, listed): (Vec<bool>, bool) = (row.get(5), row.get(7));
        let columns = numbers.into_iter().zip(names).zip(types.into_iter().zip(modifiers));
        let attributes = columns.zip(generated).map(
            |(((number, name), (type_oid, type_modifier)), generated)| TableAttribute {
                number,
                name,
                type_oid: Oid::new(type_oid),
                type_modifier,
                may_be_unpublished: generated || listed,
            },
        );
        let key: Option<Vec<i16>> = row.get(6);
        Self { attributes: attributes.collect(), key: key.unwrap_or_default() }
    }
}

/// What there is of `relations`.
pub(super) async fn tables(
    client: &Client,
    relations: &[Arc<Relation>],
) -> Result<HashMap<Oid, FoundTable>, SqlError> {
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid.as_u32()).collect();
    let rows = client.query_typed(TABLES, &[(&oids, Type::OID_ARRAY)]).await;
    let rows = rows.map_err(|error| SqlError::new("read the tables' columns", error))?;
    let found = |row: &tokio_postgres::Row| (Oid::new(row.get(0)), FoundTable::of(row));
    Ok(rows.iter().map(found).collect())
}
