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

/// How many moments are remembered; beyond that every other one is forgotten, but never the oldest.
const MOMENTS_MAX: usize = 4096;

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
    /// Age of the oldest commit that it has not passed, 0 when there is none; `None` while that is
    /// not known.
    pub seconds: Option<f64>,
}

/// When what is on its way was committed, or seen at the server's end before it came to us.
#[derive(Debug, Default)]
pub(crate) struct LagTimes {
    commits: Moments,
    server_ends: Moments,
}

/// Positions and times, oldest first.
#[derive(Debug, Default)]
struct Moments(VecDeque<(Lsn, Timestamp)>);

/// What the server's position is, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ServerPosition {
    /// The end of its log.
    pub(crate) end: Option<Lsn>,
    /// What the walsender had sent when it had nothing more to send; `None` while it is behind.
    pub(crate) caught_up_at: Option<Lsn>,
}

impl LagTimes {
    /// A transaction that ends at `end` is on its way.
    pub(crate) fn note_commit(&mut self, end: Lsn, committed: Timestamp) {
        self.commits.note(end, committed);
    }

    /// The server's log ends where `server` says, now.
    pub(crate) fn note_server(&mut self, server: ServerPosition, now: Timestamp) {
        if let Some(end) = server.end {
            self.server_ends.note(end, now);
        }
    }

    /// Nothing before `lsn` is asked for any more.
    pub(crate) fn forget(&mut self, lsn: Lsn) {
        self.commits.forget(lsn);
        self.server_ends.forget(lsn);
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
        let age = |at| match bytes {
            Some(0) => self.commits.age_beyond(at, now),
            // A commit that has not come yet is at least as old as our knowing of log beyond.
            _ => self.commits.age_beyond(at, now).max(self.server_ends.age_beyond(at, now)),
        };
        let seconds = lsn.map(|at| age(at).as_secs_f64());
        StageLag { stage, sink, lsn, bytes, seconds }
    }
}

impl Moments {
    fn note(&mut self, at: Lsn, time: Timestamp) {
        if self.0.back().is_some_and(|(last, _)| *last >= at) {
            return;
        }
        self.0.push_back((at, time));
        if self.0.len() > MOMENTS_MAX {
            // The first stays: what waits longest is what is asked for.
            let mut nth = 0;
            self.0.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
    }

    fn forget(&mut self, lsn: Lsn) {
        while self.0.front().is_some_and(|(at, _)| *at <= lsn) {
            self.0.pop_front();
        }
    }

    /// The age at `now` of the oldest moment beyond `lsn`.
    fn age_beyond(&self, lsn: Lsn, now: Timestamp) -> Duration {
        let oldest = self.0.partition_point(|(at, _)| *at <= lsn);
        self.0.get(oldest).map_or(Duration::ZERO, |(_, time)| now.since(*time))
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
        let mut times = LagTimes::default();
        times.note_commit(Lsn::new(10), at(1));
        times.note_commit(Lsn::new(20), at(5));
        let server = ServerPosition { end: Some(Lsn::new(30)), caught_up_at: None };
        let rung = |lsn| times.rung((Stage::Durable, None), Some(Lsn::new(lsn)), server, at(9));
        assert_eq!((rung(9).seconds, rung(9).bytes), (Some(8.0), Some(21)));
        assert_eq!(rung(10).seconds, Some(4.0));
        assert_eq!(rung(20).seconds, Some(0.0));
    }

    #[test]
    fn idle_and_caught_up_is_zero() {
        let server = ServerPosition { end: Some(Lsn::new(99)), caught_up_at: Some(Lsn::new(20)) };
        let rung =
            LagTimes::default().rung((Stage::Confirmed, None), Some(Lsn::new(20)), server, at(9));
        assert_eq!((rung.bytes, rung.seconds), (Some(0), Some(0.0)));
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_moment_stays() {
        let mut moments = Moments::default();
        for n in 1..100_000 {
            moments.note(Lsn::new(n), at(n as i64));
        }
        assert!(moments.0.len() <= MOMENTS_MAX);
        assert_eq!(moments.age_beyond(Lsn::new(0), at(100_000)), Duration::from_secs(99_999));
        moments.forget(Lsn::new(99_999));
        assert!(moments.0.is_empty());
    }

    #[test]
    fn log_that_does_not_come_makes_a_stage_late() {
        let mut times = LagTimes::default();
        let behind = ServerPosition { end: Some(Lsn::new(50)), caught_up_at: None };
        times.note_server(behind, at(3));
        let rung = |server| times.rung((Stage::Received, None), Some(Lsn::new(20)), server, at(9));
        assert_eq!(rung(behind).seconds, Some(6.0));
        let caught_up = ServerPosition { caught_up_at: Some(Lsn::new(20)), ..behind };
        assert_eq!(rung(caught_up).seconds, Some(0.0));
    }
}
