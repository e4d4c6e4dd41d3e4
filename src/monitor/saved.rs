//! How a pipeline stands while it does not run: what it saved last, beside what the server says
//! now.
//!
//! How old the changes are that wait is unknown then, for their commits were not read: lag is in
//! bytes only, up to the end of the log, whether what lies between is for this slot or not.

use std::time::SystemTime;

use super::lag::{LagTimes, ServerPosition, Stage, StageLag};
use super::probe::Probe;
use super::status::{MemoryStatus, PrimaryStatus, SinkStatus, SlotHealth, Status};
use crate::checkpoint::{Apart, Checkpoint, CheckpointError, SinkProgress};
use crate::fanout::{LaneState, LaneStatus};
use crate::name::SinkName;
use crate::stream::Source;
use crate::timestamp::Timestamp;

/// A pipeline that does not run.
#[derive(Debug)]
pub(crate) struct Stopped<'a> {
    pub(crate) source: &'a Source,
    /// Its sinks, and whether the slot waits for each.
    pub(crate) sinks: Vec<(&'a SinkName, bool)>,
    /// The bound on bytes in flight.
    pub(crate) memory: usize,
}

impl Stopped<'_> {
    /// How it stands, having saved `checkpoint`. Asks the server, three seconds at most.
    pub(crate) async fn status(
        &self,
        checkpoint: Result<Option<Checkpoint>, CheckpointError>,
    ) -> Status {
        let slot = self.source.slot();
        let probed = Probe::default().ask(self.source.connect_config(), slot).await;
        let end = probed.as_ref().ok().and_then(|probed| probed.position.end);
        let (saved, state_error) = match checkpoint {
            Ok(Some(saved)) if saved.slot == *slot => (Some(saved), None),
            Ok(Some(other)) => {
                let (stored, asked) = (other.slot, slot.clone());
                (None, Some(CheckpointError::OtherSlot { stored, asked }.to_string()))
            }
            Ok(None) => (None, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let confirmed = saved.as_ref().map(|saved| saved.confirmed);
        let rung = |stage, sink, lsn| {
            let server = ServerPosition { end, caught_up_at: None };
            let now = Timestamp::from(SystemTime::now());
            let rung = LagTimes::default().rung((stage, sink), lsn, server, now);
            StageLag { seconds: None, ..rung }
        };
        let (mut lag, mut replicas) = (Vec::new(), Vec::new());
        for (name, required) in &self.sinks {
            let progress = saved.as_ref().and_then(|saved| saved.sinks.get(*name).copied());
            let cursor = progress.map(|progress: SinkProgress| progress.cursor);
            let durable = rung(Stage::Durable, Some((*name).clone()), cursor);
            let apart = saved.as_ref().and_then(|saved| saved.apart.get(*name));
            let is_detached = matches!(apart, Some(Apart::Detached));
            replicas.push(match progress {
                Some(progress) => {
                    let mut lane = LaneStatus::at(progress);
                    if is_detached {
                        lane.state = LaneState::Detached;
                    }
                    SinkStatus::new(name, *required, lane, &durable).stopped()
                }
                None => SinkStatus::never_run(name, *required),
            });
            lag.push(durable);
        }
        lag.push(rung(Stage::Confirmed, None, confirmed));
        let mut status = Status {
            running: false,
            primary: PrimaryStatus::default(),
            slot: SlotHealth::named(slot, confirmed),
            replicas,
            lag,
            memory: MemoryStatus { limit_bytes: self.memory, ..MemoryStatus::default() },
            spill_bytes: 0,
            reconnects: 0,
            bytes: 0,
            state_error,
        };
        status.add_server(probed);
        status
    }
}
