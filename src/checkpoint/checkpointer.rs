//! From proven positions to what the slot may be told.

use super::{Checkpoint, CheckpointError, CheckpointStore, Tally};
use crate::event::RelationVersions;
use crate::lsn::Lsn;
use crate::name::Timeline;

/// A position that the slot may be told: a checkpoint that covers it has been saved.
///
/// Only a [`Checkpointer`] makes one out of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Confirmed(Lsn);

impl Confirmed {
    /// For the low-level stream, whose caller says that everything before `end` is durable. Nothing
    /// here can know.
    pub(crate) fn vouched_by_caller(end: Lsn) -> Self {
        Self(end)
    }

    /// The position.
    pub const fn lsn(self) -> Lsn {
        self.0
    }
}

/// Saves progress and says what that confirms.
pub struct Checkpointer {
    store: Box<dyn CheckpointStore>,
    /// What the store holds; `None` before the first.
    saved: Option<Checkpoint>,
}

impl std::fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpointer").field("saved", &self.saved).finish_non_exhaustive()
    }
}

impl Checkpointer {
    /// Read what `store` holds.
    pub async fn open(store: impl CheckpointStore + 'static) -> Result<Self, CheckpointError> {
        let mut store: Box<dyn CheckpointStore> = Box::new(store);
        let saved = store.load().await?;
        Ok(Self { store, saved })
    }

    /// What was saved last; `None` when nothing ever was.
    pub fn saved(&self) -> Option<&Checkpoint> {
        self.saved.as_ref()
    }

    /// What the slot may be told by what was saved last.
    pub fn confirmed(&self) -> Option<Confirmed> {
        self.saved.as_ref().map(|saved| Confirmed(saved.confirmed))
    }

    /// Save `checkpoint` as it is: the first one, or one whose options, timeline or members
    /// changed.
    ///
    /// # Errors
    /// When it cannot be saved; what was confirmed before stays.
    ///
    /// # Cancel safety
    /// When dropped, the store may hold either; call it again.
    pub async fn begin(&mut self, checkpoint: Checkpoint) -> Result<Confirmed, CheckpointError> {
        self.store.save(&checkpoint).await?;
        let confirmed = Confirmed(checkpoint.confirmed);
        self.saved = Some(checkpoint);
        Ok(confirmed)
    }

