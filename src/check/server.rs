//! The server itself: its version, its settings, and whether it takes our replication connection.

use std::collections::HashMap;

use super::Findings;
use crate::Result;
use crate::name::SlotName;
use crate::net::{CommandError, ConnectConfig, ConnectError, SqlClient, SqlError, Walsender};
use crate::slot::slot_status;
use crate::wire::SqlState;

/// Below this, in milliseconds, a short stall of the network ends the connection.
const SENDER_TIMEOUT_MIN: i64 = 3000;

/// What a stream will ask of the server.
pub(super) struct Needs<'a> {
    /// The slot it uses, which may be there already.
    slot: Option<&'a SlotName>,
}

impl<'a> Needs<'a> {
    pub(super) fn of(slot: Option<&'a SlotName>) -> Self {
        Self { slot }
    }
}

/// A setting, as a number in the unit of `pg_settings` and as people read it.
struct Setting {
    number: i64,
    shown: String,
}

type Settings = HashMap<String, Setting>;

pub(super) async fn check(
    sql: &SqlClient,
    findings: &mut Findings,
    needs: Needs<'_>,
) -> Result<()> {
    let settings = settings(sql).await?;
    check_version(sql, findings).await?;
    check_wal_level(&settings, findings);
    let has_slot = match needs.slot {
        Some(slot) => slot_status(sql, slot).await?.is_some(),
        None => false,
    };
    let used = used(sql).await?;
    let free = |used: i64, name: &str| number(&settings, name) - used;
    let slots = number(&settings, "max_replication_slots");
    let have = format!("{} of {slots} in use", used.slots);
    if has_slot || free(used.slots, "max_replication_slots") > 0 {
        findings.ok("replication slots", have);
    } else {
        let fix = "raise max_replication_slots and restart, or drop a slot that nobody reads \
                   (walcast slot list)";
        findings.error("replication slots", have, "a free one", fix);
    }
    let senders = number(&settings, "max_wal_senders");
    let have = format!("{} of {senders} in use", used.senders);
    if free(used.senders, "max_wal_senders") > 0 {
        findings.ok("walsenders", have);
    } else {
        let fix = "raise max_wal_senders and restart, or end a connection that is not needed";
        findings.error("walsenders", have, "a free one", fix);
    }
    check_retention(&settings, findings);
    check_timeouts(&settings, findings);
    Ok(())
}

/// Try what a stream does first.
pub(super) async fn check_walsender(connect: &ConnectConfig, findings: &mut Findings) {
    const SUBJECT: &str = "replication connection";
    let identified = match Walsender::connect(connect).await {
        Ok(mut walsender) => walsender.identify_system().await,
        Err(error) => Err(CommandError::Connect(error)),
    };
    let error = match identified {
        Ok(system) => {
            let identity = system.identity;
            let have = format!("cluster {}, timeline {}", identity.system_id, identity.timeline);
            return findings.ok(SUBJECT, have);
        }
        Err(error) => error,
    };
    let refusal = match &error {
        CommandError::Connect(ConnectError::NotPermitted { server, .. }) => Some(server.sqlstate),
        _ => None,
    };
    let lacks_right = refusal == Some(SqlState::INSUFFICIENT_PRIVILEGE);
    let (subject, want) = if lacks_right {
        ("REPLICATION right", "a role with REPLICATION")
    } else {
        (SUBJECT, "one that the server takes")
    };
    let error = crate::Error::from(error);
    let fix = error.fix().unwrap_or("see the server's log").to_owned();
    let text = error.to_string();
    let have = text.split("\n  fix: ").next().unwrap_or_default();
    findings.error(subject, have, want, fix);
}

async fn check_version(sql: &SqlClient, findings: &mut Findings) -> Result<()> {
    let major = sql.parameters().major_version();
    let row = sql
        .query_one("select current_setting('server_version'), pg_is_in_recovery()", &[])
        .await
        .map_err(|error| SqlError::new("read the server's version", error))?;
    let (version, standby): (String, bool) = (row.get(0), row.get(1));
    if major < 14 {
        findings.error("version", version, "PostgreSQL 14 or newer", "upgrade the server");
    } else {
        findings.ok("version", version);
    }
    if standby && major < 16 {
        let want = "the primary, or a standby of PostgreSQL 16 or newer";
        findings.error("role of the server", "a standby", want, "connect to the primary");
    } else if standby {
        let want = "running transactions logged on the primary before a slot can be made here";
        let fix = "SELECT pg_log_standby_snapshot(); on the primary when making the slot waits";
        findings.warn("role of the server", "a standby", want, fix);
    }
    Ok(())
}

