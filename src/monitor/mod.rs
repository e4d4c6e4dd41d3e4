//! How a pipeline does, for people and machines.
//!
//! A [`Monitor`] is handed out before its pipeline runs and answers with a [`Status`] at any time:
//! the server, the slot, every sink, and the lag of every stage. Errors are fields of what they
//! belong to; asking never fails and never holds the pipeline up. It measures; it decides nothing.

mod control;
mod lag;
mod probe;
mod saved;
mod status;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::Result;
use crate::budget::Budget;
use crate::event::Batch;
use crate::fanout::Ledger;
use crate::state_dir::StateDir;
use crate::stream::{Confirmer, Source};
use crate::timestamp::Timestamp;

pub use control::{ControlError, ask_status};
pub use lag::{Stage, StageLag};
pub(crate) use saved::Stopped;
pub use status::{MemoryStatus, PrimaryStatus, SinkStatus, SlotHealth, Status};

use lag::{LagTimes, ServerPosition};
use probe::Probe;

/// Shows how a pipeline does. Clones show the same one.
#[derive(Debug, Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

/// Locks here guard what is written once per batch or per question, never per row.
#[derive(Debug, Default)]
struct Shared {
    attached: Mutex<Option<Attached>>,
    times: Mutex<LagTimes>,
    state_error: Mutex<Option<String>>,
    probe: tokio::sync::Mutex<Probe>,
}

/// The running pipeline, seen from outside.
#[derive(Debug, Clone)]
struct Attached {
    source: Source,
    confirmer: Confirmer,
    ledger: Ledger,
    budget: Budget,
}

impl Monitor {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    pub(crate) fn attach(
        &self,
        confirmer: Confirmer,
        ledger: &Ledger,
        source: &Source,
        budget: &Budget,
    ) {
        let attached = Attached {
            source: source.clone(),
            confirmer,
            ledger: ledger.clone(),
            budget: budget.clone(),
        };
        *locked(&self.shared.attached) = Some(attached);
    }

    /// A batch is on its way to the sinks.
    pub(crate) fn handed_out(&self, batch: &Batch) {
        if let Some((end, committed)) = batch.last_commit() {
            locked(&self.shared.times).note_commit(end, committed);
        }
    }

    /// Progress cannot be saved, or can be again.
    pub(crate) fn set_state_error(&self, error: Option<String>) {
        *locked(&self.shared.state_error) = error;
    }

    /// Answer questions at the state directory's control socket until the guard is dropped.
    pub(crate) fn serve(&self, state: &StateDir) -> Result<control::Serving> {
        control::serve(self.clone(), state)
    }

    /// How the pipeline does now; `None` before it runs. Asks the server, three seconds at most.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn status(&self) -> Option<Status> {
        let attached = locked(&self.shared.attached).clone()?;
        let probed = {
            let mut probe = self.shared.probe.lock().await;
            probe.ask(attached.source.connect_config(), attached.source.slot()).await
        };
        let server = match &probed {
            Ok(probed) => probed.position,
            Err(_) => ServerPosition { end: attached.confirmer.server_end(), caught_up_at: None },
        };
        let now = Timestamp::from(SystemTime::now());
        let mut status = {
            let mut times = locked(&self.shared.times);
            times.note_server(server, now);
            times.forget(attached.confirmer.confirmed());
            attached.status(&times, server, now)
        };
        status.state_error = locked(&self.shared.state_error).clone();
        status.add_server(probed);
        Some(status)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is replaced whole: a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attached {
    fn status(&self, times: &LagTimes, server: ServerPosition, now: Timestamp) -> Status {
        let rung = |stage, sink, lsn| times.rung((stage, sink), lsn, server, now);
        let mut lag = vec![
            rung(Stage::Received, None, self.confirmer.received()),
            rung(Stage::Decoded, None, Some(self.confirmer.handed_out())),
        ];
        let mut replicas = Vec::new();
        for member in self.ledger.members() {
            let lane = member.status.borrow().clone();
            let name = || Some(member.name.clone());
            let durable = rung(Stage::Durable, name(), Some(lane.progress.cursor));
            lag.push(rung(Stage::Delivered, name(), Some(lane.delivered)));
            lag.push(durable.clone());
            replicas.push(SinkStatus::new(&member.name, member.required, lane, &durable));
        }
        lag.push(rung(Stage::Confirmed, None, Some(self.confirmer.confirmed())));
        Status {
            running: true,
            primary: PrimaryStatus::default(),
            slot: SlotHealth::named(self.source.slot(), Some(self.confirmer.confirmed())),
            replicas,
            lag,
            memory: MemoryStatus {
                inflight_bytes: self.budget.held(),
                inflight_bytes_peak: self.budget.peak(),
                limit_bytes: self.budget.limit(),
            },
            spill_bytes: self.confirmer.spill_bytes(),
            reconnects: self.confirmer.reconnects(),
            bytes: self.confirmer.bytes(),
            state_error: None,
        }
    }
}
