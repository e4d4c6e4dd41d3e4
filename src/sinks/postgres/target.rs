//! What the target's catalogue says of a table that changes are applied to.
//!
//! Asked once for each version of a source table. Columns the source does not have are left alone:
//! they keep their values, or get their defaults.

use tokio_postgres::Client;

/// A table of the target.
#[derive(Debug)]
pub(super) struct TargetTable {
    /// Rows lie in its partitions.
    pub(super) is_partitioned: bool,
    /// Triggers fire for changes that are applied too.
    pub(super) fires: bool,
    /// Its columns, in their own order.
    pub(super) columns: Vec<TargetColumn>,
}

/// One column of it.
#[derive(Debug)]
pub(super) struct TargetColumn {
    pub(super) name: String,
    pub(super) type_oid: u32,
    /// The type as a cast names it.
    pub(super) type_name: String,
    /// The type of arrays of it; `None` where there is none, or it is one itself.
    pub(super) array_type: Option<String>,
    /// Texts that are equal have the same bytes.
    pub(super) is_deterministic: bool,
    /// Computed from others: never written.
    pub(super) is_generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: written by an INSERT that overrides, by no UPDATE.
    pub(super) is_identity_always: bool,
    /// Part of the primary key.
    pub(super) is_key: bool,
    /// The operator that its index looks values up by.
    pub(super) equality: String,
}

/// What there is under a name.
#[derive(Debug)]
pub(super) enum Found {
    Table(TargetTable),
    /// A view, a sequence …: rows cannot be applied to it.
    NoTable,
    Nothing,
}

/// One row for each column; one without a column for a table that has none.
///
/// An operator class knows which operator its type is looked up by; types of an extension have
/// theirs outside `pg_catalog`, where an unqualified `=` would not be found.
const COLUMNS: &str = "
select c.relkind::text, a.attname::text, a.atttypid, a.attgenerated <> '', a.attidentity = 'a',
    exists (select from pg_index i
        where i.indrelid = c.oid and i.indisprimary and a.attnum = any (i.indkey)),
    (select format('operator(%I.%s)', n.nspname, o.oprname)
        from pg_type t
        join pg_opclass k on k.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid)
            and k.opcdefault and k.opcmethod = (select oid from pg_am where amname = 'btree')
        join pg_amop m on m.amopfamily = k.opcfamily and m.amopstrategy = 3
            and m.amoplefttype = k.opcintype and m.amoprighttype = k.opcintype
        join pg_operator o on o.oid = m.amopopr
        join pg_namespace n on n.oid = o.oprnamespace
        where t.oid = a.atttypid limit 1),
    format_type(a.atttypid, -1), (select format_type(nullif(t.typarray, 0), -1)
        from pg_type t where t.oid = a.atttypid and t.typcategory <> 'A'),
    coalesce((select collisdeterministic from pg_collation o where o.oid = a.attcollation), true),
    exists (select from pg_trigger g where g.tgrelid = c.oid and g.tgenabled in ('A', 'R'))
from pg_class c
left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.oid = to_regclass($1)
order by a.attnum";

/// Ask for the table called `name`, which is quoted.
pub(super) async fn find(sql: &Client, name: &str) -> Result<Found, tokio_postgres::Error> {
    let rows = sql.query(COLUMNS, &[&name]).await?;
    let Some(first) = rows.first() else { return Ok(Found::Nothing) };
    let kind: String = first.try_get(0)?;
    if !matches!(&*kind, "r" | "p" | "f") {
        return Ok(Found::NoTable);
    }
    let mut columns = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(name) = row.try_get::<_, Option<String>>(1)? else { continue };
        columns.push(TargetColumn {
            name,
            type_oid: row.try_get(2)?,
            is_generated: row.try_get(3)?,
            is_identity_always: row.try_get(4)?,
            is_key: row.try_get(5)?,
            equality: row
                .try_get::<_, Option<String>>(6)?
                .unwrap_or_else(|| "operator(pg_catalog.=)".to_owned()),
            type_name: row.try_get(7)?,
            array_type: row.try_get(8)?,
            is_deterministic: row.try_get(9)?,
        });
    }
    let fires = first.try_get(10)?;
    Ok(Found::Table(TargetTable { is_partitioned: kind == "p", fires, columns }))
}

impl TargetTable {
    pub(super) fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}
