//! How far everything has come, on disk before the slot hears of it.
//!
//! A [`Checkpoint`] says for one slot what each sink has proven. A [`CheckpointStore`] keeps it,
//! whole or not at all. The [`Checkpointer`] is the only maker of [`Confirmed`], and makes one only
//! out of what a store has taken: that is how "checkpoint first, slot second" is a matter of types.
//! [`resume`] and [`judge_slot`] decide, from positions alone, where a sink goes on and whether the
//! slot still has what is needed. Who measures progress, and when it is saved, is not known here.

mod checkpointer;
mod error;
mod file;
mod memory;
mod relations_file;
mod resume;
mod tally;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

pub use checkpointer::{Checkpointer, Confirmed};
pub use error::CheckpointError;
pub use file::FileStore;
pub use memory::MemoryStore;
pub use resume::{Gap, ResumeError, judge_slot, resume};
pub use tally::{Apart, Held, Member, Release, Rule, Tally};

use crate::event::RelationVersions;
use crate::lsn::Lsn;
use crate::name::{PublicationName, SinkName, SlotName, SystemId, Timeline};

/// Everything a restart needs to know of one slot and its sinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The cluster the positions are of.
    pub system_id: SystemId,
    /// The timeline it was on when this was saved.
    pub timeline: Timeline,
    /// The slot.
    pub slot: SlotName,
    /// The slot's consistent point, if it was made by us; `None` for one that was there before.
    pub consistent_point: Option<Lsn>,
    /// What the slot may be told: every required sink, or the spool that stands in for it, is
    /// durable up to here.
    pub confirmed: Lsn,
    /// What the stream was asked for.
    pub options: StreamOptions,
    /// Each sink's progress.
    pub sinks: BTreeMap<SinkName, SinkProgress>,
    /// The sinks behind `confirmed`, and what is in their place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apart: BTreeMap<SinkName, Apart>,
    /// The versions of tables in force at `confirmed`: what a change of shape is a change from.
    #[serde(default, skip_serializing_if = "RelationVersions::is_empty")]
    pub relations: RelationVersions,
}

/// The options that decide what the server sends, and so which index each change has.
///
/// When they change, a redelivered transaction may have other ids than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// The publications, in the order they were named.
    pub publications: Vec<PublicationName>,
    /// Whether changes that came from other nodes are wanted.
    pub origin: OriginFilter,
    /// The prefixes of the logical messages that are wanted; `*` for all.
    pub messages: Vec<String>,
}

/// Which changes are wanted by where they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginFilter {
    /// All of them.
    #[default]
    Any,
    /// Those made on this server.
    None,
}

/// How far a sink has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkProgress {
    /// It has proven everything before this.
    pub cursor: Lsn,
    /// The end of the last transaction that held something for it, at most the cursor; `None` while
    /// it was never given anything.
    pub data_end: Option<Lsn>,
}

impl Checkpoint {
    /// Whether it is of this slot of this cluster.
    ///
    /// # Errors
    /// When it is of another; positions of one mean nothing on the other.
    pub fn check_source(
        &self,
        system_id: SystemId,
        slot: &SlotName,
    ) -> Result<(), CheckpointError> {
        if self.system_id != system_id {
            let (stored, found) = (self.system_id, system_id);
            return Err(CheckpointError::OtherSystem { stored, found });
        }
        if self.slot != *slot {
            let (stored, asked) = (self.slot.clone(), slot.clone());
            return Err(CheckpointError::OtherSlot { stored, asked });
        }
        Ok(())
    }
}

/// A store's answer to come.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, CheckpointError>> + Send + 'a>>;

/// Keeps one checkpoint.
pub trait CheckpointStore: Send {
    /// What was saved last; `None` when nothing ever was.
    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>>;

    /// Put `checkpoint` in the place of the one before. `Ok` means that it survives a crash of the
    /// machine; after an error either of the two may be found.
    ///
    /// # Cancel safety
    /// When dropped, either of the two may be found; the next `save` comes after it.
    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sink(name: &str) -> SinkName {
        SinkName::new(name).unwrap()
    }

    pub(super) fn checkpoint(confirmed: u64) -> Checkpoint {
        let progress = SinkProgress { cursor: Lsn::new(confirmed), data_end: None };
        Checkpoint {
            system_id: SystemId::new(7),
            timeline: Timeline::new(1),
            slot: SlotName::new("walcast").unwrap(),
            consistent_point: Some(Lsn::new(3)),
            confirmed: Lsn::new(confirmed),
            options: StreamOptions {
                publications: vec![PublicationName::new("We\"ird").unwrap()],
                origin: OriginFilter::Any,
                messages: vec!["*".to_owned()],
            },
            sinks: BTreeMap::from([(sink("audit"), progress)]),
            apart: BTreeMap::new(),
            relations: RelationVersions::default(),
        }
    }

    #[test]
    fn a_checkpoint_serves_its_own_slot_only() {
        let it = checkpoint(5);
        let other = SlotName::new("other").unwrap();
        it.check_source(SystemId::new(7), &it.slot).unwrap();
        let error = it.check_source(SystemId::new(8), &it.slot).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherSystem { .. }));
        let error = it.check_source(SystemId::new(7), &other).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherSlot { .. }));
    }
}
