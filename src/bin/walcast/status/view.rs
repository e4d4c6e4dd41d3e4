//! What is looked at, and what was seen.

use std::path::PathBuf;

use serde_json::{Value, json};
use walcast::config::Config;
use walcast::monitor::{ControlError, Status, ask_status};
use walcast::net::{ConnectConfig, sql_connect};
use walcast::slot::{SlotStatus, slots};
use walcast::{Error, Pipeline, state_dir};

use super::Look;
use super::ladder;
use crate::grid::grid;
use crate::human::Bytes;
use crate::paint::{Ink, Paint, clean};
use crate::target::Target;

/// What is looked at.
pub(super) enum Asked {
    /// A pipeline, running or not.
    Pipeline { pipeline: Box<Pipeline>, state: PathBuf },
    /// A server.
    Server(Box<ConnectConfig>),
}

/// What was seen.
pub(super) enum View {
    /// A pipeline's status, and what has to be said beside it.
    Pipeline { status: Box<Status>, note: Option<String> },
    /// A server's slots.
    Server { server: String, slots: Vec<SlotStatus> },
}

impl Asked {
    pub(super) fn new(target: &Target) -> Result<Self, Error> {
        match target {
            Target::Config(path) => {
                let config = Config::load(path)?;
                let pipeline = Box::new(config.build()?);
                Ok(Self::Pipeline { pipeline, state: config.pipeline.state })
            }
            Target::Server(url) => Ok(Self::Server(Box::new(url.expose().parse()?))),
        }
    }

    pub(super) async fn look(&self) -> Look {
        match self {
            Self::Pipeline { pipeline, state } => {
                match ask_status(state).await {
                    Ok(Some(status)) => {
                        return Ok(View::Pipeline { status: Box::new(status), note: None });
                    }
                    // It has the socket and not yet a stream, or it ended while it was asked.
                    Ok(None) | Err(ControlError::Answer { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                let holder = state_dir::holder(state).ok().flatten();
                let note = holder.map(|pid| {
                    format!("process {pid} holds the state and does not stream yet: see its log")
                });
                let status = Box::new(pipeline.saved_status().await);
                Ok(View::Pipeline { status, note })
            }
            Self::Server(connect) => {
                let sql = sql_connect(connect).await?;
                let slots = slots(&sql).await?;
                sql.close().await;
                Ok(View::Server { server: connect.display_target(), slots })
            }
        }
    }
}

impl View {
    pub(super) fn is_healthy(&self) -> bool {
        match self {
            Self::Pipeline { status, .. } => status.is_healthy(),
            Self::Server { slots, .. } => !slots.iter().any(is_in_danger),
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Pipeline { status, .. } => json!(status),
            Self::Server { server, slots } => {
                let slots: Vec<Value> = slots.iter().map(slot_json).collect();
                let healthy = self.is_healthy();
                json!({ "primary": { "healthy": true, "target": server }, "healthy": healthy, "slots": slots })
            }
        }
    }

    pub(super) fn table(&self, paint: Paint) -> String {
        match self {
            Self::Pipeline { status, note } => ladder::draw(status, note.as_deref(), paint),
            Self::Server { server, slots } => slot_table(server, slots, paint),
        }
    }
}

fn slot_json(slot: &SlotStatus) -> Value {
    let mut value = json!(slot);
    value["behind_bytes"] = json!(behind(slot));
    value["healthy"] = json!(!is_in_danger(slot));
    value
}

/// Whether it is lost, or will be at the next checkpoint.
fn is_in_danger(slot: &SlotStatus) -> bool {
    slot.lost().is_some() || slot.wal_status.as_deref() == Some("unreserved")
}

/// How much log lies between what was confirmed and the server's end.
fn behind(slot: &SlotStatus) -> Option<u64> {
    Some(slot.server_lsn?.bytes_since(slot.confirmed_flush_lsn?))
}

fn slot_table(server: &str, slots: &[SlotStatus], paint: Paint) -> String {
    let mut text = format!("{}\n", paint.ink(Ink::Bold, clean(server)));
    if slots.is_empty() {
        text.push_str("no replication slots\n");
        return text;
    }
    let shown = |text: Option<&str>| text.map_or("-".to_owned(), |text| clean(text).into_owned());
    let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |it| Bytes(it).to_string());
    let row = |slot: &SlotStatus| {
        [
            slot.slot_name.to_string(),
            if slot.active { "streaming".to_owned() } else { "nobody streams".to_owned() },
            slot.confirmed_flush_lsn.map_or("-".to_owned(), |lsn| lsn.to_string()),
            bytes(behind(slot)),
            bytes(slot.retained_bytes.and_then(|bytes| u64::try_from(bytes).ok())),
            slot.lost().map_or(shown(slot.wal_status.as_deref()), |why| format!("lost: {why}")),
        ]
    };
    let rows: Vec<_> = slots.iter().map(row).collect();
    text.push_str(&grid(["SLOT", "STATE", "CONFIRMED", "BEHIND", "RETAINED", "WAL"], &rows));
    for slot in slots.iter().filter(|slot| is_in_danger(slot)) {
        let why = slot.lost().unwrap_or("the next checkpoint may remove WAL that it needs");
        let line = format!("slot {}: {}", slot.slot_name, clean(why));
        text.push_str(&format!("{}\n", paint.ink(Ink::Red, line)));
    }
    text
}
