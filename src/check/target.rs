//! A PostgreSQL that changes are applied to: whether it can be reached and written, which rights
//! the role has there, and whether it has the tables.

use super::{Finding, Findings};
use crate::name::quote_identifier;
use crate::net::{ConnectConfig, SqlClient, sql_connect};
use crate::publication::published_tables;
use crate::stream::Source;

/// What the role may do, and where.
const RIGHTS: &str = "
select current_setting('server_version'), current_user::text, current_database()::text,
    pg_is_in_recovery() or current_setting('transaction_read_only')::boolean,
    to_regclass('walcast.progress') is not null
        or has_database_privilege(current_database(), 'create'),
    (select coalesce(bool_and(has_function_privilege(p.oid, 'execute')), false) from pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname in
            ('pg_replication_origin_create', 'pg_replication_origin_oid',
             'pg_replication_origin_session_setup', 'pg_replication_origin_xact_setup'))";

/// Check that the sink called `sink` could apply what `source` publishes to the database of
/// `connect`. A target that cannot be reached is a finding too.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn check_postgres_target(
    sink: &str,
    connect: &ConnectConfig,
    source: &Source,
) -> Vec<Finding> {
    const SUBJECT: &str = "target";
    let mut findings = Findings::new(format!("sink {sink}"));
    let sql = match sql_connect(connect).await {
        Ok(sql) => sql,
        Err(error) => {
            let error = crate::Error::from(error);
            let fix = error.fix().unwrap_or("start the target, or mend the sink's url").to_owned();
            let text = error.to_string();
            let have = text.split("\n  fix: ").next().unwrap_or_default();
            findings.error(SUBJECT, have, "a server that takes our connection", fix);
            return findings.list;
        }
    };
    if let Err(error) = rights(&sql, &mut findings).await {
        findings.error(SUBJECT, error.to_string(), "an answer", "see the target's log");
    }
    if let Err(error) = tables(&sql, &mut findings, source).await {
        findings.warn(
            "tables",
            error.to_string(),
            "a look at them",
            "mend what is said here first",
        );
    }
    findings.list
}

async fn rights(sql: &SqlClient, findings: &mut Findings) -> Result<(), tokio_postgres::Error> {
    let row = sql.query_one(RIGHTS, &[]).await?;
    let (version, user): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (database, user) = (quote_identifier(row.try_get(2)?), quote_identifier(&user));
    if row.try_get(3)? {
        let fix = "name the primary in the sink's url (target_session_attrs=read-write finds it)";
        findings.error(
            "target",
            format!("{version}, read only"),
            "a server that takes writes",
            fix,
        );
    } else {
        findings.ok("target", format!("{version} at {}", sql.endpoint()));
    }
    if row.try_get(4)? {
        findings.ok("walcast.progress", "there, or can be made");
    } else {
        let fix = format!("GRANT CREATE ON DATABASE {database} TO {user}");
        findings.error("walcast.progress", "missing", "the right to make it", fix);
    }
    let origins: bool = row.try_get(5)?;
    if origins {
        findings.ok("replication origins", "may be used");
    } else {
        let fix = format!(
            "GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text), \
             pg_replication_origin_oid(text), pg_replication_origin_session_setup, \
             pg_replication_origin_xact_setup TO {user}"
        );
        let want = "the right to mark changes with their origin and time";
        findings.warn("replication origins", "no right to them", want, fix);
    }
    replication_role(sql, findings, &user).await
}

async fn replication_role(
    sql: &SqlClient,
    findings: &mut Findings,
    user: &str,
) -> Result<(), tokio_postgres::Error> {
    const SUBJECT: &str = "session_replication_role";
    let is_newer = sql.parameters().major_version() >= 15;
    let asked = match is_newer {
        true => "select has_parameter_privilege('session_replication_role', 'set')",
        false => "select rolsuper from pg_roles where rolname = current_user",
    };
    if sql.query_one(asked, &[]).await?.try_get(0)? {
        findings.ok(SUBJECT, "may be set");
        return Ok(());
    }
    let fix = match is_newer {
        true => format!("GRANT SET ON PARAMETER session_replication_role TO {user}"),
        false => format!("ALTER ROLE {user} SUPERUSER, or drop triggers and foreign keys there"),
    };
    let want = "triggers and foreign keys that rest while changes are applied";
    findings.warn(SUBJECT, "no right to set it", want, fix);
    Ok(())
}

/// Whether each published table is there.
async fn tables(
    sql: &SqlClient,
    findings: &mut Findings,
    source: &Source,
) -> Result<(), crate::Error> {
    let there = sql_connect(&source.connect).await?;
    let published = published_tables(&there, &source.publications).await?;
    let names: Vec<String> = published.into_iter().map(|table| table.table).collect();
    let missing = sql
        .query(
            "select name from unnest($1::text[]) name where to_regclass(name) is null",
            &[&names],
        )
        .await
        .map_err(|error| crate::net::SqlError::new("look for the tables", error))?;
    if missing.is_empty() {
        findings.ok("tables", format!("{} of {} are there", names.len(), names.len()));
        return Ok(());
    }
    let missing: Vec<String> = missing.iter().map(|row| row.get(0)).collect();
    let fix = "create them there, for example with pg_dump --schema-only";
    let have = format!("{} of {} are missing: {}", missing.len(), names.len(), missing.join(", "));
    findings.error("tables", have, "every published table", fix);
    Ok(())
}