    /// Save where the sinks stand on `timeline`, the server's now, with the `versions` of tables at
    /// what that confirms. Sinks that `tally` does not name keep their entry.
    ///
    /// Invariants I1, I2 and I7 hold by construction: what is confirmed is folded from the same
    /// positions that are saved, never falls, and is answered after the store has taken them.
    ///
    /// # Errors
    /// When it cannot be saved, or when a cursor would fall; what was confirmed before stays.
    ///
    /// # Cancel safety
    /// When dropped, the store may hold either; call it again.
    pub async fn save(
        &mut self,
        tally: &Tally,
        timeline: Timeline,
        versions: impl FnOnce(Lsn) -> RelationVersions + Send,
    ) -> Result<Confirmed, CheckpointError> {
        let mut next = self.saved.clone().ok_or(CheckpointError::NotBegun)?;
        next.timeline = timeline;
        for (sink, member) in &tally.members {
            let progress = member.progress;
            if !member.placed {
                continue;
            }
            let saved = next.sinks.insert(sink.clone(), progress);
            let floor = saved.map(|saved| saved.cursor).max(progress.data_end);
            if let Some(floor) = floor.filter(|floor| progress.cursor < *floor) {
                let (sink, saved, cursor) = (sink.clone(), floor, progress.cursor);
                return Err(CheckpointError::Backwards { sink, saved, cursor });
            }
        }
        next.confirmed = tally.released().map_or(next.confirmed, |end| end.max(next.confirmed));
        for (sink, member) in &tally.members {
            match member.apart(next.confirmed) {
                Some(apart) => next.apart.insert(sink.clone(), apart),
                None => next.apart.remove(sink),
            };
        }
        next.relations = versions(next.confirmed);
        self.begin(next).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{checkpoint, sink};
    use super::super::{Apart, Held, Member, MemoryStore, Release, SinkProgress, StoreFuture};
    use super::*;
    use crate::checkpoint::Rule;

    const ON: Timeline = Timeline::new(1);

    fn none(_: Lsn) -> RelationVersions {
        RelationVersions::default()
    }

    fn tally(members: &[(&str, u64, Held)]) -> Tally {
        let member = |&(name, cursor, held): &(&str, u64, Held)| {
            let progress = SinkProgress { cursor: Lsn::new(cursor), data_end: None };
            (sink(name), Member { progress, held, placed: true })
        };
        Tally { members: members.iter().map(member).collect(), rule: Rule::default() }
    }

    async fn begun() -> Checkpointer {
        let mut it = Checkpointer::open(MemoryStore::default()).await.unwrap();
        assert_eq!(it.confirmed(), None);
        assert!(matches!(it.save(&tally(&[]), ON, none).await, Err(CheckpointError::NotBegun)));
        assert_eq!(it.begin(checkpoint(5)).await.unwrap().lsn(), Lsn::new(5));
        it
    }

    #[tokio::test]
    async fn the_slowest_required_sink_decides() {
        let mut it = begun().await;
        let held = [("a", 20, Held::ByCursor), ("b", 9, Held::BySpool(Lsn::new(15)))];
        assert_eq!(it.save(&tally(&held), ON, none).await.unwrap().lsn(), Lsn::new(15));
        let best_effort = [("a", 30, Held::ByCursor), ("b", 9, Held::Not)];
        assert_eq!(it.save(&tally(&best_effort), ON, none).await.unwrap().lsn(), Lsn::new(30));
        let saved = it.saved().unwrap();
        assert_eq!(saved.sinks[&sink("b")].cursor, Lsn::new(9));
        assert!(saved.sinks.contains_key(&sink("audit")), "entries of others stay");
    }

    #[tokio::test]
    async fn who_stands_in_and_who_is_left_behind_is_saved_with_what_is_confirmed() {
        let mut it = begun().await;
        let spool = Held::BySpool(Lsn::new(15));
        let members = [("a", 20, Held::ByCursor), ("b", 9, spool), ("c", 7, Held::Detached)];
        assert_eq!(it.save(&tally(&members), ON, none).await.unwrap().lsn(), Lsn::new(15));
        let saved = it.saved().unwrap();
        assert_eq!(saved.apart[&sink("b")], Apart::Spooled(Lsn::new(15)));
        assert_eq!(saved.apart[&sink("c")], Apart::Detached);
        assert_eq!(saved.sinks[&sink("c")].cursor, Lsn::new(7), "where it was left");
        let members = [("a", 20, Held::ByCursor), ("b", 15, spool)];
        it.save(&tally(&members), ON, none).await.unwrap();
        assert!(!it.saved().unwrap().apart.contains_key(&sink("b")), "it needs the spool no more");
    }

    #[tokio::test]
    async fn whoever_a_quorum_passes_is_left_behind_until_it_has_caught_up() {
        let mut it = begun().await;
        let at = |slow| {
            let members = [("a", 20, Held::ByCursor), ("b", slow, Held::ByCursor)];
            let rule = Rule { quorum: Some(1), release: Release::Quorum };
            Tally { rule, ..tally(&members) }
        };
        assert_eq!(it.save(&at(9), ON, none).await.unwrap().lsn(), Lsn::new(20));
        assert_eq!(it.saved().unwrap().apart[&sink("b")], Apart::Detached);
        it.save(&at(20), ON, none).await.unwrap();
        assert!(it.saved().unwrap().apart.is_empty());
    }

    #[tokio::test]
    async fn a_new_sink_holds_the_slot_before_anything_is_known_of_it() {
        let mut it = begun().await;
        let mut tally = tally(&[("a", 20, Held::ByCursor), ("new", 9, Held::ByCursor)]);
        tally.members.get_mut(&sink("new")).unwrap().placed = false;
        assert_eq!(it.save(&tally, ON, none).await.unwrap().lsn(), Lsn::new(9));
        assert!(!it.saved().unwrap().sinks.contains_key(&sink("new")));
    }

    #[tokio::test]
    async fn positions_are_saved_with_the_timeline_they_are_on() {
        let mut it = begun().await;
        let promoted = Timeline::new(2);
        it.save(&tally(&[("a", 9, Held::ByCursor)]), promoted, none).await.unwrap();
        assert_eq!(it.saved().unwrap().timeline, promoted);
    }

    #[tokio::test]
    async fn nothing_falls_and_nobody_required_means_nothing_moves() {
        let mut it = begun().await;
        let one = |cursor| tally(&[("a", cursor, Held::ByCursor)]);
        assert_eq!(it.save(&one(3), ON, none).await.unwrap().lsn(), Lsn::new(5));
        assert!(matches!(it.save(&one(2), ON, none).await, Err(CheckpointError::Backwards { .. })));
        let nobody = tally(&[("a", 50, Held::Not)]);
        assert_eq!(it.save(&nobody, ON, none).await.unwrap().lsn(), Lsn::new(5));
    }

    #[tokio::test]
    async fn nothing_is_confirmed_that_could_not_be_saved() {
        /// Takes one checkpoint, then no more.
        struct Full(MemoryStore, usize);
        impl CheckpointStore for Full {
            fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
                self.0.load()
            }
            fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
                self.1 += 1;
                if self.1 == 1 {
                    return self.0.save(checkpoint);
                }
                let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
                let (operation, path) = ("write", "checkpoint".into());
                Box::pin(async move { Err(CheckpointError::Io { operation, path, source }) })
            }
        }
        let mut it = Checkpointer::open(Full(MemoryStore::default(), 0)).await.unwrap();
        it.begin(checkpoint(5)).await.unwrap();
        it.save(&tally(&[("a", 9, Held::ByCursor)]), ON, none).await.unwrap_err();
        assert_eq!(it.confirmed().unwrap().lsn(), Lsn::new(5));
        assert_eq!(it.saved(), Some(&checkpoint(5)));
    }
}
