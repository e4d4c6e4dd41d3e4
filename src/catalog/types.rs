//! Types as the catalogue has them.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::codec::value::{Attribute, JsonForm, TypeDefinition, TypeKind, TypeRegistry};
use crate::event::Oid;
use crate::net::SqlError;

/// The types asked for and what they are made of, as far as that is not built in: the identifiers
/// below 10000 are the same on every server. A cast to `json` by a function is what `to_jsonb`
/// calls in place of its own rules.
const TYPES: &str = "with recursive wanted(oid) as (
    select unnest($1) union
    select part from wanted, lateral (
      select t.typelem from pg_type t where t.oid = wanted.oid and t.typtype <> 'd'
          and t.typsubscript = 'array_subscript_handler'::regproc
      union all select t.typbasetype from pg_type t where t.oid = wanted.oid and t.typtype = 'd'
      union all select r.rngsubtype from pg_range r
        where wanted.oid in (r.rngtypid, r.rngmultitypid)
      union all select a.atttypid from pg_type t join pg_attribute a on a.attrelid = t.typrelid
        where t.oid = wanted.oid and t.typtype = 'c' and a.attnum > 0 and not a.attisdropped
    ) p(part) where part >= 10000)
  select t.oid, n.nspname::text, t.typname::text, t.typtype,
    case when t.typtype <> 'd' and t.typsubscript = 'array_subscript_handler'::regproc
      then t.typelem end,
    t.typdelim, t.typbasetype,
    (select r.rngsubtype from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)),
    (select array_agg(e.enumlabel::text order by e.enumsortorder) from pg_enum e
      where e.enumtypid = t.oid),
    a.names, a.types,
    (select e.extname::text from pg_depend d join pg_extension e on e.oid = d.refobjid
      where d.classid = 'pg_type'::regclass and d.objid = t.oid
        and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'),
    exists (select from pg_cast c
      where c.castsource = t.oid and c.casttarget = 'json'::regtype and c.castmethod = 'f')
  from wanted join pg_type t using (oid) join pg_namespace n on n.oid = t.typnamespace,
    lateral (select array_agg(attname::text order by attnum) names,
        array_agg(atttypid order by attnum) types
      from pg_attribute where t.typtype = 'c' and attrelid = t.typrelid
        and attnum > 0 and not attisdropped) a";

/// The definitions of `types` and of the types inside them. Built-in types are not asked for, and
/// one that does not exist is left out.
///
/// # Errors
/// When the server cannot be asked.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn type_definitions(
    client: &Client,
    types: impl IntoIterator<Item = Oid>,
) -> Result<TypeRegistry, SqlError> {
    let unknown = types.into_iter().filter(|oid| !TypeRegistry::has_builtin(*oid));
    let mut registry = TypeRegistry::builtin();
    let oids: Vec<u32> = unknown.map(Oid::as_u32).collect();
    if oids.is_empty() {
        return Ok(registry);
    }
    let rows = client.query_typed(TYPES, &[(&oids, Type::OID_ARRAY)]).await;
    for row in rows.map_err(|error| SqlError::new("read the types", error))? {
        if let Some(kind) = kind(&row) {
            let (schema, name, extension) = (row.get(1), row.get(2), row.get(11));
            let json = if row.get(12) { JsonForm::Cast } else { JsonForm::Usual };
            let definition = TypeDefinition { schema, name, kind, extension, json };
            registry.insert(Oid::new(row.get(0)), definition);
        }
    }
    Ok(registry)
}

fn kind(row: &Row) -> Option<TypeKind> {
    let element: Option<u32> = row.get(4);
    let subtype = || row.get::<_, Option<u32>>(7).map(Oid::new);
    if let Some(element) = element {
        let element = Oid::new(element);
        return Some(TypeKind::Array { element, delimiter: character(row.get(5)) });
    }
    Some(match character(row.get(3)) {
        'b' => TypeKind::Base,
        'c' => TypeKind::Composite(attributes(row)),
        'd' => TypeKind::Domain(Oid::new(row.get(6))),
        'e' => TypeKind::Enum(row.get::<_, Option<_>>(8).unwrap_or_default()),
        'm' => TypeKind::Multirange(subtype()?),
        'r' => TypeKind::Range(subtype()?),
        // Pseudo-types have no values.
        _ => return None,
    })
}

fn attributes(row: &Row) -> Vec<Attribute> {
    let names: Option<Vec<String>> = row.get(9);
    let types: Option<Vec<u32>> = row.get(10);
    let both = names.unwrap_or_default().into_iter().zip(types.unwrap_or_default());
    both.map(|(name, oid)| Attribute { name, type_oid: Oid::new(oid) }).collect()
}

/// A `"char"` of the catalogue, which is always ASCII.
fn character(byte: i8) -> char {
    char::from(byte.cast_unsigned())
}
