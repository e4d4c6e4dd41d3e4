//! The slots of a server, as a table or as JSON.

use walcast::net::SqlClient;
use walcast::slot::{SlotHolder, SlotStatus, slot_holders, slots};
use walcast::{Error, Lsn};

use crate::grid::grid;
use crate::human::Bytes;
use crate::paint::clean;

/// Every slot, for a script.
pub(super) async fn as_json(sql: &SqlClient) -> Result<String, Error> {
    let (slots, holders) = look(sql).await?;
    let with_holder = |slot: &SlotStatus| {
        let holder = holder_of(slot, &holders);
        let mut value = serde_json::json!(slot);
        value["behind_bytes"] = serde_json::json!(behind(slot));
        value["lost"] = serde_json::json!(slot.lost());
        value["holder"] = serde_json::json!(holder);
        value
    };
    let values: Vec<_> = slots.iter().map(with_holder).collect();
    Ok(format!("{:#}\n", serde_json::Value::Array(values)))
}

/// Every slot, for a person.
pub(super) async fn as_table(sql: &SqlClient) -> Result<String, Error> {
    let (slots, holders) = look(sql).await?;
    if slots.is_empty() {
        return Ok("no replication slots\n".to_owned());
    }
    let rows: Vec<_> = slots.iter().map(|slot| row(slot, holder_of(slot, &holders))).collect();
    let head =
        ["SLOT", "PLUGIN", "DATABASE", "CONFIRMED", "BEHIND", "RETAINED", "SAFE", "WAL", "HELD BY"];
    Ok(grid(head, &rows))
}

async fn look(sql: &SqlClient) -> Result<(Vec<SlotStatus>, Vec<SlotHolder>), Error> {
    Ok((slots(sql).await?, slot_holders(sql).await?))
}

fn holder_of<'a>(slot: &SlotStatus, holders: &'a [SlotHolder]) -> Option<&'a SlotHolder> {
    holders.iter().find(|holder| slot.active_pid == Some(holder.pid))
}

/// How much log lies between what was confirmed and the server's end.
fn behind(slot: &SlotStatus) -> Option<u64> {
    Some(slot.server_lsn?.bytes_since(slot.confirmed_flush_lsn?))
}

fn row(slot: &SlotStatus, holder: Option<&SlotHolder>) -> [String; 9] {
    let text = |text: Option<&str>| text.map_or("-".to_owned(), |text| clean(text).into_owned());
    let bytes = |bytes: Option<i64>| {
        let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
        bytes.map_or("-".to_owned(), |bytes| Bytes(bytes).to_string())
    };
    let name = if slot.temporary { " (temporary)" } else { "" };
    let held = match (holder, slot.active_pid) {
        (Some(holder), _) => clean(&holder.to_string()).into_owned(),
        (None, Some(pid)) => format!("pid {pid}"),
        (None, None) => "nobody".to_owned(),
    };
    [
        format!("{}{name}", slot.slot_name),
        text(slot.plugin.as_deref().or(Some("(physical)"))),
        text(slot.database.as_deref()),
        slot.confirmed_flush_lsn.map_or("-".to_owned(), |lsn: Lsn| lsn.to_string()),
        behind(slot).map_or("-".to_owned(), |bytes| Bytes(bytes).to_string()),
        bytes(slot.retained_bytes),
        slot.safe_wal_size.map_or("no limit".to_owned(), |_| bytes(slot.safe_wal_size)),
        match slot.lost() {
            Some(reason) => format!("lost: {}", clean(reason)),
            None => text(slot.wal_status.as_deref()),
        },
        held,
    ]
}
