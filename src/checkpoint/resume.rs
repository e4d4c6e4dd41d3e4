//! Where a sink goes on, and whether the slot still has what it needs.
//!
//! Pure decisions over positions of one lineage. None of them takes the greater of two positions to
//! make ends meet: where a sink and the checkpoint disagree, either nothing lies between them for
//! that sink, or data is missing and that is said.

use std::fmt;

use super::{Checkpoint, SinkProgress};
use crate::error::{Error, ErrorKind};
use crate::lsn::Lsn;
use crate::name::SinkName;
use crate::sink::Resume;

/// Changes that sinks still need and the slot no longer has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Gap {
    /// The sinks that miss something.
    pub sinks: Vec<SinkName>,
    /// Where they stand.
    pub from: Lsn,
    /// Where the slot begins.
    pub to: Lsn,
}

/// Why a sink cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// The sink holds less than it had proven: its target was restored from an older state, or
    /// lost.
    #[error(
        "the sink stands at {own}, but had proven data up to {data_end}: its target was restored, \
         truncated or replaced"
    )]
    Regressed {
        /// Where the sink says it stands.
        own: Lsn,
        /// The end of the last data it had proven.
        data_end: Lsn,
    },
    /// The slot begins after the position the sink needs.
    #[error(transparent)]
    Gap(#[from] Gap),
}

/// Where a sink goes on.
///
/// `own` is what the sink says of itself, `entry` what the checkpoint says of it (`None` for a sink
/// that is new here), `slot_confirmed` the slot's `confirmed_flush_lsn`, before which the server
/// sends nothing.
///
/// # Errors
/// [`Regressed`](ResumeError::Regressed) when the sink lost data it had; [`Gap`](ResumeError::Gap)
/// when the slot no longer has what it needs.
///
/// ```
/// use walcast::checkpoint::{SinkProgress, resume};
/// use walcast::{Lsn, sink::Resume};
/// let entry = SinkProgress { cursor: Lsn::new(90), data_end: Some(Lsn::new(50)) };
/// let at = |own| resume(Resume::After(Lsn::new(own)), Some(entry), Lsn::new(40));
/// assert_eq!(at(95), Ok(Lsn::new(95))); // It proved more than was saved.
/// assert_eq!(at(50), Ok(Lsn::new(90))); // What came after 50 held nothing for it.
/// assert!(at(49).is_err());             // It had proven 50 and no longer has it.
/// ```
pub fn resume(
    own: Resume,
    entry: Option<SinkProgress>,
    slot_confirmed: Lsn,
) -> Result<Lsn, ResumeError> {
    let position = match (own, entry) {
        (Resume::Delegate, Some(entry)) => entry.cursor,
        (Resume::Delegate, None) => slot_confirmed,
        // A new sink that holds nothing starts where the slot is; one that holds something must not
        // miss what lies between.
        (Resume::After(own), None) => own.valid().unwrap_or(slot_confirmed),
        (Resume::After(own), Some(entry)) => match entry.data_end {
            _ if own >= entry.cursor => own,
            Some(data_end) if own < data_end => {
                return Err(ResumeError::Regressed { own, data_end });
            }
            _ => entry.cursor,
        },
    };
    if position < slot_confirmed {
        return Err(Gap { sinks: Vec::new(), from: position, to: slot_confirmed }.into());
    }
    Ok(position)
}

/// Whether the slot is still where `checkpoint` left it. It may be behind: a status was lost.
///
/// # Errors
/// When it is ahead: somebody else advanced, used or remade it, and what lies between is gone.
pub fn judge_slot(checkpoint: &Checkpoint, confirmed_flush: Lsn) -> Result<(), Gap> {
    if confirmed_flush <= checkpoint.confirmed {
        return Ok(());
    }
    let behind = checkpoint.sinks.iter().filter(|(_, sink)| sink.cursor < confirmed_flush);
    Err(Gap {
        sinks: behind.map(|(name, _)| name.clone()).collect(),
        from: checkpoint.confirmed,
        to: confirmed_flush,
    })
}

impl Gap {
    /// The same gap, of `sink`.
    pub fn of(mut self, sink: SinkName) -> Self {
        self.sinks.push(sink);
        self
    }

