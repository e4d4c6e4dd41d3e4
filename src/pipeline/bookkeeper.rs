//! Saves what the lanes have proven, then tells the slot.
//!
//! The only caller of [`Checkpointer::save`]. It waits for lanes to have something to tell, folds
//! it, saves it and reports what that confirms; never the other way round. A checkpoint that cannot
//! be saved confirms nothing and is tried again. Progress that is only idle is saved at most once
//! per status interval.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::checkpoint::{Checkpointer, Tally};
use crate::fanout::Ledger;
use crate::lsn::Lsn;
use crate::monitor::Monitor;
use crate::stream::{Backoff, Confirmer};
use crate::{Error, Result};

/// The least time between two saves.
const SAVE_GAP: Duration = Duration::from_millis(10);

/// See the [module](self).
pub(super) struct Bookkeeper {
    pub(super) ledger: Ledger,
    pub(super) checkpointer: Checkpointer,
    pub(super) confirmer: Confirmer,
    pub(super) monitor: Monitor,
    pub(super) status_interval: Duration,
    /// Set when every lane has ended: one last save, whatever it holds.
    pub(super) finished: watch::Receiver<bool>,
}

impl Bookkeeper {
    /// Save and confirm until the lanes have ended.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a save that nothing was told of.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut saved = Tally::default();
        let mut last_save = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            let finished = *self.finished.borrow_and_update();
            let tally = self.ledger.tally();
            let gap = if only_idle(&saved, &tally) { self.status_interval } else { SAVE_GAP };
            let due = last_save + gap;
            if tally != saved && (finished || Instant::now() >= due) {
                match self.save(&tally).await {
                    Ok(()) => {
                        saved = tally;
                        last_save = Instant::now();
                        backoff.reset();
                        continue;
                    }
                    Err(error) if finished => return Err(error),
                    Err(error) => {
                        let wait = backoff.next();
                        tracing::error!(%error, ?wait, "progress could not be saved");
                        self.monitor.set_state_error(Some(error.to_string()));
                        tokio::select! {
                            () = tokio::time::sleep(wait) => {}
                            // The last save is tried at once.
                            _ = self.finished.wait_for(|finished| *finished) => {}
                        }
                        continue;
                    }
                }
            }
            if finished {
                return Ok(());
            }
            let pending = tally != saved;
            tokio::select! {
                () = self.ledger.changed() => {}
                () = tokio::time::sleep_until(due), if pending => {}
                changed = self.finished.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn save(&mut self, tally: &Tally) -> Result<()> {
        // Asked after the tally was made: what it holds is of this timeline or of one before.
        let timeline = self.confirmer.timeline();
        let versions = |confirmed| self.confirmer.versions_at(confirmed);
        let saving = self.checkpointer.save(tally, timeline, versions);
        let confirmed = saving.await.map_err(Error::from)?;
        self.monitor.set_state_error(None);
        // With fewer sinks than make a quorum, what they have applied says nothing.
        let apply = tally.quorum().unwrap_or(Lsn::new(0));
        self.confirmer.report(confirmed, apply)
    }
}

/// Whether nothing but idle progress lies between two tallies.
fn only_idle(before: &Tally, after: &Tally) -> bool {
    before.members.len() == after.members.len()
        && before.members.iter().zip(&after.members).all(|((name, before), (other, after))| {
            name == other && before.progress.data_end == after.progress.data_end
        })
}
