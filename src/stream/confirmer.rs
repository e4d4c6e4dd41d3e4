//! The way back: what is durable, as those who made it so say.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::error::StreamError;
use super::history::History;
use crate::Result;
use crate::budget::Budget;
use crate::checkpoint::Confirmed;
use crate::event::RelationVersions;
use crate::lsn::Lsn;
use crate::name::Timeline;
use crate::net::Gauges;
use crate::session::Progress;

/// What a stream and its confirmers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) progress: watch::Sender<Progress>,
    pub(super) handed_out: AtomicU64,
    /// The timeline of what is being handed out.
    pub(super) timeline: AtomicU32,
    pub(super) gauges: Arc<Gauges>,
    pub(super) budget: Budget,
    pub(super) reconnects: AtomicU64,
    /// Bytes of open transactions on disk.
    pub(super) spill_bytes: Arc<AtomicU64>,
    /// How many connections had a place for open transactions.
    pub(super) connections: AtomicU64,
    /// The stream writes it when a batch brings a new version of a table, and whoever saves
    /// progress reads it: neither once per row, and neither for long.
    history: Mutex<History>,
}

impl Shared {
    /// Nothing streamed yet.
    pub(super) fn new(budget: Budget) -> Self {
        let none = Lsn::new(0);
        Self {
            progress: watch::Sender::new(Progress { flush: none, apply: none }),
            handed_out: AtomicU64::new(0),
            timeline: AtomicU32::new(0),
            gauges: Arc::default(),
            budget,
            reconnects: AtomicU64::new(0),
            spill_bytes: Arc::default(),
            connections: AtomicU64::new(0),
            history: Mutex::new(History::new(&RelationVersions::default(), none)),
        }
    }

    /// The stream begins at `start`, where `versions` are in force; a quorum may have `applied`
    /// less.
    pub(super) fn begin_at(&self, start: Lsn, applied: Option<Lsn>, versions: &RelationVersions) {
        let apply = applied.map_or(start, |applied| applied.min(start));
        self.progress.send_replace(Progress { flush: start, apply });
        self.handed_out.store(start.as_u64(), Ordering::Relaxed);
        *self.history() = History::new(versions, start);
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        // Whatever it is told makes it whole again: a panic elsewhere leaves it usable.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what is durable.
///
/// Whoever calls it vouches that everything up to there survives losing this process: the server
/// forgets it.
#[derive(Debug, Clone)]
pub struct Confirmer {
    pub(super) shared: Arc<Shared>,
}

impl Confirmer {
    /// Vouch that everything before `end`, the end of a batch that was handed out, is durable.
    ///
    /// # Errors
    /// [`StreamError::NotHandedOut`] when the stream has not come that far.
    pub fn vouch_durable(&self, end: Lsn) -> Result<()> {
        self.report(Confirmed::vouched_by_caller(end), end)
    }

    /// Tell the slot what is confirmed, and what a quorum has made durable.
    pub(crate) fn report(&self, confirmed: Confirmed, apply: Lsn) -> Result<()> {
        let progress = Progress { flush: confirmed.lsn(), apply };
        let handed_out = Lsn::new(self.shared.handed_out.load(Ordering::Relaxed));
        let end = progress.flush.max(progress.apply);
        if end > handed_out {
            return Err(StreamError::NotHandedOut { end, handed_out }.into());
        }
        self.shared.progress.send_if_modified(|said| {
            let risen = Progress {
                flush: said.flush.max(progress.flush),
                apply: said.apply.max(progress.apply),
            };
            let changed = *said != risen;
            *said = risen;
            changed
        });
        self.shared.history().confirm(progress.flush);
        Ok(())
    }

    /// The end of what was handed out.
    pub fn handed_out(&self) -> Lsn {
        Lsn::new(self.shared.handed_out.load(Ordering::Relaxed))
    }

    /// The versions of tables in force at `position`, which is not before what is confirmed.
    pub(crate) fn versions_at(&self, position: Lsn) -> RelationVersions {
        self.shared.history().at(position)
    }

    /// The timeline that whatever was handed out by now belongs to.
    pub(crate) fn timeline(&self) -> Timeline {
        Timeline::new(self.shared.timeline.load(Ordering::Acquire))
    }

    /// What was confirmed.
    pub fn confirmed(&self) -> Lsn {
        self.shared.progress.borrow().flush
    }

    /// The end of what was received from the server.
    pub fn received(&self) -> Option<Lsn> {
        self.shared.gauges.received()
    }

    /// How far the server had read its log when it last said.
    pub fn server_end(&self) -> Option<Lsn> {
        self.shared.gauges.server_end()
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.shared.gauges.bytes()
    }

    /// Bytes of open transactions on disk.
    pub fn spill_bytes(&self) -> u64 {
        self.shared.spill_bytes.load(Ordering::Relaxed)
    }

    /// How often the stream connected again.
    pub fn reconnects(&self) -> u64 {
        self.shared.reconnects.load(Ordering::Relaxed)
    }
}
