//! Which timeline a position lies on.
//!
//! A promoted server starts a new timeline and reuses LSNs that the old primary had given away, so
//! a position means something only on its timeline. A [`Lineage`] is what TIMELINE_HISTORY says of
//! one server: each earlier timeline with the LSN where it ended, and the one it is on.

use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SystemId, Timeline};

/// The timelines that lead to a server's present one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lineage {
    identity: ServerIdentity,
    /// Earlier timelines, oldest first, each with the first LSN that is no longer on it.
    ended: Vec<(Timeline, Lsn)>,
}

/// A line of a timeline history file that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the timeline history is not a timeline, an LSN and a reason")]
pub struct LineageError {
    line: usize,
}

impl Lineage {
    /// The lineage of a server that was never promoted.
    pub fn single(identity: ServerIdentity) -> Self {
        Self { identity, ended: Vec::new() }
    }

    /// Read the content of a timeline history file, as TIMELINE_HISTORY returns it.
    pub fn parse(identity: ServerIdentity, history: &str) -> Result<Self, LineageError> {
        let mut ended = Vec::new();
        for (at, text) in history.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let mut words = text.split_whitespace();
            let entry = words.next().and_then(|word| word.parse().ok()).zip(words.next());
            let parsed = entry.and_then(|(timeline, lsn)| {
                Some((Timeline::new(timeline), lsn.parse::<Lsn>().ok()?))
            });
            ended.push(parsed.ok_or(LineageError { line: at + 1 })?);
        }
        Ok(Self { identity, ended })
    }

    /// The server this is the lineage of.
    pub fn identity(&self) -> ServerIdentity {
        self.identity
    }

    /// Its cluster.
    pub fn system_id(&self) -> SystemId {
        self.identity.system_id
    }

    /// The timeline that `lsn` lies on.
    pub fn timeline_of(&self, lsn: Lsn) -> Timeline {
        self.ended
            .iter()
            .find(|(_, end)| lsn < *end)
            .map_or(self.identity.timeline, |(timeline, _)| *timeline)
    }

    /// Whether everything before `lsn` on `timeline` belongs to this lineage: it is the present
    /// timeline, or an earlier one that was left no sooner.
    pub fn holds(&self, timeline: Timeline, lsn: Lsn) -> bool {
        timeline == self.identity.timeline || self.end_of(timeline).is_some_and(|end| lsn <= end)
    }

    /// Where `timeline` ended, if it is an earlier one of this lineage.
    pub fn end_of(&self, timeline: Timeline) -> Option<Lsn> {
        self.ended.iter().find(|(ended, _)| *ended == timeline).map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(timeline: u32) -> ServerIdentity {
        ServerIdentity { system_id: SystemId::new(7), timeline: Timeline::new(timeline) }
    }

    #[test]
    fn a_position_is_placed_on_the_timeline_it_was_written_on() {
        let history = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore x\n";
        let lineage = Lineage::parse(identity(3), history).unwrap();
        let on = |value| lineage.timeline_of(Lsn::new(value)).as_u32();
        assert_eq!(
            [on(1), on(0x2FF_FFFF), on(0x300_0000), on(0x500_0000), on(u64::MAX)],
            [1, 1, 2, 3, 3]
        );
        assert_eq!(lineage.end_of(Timeline::new(2)), Some(Lsn::new(0x500_0000)));
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = Lineage::parse(identity(2), "1\t0/1\tx\nnonsense").unwrap_err();
        assert_eq!(error, LineageError { line: 2 });
    }
}
