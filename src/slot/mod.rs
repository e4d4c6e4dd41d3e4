//! Replication slots as the server's catalogue shows them.
//!
//! READ_REPLICATION_SLOT does not serve logical slots, so their state is read over SQL, from
//! `pg_replication_slots`, whichever columns this server's version has. Making a slot is the
//! walsender's command; it waits for every transaction that runs, and this module can say which.

mod act;

pub use act::{advance_slot, create_slot, drop_slot, drop_slot_in_use};

use tokio_postgres::Client;

use crate::lsn::Lsn;
use crate::name::SlotName;
use crate::net::SqlError;

/// A row of
/// [`pg_replication_slots`](https://www.postgresql.org/docs/current/view-pg-replication-slots.html).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct SlotStatus {
    /// Its name.
    pub slot_name: SlotName,
    /// Its output plugin; none for a physical slot.
    pub plugin: Option<String>,
    /// Its database; none for a physical slot.
    pub database: Option<String>,
    /// Whether it goes with its session.
    pub temporary: bool,
    /// Whether someone streams from it.
    pub active: bool,
    /// The server process that does.
    pub active_pid: Option<i32>,
    /// The oldest WAL the server keeps for it: a measure of disk, never a place to resume.
    pub restart_lsn: Option<Lsn>,
    /// Up to where its consumer has confirmed.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// How much WAL may still be written before it is in danger, in bytes.
    pub safe_wal_size: Option<i64>,
    /// Why it can no longer be used (PostgreSQL 17 and newer).
    #[serde(default)]
    pub invalidation_reason: Option<String>,
    /// Whether it was invalidated by recovery (PostgreSQL 16 and newer).
    #[serde(default)]
    pub conflicting: Option<bool>,
    /// Whether prepared transactions are decoded when they are prepared.
    #[serde(default)]
    pub two_phase: bool,
    /// Whether it is copied to standbys (PostgreSQL 17 and newer).
    #[serde(default)]
    pub failover: bool,
    /// How much WAL the server keeps for it, in bytes.
    #[serde(default)]
    pub retained_bytes: Option<i64>,
    /// The end of the server's log when this was read.
    #[serde(default)]
    pub server_lsn: Option<Lsn>,
}

impl SlotStatus {
    /// Why nothing can be streamed from it any more, if so.
    pub fn lost(&self) -> Option<&str> {
        match (&self.invalidation_reason, self.wal_status.as_deref(), self.conflicting) {
            (Some(reason), _, _) => Some(reason),
            (None, Some("lost"), _) => Some("the server removed WAL that it needs"),
            (None, _, Some(true)) => Some("it conflicts with recovery"),
            _ => None,
        }
    }
}

const LOOK: &str = "select (to_jsonb(s) || jsonb_build_object(
    'server_lsn', here.lsn,
    'retained_bytes', (here.lsn - s.restart_lsn)::bigint))::text
  from pg_replication_slots s,
    (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
      else pg_current_wal_lsn() end as lsn) here
  where $1::text is null or s.slot_name = $1
  order by s.slot_name";

/// The state of `slot`; `None` if there is no such slot.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn slot_status(client: &Client, slot: &SlotName) -> Result<Option<SlotStatus>, SqlError> {
    Ok(look(client, Some(slot.as_str())).await?.pop())
}

/// The state of every slot of the server, by name.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn slots(client: &Client) -> Result<Vec<SlotStatus>, SqlError> {
    look(client, None).await
}

async fn look(client: &Client, slot: Option<&str>) -> Result<Vec<SlotStatus>, SqlError> {
    const ACTION: &str = "read pg_replication_slots";
    let rows = client.query(LOOK, &[&slot]).await;
    rows.map_err(|error| SqlError::new(ACTION, error))?
        .iter()
        .map(|row| {
            let text: Option<&str> = row.get(0);
            text.and_then(|text| serde_json::from_str(text).ok())
                .ok_or(SqlError::answer(ACTION, "a column of the view"))
        })
        .collect()
}

/// The session that uses a slot, as `pg_stat_activity` shows it.
///
/// A role without `pg_monitor` sees only that there is one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SlotHolder {
    /// The server process.
    pub pid: i32,
    /// The role.
    pub user: Option<String>,
    /// The application's name.
    pub application: Option<String>,
    /// Where it connects from; none over a Unix socket.
    pub client: Option<String>,
}

/// Who uses the slots of the server, one session for each that is in use.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn slot_holders(client: &Client) -> Result<Vec<SlotHolder>, SqlError> {
    let rows = client
        .query(
            "select s.active_pid, a.usename::text, nullif(a.application_name, ''),
                host(a.client_addr)
             from pg_replication_slots s left join pg_stat_activity a on a.pid = s.active_pid
             where s.active_pid is not null order by 1",
            &[],
        )
        .await
        .map_err(|error| SqlError::new("read pg_stat_activity", error))?;
    let holder = |row: &tokio_postgres::Row| SlotHolder {
        pid: row.get(0),
        user: row.get(1),
        application: row.get(2),
        client: row.get(3),
    };
    Ok(rows.iter().map(holder).collect())
}

impl std::fmt::Display for SlotHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if let Some(application) = &self.application {
            write!(f, ", {application:?}")?;
        }
        if let Some(user) = &self.user {
            write!(f, " of {user:?}")?;
        }
        match &self.client {
            Some(client) => write!(f, " from {client}"),
            None => Ok(()),
        }
    }
}

/// A transaction that the making of a slot waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its transaction id.
    pub xid: String,
    /// The server process, if it is not a prepared transaction.
    pub pid: Option<i32>,
    /// How long it has run, in seconds.
    pub age_seconds: i64,
    /// Its application, or the prepared transaction's identifier.
    pub name: String,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "xid {} ", self.xid)?;
        match self.pid {
            Some(pid) => write!(f, "of pid {pid}")?,
            None => write!(f, "(prepared)")?,
        }
        write!(f, " {:?}, {} s old", self.name, self.age_seconds)
    }
}

/// The oldest transactions that hold up the making of a slot, five at most.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn blockers(client: &Client) -> Result<Vec<Blocker>, SqlError> {
    let rows = client
        .query(
            "select backend_xid::text, pid, extract(epoch from now() - xact_start)::bigint,
                application_name from pg_stat_activity where backend_xid is not null
             union all
             select transaction::text, null, extract(epoch from now() - prepared)::bigint, gid
                from pg_prepared_xacts
             order by 3 desc nulls last limit 5",
            &[],
        )
        .await
        .map_err(|error| SqlError::new("read pg_stat_activity", error))?;
    let blocker = |row: &tokio_postgres::Row| Blocker {
        xid: row.get(0),
        pid: row.get(1),
        age_seconds: row.get::<_, Option<i64>>(2).unwrap_or(0),
        name: row.get::<_, Option<String>>(3).unwrap_or_default(),
    };
    Ok(rows.iter().map(blocker).collect())
}
