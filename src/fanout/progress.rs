//! What a lane tells of itself.
//!
//! A [`LaneStatus`] is written by its lane, and once that is gone by who ended it; anyone may read
//! it. It is one value, so that a cursor and the end of the data before it are never seen apart.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::checkpoint::SinkProgress;
use crate::lsn::Lsn;

/// Where a lane stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStatus {
    /// What it is doing.
    pub state: LaneState,
    /// Up to where its sink has taken changes.
    pub delivered: Lsn,
    /// Up to where its sink has proven them.
    pub progress: SinkProgress,
    /// Whether its sink has ever said where it stands. Until then `progress` is where a new one
    /// would start, which nobody may take for its past.
    pub placed: bool,
    /// Events that the sink took.
    pub events: u64,
    /// Times it has proven something.
    pub proofs: u64,
    /// Times it had to begin again after an error.
    pub retries: u64,
    /// The last error, until the sink works again.
    pub error: Option<String>,
    /// How many bytes of log a best-effort sink has skipped.
    pub skipped_bytes: u64,
    /// How long the last flush took.
    pub flush_time: Duration,
}

/// What a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LaneState {
    /// The sink is connecting.
    Opening,
    /// Changes flow.
    Running,
    /// The sink failed and is left alone for a while.
    BackingOff,
    /// It is behind and takes what was kept for it on disk.
    CatchingUp,
    /// It was left behind: what lies beyond its position is not kept for it.
    Detached,
    /// The sink failed for good.
    Failed,
    /// The sink has proven everything and let go.
    Closed,
}

impl LaneState {
    /// Its name, as in status output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::CatchingUp => "catching_up",
            Self::Detached => "detached",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

impl LaneStatus {
    /// A lane that starts at `progress`.
    pub(crate) fn at(progress: SinkProgress) -> Self {
        Self {
            state: LaneState::Opening,
            delivered: progress.cursor,
            progress,
            placed: true,
            events: 0,
            proofs: 0,
            retries: 0,
            error: None,
            skipped_bytes: 0,
            flush_time: Duration::ZERO,
        }
    }
}

/// What a lane shares with whoever sends to it.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Bytes sent and not proven.
    held: AtomicUsize,
    /// Whether it waits for more with everything proven that can be.
    rests: AtomicBool,
}

// The numbers guard no other memory; what they are about travels through channels.
impl Gauge {
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    pub(super) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }
}
