//! What a lane tells of itself, and what all of them add up to.
//!
//! A [`LaneStatus`] is written by its lane alone and read by anyone; it is one value, so that a
//! cursor and the end of the data before it are never seen apart. The [`Ledger`] folds them.

use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;

use crate::checkpoint::{Held, Member, SinkProgress, Tally};
use crate::lsn::Lsn;
use crate::name::SinkName;

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
            retries: 0,
            error: None,
            skipped_bytes: 0,
            flush_time: Duration::ZERO,
        }
    }
}

/// Folds what the lanes have proven into what may be told.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    members: Vec<LedgerMember>,
    /// How many required sinks make a quorum.
    quorum: usize,
}

/// A lane, seen from outside.
#[derive(Debug, Clone)]
pub(crate) struct LedgerMember {
    pub(crate) name: SinkName,
    pub(crate) required: bool,
    pub(crate) status: watch::Receiver<LaneStatus>,
}

impl Ledger {
    /// A ledger of `members` of which `quorum` required ones make a quorum; all of them if `None`.
    pub(crate) fn new(members: Vec<LedgerMember>, quorum: Option<usize>) -> Self {
        let required = members.iter().filter(|member| member.required).count();
        Self { members, quorum: quorum.unwrap_or(required).clamp(1, required.max(1)) }
    }

    pub(crate) fn members(&self) -> &[LedgerMember] {
        &self.members
    }

    /// Where every sink stands now.
    pub(crate) fn tally(&self) -> Tally {
        let entry = |member: &LedgerMember| {
            let (progress, placed) = {
                let status = member.status.borrow();
                (status.progress, status.placed)
            };
            let held = if member.required { Held::ByCursor } else { Held::Not };
            (member.name.clone(), Member { progress, held, placed })
        };
        Tally { members: self.members.iter().map(entry).collect() }
    }

    /// Wait until some lane has something to tell.
    pub(crate) async fn changed(&mut self) {
        let mut waits: Vec<_> =
            self.members.iter_mut().map(|member| Some(Box::pin(member.status.changed()))).collect();
        std::future::poll_fn(|cx| {
            for wait in &mut waits {
                match wait.as_mut().map(|wait| wait.as_mut().poll(cx)) {
                    Some(Poll::Ready(Ok(()))) => return Poll::Ready(()),
                    // A lane that is gone has nothing more to tell.
                    Some(Poll::Ready(Err(_))) => *wait = None,
                    Some(Poll::Pending) | None => {}
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// The frontier that a quorum of required sinks has made durable.
    pub(crate) fn quorum_frontier(&self, tally: &Tally) -> Option<Lsn> {
        quorum_frontier(tally, self.quorum)
    }
}

/// The `quorum`-th largest cursor of the required sinks.
fn quorum_frontier(tally: &Tally, quorum: usize) -> Option<Lsn> {
    let required = tally.members.values().filter(|member| member.held != Held::Not);
    let mut cursors: Vec<Lsn> = required.map(|member| member.progress.cursor).collect();
    cursors.sort_unstable_by(|a, b| b.cmp(a));
    cursors.get(quorum.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tally(cursors: &[(u64, bool)]) -> Tally {
        let member = |(at, (cursor, required)): (usize, &(u64, bool))| {
            let name = SinkName::new(format!("s{at}")).unwrap();
            let progress = SinkProgress { cursor: Lsn::new(*cursor), data_end: None };
            let held = if *required { Held::ByCursor } else { Held::Not };
            (name, Member { progress, held, placed: true })
        };
        Tally { members: cursors.iter().enumerate().map(member).collect() }
    }

    proptest! {
        /// At least `quorum` required sinks are at the frontier, and fewer beyond it.
        #[test]
        fn a_quorum_has_what_the_frontier_says(
            cursors in prop::collection::vec((0u64..20, any::<bool>()), 1..8), quorum in 1usize..8,
        ) {
            let required: Vec<u64> =
                cursors.iter().filter(|(_, required)| *required).map(|(at, _)| *at).collect();
            match quorum_frontier(&tally(&cursors), quorum) {
                None => prop_assert!(required.len() < quorum),
                Some(frontier) => {
                    let frontier = frontier.as_u64();
                    prop_assert!(required.iter().filter(|at| **at >= frontier).count() >= quorum);
                    prop_assert!(required.iter().filter(|at| **at > frontier).count() < quorum);
                }
            }
        }

        /// With all as the quorum, both frontiers are one.
        #[test]
        fn the_quorum_of_all_is_the_retain_frontier(
            cursors in prop::collection::vec(0u64..20, 1..8),
        ) {
            let members: Vec<_> = cursors.iter().map(|at| (*at, true)).collect();
            let tally = tally(&members);
            prop_assert_eq!(quorum_frontier(&tally, members.len()), tally.retain());
        }
    }
}
