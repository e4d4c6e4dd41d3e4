//! The answer to "how is it doing".

use serde::{Deserialize, Serialize};

use super::lag::StageLag;
use super::probe::Probed;
use crate::fanout::{LaneState, LaneStatus};
use crate::lsn::Lsn;
use crate::name::{SinkName, SlotName};
use crate::{Error, Result};

/// How a pipeline does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the pipeline runs; what follows is what it saved last when it does not.
    pub running: bool,
    /// The server.
    pub primary: PrimaryStatus,
    /// The slot.
    pub slot: SlotHealth,
    /// Every sink.
    pub replicas: Vec<SinkStatus>,
    /// Every stage.
    pub lag: Vec<StageLag>,
    /// Bytes in flight.
    pub memory: MemoryStatus,
    /// Bytes of open transactions on disk.
    pub spill_bytes: u64,
    /// How often the stream connected again.
    pub reconnects: u64,
    /// Bytes read from the server.
    pub bytes: u64,
    /// Why progress cannot be saved, if so.
    pub state_error: Option<String>,
}

/// How the server does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PrimaryStatus {
    /// Whether it answers.
    pub healthy: bool,
    /// Whether it is a standby.
    pub in_recovery: Option<bool>,
    /// The end of its log.
    pub lsn: Option<Lsn>,
    /// Why it does not answer.
    pub error: Option<String>,
}

/// How the slot does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotHealth {
    /// Its name.
    pub name: SlotName,
    /// Whether it is there, used and not lost.
    pub healthy: bool,
    /// Whether someone streams from it.
    pub active: Option<bool>,
    /// What we have confirmed; `None` when nothing was ever saved.
    pub confirmed_lsn: Option<Lsn>,
    /// What the server has of that.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// How much log the server keeps for it.
    pub retained_bytes: Option<i64>,
    /// How much may still be written before it is in danger.
    pub safe_wal_bytes: Option<i64>,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// How a sink does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name.
    pub name: SinkName,
    /// `opening`, `running`, `backing_off`, `catching_up`, `detached`, `failed` or `closed`;
    /// `stopped` or `never_run` when the pipeline does not run.
    pub state: String,
    /// Whether the slot waits for it.
    pub required: bool,
    /// Whether it works.
    pub healthy: bool,
    /// Age of the oldest commit it has not proven; `None` while that is not known.
    pub lag_seconds: Option<f64>,
    /// Bytes of log between what it has proven and the server's position.
    pub lag_bytes: Option<u64>,
    /// What it has proven.
    pub applied_lsn: Option<Lsn>,
    /// What it has taken.
    pub delivered_lsn: Option<Lsn>,
    /// Events it took.
    pub events: u64,
    /// Times it had to begin again.
    pub retries: u64,
    /// Bytes of log it has skipped, being best-effort.
    pub skipped_bytes: u64,
    /// How long its last flush took, in seconds.
    pub flush_seconds: f64,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// Bytes in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStatus {
    /// Now.
    pub inflight_bytes: usize,
    /// At most so far.
    pub inflight_bytes_peak: usize,
    /// The bound.
    pub limit_bytes: usize,
}

impl Status {
    /// Whether server, slot and every required sink work.
    pub fn is_healthy(&self) -> bool {
        let sinks = self.replicas.iter().filter(|sink| sink.required).all(|sink| sink.healthy);
        let server = self.primary.healthy && self.slot.healthy;
        self.running && server && sinks && self.state_error.is_none()
    }

    /// What is wrong, in words; nothing when it is healthy.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        let mut add = |what: String, error: Option<&str>| {
            troubles.push(match error {
                Some(error) => format!("{what}: {error}"),
                None => what,
            });
        };
        if !self.running {
            add("the pipeline does not run".to_owned(), None);
        }
        if !self.primary.healthy {
            add("the server does not answer".to_owned(), self.primary.error.as_deref());
        } else if !self.slot.healthy {
            add(format!("slot {}", self.slot.name), self.slot.error.as_deref());
        }
        let ailing = |sink: &&SinkStatus| self.running && sink.required && !sink.healthy;
        for sink in self.replicas.iter().filter(ailing) {
            let state = sink.state.replace('_', " ");
            add(format!("sink {} is {state}", sink.name), sink.error.as_deref());
        }
        if let Some(error) = &self.state_error {
            add("progress cannot be saved".to_owned(), Some(error));
        }
        troubles
    }

    pub(super) fn add_server(&mut self, probed: Result<Probed, Error>) {
        match probed {
            Ok(probed) => {
                self.primary = PrimaryStatus {
                    healthy: true,
                    in_recovery: Some(probed.in_recovery),
                    lsn: probed.position.end,
                    error: None,
                };
                self.slot.add(probed);
            }
            Err(error) => {
                self.primary.error = Some(error.to_string());
                self.slot.error = Some("the server does not answer".to_owned());
            }
        }
    }
}

impl SlotHealth {
    pub(super) fn named(name: &SlotName, confirmed_lsn: Option<Lsn>) -> Self {
        Self {
            name: name.clone(),
            healthy: false,
            active: None,
            confirmed_lsn,
            confirmed_flush_lsn: None,
            wal_status: None,
            retained_bytes: None,
            safe_wal_bytes: None,
            error: None,
        }
    }

    fn add(&mut self, probed: Probed) {
        let Some(slot) = probed.slot else {
            self.error = Some("it does not exist".to_owned());
            return;
        };
        self.error = slot.lost().map(str::to_owned);
        self.healthy = self.error.is_none() && slot.active;
        if self.error.is_none() && !slot.active {
            self.error = Some("nobody streams from it".to_owned());
        }
        self.active = Some(slot.active);
        self.confirmed_flush_lsn = slot.confirmed_flush_lsn;
        self.wal_status = slot.wal_status;
        self.retained_bytes = slot.retained_bytes;
        self.safe_wal_bytes = slot.safe_wal_size;
    }
}

impl SinkStatus {
    pub(super) fn new(
        name: &SinkName,
        required: bool,
        lane: LaneStatus,
        durable: &StageLag,
    ) -> Self {
        Self {
            name: name.clone(),
            state: lane.state.as_str().to_owned(),
            required,
            healthy: matches!(lane.state, LaneState::Running | LaneState::CatchingUp),
            lag_seconds: durable.seconds,
            lag_bytes: durable.bytes,
            applied_lsn: Some(lane.progress.cursor),
            delivered_lsn: Some(lane.delivered),
            events: lane.events,
            retries: lane.retries,
            skipped_bytes: lane.skipped_bytes,
            flush_seconds: lane.flush_time.as_secs_f64(),
            error: lane.error,
        }
    }

    /// The same sink while nobody feeds it.
    pub(super) fn stopped(mut self) -> Self {
        // Left behind it stays, whoever runs.
        if self.state != LaneState::Detached.as_str() {
            self.state = "stopped".to_owned();
        }
        self.healthy = false;
        self
    }

    /// A sink that nobody has fed yet.
    pub(super) fn never_run(name: &SinkName, required: bool) -> Self {
        Self {
            name: name.clone(),
            state: "never_run".to_owned(),
            required,
            healthy: false,
            lag_seconds: None,
            lag_bytes: None,
            applied_lsn: None,
            delivered_lsn: None,
            events: 0,
            retries: 0,
            skipped_bytes: 0,
            flush_seconds: 0.0,
            error: None,
        }
    }
}