    /// How much of the log is missing.
    pub fn bytes(&self) -> u64 {
        self.to.bytes_since(self.from)
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, .. } = self;
        let bytes = self.bytes();
        write!(f, "the slot begins at {to}: {bytes} bytes of log after {from} are gone for ")?;
        match self.sinks.as_slice() {
            [] => f.write_str("its reader"),
            [one] => write!(f, "sink {one}"),
            many => {
                f.write_str("sinks ")?;
                for (nth, sink) in many.iter().enumerate() {
                    write!(f, "{}{sink}", if nth == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}

impl From<Gap> for Error {
    fn from(gap: Gap) -> Self {
        Error::permanent(ErrorKind::Gap, gap).with_fix(
            "load the named sinks anew from a snapshot; or accept the loss by giving them a new name, \
             which starts them where the slot is",
        )
    }
}

impl From<ResumeError> for Error {
    fn from(error: ResumeError) -> Self {
        match error {
            ResumeError::Gap(gap) => gap.into(),
            regressed @ ResumeError::Regressed { .. } => Error::permanent(
                ErrorKind::Gap,
                regressed,
            )
            .with_fix(
                "bring the target back to its latest state, or load it anew from a snapshot and \
                     give the sink a new name",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{checkpoint, sink};
    use super::*;

    fn after(lsn: u64) -> Resume {
        Resume::After(Lsn::new(lsn))
    }

    #[test]
    fn a_new_sink_starts_where_the_slot_is_unless_it_knows_better() {
        let at = |own| resume(own, None, Lsn::new(50));
        assert_eq!(at(Resume::Delegate), Ok(Lsn::new(50)));
        assert_eq!(at(after(70)), Ok(Lsn::new(70)));
        assert!(matches!(at(after(49)), Err(ResumeError::Gap(gap)) if gap.bytes() == 1));
    }

    #[test]
    fn a_slot_that_ran_ahead_is_told_with_who_misses_what() {
        let checkpoint = checkpoint(0x50);
        assert_eq!(judge_slot(&checkpoint, Lsn::new(0x4F)), Ok(()));
        assert_eq!(judge_slot(&checkpoint, Lsn::new(0x50)), Ok(()));
        let gap = judge_slot(&checkpoint, Lsn::new(0x60)).unwrap_err();
        assert_eq!(gap.sinks, [sink("audit")]);
        let text = Error::from(gap).to_string();
        assert!(text.starts_with(
            "the slot begins at 0/60: 16 bytes of log after 0/50 are gone for sink audit"
        ));
    }

    /// A sink and what happened to it: transactions that held something for it, how far it had
    /// proven, and what it holds now.
    #[derive(Debug)]
    struct History {
        data: Vec<u64>,
        entry: SinkProgress,
        own: u64,
        slot: u64,
    }

    fn history() -> impl Strategy<Value = History> {
        let data = prop::collection::btree_set(1u64..100, 0..10);
        (data, 0u64..100, 0u64..100, 0u64..100).prop_map(|(data, cursor, own, slot)| {
            let data: Vec<_> = data.into_iter().collect();
            let data_end = data.iter().rev().find(|end| **end <= cursor);
            let data_end = data_end.map(|end| Lsn::new(*end));
            let entry = SinkProgress { cursor: Lsn::new(cursor), data_end };
            History { data, entry, own, slot }
        })
    }

    proptest! {
        /// Wherever a sink goes on, it holds all that came before, and the slot has all that comes
        /// after; and it is stopped only when one of the two is not so.
        #[test]
        fn nothing_is_skipped_and_nothing_is_refused_without_need(it in history()) {
            let held = |end: &u64| *end <= it.own;
            let lost = it.data.iter().any(|end| Lsn::new(*end) <= it.entry.cursor && !held(end));
            let slot = Lsn::new(it.slot);
            match resume(after(it.own), Some(it.entry), slot) {
                Ok(position) => {
                    prop_assert!(!lost && position >= slot);
                    let before = |end: &&u64| Lsn::new(**end) <= position;
                    prop_assert!(it.data.iter().filter(before).all(held));
                    prop_assert!(position >= Lsn::new(it.own), "what it has is not sent again");
                }
                Err(ResumeError::Regressed { .. }) => prop_assert!(lost),
                Err(ResumeError::Gap(gap)) => {
                    prop_assert!(!lost);
                    prop_assert_eq!(gap.from, it.entry.cursor.max(Lsn::new(it.own)));
                    prop_assert!(gap.from < slot);
                }
            }
        }

        #[test]
        fn a_sink_without_a_cursor_goes_by_the_checkpoint(it in history()) {
            match resume(Resume::Delegate, Some(it.entry), Lsn::new(it.slot)) {
                Ok(position) => prop_assert_eq!(position, it.entry.cursor),
                Err(_) => prop_assert!(it.entry.cursor < Lsn::new(it.slot)),
            }
        }
    }
}
