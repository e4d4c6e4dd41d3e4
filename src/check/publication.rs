//! Publications: whether they are there or could be made, and what their tables are fit for.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use crate::Result;
use crate::catalog::type_definitions;
use crate::event::Oid;
use crate::name::{PublicationName, quote_identifier};
use crate::net::{SqlClient, SqlError};
use crate::publication::{
    PublicationError, PublicationTables, PublishedTable, published_tables, tables_to_publish,
};
use crate::stream::WireFormat;

/// Which publications are asked for.
pub(super) struct Wanted<'a> {
    pub(super) names: &'a [PublicationName],
    /// What a missing one is made with.
    pub(super) create: &'a PublicationTables,
    /// How values are to be sent.
    pub(super) format: WireFormat,
}

/// Every publication of the database.
pub(super) async fn all(sql: &SqlClient) -> Result<Vec<PublicationName>> {
    let rows = sql
        .query("select pubname::text from pg_publication order by 1", &[])
        .await
        .map_err(|error| SqlError::new("read pg_publication", error))?;
    let names = rows.iter().map(|row| PublicationName::new(row.get::<_, String>(0)));
    Ok(names.filter_map(Result::ok).collect())
}

pub(super) async fn check(
    sql: &SqlClient,
    findings: &mut Findings,
    wanted: Wanted<'_>,
) -> Result<()> {
    let mut types = BTreeMap::new();
    for name in wanted.names {
        let subject = format!("publication {}", quote_identifier(name.as_str()));
        let Some(publishes) = publishes(sql, name).await? else {
            check_missing(sql, findings, subject, name, wanted.create).await?;
            continue;
        };
        let tables = published_tables(sql, std::slice::from_ref(name)).await?;
        let operations = publishes.listed();
        let have = format!("{}: {operations}", counted(tables.len()));
        if tables.is_empty() {
            let fix = format!("ALTER PUBLICATION {} ADD TABLE …", quote_identifier(name.as_str()));
            findings.warn(subject, "no tables", "tables to stream", fix);
        } else if publishes.everything() {
            findings.ok(subject, have);
        } else {
            let fix = format!(
                "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate')",
                quote_identifier(name.as_str())
            );
            findings.warn(subject, have, "every operation, unless the others are not wanted", fix);
        }
        if publishes.update || publishes.delete {
            check_identity(findings, &tables);
        }
        gather_types(sql, &tables, &mut types).await?;
    }
    check_types(findings, types, wanted.format);
    Ok(())
}

/// What a publication publishes.
struct Publishes {
    insert: bool,
    update: bool,
    delete: bool,
    truncate: bool,
}

impl Publishes {
    fn everything(&self) -> bool {
        self.insert && self.update && self.delete && self.truncate
    }

