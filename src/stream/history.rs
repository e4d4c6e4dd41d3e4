//! Which version of each table is in force at which position.
//!
//! A [`History`] is told of the versions that came into use, by the transactions that did so, and
//! answers for any position at or after what is confirmed: for the checkpoint that is about to be
//! saved, and for a connection that begins there. It outlives connections, so that what one sends
//! again is known already, and keeps the tables in use that it has room for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::event::{Oid, Relation, RelationVersions};
use crate::lsn::Lsn;
use crate::session::VersionsMet;

/// The most columns that all versions together have. A table that is let go of for it, the one out
/// of use the longest, is met as if for the first time.
const COLUMNS_MAX: usize = 100_000;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct History {
    confirmed: Versions,
    /// What came into use after what is confirmed, in order.
    later: VecDeque<VersionsMet>,
    /// The end of the last transaction that brought a version.
    reached: Lsn,
    /// The last answer, and how many of `later` it includes.
    answer: Option<(usize, RelationVersions)>,
}

/// One version of each table.
#[derive(Debug, Clone, Default)]
struct Versions {
    /// With the turn at which it was used last.
    of: HashMap<Oid, (u64, Arc<Relation>)>,
    turn: u64,
    columns: usize,
}

impl History {
    /// What is in force at `position`.
    pub(super) fn new(versions: &RelationVersions, position: Lsn) -> Self {
        let mut confirmed = Versions::default();
        versions.iter().for_each(|relation| confirmed.put(Arc::clone(relation)));
        let (later, answer) = (VecDeque::new(), Some((0, versions.clone())));
        Self { confirmed, later, reached: position, answer }
    }

    /// A transaction used versions for the first time since its connection began.
    pub(super) fn note(&mut self, met: VersionsMet) {
        let VersionsMet { end, relations } = met;
        if end <= self.reached {
            return;
        }
        let mut new: Vec<Arc<Relation>> = Vec::new();
        for relation in relations {
            let oid = relation.oid;
            let later = || self.later.iter().rev().find_map(|met| of(&met.relations, oid));
            let confirmed = || self.confirmed.of.get(&oid).map(|(_, relation)| relation);
            let last = of(&new, oid).or_else(later).or_else(confirmed);
            let is_known = last.is_some_and(|last| {
                let tells_more =
                    relation.attribute_numbers().is_some() && last.attribute_numbers().is_none();
                last.has_shape_of(&relation) && !tells_more
            });
            if is_known {
                self.confirmed.touch(oid);
            } else {
                new.push(relation);
            }
        }
        if !new.is_empty() {
            self.reached = end;
            self.later.push_back(VersionsMet { end, relations: new });
        }
    }

    /// What is in force at `position`, which is not before what is confirmed.
    pub(super) fn at(&mut self, position: Lsn) -> RelationVersions {
        let count = self.later.partition_point(|met| met.end <= position);
        if let Some((_, answer)) = self.answer.as_ref().filter(|(included, _)| *included == count) {
            return answer.clone();
        }
        let answer = if count == 0 {
            self.confirmed.list()
        } else {
            let mut versions = self.confirmed.clone();
            self.later.iter().take(count).for_each(|met| versions.apply(met));
            versions.list()
        };
        self.answer = Some((count, answer.clone()));
        answer
    }

    /// Nothing before `position` is asked for again.
    pub(super) fn confirm(&mut self, position: Lsn) {
        while self.later.front().is_some_and(|met| met.end <= position) {
            let Some(met) = self.later.pop_front() else { break };
            self.confirmed.apply(&met);
            let answer = self.answer.take();
            self.answer =
                answer.and_then(|(included, answer)| Some((included.checked_sub(1)?, answer)));
        }
    }
}

/// The last version of table `oid` among `relations`.
fn of(relations: &[Arc<Relation>], oid: Oid) -> Option<&Arc<Relation>> {
    relations.iter().rfind(|relation| relation.oid == oid)
}

impl Versions {
    fn apply(&mut self, met: &VersionsMet) {
        met.relations.iter().for_each(|relation| self.put(Arc::clone(relation)));
    }

    fn put(&mut self, relation: Arc<Relation>) {
        self.turn += 1;
        self.columns += relation.columns.len();
        let before = self.of.insert(relation.oid, (self.turn, relation));
        self.columns -= before.map_or(0, |(_, before)| before.columns.len());
        while self.columns > COLUMNS_MAX {
            let oldest = self.of.iter().min_by_key(|(_, (turn, _))| *turn).map(|(oid, _)| *oid);
            let Some((_, gone)) = oldest.and_then(|oid| self.of.remove(&oid)) else { break };
            self.columns -= gone.columns.len();
        }
    }

