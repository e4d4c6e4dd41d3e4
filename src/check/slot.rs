//! Slots: whether one that is there already can be used, and what each keeps.

use super::{Findings, Severity};
use crate::Result;
use crate::net::SqlClient;
use crate::slot::{SlotHolder, SlotStatus, slot_holders, slot_status, slots};
use crate::stream::Source;

/// The slot that `source` streams from.
pub(super) async fn check(sql: &SqlClient, findings: &mut Findings, source: &Source) -> Result<()> {
    let subject = format!("slot {}", source.slot);
    let Some(status) = slot_status(sql, &source.slot).await? else {
        if source.create_slot {
            findings.ok(subject, "missing; will be made");
        } else {
            let fix = format!("walcast slot create <URL> {}", source.slot);
            findings.error(subject, "missing", "a logical slot of pgoutput", fix);
        }
        return Ok(());
    };
    let database = source.connect.database();
    match status.plugin.as_deref() {
        Some("pgoutput") => {}
        plugin => {
            let have = plugin.map_or("physical".to_owned(), |plugin| format!("of plugin {plugin}"));
            findings.error(subject, have, "a logical slot of pgoutput", "name another slot");
            return Ok(());
        }
    }
    if let Some(other) = status.database.as_deref().filter(|other| *other != database) {
        let (have, want) = (format!("of database {other:?}"), format!("one of {database:?}"));
        findings.error(subject, have, want, "name another slot, or the other database in the URL");
        return Ok(());
    }
    let holders = slot_holders(sql).await?;
    judge(findings, &status, &holders, Severity::Error);
    Ok(())
}

/// Every slot of `database` that walcast could read: what is wrong with it concerns its reader.
pub(super) async fn check_all(
    sql: &SqlClient,
    findings: &mut Findings,
    database: &str,
) -> Result<()> {
    let holders = slot_holders(sql).await?;
    for status in slots(sql).await? {
        let ours = status.plugin.as_deref() == Some("pgoutput")
            && status.database.as_deref() == Some(database);
        if ours && !status.temporary {
            judge(findings, &status, &holders, Severity::Warning);
        }
    }
    Ok(())
}

/// A slot that could be read; `lost` is how bad it is when it cannot any more.
fn judge(findings: &mut Findings, status: &SlotStatus, holders: &[SlotHolder], lost: Severity) {
    let slot = &status.slot_name;
    let subject = format!("slot {slot}");
    let kept =
        status.retained_bytes.map_or(String::new(), |bytes| format!("; keeps {bytes} bytes"));
    if let Some(reason) = status.lost() {
        let fix = format!(
            "SELECT pg_drop_replication_slot('{slot}'); what it had not sent yet is gone: give the \
             targets a new copy of the tables"
        );
        findings.amiss(lost, subject, format!("lost: {reason}"), "a slot with all its WAL", fix);
    } else if status.active {
        let holder = holders.iter().find(|holder| status.active_pid == Some(holder.pid));
        let by = holder.map_or(String::new(), |holder| format!(" by {holder}"));
        let have = format!("in use{by}{kept}");
        if lost == Severity::Error {
            findings.error(subject, have, "a slot that nobody uses", "stop the other consumer");
        } else {
            findings.ok(subject, have);
        }
    } else if status.wal_status.as_deref() == Some("unreserved") {
        let have = format!("about to be lost: the server may remove its WAL at any time{kept}");
        let fix = "read it now, and raise max_slot_wal_keep_size";
        findings.warn(subject, have, "wal_status reserved or extended", fix);
    } else {
        findings.ok(subject, format!("there, nobody uses it{kept}"));
    }
}