    fn listed(&self) -> String {
        let all = [
            (self.insert, "insert"),
            (self.update, "update"),
            (self.delete, "delete"),
            (self.truncate, "truncate"),
        ];
        let names: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

async fn publishes(sql: &SqlClient, name: &PublicationName) -> Result<Option<Publishes>> {
    let row = sql
        .query_opt(
            "select pubinsert, pubupdate, pubdelete, pubtruncate from pg_publication
             where pubname = $1",
            &[&name.as_str()],
        )
        .await
        .map_err(|error| SqlError::new("read pg_publication", error))?;
    Ok(row.map(|row| Publishes {
        insert: row.get(0),
        update: row.get(1),
        delete: row.get(2),
        truncate: row.get(3),
    }))
}

async fn check_missing(
    sql: &SqlClient,
    findings: &mut Findings,
    subject: String,
    name: &PublicationName,
    create: &PublicationTables,
) -> Result<()> {
    let quoted = quote_identifier(name.as_str());
    if *create == PublicationTables::Never {
        let fix = format!(
            "CREATE PUBLICATION {quoted} FOR TABLE …; before the slot is made, or let walcast make \
             it ([source.publication_options] create, or --create --tables)"
        );
        findings.error(subject, "missing", "a publication of that name", fix);
        return Ok(());
    }
    match tables_to_publish(sql, create).await {
        Ok(tables) => {
            findings.ok(subject, format!("missing; will be made with {}", counted(tables.len())));
        }
        Err(PublicationError::NoReplicaIdentity { tables }) => {
            for keyless in tables {
                no_identity(findings, &keyless.table, "a publication for it would not be made");
            }
        }
        Err(PublicationError::NoTable { pattern }) => {
            let fix = "name tables that exist in [source.publication_options] tables";
            findings.error(subject, format!("no table matches {pattern}"), "tables", fix);
        }
        Err(PublicationError::Sql(error)) => return Err(error.into()),
    }
    check_right_to_create(sql, findings, create).await
}

async fn check_right_to_create(
    sql: &SqlClient,
    findings: &mut Findings,
    create: &PublicationTables,
) -> Result<()> {
    const SUBJECT: &str = "right to make a publication";
    let row = sql
        .query_one(
            "select rolsuper, has_database_privilege(current_database(), 'CREATE'),
                quote_ident(current_user), quote_ident(current_database())
             from pg_roles where rolname = current_user",
            &[],
        )
        .await
        .map_err(|error| SqlError::new("read pg_roles", error))?;
    let (superuser, may_create): (bool, bool) = (row.get(0), row.get(1));
    let (role, database): (String, String) = (row.get(2), row.get(3));
    match create {
        PublicationTables::All if !superuser => {
            let fix = "have a superuser run CREATE PUBLICATION … FOR ALL TABLES, or list tables";
            findings.error(SUBJECT, format!("{role} is no superuser"), "a superuser", fix);
        }
        _ if !superuser && !may_create => {
            let fix = format!("GRANT CREATE ON DATABASE {database} TO {role}; and own the tables");
            findings.error(SUBJECT, "none", "CREATE on the database", fix);
        }
        _ => findings.ok(SUBJECT, "granted"),
    }
    Ok(())
}

fn check_identity(findings: &mut Findings, tables: &[PublishedTable]) {
    let keyless: Vec<_> = tables.iter().filter(|table| !table.has_identity).collect();
    for table in &keyless {
        no_identity(findings, &table.table, "the application's updates and deletes fail");
    }
    if keyless.is_empty() && !tables.is_empty() {
        findings.ok("replica identity", format!("{}, all have one", counted(tables.len())));
    }
}

fn no_identity(findings: &mut Findings, table: &str, consequence: &str) {
    findings.error(
        format!("table {table}"),
        format!("no replica identity: {consequence}"),
        "a primary key, or another replica identity",
        format!(
            "ALTER TABLE {table} ADD PRIMARY KEY (…), or ALTER TABLE {table} REPLICA IDENTITY FULL"
        ),
    );
}

/// Which types have no binary decoder here, each with one table that has it.
async fn gather_types(
    sql: &SqlClient,
    tables: &[PublishedTable],
    types: &mut BTreeMap<String, String>,
) -> Result<()> {
    let used: BTreeSet<Oid> =
        tables.iter().flat_map(|table| &table.column_types).map(|(oid, _)| *oid).collect();
    let registry = type_definitions(sql, used).await?;
    for table in tables {
        for (oid, name) in &table.column_types {
            if !registry.has_binary_decoder(*oid) {
                types.entry(name.clone()).or_insert_with(|| table.table.clone());
            }
        }
    }
    Ok(())
}

fn check_types(findings: &mut Findings, types: BTreeMap<String, String>, format: WireFormat) {
    if types.is_empty() {
        findings.ok("column types", "all are read as binary");
        return;
    }
    let listed: Vec<_> = types.iter().map(|(name, table)| format!("{name} ({table})")).collect();
    let have = format!("no binary decoder for {}", listed.join(", "));
    match format {
        WireFormat::Binary => {
            let fix = "set [source] format to \"auto\" or \"text\"";
            findings.error("column types", have, "types that are read as binary", fix);
        }
        WireFormat::Auto => {
            let want =
                "types that are read as binary; all values are sent as text, which is slower";
            let fix = "nothing has to be done; leaving those tables out keeps the rest in binary";
            findings.warn("column types", have, want, fix);
        }
        WireFormat::Text => findings.ok("column types", "all are sent as text"),
    }
}

fn counted(tables: usize) -> String {
    if tables == 1 { "1 table".to_owned() } else { format!("{tables} tables") }
}
