//! A session on the target, set up to apply what a source did.
//!
//! Commits do not wait for the disk unless they say so; triggers and foreign keys rest, because
//! what they did on the source comes as changes of its own; and what is committed carries the
//! source's mark, so that a reader of the target can leave it out. The last two take rights: where
//! they are missing it goes on without, and says what grants them.

use std::sync::Arc;

use tokio_postgres::Statement;

use super::error::{PostgresSinkError, failed, refusal};
use super::plan::Triggers;
use super::progress::{Claim, Key, Progress};
use crate::name::quote_identifier;
use crate::net::ConnectConfig;
use crate::net::ConnectError;
use crate::net::SqlClient;
use crate::net::sql_connect;
use crate::sink::{OpenContext, SinkError};

/// What a session is once it may apply.
pub(super) struct Session {
    pub(super) sql: Arc<SqlClient>,
    pub(super) progress: Progress,
    /// What triggers do in it.
    pub(super) triggers: Triggers,
    /// Marks the open transaction as the source's, of the time in `$1`. `None` without the right.
    pub(super) mark: Option<Statement>,
}

/// Sets the time only: an origin's own progress moves on with transactions that are rolled back
/// (PostgreSQL 16 to 18), and is not what anything is resumed from.
const MARK: &str = "select pg_replication_origin_xact_setup('0/0', $1)";

/// A plan is made once, without knowing how large a table will be and how many rows are asked for:
/// rows are found through their index where there is one.
const SETTINGS: &str = "
set synchronous_commit = off;
set plan_cache_mode = force_generic_plan;
set enable_seqscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set jit = off";

const MAY_MARK: &str = "
select coalesce(bool_and(has_function_privilege(p.oid, 'execute')), false)
from pg_proc p
where p.pronamespace = 'pg_catalog'::regnamespace and p.proname in
    ('pg_replication_origin_create', 'pg_replication_origin_oid',
     'pg_replication_origin_session_setup', 'pg_replication_origin_xact_setup')";

impl Session {
    /// Connect, fence off whoever applied before, and set the session up.
    pub(super) async fn open(
        connect: &ConnectConfig,
        context: &OpenContext,
        claim: Claim<'_>,
    ) -> Result<Self, SinkError> {
        let sql = sql_connect(connect).await.map_err(not_connected)?;
        let key = Key::of(context);
        let progress = Progress::take(&sql, key, &context.lineage, claim).await?;
        let triggers = rest_triggers(&sql, context).await?;
        let mark = marking(&sql, context).await?;
        // Not before the row is taken: what was read of it has to survive.
        sql.batch_execute(SETTINGS).await.map_err(|error| failed("take its settings", error))?;
        Ok(Self { sql: Arc::new(sql), progress, triggers, mark })
    }
}

fn not_connected(error: ConnectError) -> SinkError {
    let passes = error.is_transient();
    let error = PostgresSinkError::Connect(error);
    if passes { SinkError::unavailable(error) } else { SinkError::fatal(error) }
}

async fn rest_triggers(sql: &SqlClient, context: &OpenContext) -> Result<Triggers, SinkError> {
    let Err(error) = sql.batch_execute("set session_replication_role = replica").await else {
        return Ok(Triggers::Rest);
    };
    match refusal(&error) {
        Some(said) if said.sqlstate.as_str() == "42501" => {
            let user = quote_identifier(&current_user(sql).await?);
            let fix = if sql.parameters().major_version() >= 15 {
                format!("GRANT SET ON PARAMETER session_replication_role TO {user}")
            } else {
                format!("ALTER ROLE {user} SUPERUSER, or drop triggers and foreign keys")
            };
            tracing::warn!(
                sink = %context.sink,
                fix,
                "triggers and foreign keys of the target fire for applied changes"
            );
            Ok(Triggers::Fire)
        }
        _ => Err(failed("set session_replication_role", error)),
    }
}

async fn marking(sql: &SqlClient, context: &OpenContext) -> Result<Option<Statement>, SinkError> {
    let asked = |error| failed("tell whether replication origins may be used", error);
    let row = sql.query_one(MAY_MARK, &[]).await.map_err(asked)?;
    if !row.try_get::<_, bool>(0).map_err(asked)? {
        let user = quote_identifier(&current_user(sql).await?);
        let fix = format!(
            "GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text), \
             pg_replication_origin_oid(text), pg_replication_origin_session_setup, \
             pg_replication_origin_xact_setup TO {user}"
        );
        tracing::warn!(sink = %context.sink, fix, "applied changes do not carry their origin");
        return Ok(None);
    }
    // One slot of one cluster is one origin for each sink; a name has to be unique on the target.
    let name = format!(
        "walcast_{}_{}_{}",
        context.sink,
        context.slot,
        context.lineage.system_id().as_u64()
    );
    let make =
        "select pg_replication_origin_create($1) where pg_replication_origin_oid($1) is null";
    sql.execute(make, &[&name])
        .await
        .map_err(|error| failed("make a replication origin", error))?;
    // Held by the session before until it is gone: 55006, which passes.
    sql.execute("select pg_replication_origin_session_setup($1)", &[&name])
        .await
        .map_err(|error| failed("take its replication origin", error))?;
    let mark = sql.prepare(MARK).await;
    mark.map(Some).map_err(|error| failed("prepare the mark of its origin", error))
}

async fn current_user(sql: &SqlClient) -> Result<String, SinkError> {
    let asked = |error| failed("tell who we are", error);
    let row = sql.query_one("select current_user::text", &[]).await.map_err(asked)?;
    row.try_get(0).map_err(asked)
}
