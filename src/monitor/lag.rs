//! How far behind each stage is, in bytes and in seconds.
//!
//! The ladder has five rungs: received, decoded, delivered, durable, confirmed. In bytes a rung is
//! measured against the server's position; in seconds against the commit that it has not passed yet
//! and that is oldest. Caught up and idle, both are 0. Pure: positions and times come in as values.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::name::SinkName;
use crate::timestamp::Timestamp;

/// How many commits are remembered; beyond that every other one is forgotten.
const COMMITS_MAX: usize = 4096;

/// A rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Bytes came over the wire.
    Received,
    /// They were made into batches.
    Decoded,
    /// A sink took them.
    Delivered,
    /// A sink proved them.
    Durable,
    /// The slot may forget them.
    Confirmed,
}

/// How far one stage is, and how far behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageLag {
    /// Which stage.
    pub stage: Stage,
    /// Whose; `None` for stages before the fan-out, and for the slot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sink: Option<SinkName>,
    /// Up to where it has come.
    pub lsn: Option<Lsn>,
    /// Bytes of log between there and the server's position.
    pub bytes: Option<u64>,
    /// Age of the oldest commit that it has not passed; 0 when there is none.
    pub seconds: f64,
}

/// Commits on their way, oldest first.
#[derive(Debug, Default)]
pub(crate) struct CommitTimes {
    commits: VecDeque<(Lsn, Timestamp)>,
}

/// What the server's position is, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ServerPosition {
    /// The end of its log.
    pub(crate) end: Option<Lsn>,
    /// What the walsender had sent when it had nothing more to send; `None` while it is behind.
    pub(crate) caught_up_at: Option<Lsn>,
}

impl CommitTimes {
    /// A transaction that ends at `end` is on its way.
    pub(crate) fn note(&mut self, end: Lsn, committed: Timestamp) {
        if self.commits.back().is_some_and(|(last, _)| *last >= end) {
            return;
        }
        self.commits.push_back((end, committed));
        if self.commits.len() > COMMITS_MAX {
            let mut nth = 0;
            self.commits.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
    }

    /// Nothing before `lsn` is asked for any more.
    pub(crate) fn forget(&mut self, lsn: Lsn) {
        while self.commits.front().is_some_and(|(end, _)| *end <= lsn) {
            self.commits.pop_front();
        }
    }

    /// The age at `now` of the oldest commit that a stage at `lsn` has not passed.
    fn age_beyond(&self, lsn: Lsn, now: Timestamp) -> Duration {
        let oldest = self.commits.partition_point(|(end, _)| *end <= lsn);
        self.commits.get(oldest).map_or(Duration::ZERO, |(_, committed)| now.since(*committed))
    }

    /// The rung of `stage` at `lsn`.
    pub(crate) fn rung(
        &self,
        (stage, sink): (Stage, Option<SinkName>),
        lsn: Option<Lsn>,
        server: ServerPosition,
        now: Timestamp,
    ) -> StageLag {
        let bytes = lsn.zip(server.end).map(|(at, end)| match server.caught_up_at {
            // What the log has beyond the last change sent is not for this slot.
            Some(sent) if at >= sent => 0,
            _ => end.bytes_since(at),
        });
        let seconds = lsn.map_or(0.0, |at| self.age_beyond(at, now).as_secs_f64());
        StageLag { stage, sink, lsn, bytes, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_postgres_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_stage_is_as_late_as_the_oldest_commit_it_has_not_passed() {
        let mut times = CommitTimes::default();
        times.note(Lsn::new(10), at(1));
        times.note(Lsn::new(20), at(5));
        let server = ServerPosition { end: Some(Lsn::new(30)), caught_up_at: None };
        let rung = |lsn| times.rung((Stage::Durable, None), Some(Lsn::new(lsn)), server, at(9));
        assert_eq!((rung(9).seconds, rung(9).bytes), (8.0, Some(21)));
        assert_eq!(rung(10).seconds, 4.0);
        assert_eq!(rung(20).seconds, 0.0);
    }

    #[test]
    fn idle_and_caught_up_is_zero() {
        let server = ServerPosition { end: Some(Lsn::new(99)), caught_up_at: Some(Lsn::new(20)) };
        let rung = CommitTimes::default().rung(
            (Stage::Confirmed, None),
            Some(Lsn::new(20)),
            server,
            at(9),
        );
        assert_eq!((rung.bytes, rung.seconds), (Some(0), 0.0));
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_commit_stays_close() {
        let mut times = CommitTimes::default();
        for n in 1..100_000 {
            times.note(Lsn::new(n), at(n as i64));
        }
        assert!(times.commits.len() <= COMMITS_MAX);
        assert!(times.age_beyond(Lsn::new(0), at(100_000)) > Duration::from_secs(40_000));
        times.forget(Lsn::new(99_999));
        assert!(times.commits.is_empty());
    }
}