    fn touch(&mut self, oid: Oid) {
        self.turn += 1;
        if let Some((turn, _)) = self.of.get_mut(&oid) {
            *turn = self.turn;
        }
    }

    fn list(&self) -> RelationVersions {
        let mut versions: Vec<_> = self.of.values().collect();
        versions.sort_unstable_by_key(|(turn, _)| *turn);
        versions.into_iter().map(|(_, relation)| Arc::clone(relation)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Column, ReplicaIdentity};

    fn version(oid: u32, columns: usize) -> Arc<Relation> {
        let column = |at: usize| Column {
            name: format!("c{at}"),
            type_oid: Oid::new(23),
            type_name: None,
            type_modifier: -1,
            in_identity: false,
        };
        Arc::new(Relation {
            oid: Oid::new(oid),
            schema: "public".to_owned(),
            name: format!("t{oid}"),
            replica_identity: ReplicaIdentity::Default,
            columns: (0..columns).map(column).collect(),
            catalog: None,
        })
    }

    fn met(end: u64, relations: &[Arc<Relation>]) -> VersionsMet {
        VersionsMet { end: Lsn::new(end), relations: relations.to_vec() }
    }

    fn at(history: &mut History, position: u64) -> Vec<(u32, usize)> {
        let versions = history.at(Lsn::new(position));
        versions.iter().map(|it| (it.oid.as_u32(), it.columns.len())).collect()
    }

    fn begun(versions: &[Arc<Relation>]) -> History {
        History::new(&versions.iter().cloned().collect(), Lsn::new(10))
    }

    #[test]
    fn each_position_has_the_versions_of_the_transactions_before_it() {
        let mut history = begun(&[version(1, 1)]);
        history.note(met(20, &[version(1, 2), version(2, 1)]));
        history.note(met(30, &[version(1, 3)]));
        for confirmed in [10, 20] {
            history.confirm(Lsn::new(confirmed));
            assert_eq!(at(&mut history, 29), [(1, 2), (2, 1)]);
            assert_eq!(at(&mut history, 30), [(2, 1), (1, 3)]);
        }
        history.confirm(Lsn::new(99));
        assert_eq!(at(&mut history, 99), [(2, 1), (1, 3)]);
    }

    #[test]
    fn what_is_sent_again_changes_nothing() {
        let mut history = begun(&[version(1, 1)]);
        history.note(met(20, &[version(1, 2)]));
        history.note(met(30, &[version(1, 3)]));
        let before = history.at(Lsn::new(30));
        history.confirm(Lsn::new(15));
        history.note(met(20, &[version(1, 2)]));
        history.note(met(30, &[version(1, 3)]));
        history.note(met(40, &[version(1, 3)]));
        assert_eq!(history.later.len(), 2);
        assert_eq!(history.at(Lsn::new(50)), before);
        assert_eq!(at(&mut history, 20), [(1, 2)]);
    }

    #[test]
    fn a_shape_that_is_taken_back_is_a_version_again() {
        let mut history = begun(&[version(1, 1)]);
        history.note(met(20, &[version(1, 2), version(1, 1)]));
        assert_eq!(at(&mut history, 20), [(1, 1)]);
        history.note(met(30, &[version(1, 2)]));
        assert_eq!(at(&mut history, 30), [(1, 2)]);
    }

    #[test]
    fn tables_out_of_use_make_room_for_others() {
        const WIDE: usize = 1600;
        let room = (COLUMNS_MAX / WIDE) as u32;
        let tables: Vec<_> = (1..=room).map(|oid| version(oid, WIDE)).collect();
        let mut history = begun(&tables);
        // The first is still in use.
        history.note(met(20, &[version(1, WIDE)]));
        history.note(met(30, &[version(room + 1, WIDE), version(room + 2, WIDE)]));
        history.confirm(Lsn::new(30));
        let kept: Vec<u32> = at(&mut history, 30).into_iter().map(|(oid, _)| oid).collect();
        assert_eq!(kept.len() as u32, room);
        assert_eq!(kept[0], 4);
        assert!(kept.contains(&1) && kept.contains(&(room + 2)));
    }
}
