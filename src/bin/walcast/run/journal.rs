//! What a running pipeline logs of itself: how its health changes, and now and then how far it is.
//!
//! Errors are logged where they happen; this says what they add up to. A pipeline with nothing to
//! do says nothing.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use walcast::monitor::{Monitor, Stage, Status};
use walcast::{Error, Shutdown};

use crate::human::{Bytes, Count, Span};

/// How often the pipeline is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often progress is worth a line.
const PROGRESS_EVERY: Duration = Duration::from_secs(60);

/// Logs until the pipeline ends.
pub(super) struct Journal {
    monitor: JoinHandle<()>,
    signals: JoinHandle<()>,
    begun: Instant,
}

impl Journal {
    pub(super) fn begin(monitor: Monitor, shutdown: Shutdown) -> Self {
        Self {
            monitor: tokio::spawn(Diary::default().keep(monitor)),
            signals: tokio::spawn(tell_end(shutdown)),
            begun: Instant::now(),
        }
    }

    /// The pipeline has ended; an error is printed by whoever gets it.
    pub(super) fn end(self, ended: &Result<(), Error>) {
        self.monitor.abort();
        self.signals.abort();
        if ended.is_ok() {
            let ran = Span(self.begun.elapsed());
            tracing::info!(%ran, "drained: everything handed out is proven and confirmed");
        }
    }
}

async fn tell_end(mut shutdown: Shutdown) {
    shutdown.drain().await;
    tracing::info!("asked to end; draining, ask again to abort");
    shutdown.abort().await;
    tracing::warn!("asked again; letting go of what is unproven, which the next run reads again");
}

/// What was told last.
#[derive(Default)]
struct Diary {
    troubles: Vec<String>,
    events: u64,
    told_at: Option<Instant>,
}

impl Diary {
    async fn keep(mut self, monitor: Monitor) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(status) = monitor.status().await {
                self.tell_health(&status);
                self.tell_progress(&status);
            }
        }
    }

    fn tell_health(&mut self, status: &Status) {
        let now = status.troubles();
        for trouble in now.iter().filter(|trouble| !self.troubles.contains(trouble)) {
            tracing::warn!("{trouble}");
        }
        if now.is_empty() && !self.troubles.is_empty() {
            tracing::info!("healthy again");
        }
        self.troubles = now;
    }

    fn tell_progress(&mut self, status: &Status) {
        let events = status.replicas.iter().map(|sink| sink.events).max().unwrap_or(0);
        let due = self.told_at.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY);
        if events == self.events || !due {
            return;
        }
        let new = Count(events - self.events.min(events));
        let confirmed = status.lag.iter().find(|rung| rung.stage == Stage::Confirmed);
        let lag = confirmed.and_then(|rung| rung.seconds).unwrap_or_default();
        let behind = confirmed.and_then(|rung| rung.bytes).unwrap_or_default();
        tracing::info!(
            %new,
            events = %Count(events),
            confirmed = status.slot.confirmed_lsn.map(tracing::field::display),
            lag = %Span::seconds(lag),
            behind = %Bytes(behind),
            inflight = %Bytes(status.memory.inflight_bytes as u64),
            "events delivered"
        );
        self.events = events;
        self.told_at = Some(Instant::now());
    }
}
