//! Whether a server can be gone on with: the cluster that positions are of, and a log that holds
//! all of what was given away.
//!
//! Pure decisions. A promoted server reuses the LSNs that lie after its switch point: going on
//! there from a position of the old timeline would leave out what is new. So every position in use
//! counts, not only what is confirmed.

use super::error::StreamError;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::ServerIdentity;

/// Whether positions up to `reached`, given away by the server `was`, are of the server of
/// `lineage` too.
pub(super) fn judge_identity(
    lineage: &Lineage,
    was: ServerIdentity,
    reached: Lsn,
) -> Result<(), StreamError> {
    let have = lineage.identity();
    if have.system_id != was.system_id {
        return Err(StreamError::OtherCluster { have: have.system_id, want: was.system_id });
    }
    if lineage.holds(was.timeline, reached) {
        return Ok(());
    }
    let switch = lineage.end_of(was.timeline);
    let (have, was) = (have.timeline, was.timeline);
    Err(StreamError::Diverged { have, was, switch, confirmed: reached })
}

/// Whether the server's log, flushed up to `end`, reaches as far as what was given away. A standby
/// that has just started may have to replay first.
pub(super) fn judge_log(end: Lsn, reached: Lsn, in_recovery: bool) -> Result<(), StreamError> {
    if end >= reached {
        return Ok(());
    }
    Err(StreamError::LogShorter { end, reached, in_recovery })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::name::{SystemId, Timeline};

    fn server(system_id: u64, timeline: u32) -> ServerIdentity {
        ServerIdentity { system_id: SystemId::new(system_id), timeline: Timeline::new(timeline) }
    }

    #[test]
    fn what_was_given_away_must_lie_before_the_switch() {
        let history = "1\t0/100\tpromoted\n2\t0/200\tpromoted\n";
        let lineage = Lineage::parse(server(7, 3), history).unwrap();
        let judge = |was, reached| judge_identity(&lineage, was, Lsn::new(reached));
        assert!(judge(server(7, 3), u64::MAX).is_ok());
        assert!(judge(server(7, 2), 0x200).is_ok());
        assert!(matches!(judge(server(7, 2), 0x201), Err(StreamError::Diverged { .. })));
        assert!(judge(server(7, 1), 0x100).is_ok());
        assert!(matches!(judge(server(7, 1), 0x101), Err(StreamError::Diverged { .. })));
        let unknown = judge(server(7, 4), 1);
        assert!(matches!(unknown, Err(StreamError::Diverged { switch: None, .. })));
        assert!(matches!(judge(server(8, 3), 1), Err(StreamError::OtherCluster { .. })));
    }

    #[test]
    fn a_log_that_ends_before_what_was_given_away_was_set_back() {
        let judge = |end, in_recovery| judge_log(Lsn::new(end), Lsn::new(50), in_recovery);
        assert!(judge(50, false).is_ok());
        assert!(!Error::from(judge(49, false).unwrap_err()).is_transient());
        assert!(Error::from(judge(49, true).unwrap_err()).is_transient());
    }
}
