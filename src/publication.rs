//! Publications: whether they exist, how they are made, what they cover.
//!
//! A publication must be older than the slot: the server looks it up at each point of the log it
//! decodes. It is made before the slot, checked when a stream starts, and again before idle
//! progress is confirmed, because a stream whose publication is gone looks just like an idle one.

use tokio_postgres::Client;

use crate::event::Oid;
use crate::name::{PublicationName, quote_identifier};
use crate::net::SqlError;
use crate::table_pattern::TablePattern;

/// Which tables a publication that walcast makes has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PublicationTables {
    /// None is made: a missing publication is an error.
    #[default]
    Never,
    /// FOR ALL TABLES, those of the future included. Needs a superuser.
    All,
    /// Exactly these.
    Tables(Vec<TablePattern>),
}

/// A table whose updates or deletes would fail once it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyless {
    /// The table, quoted.
    pub table: String,
}

/// Why a publication could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicationError {
    /// SQL failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Nothing matches.
    #[error("no table matches {pattern}")]
    NoTable {
        /// What was asked for.
        pattern: TablePattern,
    },
    /// Publishing these tables would make the application's own updates and deletes fail.
    #[error("these tables have no replica identity: {}", list(.tables))]
    NoReplicaIdentity {
        /// The tables.
        tables: Vec<Keyless>,
    },
}

fn list(tables: &[Keyless]) -> String {
    tables.iter().map(|keyless| keyless.table.as_str()).collect::<Vec<_>>().join(", ")
}

impl From<PublicationError> for crate::Error {
    fn from(error: PublicationError) -> Self {
        use crate::{Error, ErrorKind};
        match error {
            PublicationError::Sql(error) => error.into(),
            PublicationError::NoTable { .. } => Error::permanent(ErrorKind::Config, error),
            PublicationError::NoReplicaIdentity { ref tables } => {
                let fixes: Vec<String> = tables
                    .iter()
                    .map(|keyless| format!("ALTER TABLE {} REPLICA IDENTITY FULL;", keyless.table))
                    .collect();
                let fix = format!("give each a primary key, or run: {}", fixes.join(" "));
                Error::permanent(ErrorKind::Config, error).with_fix(fix)
            }
        }
    }
}

/// Which of `names` do not exist.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn missing_publications(
    client: &Client,
    names: &[PublicationName],
) -> Result<Vec<PublicationName>, SqlError> {
    let texts: Vec<&str> = names.iter().map(PublicationName::as_str).collect();
    let rows = client
        .query("select pubname::text from pg_publication where pubname = any($1)", &[&texts])
        .await
        .map_err(|error| SqlError::new("read pg_publication", error))?;
    let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(names.iter().filter(|name| !there.iter().any(|it| it == name.as_str())).cloned().collect())
}

/// Make the publication `name`.
///
/// # Cancel safety
/// Dropping the future may or may not have made it.
pub async fn create_publication(
    client: &Client,
    name: &PublicationName,
    tables: &PublicationTables,
) -> Result<(), PublicationError> {
    let quoted = quote_identifier(name.as_str());
    let found = tables_to_publish(client, tables).await?;
    let command = match tables {
        PublicationTables::Never => return Ok(()),
        PublicationTables::All => format!("create publication {quoted} for all tables"),
        PublicationTables::Tables(_) => {
            format!("create publication {quoted} for table {}", found.join(", "))
        }
    };
    let made = client.batch_execute(&command).await;
    Ok(made.map_err(|error| SqlError::new("create the publication", error))?)
}

/// The tables, quoted and in order, that a publication for `tables` would have now.
///
/// # Errors
/// When it would not be made: a pattern matches nothing, or a table has no replica identity.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn tables_to_publish(
    client: &Client,
    tables: &PublicationTables,
) -> Result<Vec<String>, PublicationError> {
    let mut found = match tables {
        PublicationTables::Never => Vec::new(),
        PublicationTables::All => find(client, None, None).await?,
        PublicationTables::Tables(patterns) => {
            let mut found = Vec::new();
            for pattern in patterns {
                let matches = find(client, Some(&pattern.schema), pattern.table.as_deref()).await?;
                if matches.is_empty() {
                    return Err(PublicationError::NoTable { pattern: pattern.clone() });
                }
                found.extend(matches);
            }
            found
        }
    };
    found.sort_unstable_by(|one, other| one.quoted.cmp(&other.quoted));
    found.dedup_by(|one, other| one.quoted == other.quoted);
    refuse_keyless(&found)?;
    Ok(found.into_iter().map(|table| table.quoted).collect())
}

struct FoundTable {
    quoted: String,
    has_identity: bool,
}

fn refuse_keyless(found: &[FoundTable]) -> Result<(), PublicationError> {
    let tables: Vec<Keyless> = found
        .iter()
        .filter(|table| !table.has_identity)
        .map(|table| Keyless { table: table.quoted.clone() })
        .collect();
    if tables.is_empty() { Ok(()) } else { Err(PublicationError::NoReplicaIdentity { tables }) }
}

const TABLES: &str = "select format('%I.%I', n.nspname, c.relname),
    case c.relreplident when 'f' then true when 'n' then false
      when 'i' then exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident)
      else exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary) end
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and c.relpersistence = 'p'
    and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
    and ($1::text is null or n.nspname = $1) and ($2::text is null or c.relname = $2)
    and (c.relkind = 'r' or $2 is not null)";

async fn find(
    client: &Client,
    schema: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<FoundTable>, SqlError> {
    let rows = client.query(TABLES, &[&schema, &name]).await;
    let rows = rows.map_err(|error| SqlError::new("read pg_class", error))?;
    let found = |row: &tokio_postgres::Row| FoundTable {
        quoted: row.get(0),
        has_identity: row.get::<_, Option<bool>>(1).unwrap_or(false),
    };
    Ok(rows.iter().map(found).collect())
}

/// A published table as the catalogue has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTable {
    /// `schema.table`, quoted where needed.
    pub table: String,
    /// Whether updates and deletes can be published.
    pub has_identity: bool,
    /// The types of its columns.
    pub column_types: Vec<(Oid, String)>,
}

/// What `names` cover.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn published_tables(
    client: &Client,
    names: &[PublicationName],
) -> Result<Vec<PublishedTable>, SqlError> {
    let texts: Vec<&str> = names.iter().map(PublicationName::as_str).collect();
    let rows = client
        .query(
            "select distinct on (1) format('%I.%I', p.schemaname, p.tablename),
                case c.relreplident when 'f' then true when 'n' then false
                  when 'i' then exists (select from pg_index i
                      where i.indrelid = c.oid and i.indisreplident)
                  else exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
                  end,
                (select array_agg(a.atttypid order by a.attnum) from pg_attribute a
                  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
                (select array_agg(format_type(a.atttypid, null) order by a.attnum)
                  from pg_attribute a
                  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
             from pg_publication_tables p
             join pg_namespace n on n.nspname = p.schemaname
             join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
             where p.pubname = any($1) order by 1",
            &[&texts],
        )
        .await
        .map_err(|error| SqlError::new("read pg_publication_tables", error))?;
    let table = |row: &tokio_postgres::Row| {
        let oids: Option<Vec<u32>> = row.get(2);
        let names: Option<Vec<String>> = row.get(3);
        PublishedTable {
            table: row.get(0),
            has_identity: row.get::<_, Option<bool>>(1).unwrap_or(false),
            column_types: oids
                .unwrap_or_default()
                .into_iter()
                .map(Oid::new)
                .zip(names.unwrap_or_default())
                .collect(),
        }
    };
    Ok(rows.iter().map(table).collect())
}