fn check_wal_level(settings: &Settings, findings: &mut Findings) {
    let have = shown(settings, "wal_level");
    if have == "logical" {
        findings.ok("wal_level", have);
    } else {
        let fix = "ALTER SYSTEM SET wal_level = logical; then restart the server";
        findings.error("wal_level", have, "logical", fix);
    }
}

/// Whether the disk or the slot gives way when a consumer stays away.
fn check_retention(settings: &Settings, findings: &mut Findings) {
    const NAME: &str = "max_slot_wal_keep_size";
    if number(settings, NAME) < 0 {
        let want = "a bound, or watched disk space: a slot that nobody reads keeps WAL without end";
        let fix = "ALTER SYSTEM SET max_slot_wal_keep_size = '…'; SELECT pg_reload_conf(); it has \
                   to outlast the longest stop of the consumer";
        findings.warn(NAME, "no bound", want, fix);
    } else {
        let have = shown(settings, NAME);
        findings.ok(NAME, format!("{have}: a slot further behind is lost"));
    }
    const IDLE: &str = "idle_replication_slot_timeout";
    if settings.contains_key(IDLE) && number(settings, IDLE) > 0 {
        let have = format!("{}: a slot unused that long is lost", shown(settings, IDLE));
        let want = "more than the longest stop of the consumer";
        findings.warn(
            IDLE,
            have,
            want,
            format!("ALTER SYSTEM SET {IDLE} = 0; or keep stops short"),
        );
    }
}

fn check_timeouts(settings: &Settings, findings: &mut Findings) {
    const NAME: &str = "wal_sender_timeout";
    let have = shown(settings, NAME);
    match number(settings, NAME) {
        0 => {
            let want = "some, so that a dead consumer's connection lets go of its slot";
            let fix = "ALTER SYSTEM SET wal_sender_timeout = '1min'; SELECT pg_reload_conf();";
            findings.warn(NAME, "none", want, fix);
        }
        ..SENDER_TIMEOUT_MIN => {
            let want = "3 s or more: a short stall of the network ends the connection";
            let fix = "ALTER SYSTEM SET wal_sender_timeout = '1min'; SELECT pg_reload_conf();";
            findings.warn(NAME, have, want, fix);
        }
        _ => findings.ok(NAME, have),
    }
}

async fn settings(sql: &SqlClient) -> Result<Settings> {
    let names = [
        "wal_level",
        "max_replication_slots",
        "max_wal_senders",
        "max_slot_wal_keep_size",
        "idle_replication_slot_timeout",
        "wal_sender_timeout",
    ];
    let rows = sql
        .query(
            "select name, setting, current_setting(name) from pg_settings where name = any($1)",
            &[&names.as_slice()],
        )
        .await
        .map_err(|error| SqlError::new("read pg_settings", error))?;
    let setting = |row: &tokio_postgres::Row| {
        let number = row.get::<_, &str>(1).parse().unwrap_or(0);
        (row.get(0), Setting { number, shown: row.get(2) })
    };
    Ok(rows.iter().map(setting).collect())
}

fn number(settings: &Settings, name: &str) -> i64 {
    settings.get(name).map_or(0, |setting| setting.number)
}

fn shown(settings: &Settings, name: &str) -> String {
    settings.get(name).map_or_else(|| "unknown".to_owned(), |setting| setting.shown.clone())
}

struct Used {
    slots: i64,
    senders: i64,
}

async fn used(sql: &SqlClient) -> Result<Used> {
    let row = sql
        .query_one(
            "select (select count(*) from pg_replication_slots),
                (select count(*) from pg_stat_replication)",
            &[],
        )
        .await
        .map_err(|error| SqlError::new("count slots and walsenders", error))?;
    Ok(Used { slots: row.get(0), senders: row.get(1) })
}
